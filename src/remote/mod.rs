//! The store that hosts share: results by key on an object store or an HTTP server. What is there was written by others, so
//! an entry counts only with a signature by a trusted key, and a file only by its digest; all else is as if it were not
//! there. No lock, no condition of a server and no clock carries correctness: results never change, the first entry of a
//! key stays, and whoever comes second takes its bytes.
//!
//! ```text
//! blobs/sha256/<hex>.zst                 a file of a result, compressed, by the digest of its plain bytes
//! results/<stage>/<key>/entry.json       what the result is of and which files it has; signed, and written last
//! workspaces/<hex>.tar.zst               what a job plans from
//! runs/<run>/<job>/<attempt>/…           what happens in a job
//! ```

pub mod contents;
mod entry;
pub mod error;
pub mod gc;
mod objects;
pub mod probe;
mod pull;
mod push;
pub mod settings;
pub mod sign;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::entry::Distrust;
use self::error::RemoteError;
use self::objects::{Objects, Over};
pub use self::push::Pushed;
use self::settings::RemoteSettings;
use self::sign::{PublicKey, SignKey};
use crate::host::cancel::Cancel;
use crate::host::fs::{Draft, FsError};
use crate::store::{Address, Record};

/// Where entries are.
const RESULTS: &str = "results/";
/// The file of an entry.
const ENTRY: &str = "entry.json";
/// Where files are.
const BLOBS: &str = "blobs/sha256/";
/// Most bytes of a small object. The record of a fleet's largest node has 40 KB.
const SMALL: usize = 16 << 20;
/// Requests at once.
const AT_ONCE: usize = 16;
/// From more doubts than these on, one of them stands for all.
const DOUBTS: usize = 3;

/// The remote store, ready to be asked.
#[derive(Debug)]
pub struct Remote {
    objects: Objects,
    /// Its URL, without secrets.
    url: String,
    trust: Vec<PublicKey>,
    /// Signs what is put there; none: nothing is.
    sign: Option<SignKey>,
    memory: Mutex<Memory>,
}

/// What was found out since it was opened.
#[derive(Debug, Default)]
struct Memory {
    /// Entries by their address; none: there is none that can be used.
    entries: BTreeMap<Address, Option<Arc<Record>>>,
    /// Results that could not be taken, whatever their entries say.
    untaken: BTreeSet<Address>,
    /// Usable entries of which a file is gone or damaged.
    broken: BTreeSet<Address>,
    /// Files that are there and are not what their names say.
    bad: BTreeSet<String>,
    /// What was not said yet.
    unsaid: Vec<String>,
    /// What was said.
    said: BTreeSet<String>,
}

impl Remote {
    /// Opens the remote store of these settings; none: the host has none. Asks nothing yet.
    ///
    /// # Errors
    /// [`RemoteError::Settings`], [`RemoteError::Key`].
    pub fn open(settings: &RemoteSettings) -> Result<Option<Self>, RemoteError> {
        let Some(url) = &settings.url else {
            return Ok(None);
        };
        let key = settings
            .sign_key
            .as_ref()
            .map(|source| SignKey::read(&source.file));
        let key = key.transpose()?;
        let trusted = settings.trust.iter().map(|text| text.parse());
        let mut trust = trusted.collect::<Result<Vec<PublicKey>, _>>()?;
        trust.extend(key.as_ref().map(SignKey::public));
        if trust.is_empty() {
            return Err(RemoteError::Settings(
                "the remote store needs a key that is trusted; write its public half into `remote.trust` \
                 (PIPELINE_REMOTE_TRUST), or name a `sign_key`"
                    .to_owned(),
            ));
        }
        let sign = match (settings.write, key) {
            (Some(true), None) => {
                return Err(RemoteError::Settings(
                    "`remote.write` needs a `sign_key` (PIPELINE_REMOTE_SIGN_KEY); `pipeline farm key FILE` makes one"
                        .to_owned(),
                ));
            }
            (Some(false), _) => None,
            (_, key) => key,
        };
        Ok(Some(Self {
            objects: Objects::open(settings, url)?,
            url: crate::host::http::redact(url),
            trust,
            sign,
            memory: Mutex::default(),
        }))
    }

    /// Its URL, without secrets.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether results are put there.
    pub fn writes(&self) -> bool {
        self.sign.is_some()
    }

    /// Whether the server did not answer a moment ago, so that it is not asked now.
    pub fn is_away(&self) -> bool {
        self.objects.is_away()
    }

    /// Asks a server again that did not answer a moment ago.
    pub fn ask_again(&self) {
        self.objects.ask_again();
    }

