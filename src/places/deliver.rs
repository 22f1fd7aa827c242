//! Publishes an image to one place and proves that it is there: asks, sends what is missing, reads back. An image that
//! is there and equal is not sent again. Knows nothing of the store, which keeps the receipts, or of how images are made.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::UploadError;
use super::read_back::{self, Bytes, Want};
use super::retry::Policy;
use super::{Target, Verify, get};
use crate::digest::Digest;
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::host::http::{Client, Get, Head};

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
    /// Describes it to the place.
    pub metadata: &'a Metadata,
    /// Whether a place that has a list of its own lists it.
    pub listed: bool,
}

impl Item<'_> {
    /// Some readers of JSON go by this word of a server's.
    pub(super) fn content_type(&self) -> (&'static str, String) {
        let is_json = self.name.extension().is_some_and(|ending| ending == "json");
        let kind = if is_json {
            "application/json"
        } else {
            "application/octet-stream"
        };
        ("content-type", kind.to_owned())
    }
}

/// Describes a file to a shacache, in order.
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
pub struct Found {
    /// Size in bytes, where it is known.
    pub bytes: Option<u64>,
    /// What tells this version from another.
    pub validator: Option<String>,
    /// Whether the answer can only be that of the file. One from another place that tells no size may be a login page's.
    pub sure: bool,
}

impl Found {
    /// What a head tells about a file.
    pub fn of(head: &Head) -> Self {
        let validator = head.etag.as_ref().or(head.last_modified.as_ref());
        Self {
            bytes: head.length,
            validator: validator.cloned(),
            sure: head.length.is_some() || head.moved_to.is_none(),
        }
    }
}

/// A place that is ready to be written to. URLs in here are free of secrets.
pub trait Place {
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
    /// Removes it, from a place that keeps versions. It may be gone already.
    fn remove(&self, item: &Item<'_>, _around: &Around<'_>) -> Result<(), UploadError> {
        unreachable!("{} keeps no versions", self.address(item))
    }
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
    let place = target.to.open(target)?;
    publish(place.as_ref(), target.verify, item, last, around)
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
    let metadata = Metadata::new();
    let item = Item {
        path: Path::new(""),
        name,
        bytes: want.bytes.unwrap_or(0),
        sha512: &want.digest,
        metadata: &metadata,
        listed: false,
    };
    policy.retry(emit, cancel, || {
        emit.phase("reading");
        let bytes = match target {
            // What the world reads needs none of our credentials.
            Some(target) if target.public_url.is_none() => target.to.read(target, url, &item, cancel)?,
            _ => get(&Client::default(), &Get::new(url), cancel)?,
        };
        read_back::compare(url, bytes, want, cancel, emit)
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
pub(super) fn deliver(
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
            around.emit.warn(format!("{url} differs; replacing it"));
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

pub(super) fn read_all(place: &dyn Place, item: &Item<'_>, around: &Around<'_>) -> Result<(), UploadError> {
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
