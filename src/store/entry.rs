//! One stored result: what was built, from what, and the files with their digests.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::digest::{Algorithm, Digest};
use crate::host::cancel::Cancel;
use crate::host::fs as host_fs;
use crate::host::fs::FsError;

/// Format revision of `entry.json`; an entry of another revision counts as absent, and is left alone.
const VERSION: u32 = 1;
/// Name of the record in its folder.
pub(super) const RECORD: &str = "entry.json";

/// Name of the note next to it that the files were read back.
const READ_BACK: &str = "read-back.json";

/// When the files of a result were last read and found as they were written, and which files those were.
#[derive(Serialize, Deserialize)]
struct ReadBack {
    at: Timestamp,
    files: BTreeMap<String, Seen>,
}

/// What changes with a file: its number, its length, and its last change, which cannot be set.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// What is read of a record of whatever version.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The format of a result that another version of the program made.
pub(super) fn other_version(folder: &Path) -> Option<u32> {
    let text = fs::read(folder.join(RECORD)).ok()?;
    let found: Versioned = serde_json::from_slice(&text).ok()?;
    (found.version != VERSION).then_some(found.version)
}

/// A file of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Size in bytes.
    pub bytes: u64,
    /// Digests; always one by SHA-256, which the store verifies by.
    pub digests: Vec<Digest>,
}

/// The record of a result, as in `entry.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub version: u32,
    pub stage: String,
    pub key: String,
    /// What it was first built for: pipeline and subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built_for: Option<(String, String)>,
    /// What the key was made of.
    pub inputs: serde_json::Value,
    pub created: Timestamp,
    /// Wall time of the build in seconds.
    pub seconds: f64,
    pub files: BTreeMap<String, FileRecord>,
    /// What the stage wants to tell the stages after it.
    pub facts: serde_json::Value,
}

/// A result in the store.
#[derive(Clone, Debug)]
pub struct Entry {
    folder: PathBuf,
    record: Record,
}

/// What was last built for a subject, kept apart from the result so that it outlives it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Latest {
    pub key: String,
    /// What the key was made of.
    pub inputs: serde_json::Value,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Bytes of the result's files.
    pub bytes: u64,
    pub created: Timestamp,
}

impl Record {
    /// Whether it is in the format of this version.
    pub fn is_current(&self) -> bool {
        self.version == VERSION
    }

    /// Whether its files are the same, byte for byte, as those of another record.
    pub fn has_bytes_of(&self, other: &Self) -> bool {
        let files = |record: &Self| -> Vec<_> {
            let sha256 = |file: &FileRecord| {
                let mut digests = file.digests.iter();
                digests
                    .find(|digest| digest.algorithm == Algorithm::Sha256)
                    .cloned()
            };
            let files = record.files.iter();
            files
                .map(|(name, file)| (name.clone(), file.bytes, sha256(file)))
                .collect()
        };
        files(self) == files(other)
    }

    /// The name of a file that must not be in a result's folder: it would lead out of it, or is one of ours.
    pub fn bad_name(&self) -> Option<&str> {
        let is_bad = |name: &&String| {
            let is_ours = [RECORD, READ_BACK].contains(&name.as_str());
            is_ours || name.is_empty() || name.starts_with('.') || name.contains(['/', '\0'])
        };
        self.files.keys().find(is_bad).map(String::as_str)
    }

    pub(super) fn new(stage: &str, key: &str) -> Self {
        Self {
            version: VERSION,
            stage: stage.to_owned(),
            key: key.to_owned(),
            built_for: None,
            inputs: serde_json::Value::Null,
            created: Timestamp::now(),
            seconds: 0.0,
            files: BTreeMap::new(),
            facts: serde_json::Value::Null,
        }
    }
}

impl Entry {
    pub(super) fn new(folder: PathBuf, record: Record) -> Self {
        Self { folder, record }
    }

    pub(super) fn load(folder: &Path) -> Option<Self> {
        let text = fs::read(folder.join(RECORD)).ok()?;
        let record: Record = serde_json::from_slice(&text).ok()?;
        (record.version == VERSION).then(|| Self {
            folder: folder.to_owned(),
            record,
        })
    }

