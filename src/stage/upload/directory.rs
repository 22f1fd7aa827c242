//! A folder, perhaps on a mounted share: written beside, synced, renamed, and read back from the disk, not from memory.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use super::error::UploadError;
use super::read_back::Bytes;
use super::{Around, Found, Item, Place, stretch, url_path};
use crate::host::cancel::Cancel;
use crate::host::fs::{Draft, FsError, Stamp};
use crate::stage::progress::Progress;

/// Bytes copied at once.
const BLOCK: usize = 1 << 20;

/// A folder that is published to.
pub(super) struct Directory {
    folder: PathBuf,
    public: Option<String>,
}

impl Directory {
    pub(super) fn new(folder: PathBuf, public: Option<String>) -> Self {
        Self { folder, public }
    }

    fn place(&self, item: &Item<'_>) -> PathBuf {
        self.folder.join(item.name)
    }
}

impl Place for Directory {
    fn address(&self, item: &Item<'_>) -> String {
        self.place(item).display().to_string()
    }

    fn public(&self, item: &Item<'_>) -> String {
        match &self.public {
            Some(base) => format!("{base}/{}", url_path(item.name)),
            None => format!("file://{}", url_path(&self.place(item))),
        }
    }

    fn look(&self, item: &Item<'_>, _around: &Around<'_>) -> Result<Option<Found>, UploadError> {
        match Stamp::of(&self.place(item)) {
            Ok(stamp) => Ok(Some(Found {
                bytes: Some(stamp.size),
                validator: Some(format!("{}-{}-{}", stamp.inode, stamp.size, stamp.mtime_ns)),
                sure: true,
            })),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn send(&self, item: &Item<'_>, around: &Around<'_>) -> Result<(), UploadError> {
        let place = self.place(item);
        // A share that is not mounted must not become a folder on this disk.
        if !self.folder.is_dir() {
            return Err(
                FsError::at("publish into", &self.folder)(std::io::ErrorKind::NotFound.into()).into(),
            );
        }
        let parent = place.parent().unwrap_or(&self.folder);
        fs::create_dir_all(parent).map_err(FsError::at("make the folder", parent))?;
        let mut draft = Draft::beside(&place)?;
        let mut source = stretch(item.path, 0, item.bytes)?;
        let mut progress = Progress::new(around.emit);
        let mut buffer = vec![0; BLOCK];
        let mut done = 0;
        loop {
            if around.cancel.is_cancelled() {
                return Err(UploadError::Cancelled);
            }
            let count = source
                .read(&mut buffer)
                .map_err(UploadError::at("read", item.path))?;
            if count == 0 {
                break;
            }
            draft
                .file
                .write_all(&buffer[..count])
                .map_err(|source| FsError::needing("write", &place, item.bytes, source))?;
            done += count as u64;
            progress.report(done, item.bytes);
        }
        progress.last(done, item.bytes);
        Ok(draft.publish()?)
    }

    fn read(&self, item: &Item<'_>, _cancel: &Cancel) -> Result<Bytes, UploadError> {
        open(&self.place(item)).map(Bytes::File)
    }
}

fn open(path: &Path) -> Result<File, UploadError> {
    let file = File::open(path).map_err(UploadError::at("read back", path))?;
    // What is in memory proves nothing about the disk. Advice is all it is: a file system may not heed it.
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    Ok(file)
}
