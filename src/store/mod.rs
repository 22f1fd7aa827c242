//! Results of nodes on disk, addressed by key: written to a hidden name and renamed, under a lock, verified when read.
//! Knows keys and files; nothing of what they mean.
//!
//! ```text
//! STORE/CACHEDIR.TAG                    so that backups leave it out (bford.info/cachedir)
//! STORE/results/<stage>/<key>/          entry.json and the files it lists; whole or absent, never half;
//!                                       read-back.json: when they were last read and found as written
//! STORE/latest/<history>/<stage>/<subject>.json    the key last built for a subject of a manifest: reasons, times, what stays
//! STORE/locks/<stage>-<key>.lock        held while a node is being built
//! STORE/scratch/<run>/                  work in progress; removed when its run is gone
//! STORE/runs/<run>/                     events.jsonl, logs, what it needs; boot-… of a `pipeline boot`: logs only
//! STORE/kept/<run>/<node>/              the disk of a machine that failed, with the keys to it
//! STORE/texts/<digest>                  scripts that keys have by digest, so that changes can be shown
//! STORE/pins/<name>.json                what a clean-up leaves alone; gate.lock: between runs that start and clean-ups
//! STORE/attempts.jsonl                  how nodes ended: expected times, and why the last attempt failed
//! STORE/<name>.json                     notes: facts of the host that take long to find out
//! STORE/secret                          keys the fingerprints of secrets; never leaves this store
//! ```

mod attempts;
mod entry;
mod error;
pub mod gc;
mod inventory;
mod kept;
mod lease;
pub mod pins;
mod secret;
mod slot;
mod texts;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub use attempts::Attempt;
pub use entry::{Entry, FileRecord, Latest, Record};
pub use error::StoreError;
pub use inventory::{Condition, Inventory, KeptFolder, RunFolder, Stored};
pub use lease::{Address, Needs};
use serde::Serialize;
use serde::de::DeserializeOwned;
pub use slot::{Claim, Slot};

use crate::host::cancel::Cancel;
use crate::host::{fs as host_fs, namespace};

/// The signature line that the CACHEDIR.TAG convention asks for.
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # Results of pipeline, addressed by key. Safe to delete: the next run builds what it needs again.\n";

/// The stage of results that only save time: the first to go when room is needed.
pub const LAYER: &str = "layer";

/// Behind the key in the name of a result whose usual place is taken by one of another format.
const OWN_VERSION: &str = ".own";

/// An open store.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    /// Whether it is only looked into.
    peeked: bool,
    /// The key that several hosts make fingerprints with; none: each store has its own.
    fingerprint_key: Option<Vec<u8>>,
}

