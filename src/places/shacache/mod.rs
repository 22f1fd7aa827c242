//! A shacache (blobs by their SHA-512) with its shadir (for each key a list of signed descriptions), as the servers and
//! clients of SlapOS's "networkcache" speak it. Knows the two protocols; lexing of the configuration, the form of an
//! entry and signatures are in modules of their own.

pub mod config;
pub mod entry;
mod ini;
pub mod sign;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::config::Config;
use self::entry::Entry;
use self::sign::Signer;
use super::deliver::deliver;
use super::error::UploadError;
use super::read_back::Bytes;
use super::{
    Around, Found, Item, Kind, Metadata, Metadatum, Place, Target, TargetKeys, Verify, Written, get, stretch,
};
use crate::digest::Digest;
use crate::emit::Progress;
use crate::host::cancel::Cancel;
use crate::host::http::send::{Method, Outgoing};
use crate::host::http::{Client, Get};
use crate::size::MIB;
use crate::syntax::fields::{Field, Fields};
use crate::syntax::key::Table;
use crate::syntax::parse::Value as Node;
use crate::syntax::reading::{Reading, Spot};
use crate::syntax::row::{Cell, Named, Record, Var};
use crate::syntax::table::table;
use crate::syntax::text::{ListKey, Text};

/// Most bytes read of a key's list: a hundred thousand entries of usual size.
const LIST: u64 = 64 * MIB;

/// Keys of a shacache list's entry that no metadata can have: the entry's own, or such that the reference client cannot pass
/// on (Python: a keyword given twice).
pub const TAKEN: [&str; 4] = ["sha512", "key", "file_descriptor", "self"];

/// What the images' consumers select by, as their metadata have always been.
const METADATA: [(&str, &str); 5] = [
    ("title", "packerimage-{{ id }}{{ suffix }}"),
    ("distribution", "{{ family }}"),
    ("version", "{{ version }}"),
    ("disk-size", "{{ disk_gb }}"),
    ("compressed", "{{ suffix != '' }}"),
];

table! {
    SHACACHE: ShacacheKeys = "target_shacache", "A shacache with its shadir", "{ to = \"shacache\" }",
        parts [TargetKeys, ShacacheKeys], is "shacache";
    config: Text = "\"/etc/opt/shacache/shacache.cfg\"", "its configuration, as `networkcache-upload` reads it"
        .default("\"/etc/opt/shacache/shacache.cfg\"");
    key: ListKey = "\"packer-images\"", "key of the shadir that images are listed under"
        .default("\"packer-images\"");
    metadata: Named<Text, Var> = "{ title = \"{{ id }}\", version = \"{{ version }}\" }",
        "what it says about an image, in this order; what is written replaces the default as a whole (texts are templates)";
}

/// A configuration, and what it does not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shacache {
    /// The configuration file, absolute: URLs, keys, certificates.
    pub config: PathBuf,
    /// The key that all images are listed under.
    pub key: String,
    /// Describes each image, in this order.
    pub metadata: Vec<(String, Metadatum)>,
}

impl Written for Shacache {
    const TABLE: &'static Table = ShacacheKeys::TABLE;

    fn read(reading: Reading<'_>, table: &Fields<'_>, templates: &mut Vec<Spot>) -> Option<Self> {
        let metadata = match table.get(&SHACACHE.metadata) {
            None => METADATA
                .map(|(key, text)| (key.to_owned(), Metadatum::Template(text.to_owned())))
                .to_vec(),
            Some(cell) => metadata(&cell, &cell.named(), templates),
        };
        Some(Self {
            config: reading.files.path(&table.read_or_default(&SHACACHE.config)),
            key: table.read_or_default(&SHACACHE.key),
            metadata,
        })
    }
}

fn metadata(field: &Field<'_>, items: &[Cell<'_, Var>], spots: &mut Vec<Spot>) -> Vec<(String, Metadatum)> {
    let mut found = Vec::new();
    for item in items {
        if TAKEN.contains(&item.key) {
            item.bad(
                "an entry has this key itself, or the reference client cannot pass it on",
                "choose another name",
            );
            continue;
        }
        let value = match &item.node.value {
            Node::Text(text) => {
                spots.push(Spot::new(item, text));
                Some(Metadatum::Template(text.clone()))
            }
            _ => item.read().map(Metadatum::Plain),
        };
        found.extend(value.map(|value| (item.key.to_owned(), value)));
    }
    if matches!(&field.node.value, Node::Table(entries) if entries.is_empty()) {
        field.bad(
            "the reference client refuses empty metadata",
            "give at least one, such as title = \"{{ id }}\"",
        );
    }
    found
}

