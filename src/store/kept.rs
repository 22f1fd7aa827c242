//! Places for the disks of machines that failed and are kept for a look. Each says which results its disk is a layer over;
//! whoever is inside holds its lock. What is in them is the stages' business.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::inventory::{KeptFolder, bytes_below, folders};
use super::lease::{Address, Needs, needs_in, write_needs};
use super::{Store, StoreError};
use crate::host::fs as host_fs;
use crate::host::fs::FileLock;

/// Lock of a kept machine, in its folder.
const LOCK: &str = "lock";

impl Store {
    /// Where a run keeps the machine of a node.
    pub fn kept_folder(&self, run: &str, node: &str) -> PathBuf {
        self.root.join("kept").join(run).join(node.replace('/', "-"))
    }

    /// Says which results a kept machine needs, where one was kept.
    ///
    /// # Errors
    /// [`StoreError::Fs`].
    pub fn hold_for_kept(&self, folder: &Path, results: BTreeSet<Address>) -> Result<(), StoreError> {
        let needs = Needs {
            results,
            ..Needs::default()
        };
        write_needs(folder, &needs)
    }

    /// Claims a kept machine; nothing when it is in use.
    ///
    /// # Errors
    /// [`StoreError::Fs`].
    pub fn enter_kept(&self, folder: &Path) -> Result<Option<FileLock>, StoreError> {
        Ok(host_fs::try_lock(&folder.join(LOCK))?)
    }
}

pub(super) fn folders_of(store: &Store) -> Vec<KeptFolder> {
    let runs = folders(&store.root.join("kept"));
    let all = runs.into_iter().flat_map(|(run, path)| {
        folders(&path).into_iter().map(move |(node, path)| {
            let lock = path.join(LOCK);
            KeptFolder {
                run: run.clone(),
                node,
                needs: needs_in(&path).unwrap_or_default().results,
                in_use: lock.is_file() && matches!(host_fs::try_lock(&lock), Ok(None)),
                bytes: bytes_below(&path),
                path,
            }
        })
    });
    all.collect()
}
