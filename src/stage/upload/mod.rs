//! Publishes an image to one place and proves that it is there: asks, sends what is missing, reads back. An image that
//! is there and equal is not sent again. Each kind of place is a module of its own; this one has what they share. Knows
//! nothing of the store, which keeps the receipts, or of how images are made.

mod directory;
pub mod error;
mod plan;
mod put;
pub mod read_back;
pub mod retry;
mod s3;
pub mod shacache;
mod task;
mod webdav;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::error::UploadError;
pub use self::plan::UploadWork;
pub(super) use self::plan::plan;
use self::read_back::{Bytes, Want};
use self::retry::Policy;
pub use self::task::Receipts;
use crate::digest::Digest;
use crate::event::Emitter;
use crate::host::cancel::Cancel;
use crate::host::http::{Client, Get, Head, HttpError};
use crate::manifest::target::{Destination, Target, Verify};

/// What is published.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The file here.
    pub path: &'a Path,
    /// Its path below the place: that below the output folder.
    pub name: &'a Path,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-512.
    pub sha512: &'a Digest,
    /// What the place is told about it.
    pub metadata: &'a Metadata,
    /// Whether a place that has a list of its own lists it.
    pub listed: bool,
}

/// What a shacache is told about a file, in order.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// What goes on around an upload.
#[derive(Clone, Debug)]
pub struct Around<'a> {
    pub cancel: &'a Cancel,
    /// Where to say what happens.
    pub emit: &'a Emitter,
    /// A file for what a later attempt needs to go on with this one; it may not exist.
    pub state: &'a Path,
    /// Patience.
    pub policy: Policy,
}

/// Proof of an upload, kept to recognise it later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Where the image is, for the world.
    pub url: String,
    /// Its SHA-512.
    pub sha512: Digest,
    /// Its size in bytes.
    pub bytes: u64,
    /// What the place said of this version of it (an `ETag`, a date, a stamp).
    pub validator: Option<String>,
    /// When it was last read back in full, or asked for where that is enough.
    pub verified: Timestamp,
}

/// What an upload came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// Proof.
    pub receipt: Receipt,
    /// Whether something was sent; false: all was there already.
    pub sent: bool,
}

/// What a place has under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    /// Size in bytes, where it is told.
    bytes: Option<u64>,
    /// What tells this version from another.
    validator: Option<String>,
    /// Whether the answer can only be that of the file. One from another place that tells no size may be a login page's.
    sure: bool,
}

impl Found {
    /// What a head tells about a file.
    fn of(head: &Head) -> Self {
        let validator = head.etag.as_ref().or(head.last_modified.as_ref());
        Self {
            bytes: head.length,
            validator: validator.cloned(),
            sure: head.length.is_some() || head.moved_to.is_none(),
        }
    }
}