impl Kind for Shacache {
    fn identity(&self) -> Value {
        json!({ "config": self.config, "key": self.key })
    }

    fn metadata(&self) -> &[(String, Metadatum)] {
        &self.metadata
    }

    fn lists_urls(&self) -> bool {
        true
    }

    fn open(&self, _target: &Target) -> Result<Box<dyn Place>, UploadError> {
        Ok(Box::new(self.server()?))
    }

    fn check(&self, _target: &Target) -> Result<Vec<String>, UploadError> {
        Ok(self.server()?.config.warnings)
    }

    /// A host that only reads need not have what writing takes.
    fn read(
        &self,
        _target: &Target,
        url: &str,
        _item: &Item<'_>,
        cancel: &Cancel,
    ) -> Result<Bytes, UploadError> {
        let client = self
            .server()
            .map_or_else(|_| Client::default(), |server| server.cache);
        get(&client, &Get::new(url), cancel)
    }
}

impl Shacache {
    fn server(&self) -> Result<Server, UploadError> {
        Server::open(Config::read(&self.config)?, &self.key)
    }
}

/// Sends one file by hand, and with `lists` puts its entry into the list each time. True: the blob was sent.
///
/// # Errors
/// [`UploadError`].
pub fn upload(
    server: &Server,
    verify: Verify,
    item: &Item<'_>,
    lists: bool,
    around: &Around<'_>,
) -> Result<bool, UploadError> {
    let (_, sent) = deliver(server, verify, item, None, around)?;
    if lists {
        server.list(item.sha512, item.metadata, around)?;
    }
    Ok(sent)
}

/// A shacache that is published to.
#[derive(Debug)]
pub struct Server {
    config: Config,
    key: String,
    /// For blobs.
    cache: Client,
    /// For lists.
    directory: Client,
    signer: Option<Signer>,
}

impl Server {
    /// Reads the keys and certificates that the configuration names.
    ///
    /// # Errors
    /// What stands in the way of an upload.
    pub fn open(config: Config, key: &str) -> Result<Self, UploadError> {
        let client = |tls| Client {
            tls,
            ..Client::default()
        };
        let signer = match &config.private_key {
            Some(path) => Some(Signer::read(path)?),
            None => None,
        };
        if let Some(signer) = &signer {
            config.check_signer(signer)?;
        }
        Ok(Self {
            cache: client(config.cache_tls.load()?),
            directory: client(config.directory_tls.load()?),
            config,
            key: key.to_owned(),
            signer,
        })
    }

    /// Where a blob is read.
    pub fn blob_url(&self, sha512: &Digest) -> String {
        format!("{}/{}", self.config.download_cache, sha512.hex)
    }

    /// What is listed about a file: the same bytes each time, for the signature has no chance in it.
    ///
    /// # Errors
    /// [`UploadError::Sign`].
    pub fn entry(&self, sha512: &Digest, metadata: &Metadata) -> Result<Entry, UploadError> {
        let info = entry::info(sha512, metadata);
        let signature = match &self.signer {
            Some(signer) => signer.sign(&info)?,
            None => String::new(),
        };
        Ok(Entry { info, signature })
    }

    /// Puts a file's entry into the list of the key, whether or not it is there.
    ///
    /// # Errors
    /// [`UploadError`].
    pub fn list(&self, sha512: &Digest, metadata: &Metadata, around: &Around<'_>) -> Result<(), UploadError> {
        let body = self.entry(sha512, metadata)?.body().into_bytes();
        let url = format!("{}/{}", self.config.upload_directory, self.key);
        around.emit.phase(format!("listing it under `{}`", self.key));
        let headers = [("content-type", "application/json".to_owned())];
        let outgoing = Outgoing {
            method: Method::Put,
            url: &url,
            headers: &headers,
            length: body.len() as u64,
            ask_first: false,
        };
        // Of equal entries a server keeps one, or lists both, which selects the same.
        around.policy.retry(around.emit, around.cancel, || {
            let body = std::io::Cursor::new(body.clone());
            let answer = self
                .directory
                .send(&outgoing, body, around.cancel, &mut |_| {})
                .map_err(|error| UploadError::request("send to", &url, error))?;
            match answer.head.status {
                201 => Ok(()),
                _ => {
                    let text = answer.text();
                    Err(UploadError::refused("send to", &url, answer.head, &text))
                }
            }
        })
    }