    /// A small object; none: it is not there.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn get(&self, path: &str, cancel: &Cancel) -> Result<Option<Vec<u8>>, RemoteError> {
        self.objects.read(path, SMALL, cancel)
    }

    /// Takes an object as a file, whole or not at all. False: it is not there. Whoever knows its digest compares it.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn get_file(&self, path: &str, to: &Path, cancel: &Cancel) -> Result<bool, RemoteError> {
        let Some(mut download) = self.objects.download(path, cancel)? else {
            return Ok(false);
        };
        let mut draft = Draft::beside(to)?;
        if let Err(error) = std::io::copy(&mut download, &mut draft.file) {
            let of_file = || FsError::at("write", to)(error).into();
            return Err(download.failure().unwrap_or_else(of_file));
        }
        draft.publish()?;
        Ok(true)
    }

    /// Puts a small object there, whatever was there before.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn put(&self, path: &str, bytes: &[u8], cancel: &Cancel) -> Result<(), RemoteError> {
        self.objects.write(path, bytes, Over::Anything, cancel).map(drop)
    }

    /// Puts a file there, whatever was there before.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn put_file(&self, path: &str, from: &Path, cancel: &Cancel) -> Result<(), RemoteError> {
        let file = File::open(from).map_err(FsError::at("read", from))?;
        let bytes = file.metadata().map_err(FsError::at("read", from))?.len();
        self.objects
            .write_file(path, &Arc::new(file), bytes, None, cancel, &mut |_| {})
    }

    /// The paths that begin with `prefix` and come after `start_after`, in order.
    ///
    /// # Errors
    /// [`RemoteError::Unsupported`] of a plain HTTP server, [`RemoteError`].
    pub fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        cancel: &Cancel,
    ) -> Result<Vec<String>, RemoteError> {
        let listed = self.objects.list(prefix, start_after, cancel)?;
        Ok(listed.objects.into_iter().map(|object| object.path).collect())
    }

    /// The results that have an entry there, usable or not.
    ///
    /// # Errors
    /// As [`Remote::list`].
    pub fn results(&self, cancel: &Cancel) -> Result<BTreeSet<Address>, RemoteError> {
        let paths = self.list(RESULTS, None, cancel)?;
        Ok(paths.iter().filter_map(|path| address_of(path)).collect())
    }

    /// Which of these results are there, signed and right. Several are asked for at once; what is known to be there, or could
    /// not be taken, is not asked again. A server that does not answer has none: see [`Remote::doubts`].
    pub fn has(&self, addresses: &[Address], cancel: &Cancel) -> BTreeSet<Address> {
        let unknown: Vec<_> = {
            let memory = self.memory();
            addresses
                .iter()
                .filter(|address| !matches!(memory.entries.get(address), Some(Some(_))))
                .filter(|address| !memory.untaken.contains(address))
                .collect()
        };
        let _: Result<Vec<_>, _> = each(&unknown, &|address| Ok(self.ask(address, cancel)));
        let memory = self.memory();
        let is_there = |address: &&Address| matches!(memory.entries.get(address), Some(Some(_)));
        addresses.iter().filter(is_there).cloned().collect()
    }

    /// The entry of a result, as it was when it was last asked for.
    pub fn known(&self, address: &Address) -> Option<Arc<Record>> {
        self.memory().entries.get(address).cloned().flatten()
    }

    /// What others should hear of: entries that are not used, a server that does not answer. Each is given once.
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = std::mem::take(&mut self.memory().unsaid);
        if doubts.len() > DOUBTS {
            let all = doubts.len();
            doubts.truncate(1);
            doubts = vec![format!("{} (and {} more of this kind)", doubts.concat(), all - 1)];
        }
        doubts
    }

    /// Asks for the entry of a result, whatever is remembered of it.
    pub fn ask(&self, address: &Address, cancel: &Cancel) -> Option<Arc<Record>> {
        let found = match self.read_entry(address, cancel) {
            Ok(Some(Ok(record))) => Some(Arc::new(record)),
            Ok(Some(Err(distrust))) => {
                self.doubt(format!(
                    "{} in the remote store is not used: {distrust}",
                    address.short()
                ));
                None
            }
            Ok(None) => None,
            Err(error) => {
                self.failed(&error);
                None
            }
        };
        self.memory().entries.insert(address.clone(), found.clone());
        found
    }

    fn read_entry(
        &self,
        address: &Address,
        cancel: &Cancel,
    ) -> Result<Option<Result<Record, Distrust>>, RemoteError> {
        let bytes = self.objects.read(&entry_path(address), SMALL, cancel);
        // What is too long for an entry is none.
        let bytes = match bytes {
            Err(RemoteError::Damaged(_)) => return Ok(Some(Err(Distrust::NotOne))),
            bytes => bytes?,
        };
        Ok(bytes.map(|bytes| entry::open(&bytes, address, &self.trust)))
    }

    /// Remembers that something failed, for [`Remote::doubts`]; of several for the same cause one is reported.
    pub fn failed(&self, error: &RemoteError) {
        match error {
            RemoteError::Cancelled | RemoteError::Away => {}
            RemoteError::Request { source, .. } => self.doubt_once(
                source.brief(),
                format!("the remote store {} is not used for now: {error}", self.url),
            ),
            other => self.doubt(other.to_string()),
        }
    }

    fn doubt(&self, text: String) {
        self.doubt_once(text.clone(), text);
    }

    fn doubt_once(&self, kind: String, text: String) {
        let mut memory = self.memory();
        if memory.said.insert(kind) {
            memory.unsaid.push(text);
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the entry of a result is.
fn entry_path(address: &Address) -> String {
    format!("{RESULTS}{}/{}/{ENTRY}", address.stage, address.key)
}

/// The result whose entry is at a path.
fn address_of(path: &str) -> Option<Address> {
    let address = path.strip_prefix(RESULTS)?.strip_suffix(ENTRY)?;
    address.strip_suffix('/')?.parse().ok()
}

/// Where a file is, by the SHA-256 of its plain bytes.
fn blob_path(sha256: &str) -> String {
    format!("{BLOBS}{sha256}.zst")
}

/// Does the same with each, several at once, and gives what came of it in order, or the first failure.
fn each<T: Sync, R: Send>(
    all: &[T],
    one: &(dyn Fn(&T) -> Result<R, RemoteError> + Sync),
) -> Result<Vec<R>, RemoteError> {
    let size = all.len().div_ceil(AT_ONCE).max(1);
    std::thread::scope(|scope| {
        let some = all.chunks(size);
        let threads: Vec<_> = some
            .map(|some| scope.spawn(move || some.iter().map(one).collect::<Result<Vec<R>, _>>()))
            .collect();
        let mut done = Vec::new();
        for thread in threads {
            done.extend(
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
            );
        }
        Ok(done)
    })
}