/// A kind of place. URLs in here are free of secrets.
trait Place {
    /// Where the item is, or will be, for those who write.
    fn address(&self, item: &Item<'_>) -> String;
    /// Where it is for the world.
    fn public(&self, item: &Item<'_>) -> String {
        self.address(item)
    }
    /// What is there under the item's name.
    fn look(&self, item: &Item<'_>, around: &Around<'_>) -> Result<Option<Found>, UploadError>;
    /// Sends it, trying again what may be tried again.
    fn send(&self, item: &Item<'_>, around: &Around<'_>) -> Result<(), UploadError>;
    /// Reads what is there.
    fn read(&self, item: &Item<'_>, cancel: &Cancel) -> Result<Bytes, UploadError>;
    /// Lists it, where a place has a list of its own. True: that changed something.
    fn announce(&self, _item: &Item<'_>, _around: &Around<'_>) -> Result<bool, UploadError> {
        Ok(false)
    }
}

/// Publishes an item to a target. `last` is the receipt of an earlier upload.
///
/// # Errors
/// [`UploadError`]; what was sent is then not published: nothing may list it.
pub fn upload(
    target: &Target,
    item: &Item<'_>,
    last: Option<&Receipt>,
    around: &Around<'_>,
) -> Result<Uploaded, UploadError> {
    let place = open(target)?;
    publish(place.as_ref(), target.verify, item, last, around)
}

/// Sends one file to a shacache by hand, and with `lists` puts its entry into the list each time. True: the blob was sent.
///
/// # Errors
/// [`UploadError`].
pub fn upload_to_shacache(
    place: &shacache::Shacache,
    verify: Verify,
    item: &Item<'_>,
    lists: bool,
    around: &Around<'_>,
) -> Result<bool, UploadError> {
    let (_, sent) = deliver(place, verify, item, None, around)?;
    if lists {
        place.list(item.sha512, item.metadata, around)?;
    }
    Ok(sent)
}

/// Whether a target can be used: its secrets are set, its configuration makes sense. Gives warnings.
///
/// # Errors
/// What stands in the way, before anything is built.
pub fn check(target: &Target) -> Result<Vec<String>, UploadError> {
    if let Destination::Shacache(shacache) = &target.to {
        let config = shacache::config::Config::read(&shacache.config)?;
        let warnings = config.warnings.clone();
        shacache::Shacache::open(config, &shacache.key)?;
        return Ok(warnings);
    }
    open(target).map(|_| Vec::new())
}

/// Reads a published URL and compares. `target` is where it was published to, as far as that is still known.
///
/// # Errors
/// [`UploadError`].
pub fn check_url(
    target: Option<&Target>,
    url: &str,
    name: &Path,
    want: &Want,
    cancel: &Cancel,
    emit: &Emitter,
) -> Result<(), UploadError> {
    let policy = Policy::default();
    policy.retry(emit, cancel, || {
        emit.phase("reading");
        let bytes = match target {
            // What the world reads needs none of our credentials.
            Some(target) if target.public_url.is_none() => read_from(target, url, name, want, cancel)?,
            _ => get(&Client::default(), &Get::new(url), cancel)?,
        };
        read_back::compare(url, bytes, want, cancel, emit)
    })
}

fn read_from(
    target: &Target,
    url: &str,
    name: &Path,
    want: &Want,
    cancel: &Cancel,
) -> Result<Bytes, UploadError> {
    // A host that only reads need not have what writing to a shacache takes.
    if matches!(target.to, Destination::Shacache(_)) {
        let client = open_shacache(target).map_or_else(|_| Client::default(), |place| place.reader().clone());
        return get(&client, &Get::new(url), cancel);
    }
    let place = open(target)?;
    let metadata = Metadata::new();
    let item = Item {
        path: Path::new(""),
        name,
        bytes: want.bytes.unwrap_or(0),
        sha512: &want.digest,
        metadata: &metadata,
        listed: false,
    };
    if place.public(&item) == url {
        return place.read(&item, cancel);
    }
    get(&Client::default(), &Get::new(url), cancel)
}

fn open_shacache(target: &Target) -> Result<shacache::Shacache, UploadError> {
    match &target.to {
        Destination::Shacache(shacache) => {
            let config = shacache::config::Config::read(&shacache.config)?;
            shacache::Shacache::open(config, &shacache.key)
        }
        _ => Err(UploadError::Target {
            target: target.name.clone(),
            cause: "it is no shacache".to_owned(),
        }),
    }
}

fn open(target: &Target) -> Result<Box<dyn Place>, UploadError> {
    let public = target.public_url.clone();
    Ok(match &target.to {
        Destination::Shacache(_) => Box::new(open_shacache(target)?),
        Destination::Directory(folder) => Box::new(directory::Directory::new(folder.clone(), public)),
        Destination::Http(http) => Box::new(put::Server::open(&target.name, http, public)?),
        Destination::S3(s3) => Box::new(s3::Store::open(&target.name, s3, public)?),
    })
}

fn publish(
    place: &dyn Place,
    verify: Verify,
    item: &Item<'_>,
    last: Option<&Receipt>,
    around: &Around<'_>,
) -> Result<Uploaded, UploadError> {
    let url = place.public(item);
    let last = last.filter(|last| last.sha512 == *item.sha512 && last.url == url);
    let (found, sent) = deliver(place, verify, item, last, around)?;
    let announced = item.listed && place.announce(item, around)?;
    let before = last.filter(|last| !sent && same_version(last, &found));
    Ok(Uploaded {
        receipt: Receipt {
            url,
            sha512: item.sha512.clone(),
            bytes: item.bytes,
            validator: found.validator,
            verified: before.map_or_else(Timestamp::now, |last| last.verified),
        },
        sent: sent || announced,
    })
}

/// Makes sure that a place has the item: asks, sends, reads back. Gives what it has, and whether it was sent.
fn deliver(
    place: &dyn Place,
    verify: Verify,
    item: &Item<'_>,
    last: Option<&Receipt>,
    around: &Around<'_>,
) -> Result<(Found, bool), UploadError> {
    let (emit, cancel, policy) = (around.emit, around.cancel, &around.policy);
    let address = place.address(item);
    emit.phase("asking whether it is there");
    let found = policy.retry(emit, cancel, || place.look(item, around))?;
    if let Some(found) = found.filter(|found| has_size(found, item)) {
        let known = found.sure && last.is_some_and(|last| same_version(last, &found));
        if known || enough(verify, &found) || is_equal(place, item, around)? {
            return Ok((found, false));
        }
    }
    emit.phase("sending");
    place.send(item, around)?;
    emit.phase("waiting for it to appear");
    let look = || policy.retry(emit, cancel, || place.look(item, around));
    let found = policy
        .wait_for(cancel, look)?
        .filter(|found| has_size(found, item));
    let Some(found) = found else {
        return Err(UploadError::NotThere { url: address });
    };
    if !enough(verify, &found) {
        read_all(place, item, around)?;
    }
    Ok((found, true))
}

/// Whether what was found may be the item; a place that tells no size may have it.
fn has_size(found: &Found, item: &Item<'_>) -> bool {
    found.bytes.is_none_or(|bytes| bytes == item.bytes)
}

/// Whether the answer of a place is proof enough.
fn enough(verify: Verify, found: &Found) -> bool {
    verify == Verify::Head && found.sure
}

/// Whether a place still has the version that was verified.
fn same_version(known: &Receipt, found: &Found) -> bool {
    known.validator.is_some() && known.validator == found.validator
}

fn is_equal(place: &dyn Place, item: &Item<'_>, around: &Around<'_>) -> Result<bool, UploadError> {
    match read_all(place, item, around) {
        Ok(()) => Ok(true),
        Err(UploadError::Differs { url, .. }) => {
            around.emit.warn(format!("{url} has other bytes; it is replaced"));
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn read_all(place: &dyn Place, item: &Item<'_>, around: &Around<'_>) -> Result<(), UploadError> {
    let address = place.address(item);
    let want = Want {
        bytes: Some(item.bytes),
        digest: item.sha512.clone(),
    };
    around.policy.retry(around.emit, around.cancel, || {
        around.emit.phase("reading back");
        let bytes = place.read(item, around.cancel)?;
        read_back::compare(&address, bytes, &want, around.cancel, around.emit)
    })
}

/// The head of what a server has, wherever it keeps it. A redirect may lead to an URL that is signed for a GET alone; then
/// and where a server knows no HEAD, a GET decides whose body is not read.
fn head(client: &Client, ask: &Get<'_>, read: &Get<'_>, cancel: &Cancel) -> Result<Head, HttpError> {
    let head = client.head(ask, cancel)?;
    match head.status {
        400 | 401 | 403 if head.moved_to.is_some() => {}
        405 | 501 => {}
        _ => return Ok(head),
    }
    client.get(read, cancel).map(|(head, _)| head)
}

/// Makes sense of the answer to a question for a file.
fn looked(url: &str, head: Head) -> Result<Option<Found>, UploadError> {
    match head.status {
        200 => Ok(Some(Found::of(&head))),
        404 | 410 => Ok(None),
        _ => Err(UploadError::refused("ask for", url, head, "")),
    }
}

/// Starts a download that must succeed.
fn get(client: &Client, get: &Get<'_>, cancel: &Cancel) -> Result<Bytes, UploadError> {
    let (head, body) = client
        .get(get, cancel)
        .map_err(|error| UploadError::request("read", get.url, error))?;
    match head.status {
        200 => Ok(Bytes::Http(body)),
        _ => Err(UploadError::refused("read", get.url, head, "")),
    }
}

/// A stretch of a file as a body to send.
fn stretch(path: &Path, from: u64, bytes: u64) -> Result<io::Take<File>, UploadError> {
    let open = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        Ok(file.take(bytes))
    };
    open().map_err(UploadError::at("read", path))
}

/// A file's path below a place as the end of a URL.
fn url_path(name: &Path) -> String {
    crate::host::http::percent_encode_path(&name.to_string_lossy())
}
