//! The only way to write into the store: a slot is a private folder under a lock, and committing it renames it to
//! its place. A killed run leaves a folder in scratch that the next run sweeps away, never half a result.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::entry::{Entry, FileRecord, RECORD, Record};
use super::{Store, StoreError};
use crate::digest::{Algorithm, Digest};
use crate::host::cancel::Cancel;
use crate::host::fs as host_fs;
use crate::host::fs::{FileLock, FsError};
use crate::host::namespace;

/// How often a run looks whether another one has finished the node it waits for.
const POLL: Duration = Duration::from_millis(200);

/// Longest time that a look at a lock takes it, on a busy host.
const GLANCE: Duration = Duration::from_secs(2);

/// What a claim found.
#[derive(Debug)]
pub enum Claim {
    /// The result is there; another run may have just finished it.
    Hit(Entry),
    /// It is missing: build it into this slot.
    Miss(Slot),
}

/// A run's place for work in progress. Removed with everything in it when dropped.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    lock: PathBuf,
    _held: FileLock,
}

/// The right to build one result, and the folder to build it in.
#[derive(Debug)]
pub struct Slot {
    folder: PathBuf,
    target: PathBuf,
    record: Record,
    digests: BTreeMap<String, Vec<Digest>>,
    started: Instant,
    _lock: FileLock,
}

impl Scratch {
    pub(super) fn new(root: &Path, run: &str) -> Result<Self, StoreError> {
        let lock = root.join(format!("{run}.lock"));
        // A process that asks whether this run is alive holds it for a moment.
        let started = Instant::now();
        let held = loop {
            match host_fs::try_lock(&lock)? {
                Some(held) => break held,
                None if started.elapsed() < GLANCE => std::thread::sleep(GLANCE / 100),
                None => {
                    return Err(StoreError::io(
                        "lock",
                        &lock,
                        std::io::ErrorKind::WouldBlock.into(),
                    ));
                }
            }
        };
        let folder = root.join(run);
        host_fs::private_dir(&folder)?;
        Ok(Self {
            folder,
            lock,
            _held: held,
        })
    }

    /// A fresh private folder below it.
    ///
    /// # Errors
    /// [`StoreError::Fs`].
    pub fn folder(&self, name: &str) -> Result<PathBuf, StoreError> {
        let folder = self.folder.join(name.replace('/', "-"));
        host_fs::private_dir(&folder)?;
        Ok(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next run.
        let _ = namespace::remove_tree(&self.folder);
        let _ = fs::remove_file(&self.lock);
    }
}

/// Removes the scratch folders of runs that are no more: those whose lock no process holds. A run that was killed before it
/// made its folder, or after it removed it, has left its lock alone.
pub(super) fn sweep(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else { return };
    let of_run = |path: PathBuf| {
        let is_lock = path.extension().is_some_and(|end| end == "lock");
        if path.is_dir() {
            Some(path)
        } else {
            is_lock.then(|| path.with_extension(""))
        }
    };
    let runs: BTreeSet<_> = entries.flatten().filter_map(|e| of_run(e.path())).collect();
    for path in runs {
        let lock = path.with_extension("lock");
        if let Ok(Some(_held)) = host_fs::try_lock(&lock) {
            let _ = namespace::remove_tree(&path);
            let _ = fs::remove_file(&lock);
        }
    }
}

pub(super) fn claim(
    store: &Store,
    stage: &str,
    key: &str,
    scratch: &Scratch,
    rebuild: bool,
    cancel: &Cancel,
    on_wait: &mut dyn FnMut(),
) -> Result<Claim, StoreError> {
    let mut waited = false;
    loop {
        // Whoever forced a rebuild and had to wait for another run takes what that run has just built.
        if let Some(claim) = try_claim(store, stage, key, scratch, rebuild && !waited)? {
            return Ok(claim);
        }
        if !waited {
            on_wait();
            waited = true;
        }
        if cancel.sleep(POLL) {
            return Err(StoreError::Cancelled);
        }
    }
}

/// The same without waiting; none: somewhere else it is being built.
pub(super) fn try_claim(
    store: &Store,
    stage: &str,
    key: &str,
    scratch: &Scratch,
    rebuild: bool,
) -> Result<Option<Claim>, StoreError> {
    let path = store.root.join("locks").join(format!("{stage}-{key}.lock"));
    let Some(lock) = host_fs::try_lock(&path)? else {
        return Ok(None);
    };
    if !rebuild {
        refresh(store, stage, key)?;
        if let Some(entry) = store.lookup(stage, key) {
            return Ok(Some(Claim::Hit(entry)));
        }
    }
    let name = format!("{stage}-{key}.new");
    // What an earlier attempt of this run left is no part of the result.
    drop(namespace::remove_tree(&scratch.folder(&name)?));
    let folder = scratch.folder(&name)?;
    Ok(Some(Claim::Miss(Slot {
        folder,
        target: store.result_folder(stage, key),
        record: Record::new(stage, key),
        digests: BTreeMap::new(),
        started: Instant::now(),
        _lock: lock,
    })))
}

/// Makes what other hosts did in a shared folder seen. A client of NFS remembers for up to a minute that a name was not
/// there (nfs(5), `acdirmax`), which would build a result twice that another host has just committed; it forgets that when
/// it changes the folder itself and finds that it was not the only one.
fn refresh(store: &Store, stage: &str, key: &str) -> Result<(), StoreError> {
    let place = store.result_folder(stage, key);
    if place.exists() {
        return Ok(());
    }
    let parent = place.parent().unwrap_or(&place);
    host_fs::private_dir(parent)?;
    tempfile::Builder::new()
        .prefix(".look-")
        .tempfile_in(parent)
        .map(drop)
        .map_err(|e| StoreError::io("write into", parent, e))
}

impl Slot {
    /// Where the files of the result are written.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where to write a file of the result.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Remembers what it is built for, for those who look into the store.
    pub fn build_for(&mut self, pipeline: &str, subject: &str) {
        self.record.built_for = Some((pipeline.to_owned(), subject.to_owned()));
    }