    /// Whether every file is there with its size.
    pub(super) fn is_whole(&self) -> bool {
        self.record.files.iter().all(|(name, file)| {
            fs::metadata(self.folder.join(name)).is_ok_and(|m| m.is_file() && m.len() == file.bytes)
        })
    }

    /// All that is known of it.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// When it was made.
    pub fn created(&self) -> Timestamp {
        self.record.created
    }

    /// Path of one of its files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The record of one of its files.
    pub fn file(&self, name: &str) -> Option<&FileRecord> {
        self.record.files.get(name)
    }

    /// What the stage had to tell.
    pub fn facts(&self) -> &serde_json::Value {
        &self.record.facts
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.record.files.values().map(|f| f.bytes).sum()
    }

    /// What [`super::Store::set_latest`] remembers of it.
    pub fn latest(&self) -> Latest {
        Latest {
            key: self.record.key.clone(),
            inputs: self.record.inputs.clone(),
            seconds: self.record.seconds,
            bytes: self.bytes(),
            created: self.record.created,
        }
    }

    /// Whether its files were read back no longer ago than this, and none was touched since.
    pub fn was_read_back(&self, within: Duration) -> bool {
        let text = fs::read(self.folder.join(READ_BACK)).ok();
        let note: Option<ReadBack> = text.and_then(|text| serde_json::from_slice(&text).ok());
        note.is_some_and(|note| {
            // A clock that was set back shows a time to come.
            let age = Duration::try_from(Timestamp::now().duration_since(note.at));
            age.is_ok_and(|age| age <= within) && self.seen().is_some_and(|seen| seen == note.files)
        })
    }

    /// What its files look like now.
    fn seen(&self) -> Option<BTreeMap<String, Seen>> {
        let seen = |name: &String| {
            let metadata = fs::metadata(self.folder.join(name)).ok()?;
            let seen = Seen {
                inode: metadata.ino(),
                bytes: metadata.len(),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            };
            Some((name.clone(), seen))
        };
        self.record.files.keys().map(seen).collect()
    }

    /// Notes that its files, which looked like this then, were read and are as they were written. Without the note they are
    /// read again.
    fn note_read_back(&self, files: Option<BTreeMap<String, Seen>>) {
        let at = Timestamp::now();
        let note = files.and_then(|files| serde_json::to_vec(&ReadBack { at, files }).ok());
        if let Some(note) = note {
            let _ = host_fs::write_atomic(&self.folder.join(READ_BACK), &note);
        }
    }

    /// Notes the same of files that were read when they were stored.
    pub(super) fn was_read_when_stored(&self) {
        self.note_read_back(self.seen());
    }

    /// Reads all files back and compares their digests.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Fs`], [`StoreError::Cancelled`].
    pub fn verify(&self, cancel: &Cancel) -> Result<(), StoreError> {
        let seen = self.seen();
        for (name, file) in &self.record.files {
            let path = self.path(name);
            let Some(wanted) = file.digests.iter().find(|d| d.algorithm == Algorithm::Sha256) else {
                continue;
            };
            let found = match host_fs::hash_file(&path, &[Algorithm::Sha256], cancel) {
                Err(FsError::Cancelled) => return Err(StoreError::Cancelled),
                found => found?,
            };
            match found.into_iter().next() {
                Some(found) if found == *wanted => {}
                found => {
                    let found = found.map_or_else(|| "nothing".to_owned(), |d| d.to_string());
                    let what = format!("written as {wanted}, read back as {found}");
                    return Err(StoreError::Damaged { path, what });
                }
            }
        }
        self.note_read_back(seen);
        Ok(())
    }

    /// Pipeline and subject that it was first built for, where that is remembered.
    pub fn built_for(&self) -> Option<(&str, &str)> {
        let (pipeline, subject) = self.record.built_for.as_ref()?;
        Some((pipeline, subject))
    }

    /// The stage and the key it is stored under.
    pub fn address(&self) -> (&str, &str) {
        (&self.record.stage, &self.record.key)
    }
}
