//! The file being written: made new, taken away again unless it is kept.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::host::fs::FsError;

/// A file being written. Dropped before [`Output::keep`], it is removed.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// False for a device: nothing of ours to cut, sync or remove.
    pub(super) regular: bool,
    kept: bool,
}

impl Output {
    /// Makes the file. One that is there is unlinked first, not emptied: it may have other names.
    pub(super) fn create(path: &Path) -> Result<Self, FsError> {
        let regular = match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_file() => {
                fs::remove_file(path).map_err(FsError::at("replace", path))?;
                true
            }
            Ok(_) => false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(FsError::at("write", path)(error)),
        };
        let file = File::options().write(true).create_new(regular).open(path);
        Ok(Self {
            file: file.map_err(FsError::at("write", path))?,
            path: path.to_owned(),
            regular,
            kept: false,
        })
    }

    /// It is complete.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.regular && !self.kept {
            drop(fs::remove_file(&self.path));
        }
    }
}