    /// Whether the list of the key has this entry; none where the list cannot be fetched.
    fn is_listed(&self, entry: &Entry, cancel: &Cancel) -> Result<Option<bool>, UploadError> {
        let Some(base) = &self.config.download_directory else {
            return Ok(None);
        };
        let url = format!("{base}/{}", self.key);
        let failed = |error| UploadError::request("read", &url, error);
        let (head, mut body) = self.directory.get(&Get::new(&url), cancel).map_err(failed)?;
        if head.status != 200 {
            return Ok(Some(false));
        }
        let mut text = Vec::new();
        while let Some(piece) = body.next(cancel).map_err(failed)? {
            text.extend(piece);
            if text.len() as u64 > LIST {
                return Ok(None);
            }
        }
        Ok(Some(entry.is_in(&text)))
    }

    fn post(&self, item: &Item<'_>, around: &Around<'_>) -> Result<(), UploadError> {
        let url = &self.config.upload_cache;
        let headers = [("content-type", "application/octet-stream".to_owned())];
        let outgoing = Outgoing {
            method: Method::Post,
            url,
            headers: &headers,
            length: item.bytes,
            ask_first: false,
        };
        let mut progress = Progress::new(around.emit);
        let body = stretch(item.path, 0, item.bytes)?;
        let answer = self
            .cache
            .send(&outgoing, body, around.cancel, &mut |sent| {
                progress.report(sent, item.bytes);
            })
            .map_err(|error| UploadError::request("send to", url, error))?;
        let text = answer.text();
        if answer.head.status != 201 {
            return Err(UploadError::refused("send to", url, answer.head, &text));
        }
        if text != item.sha512.hex {
            return Err(UploadError::WrongReceipt {
                url: url.clone(),
                got: format!("\"{}\"", super::error::one_line(&text)),
                want: format!("the SHA-512 {}", item.sha512.hex),
            });
        }
        Ok(())
    }
}

impl Place for Server {
    fn address(&self, item: &Item<'_>) -> String {
        self.blob_url(item.sha512)
    }

    /// As the reference client asks: by a GET whose body is not read, and anything but a 2xx means "not there".
    fn look(&self, item: &Item<'_>, around: &Around<'_>) -> Result<Option<Found>, UploadError> {
        let url = self.blob_url(item.sha512);
        let (head, _) = self
            .cache
            .get(&Get::new(&url), around.cancel)
            .map_err(|error| UploadError::request("ask for", &url, error))?;
        Ok((200..300).contains(&head.status).then(|| Found {
            // A blob's name is that of its bytes: there are no other versions of it.
            validator: Some(item.sha512.hex.clone()),
            ..Found::of(&head)
        }))
    }

    fn send(&self, item: &Item<'_>, around: &Around<'_>) -> Result<(), UploadError> {
        let mut again = false;
        around.policy.retry(around.emit, around.cancel, || {
            // A server may have kept what it did not confirm; it need not take the same blob twice.
            if again && self.look(item, around)?.is_some() {
                return Ok(());
            }
            again = true;
            self.post(item, around)
        })
    }

    fn read(&self, item: &Item<'_>, cancel: &Cancel) -> Result<Bytes, UploadError> {
        get(&self.cache, &Get::new(&self.blob_url(item.sha512)), cancel)
    }

    fn announce(&self, item: &Item<'_>, around: &Around<'_>) -> Result<bool, UploadError> {
        let entry = self.entry(item.sha512, item.metadata)?;
        let listed = || {
            around.policy.retry(around.emit, around.cancel, || {
                self.is_listed(&entry, around.cancel)
            })
        };
        if listed()? == Some(true) {
            return Ok(false);
        }
        self.list(item.sha512, item.metadata, around)?;
        let seen = around.policy.wait_for(around.cancel, || {
            Ok(listed()?.map_or(Some(false), |there| there.then_some(true)))
        })?;
        if seen.is_none() {
            around.emit.warn(format!(
                "the list of `{}` does not show the entry yet, though the server took it; servers index in the \
                 background: the next upload will look again",
                self.key
            ));
        }
        Ok(true)
    }
}