impl Store {
    /// Opens the store, making it where it does not exist (private to the user).
    ///
    /// # Errors
    /// [`StoreError::Fs`] when the folder cannot be made or written, [`StoreError::Unfit`] where runs would not work in it.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        // Before anything is made: what is refused leaves nothing behind.
        if host_fs::is_nfs_without_holes(root)? {
            return Err(StoreError::Unfit(root.to_owned()));
        }
        for folder in ["results", "latest", "locks", "scratch", "runs"] {
            host_fs::private_dir(&root.join(folder))?;
        }
        let tag = root.join("CACHEDIR.TAG");
        if !tag.exists() {
            host_fs::write_atomic(&tag, CACHEDIR_TAG.as_bytes())?;
        }
        let root = root
            .canonicalize()
            .map_err(|source| StoreError::io("open", root, source))?;
        let store = Self {
            root,
            peeked: false,
            fingerprint_key: None,
        };
        store.trim_attempts();
        Ok(store)
    }

    /// A store to look into that makes nothing: `plan` works before the first run and changes nothing.
    pub fn peek(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            peeked: true,
            fingerprint_key: None,
        }
    }

    /// The same store, whose fingerprints are those of all hosts that have this key.
    #[must_use]
    pub fn with_fingerprint_key(self, key: Vec<u8>) -> Self {
        let fingerprint_key = Some(key);
        Self {
            fingerprint_key,
            ..self
        }
    }

    /// Whether no other host makes the fingerprints that this store makes.
    pub fn has_own_fingerprints(&self) -> bool {
        self.fingerprint_key.is_none()
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of a run's log files.
    pub fn run_folder(&self, run: &str) -> PathBuf {
        self.root.join("runs").join(run)
    }

    /// The folder of a result of this version's format. Where one of another format has the usual place, it stays there.
    fn result_folder(&self, stage: &str, key: &str) -> PathBuf {
        let usual = self.root.join("results").join(stage).join(key);
        match entry::other_version(&usual) {
            Some(_) => usual.with_file_name(format!("{key}{OWN_VERSION}")),
            None => usual,
        }
    }

    /// The result of this key, if it is there. Checks that its files exist with their sizes; [`Entry::verify`] checks
    /// their bytes.
    pub fn lookup(&self, stage: &str, key: &str) -> Option<Entry> {
        Entry::load(&self.result_folder(stage, key)).filter(Entry::is_whole)
    }

    /// What was last built for a subject, as remembered under this name. Older versions had names without the digest of the
    /// manifest's path.
    pub fn latest(&self, history: &str, stage: &str, subject: &str) -> Option<Latest> {
        histories(history).find_map(|name| {
            let text = fs::read(self.latest_path(name, stage, subject)).ok()?;
            serde_json::from_slice(&text).ok()
        })
    }

    /// What was last built by a stage for each subject, as remembered under this name.
    pub fn latest_of(&self, history: &str, stage: &str) -> Vec<(String, Latest)> {
        let folders = histories(history).map(|name| self.root.join("latest").join(name).join(stage));
        let files = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        let subjects: BTreeSet<String> = files
            .filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".json")?.to_owned()))
            .collect();
        let latest = |subject: String| Some((subject.clone(), self.latest(history, stage, &subject)?));
        subjects.into_iter().filter_map(latest).collect()
    }

    /// Remembers what was last built for a subject.
    ///
    /// # Errors
    /// [`StoreError::Fs`].
    pub fn set_latest(
        &self,
        history: &str,
        stage: &str,
        subject: &str,
        latest: &Latest,
    ) -> Result<(), StoreError> {
        let path = self.latest_path(history, stage, subject);
        if let Some(folder) = path.parent() {
            host_fs::private_dir(folder)?;
        }
        let text = serde_json::to_vec_pretty(latest).map_err(|e| StoreError::io("write", &path, e.into()))?;
        host_fs::write_atomic(&path, &text)?;
        Ok(())
    }

    fn latest_path(&self, history: &str, stage: &str, subject: &str) -> PathBuf {
        self.root
            .join("latest")
            .join(history)
            .join(stage)
            .join(format!("{subject}.json"))
    }

    /// Something remembered next to the results that can be found out again, if it is there and of this form.
    pub fn note<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.note_path(name)).ok()?).ok()
    }

    /// Remembers it, in a store that exists: looking into one makes nothing. What cannot be written is found out again.
    pub fn set_note<T: Serialize>(&self, name: &str, note: &T) {
        if self.root.join("CACHEDIR.TAG").exists()
            && let Ok(text) = serde_json::to_vec_pretty(note)
            && fs::read(self.note_path(name)).ok().as_ref() != Some(&text)
        {
            let _ = host_fs::write_atomic(&self.note_path(name), &text);
        }
    }

    fn note_path(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.json"))
    }

    /// Takes the right to build a key: waits while another run builds it (and takes its result then).
    ///
    /// # Errors
    /// [`StoreError::Cancelled`] when asked to stop while waiting, [`StoreError::Fs`].
    pub fn claim(
        &self,
        stage: &str,
        key: &str,
        scratch: &Scratch,
        rebuild: bool,
        cancel: &Cancel,
        on_wait: &mut dyn FnMut(),
    ) -> Result<Claim, StoreError> {
        slot::claim(self, stage, key, scratch, rebuild, cancel, on_wait)
    }

    /// The same without waiting; none: another run, or another node of this one, builds it.
    ///
    /// # Errors
    /// [`StoreError::Fs`].
    pub fn try_claim(
        &self,
        stage: &str,
        key: &str,
        scratch: &Scratch,
        rebuild: bool,
    ) -> Result<Option<Claim>, StoreError> {
        slot::try_claim(self, stage, key, scratch, rebuild)
    }

    /// Takes an entry out of the way, because its bytes are not what was written.
    ///
    /// # Errors
    /// [`StoreError::Fs`].
    pub fn evict(&self, stage: &str, key: &str) -> Result<(), StoreError> {
        if let Some(away) = self.put_away(&self.result_folder(stage, key))? {
            // What cannot be removed now is swept by the next run.
            drop(namespace::remove_tree(&away));
        }
        Ok(())
    }

    /// A place for work in progress, of this run alone. Removes what killed runs left there.
    ///
    /// # Errors
    /// [`StoreError::Fs`].
    pub fn scratch(&self, run: &str) -> Result<Scratch, StoreError> {
        slot::sweep(&self.root.join("scratch"));
        Scratch::new(&self.root.join("scratch"), run)
    }

    /// A fingerprint that stands in for a secret in keys: HMAC-SHA-256 (RFC 2104) under a key that only this store, or this
    /// user's hosts, have, so that a published key tells nothing about the secret.
    ///
    /// # Errors
    /// [`StoreError::Fs`].
    pub fn fingerprint(&self, secret: &[u8]) -> Result<String, StoreError> {
        let key = match &self.fingerprint_key {
            Some(key) => Some(key.clone()),
            None if self.peeked => secret::known(&self.root)?,
            None => Some(secret::key(&self.root)?),
        };
        Ok(secret::fingerprint(key.as_deref(), secret))
    }
}

/// A history, and the one under the name alone.
fn histories(history: &str) -> impl Iterator<Item = &str> {
    let older = history.rsplit_once('.').map(|(name, _)| name);
    std::iter::once(history).chain(older)
}

