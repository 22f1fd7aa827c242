//! A folder, perhaps on a mounted share: written to a hidden name, synced, renamed, and read back from the disk, not from memory.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::UploadError;
use super::read_back::Bytes;
use super::{Around, Found, Item, Kind, Place, Target, TargetKeys, WorldKeys, Written, stretch, url_path};
use crate::emit::Progress;
use crate::host::cancel::Cancel;
use crate::host::fs::{Draft, FsError, Stamp, can_fill};
use crate::syntax::fields::Fields;
use crate::syntax::key::Table;
use crate::syntax::reading::{Reading, Spot};
use crate::syntax::row::Record;
use crate::syntax::table::table;
use crate::syntax::text::Text;

/// Bytes copied at once.
const BLOCK: usize = 1 << 20;

table! {
    DIRECTORY: DirectoryKeys = "target_directory", "A folder, perhaps a mounted share",
        "{ path = \"/srv/images\" }", parts [TargetKeys, DirectoryKeys, WorldKeys], is "directory";
    path: Text = "\"/srv/images\"", "a folder that exists".needed();
}

/// A folder, absolute; it may be a mounted share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    pub path: PathBuf,
}

impl Written for Directory {
    const TABLE: &'static Table = DirectoryKeys::TABLE;

    fn read(reading: Reading<'_>, table: &Fields<'_>, _templates: &mut Vec<Spot>) -> Option<Self> {
        let path = reading.files.path(&table.read(&DIRECTORY.path)?);
        Some(Self { path })
    }
}

impl Kind for Directory {
    fn identity(&self) -> Value {
        json!({ "path": self.path })
    }

    /// A share that is not mounted is seen before the images for it are built.
    fn check(&self, target: &Target) -> Result<Vec<String>, UploadError> {
        let refuse = |cause: String| UploadError::Target {
            target: target.name.clone(),
            cause,
        };
        let path = self.path.display();
        match fs::metadata(&self.path) {
            Ok(found) if !found.is_dir() => {
                return Err(refuse(format!(
                    "`path` is {path}, which is no folder; name a folder"
                )));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(refuse(format!(
                    "there is no folder {path}; make it, or mount the share that it is on"
                )));
            }
            Err(error) => return Err(refuse(format!("the folder {path} cannot be read: {error}"))),
        }
        can_fill(&self.path).map_err(|error| {
            refuse(format!(
                "{error}; give this user the right to write there, or name another folder"
            ))
        })?;
        Ok(Vec::new())
    }

    fn open(&self, target: &Target) -> Result<Box<dyn Place>, UploadError> {
        Ok(Box::new(Folder {
            folder: self.path.clone(),
            public: target.public_url.clone(),
        }))
    }
}

/// A folder that is published to.
struct Folder {
    folder: PathBuf,
    public: Option<String>,
}

impl Folder {
    fn place(&self, item: &Item<'_>) -> PathBuf {
        self.folder.join(item.name)
    }
}

impl Place for Folder {
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
            return Err(FsError::at("publish into", &self.folder)(ErrorKind::NotFound.into()).into());
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

    fn remove(&self, item: &Item<'_>, _around: &Around<'_>) -> Result<(), UploadError> {
        let place = self.place(item);
        match fs::remove_file(&place) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.map_err(FsError::at("remove", &place))?,
        }
        // The folder goes with the last file in it; one that has others stays.
        for folder in item.name.ancestors().skip(1) {
            if fs::remove_dir(self.folder.join(folder)).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn read(&self, item: &Item<'_>, _cancel: &Cancel) -> Result<Bytes, UploadError> {
        uncached(&self.place(item)).map(Bytes::File)
    }
}

fn uncached(path: &Path) -> Result<File, UploadError> {
    let file = File::open(path).map_err(UploadError::at("read back", path))?;
    // What is in memory proves nothing about the disk. Advice is all it is: a file system may not heed it.
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    Ok(file)
}
