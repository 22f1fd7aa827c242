//! What can go wrong with the store.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::host::fs::FsError;

/// A store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("stopped")]
    Cancelled,
    /// A stored file is not what was written.
    #[error("{} in the store is damaged ({what})", path.display())]
    Damaged {
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// A file system on which runs would not work.
    #[error(
        "the store {} is on NFS of a version before 4.2, which shows no holes: each disk would be read and copied whole; \
         mount it with vers=4.2, or name a folder on another file system (--store or PIPELINE_STORE)",
        .0.display()
    )]
    Unfit(PathBuf),
    /// The file system said no.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// An operating system call failed.
    #[error("could not {action} {} in the store: {source}", path.display())]
    Io {
        action: &'static str,
        /// On which file.
        path: PathBuf,
        source: std::io::Error,
    },
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
            return FsError::at(action, path)(source).into();
        }
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