pub use slot::Scratch;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn build(store: &Store, scratch: &Scratch, text: &str) -> Entry {
        let cancel = Cancel::default();
        let Claim::Miss(slot) = store
            .claim("size", "k1", scratch, false, &cancel, &mut || {})
            .unwrap()
        else {
            panic!("nothing was built yet");
        };
        fs::write(slot.path("disk"), text).unwrap();
        slot.commit(json!({"a": 1}), json!({"b": 2}), &cancel).unwrap()
    }

    #[test]
    fn a_result_is_found_by_its_key_and_verified_by_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let scratch = store.scratch("run").unwrap();
        assert!(store.lookup("size", "k1").is_none());
        let entry = build(&store, &scratch, "hello");
        let again = store
            .claim("size", "k1", &scratch, false, &Cancel::default(), &mut || {})
            .unwrap();
        assert!(matches!(again, Claim::Hit(_)));
        entry.verify(&Cancel::default()).unwrap();
        let damaged = store.lookup("size", "k1").unwrap();
        fs::write(damaged.path("disk"), "jello").unwrap();
        let error = damaged.verify(&Cancel::default()).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        store.evict("size", "k1").unwrap();
        assert!(store.lookup("size", "k1").is_none());
    }

    /// What was not meant for it: drafts that were given up, and what NFS leaves of a removed file that is open.
    #[test]
    fn hidden_files_in_a_slot_are_no_part_of_the_result() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let scratch = store.scratch("run").unwrap();
        let cancel = Cancel::default();
        let claim = store
            .claim("size", "k1", &scratch, false, &cancel, &mut || {})
            .unwrap();
        let Claim::Miss(slot) = claim else {
            panic!("nothing was built yet");
        };
        for name in ["disk", ".nfs000000000002a1", ".disk.00c0ffee-0.part"] {
            fs::write(slot.path(name), name).unwrap();
        }
        slot.commit(json!({}), json!({}), &cancel).unwrap();
        let entry = store.lookup("size", "k1").unwrap();
        let has = |name: &str| entry.file(name).is_some();
        assert!(has("disk") && !has(".nfs000000000002a1") && !has(".disk.00c0ffee-0.part"));
    }

    #[test]
    fn what_a_killed_run_left_is_swept_and_what_a_living_one_has_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let living = store.scratch("living").unwrap();
        let kept = living.folder("node").unwrap();
        let left = folder.path().join("scratch/killed/node");
        fs::create_dir_all(&left).unwrap();
        // Killed before it had a folder.
        let early = folder.path().join("scratch/early.lock");
        fs::write(&early, "").unwrap();
        let _next = store.scratch("next").unwrap();
        assert!(kept.is_dir());
        assert!(folder.path().join("scratch/living.lock").exists());
        assert!(!left.exists() && !early.exists());
    }

    #[test]
    fn a_second_run_waits_for_the_first_ones_node_and_takes_its_result() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (first, second) = (store.scratch("first").unwrap(), store.scratch("second").unwrap());
        let cancel = Cancel::default();
        let Claim::Miss(slot) = store
            .claim("size", "k", &first, false, &cancel, &mut || {})
            .unwrap()
        else {
            panic!("nothing was built yet");
        };
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let mut waited = false;
                let claim = store
                    .claim("size", "k", &second, false, &cancel, &mut || waited = true)
                    .unwrap();
                (matches!(claim, Claim::Hit(_)), waited)
            });
            std::thread::sleep(std::time::Duration::from_millis(100));
            fs::write(slot.path("disk"), "x").unwrap();
            slot.commit(json!({}), json!({}), &cancel).unwrap();
            assert_eq!(waiter.join().unwrap(), (true, true));
        });
    }

    /// Ids end in a process id in stores of older versions, in a random word now.
    #[test]
    fn runs_are_sorted_by_their_time_whatever_their_ids_end_in() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let newest_first = [
            "20261128-100003-00c0ffee",
            "boot-20261128-100002-f00df00d",
            "20261128-100001-99999",
            "20261128-100000-ffffffff",
        ];
        for id in newest_first.iter().rev() {
            fs::create_dir(store.run_folder(id)).unwrap();
        }
        let ids: Vec<_> = store.runs().into_iter().map(|run| run.id).collect();
        assert_eq!(ids, newest_first);
    }

    #[test]
    fn fingerprints_are_stable_in_a_store_and_differ_between_stores() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (a, b) = (Store::open(a.path()).unwrap(), Store::open(b.path()).unwrap());
        assert_eq!(a.fingerprint(b"s").unwrap(), a.fingerprint(b"s").unwrap());
        assert_ne!(a.fingerprint(b"s").unwrap(), b.fingerprint(b"s").unwrap());
        let (a, b) = (
            a.with_fingerprint_key(vec![7; 32]),
            b.with_fingerprint_key(vec![7; 32]),
        );
        assert_eq!(a.fingerprint(b"s").unwrap(), b.fingerprint(b"s").unwrap());
    }
}