    /// Gives digests of a file that were made while it was written, so that it need not be read again. One by
    /// SHA-256 must be among them to count.
    pub fn set_digests(&mut self, name: &str, digests: Vec<Digest>) {
        self.digests.insert(name.to_owned(), digests);
    }

    /// Publishes everything in the slot's folder as the result of its key, at once.
    ///
    /// # Errors
    /// [`StoreError::Fs`], [`StoreError::Io`], [`StoreError::Cancelled`].
    pub fn commit(
        mut self,
        inputs: serde_json::Value,
        facts: serde_json::Value,
        cancel: &Cancel,
    ) -> Result<Entry, StoreError> {
        let names = fs::read_dir(&self.folder).map_err(|e| StoreError::io("list", &self.folder, e))?;
        let mut were_read = true;
        for name in names
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
        {
            let path = self.folder.join(&name);
            // A draft that was not published, or a file that NFS keeps for whoever has it open (`.nfs…`).
            if name.starts_with('.') {
                let _ = fs::remove_file(&path);
                continue;
            }
            let digests = match self.digests.remove(&name) {
                Some(digests) if digests.iter().any(|d| d.algorithm == Algorithm::Sha256) => {
                    were_read = false;
                    digests
                }
                _ => match host_fs::hash_file(&path, &[Algorithm::Sha256], cancel) {
                    Err(FsError::Cancelled) => return Err(StoreError::Cancelled),
                    hashed => hashed?,
                },
            };
            let file = fs::File::open(&path).map_err(|e| StoreError::io("open", &path, e))?;
            file.sync_all()
                .map_err(|e| StoreError::io("write out", &path, e))?;
            let bytes = file
                .metadata()
                .map_err(|e| StoreError::io("look at", &path, e))?
                .len();
            self.record.files.insert(name, FileRecord { bytes, digests });
        }
        self.record.inputs = inputs;
        self.record.facts = facts;
        self.record.seconds = self.started.elapsed().as_secs_f64();
        self.place(were_read)
    }

    /// Publishes the files in the slot's folder as another store has them, by its record of this key. Whoever wrote them
    /// here has compared them with the record.
    ///
    /// # Errors
    /// [`StoreError::Fs`], [`StoreError::Io`].
    pub fn adopt(mut self, record: Record) -> Result<Entry, StoreError> {
        for name in record.files.keys() {
            let path = self.folder.join(name);
            let synced = fs::File::open(&path).and_then(|file| file.sync_all());
            synced.map_err(|e| StoreError::io("write out", &path, e))?;
        }
        self.record = record;
        self.place(true)
    }

    /// Writes the record and renames the folder to its place.
    fn place(self, were_read: bool) -> Result<Entry, StoreError> {
        let record = serde_json::to_vec_pretty(&self.record)
            .map_err(|e| StoreError::io("write", &self.folder, e.into()))?;
        host_fs::write_atomic(&self.folder.join(RECORD), &record)?;
        let parent = self.target.parent().unwrap_or(&self.target);
        host_fs::private_dir(parent)?;
        // Other runs look for it at any moment. An older one goes with this run's scratch space.
        host_fs::exchange_folder(&self.folder, &self.target)?;
        host_fs::sync_folder(parent)?;
        let entry = Entry::new(self.target.clone(), self.record.clone());
        if were_read {
            entry.was_read_when_stored();
        }
        Ok(entry)
    }
}
