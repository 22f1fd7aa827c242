//! What a run needs of the store, declared before it relies on it: see [`super::gc`] for the protocol. Knows addresses and
//! locks; nothing of what makes a run need a result.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::SystemTime;
use std::{fmt, fs};

use serde::{Deserialize, Serialize};

use super::entry::RECORD;
use super::{Store, StoreError};
use crate::host::cancel::Cancel;
use crate::host::fs as host_fs;
use crate::host::fs::{FileLock, FsError};

/// File in a run's folder with what the run needs.
const NEEDS: &str = "needs.json";
/// The lock between those who say what they need and those who take away.
const GATE: &str = "gate.lock";

/// Where a result is in the store: its stage and its key, written `install/3f9a…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    pub stage: String,
    /// Key, 64 hexadecimal digits.
    pub key: String,
}

/// Not an [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address of a result; one is like install/3f9a…")]
pub struct AddressError(String);

/// What a run declared before it began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Its manifest, absolute; absent for what has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<PathBuf>,
    /// What its results are remembered under; empty for what has no manifest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub history: String,
    /// Of a run of all images the ids of all its nodes; absent for a run of some of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<BTreeSet<String>>,
    /// Every result that it takes from the store or builds.
    pub results: BTreeSet<Address>,
}

/// As long as it is held, no result is taken away.
#[derive(Debug)]
pub struct Gate {
    _held: FileLock,
}

impl Address {
    /// The result of a stage under a key.
    pub fn new(stage: &str, key: &str) -> Self {
        Self {
            stage: stage.to_owned(),
            key: key.to_owned(),
        }
    }

    /// As people see it: the key is cut to what tells it from others.
    pub fn short(&self) -> String {
        const SHOWN: usize = 12;
        format!("{}/{}", self.stage, self.key.get(..SHOWN).unwrap_or(&self.key))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stage, self.key)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        // Both become names of folders: nothing may lead out of the store.
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
        match text.split_once('/') {
            Some((stage, key)) if plain(stage) && plain(key) => Ok(Self::new(stage, key)),
            _ => Err(AddressError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl Store {
    /// Keeps everybody from taking results away while it is held: look up what is needed, [`Store::declare`] it, drop it.
    ///
    /// # Errors
    /// [`StoreError::Cancelled`] while waiting for a clean-up to end, [`StoreError::Fs`].
    pub fn gate(&self, cancel: &Cancel, waiting: &mut dyn FnMut()) -> Result<Gate, StoreError> {
        match host_fs::lock_shared(&self.root.join(GATE), cancel, waiting) {
            Err(FsError::Cancelled) => Err(StoreError::Cancelled),
            held => Ok(Gate { _held: held? }),
        }
    }

    /// The same for whoever takes away: waits for all who are saying what they need.
    pub(super) fn shut_gate(
        &self,
        cancel: &Cancel,
        waiting: &mut dyn FnMut(),
    ) -> Result<FileLock, StoreError> {
        match host_fs::lock(&self.root.join(GATE), cancel, waiting) {
            Err(FsError::Cancelled) => Err(StoreError::Cancelled),
            held => Ok(held?),
        }
    }

    /// Says what a run needs, for as long as its scratch place is held and its logs are kept; results that are there
    /// count as used now.
    ///
    /// # Errors
    /// [`StoreError::Fs`].
    pub fn declare(&self, _gate: &Gate, run: &str, needs: &Needs) -> Result<(), StoreError> {
        let folder = self.run_folder(run);
        host_fs::private_dir(&folder)?;
        write_needs(&folder, needs)?;
        for address in &needs.results {
            self.touch(address);
        }
        Ok(())
    }

    /// The result was used now. One that is not there, or not ours to mark, is only forgotten a little earlier.
    fn touch(&self, address: &Address) {
        let record = self.result_folder(&address.stage, &address.key).join(RECORD);
        let marked = fs::File::open(record).and_then(|file| file.set_modified(SystemTime::now()));
        drop(marked);
    }

    /// Whether a run (or another holder of a scratch place) is alive.
    pub fn is_running(&self, run: &str) -> bool {
        let lock = self.root.join("scratch").join(format!("{run}.lock"));
        // Only looked at: the file is not made, and a lock that was free is released at once.
        lock.is_file() && matches!(host_fs::try_lock(&lock), Ok(None))
    }
}

/// What a folder says that it needs; nothing where it says nothing.
pub(super) fn needs_in(folder: &Path) -> Option<Needs> {
    serde_json::from_slice(&fs::read(folder.join(NEEDS)).ok()?).ok()
}

/// Writes what a folder needs.
pub(super) fn write_needs(folder: &Path, needs: &Needs) -> Result<(), StoreError> {
    let path = folder.join(NEEDS);
    let text = serde_json::to_vec_pretty(needs).map_err(|e| StoreError::io("write", &path, e.into()))?;
    Ok(host_fs::write_atomic(&path, &text)?)
}
