//! Files that appear whole or not at all, whatever happens meanwhile: a new file has no name until it is complete and
//! on the disk, then it is renamed into its place. An old file at the place is replaced, never written to.

use std::fs;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::host::cancel::Cancel;

use super::FsError;
use super::hidden::Hidden;
use super::lock::hold;
use super::sparse::copy_contents;

/// Whether two places may be one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// A hard link will do: neither is written to.
    Link,
    /// The new place needs bytes of its own (shared blocks of a reflink are its own: they part on writing).
    Own,
}

/// A new file that has no name yet, or a hidden one where the file system cannot do that. Dropped before it is
/// published, it is gone; so it is when the process is killed, as long as it had no name.
#[derive(Debug)]
pub struct Draft {
    /// The open file, for writing and reading.
    pub file: File,
    place: PathBuf,
    hidden: Option<Hidden>,
}

impl Draft {
    /// Starts a file that will be published at `place`. Its mode is what the user's umask leaves of 0666.
    ///
    /// # Errors
    /// [`FsError::Io`], [`FsError::Full`].
    pub fn beside(place: &Path) -> Result<Self, FsError> {
        let mode = Mode::from_raw_mode(0o666);
        let unnamed = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(folder_of(place), unnamed, mode) {
            Ok(file) => {
                let file = File::from(file);
                hold(&file);
                Ok(Self {
                    file,
                    place: place.to_owned(),
                    hidden: None,
                })
            }
            // EISDIR is what a kernel or a file system without O_TMPFILE says to the flags it does know (open(2)).
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Self::named(place),
            Err(errno) => Err(FsError::at("write next to", place)(errno.into())),
        }
    }

    fn named(place: &Path) -> Result<Self, FsError> {
        let hidden = Hidden::beside(place);
        let file = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&hidden.0);
        let file = file.map_err(FsError::at("write", &hidden.0))?;
        hold(&file);
        Ok(Self {
            file,
            place: place.to_owned(),
            hidden: Some(hidden),
        })
    }

    /// Puts the file on the disk and then into its place.
    ///
    /// # Errors
    /// [`FsError::Io`], [`FsError::Full`].
    pub fn publish(self) -> Result<(), FsError> {
        let Self { file, place, hidden } = self;
        file.sync_all().map_err(FsError::at("write", &place))?;
        let hidden = match hidden {
            Some(hidden) => hidden,
            None => {
                let hidden = Hidden::beside(&place);
                // linkat(2) with AT_EMPTY_PATH needs a capability, its form through /proc does not.
                let open = format!("/proc/self/fd/{}", file.as_raw_fd());
                let linked = rustix::fs::linkat(CWD, open, CWD, &hidden.0, AtFlags::SYMLINK_FOLLOW);
                linked.map_err(|errno| FsError::at("write next to", &place)(errno.into()))?;
                hidden
            }
        };
        hidden.rename(&place)?;
        sync_folder(folder_of(&place))
    }
}

/// Writes a small file so that a reader sees the old or the new one, and a crash leaves one of them.
///
/// # Errors
/// [`FsError::Io`], [`FsError::Full`].
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    let mut draft = Draft::beside(path)?;
    let written = draft.file.write_all(bytes);
    written.map_err(|source| FsError::needing("write", path, bytes.len() as u64, source))?;
    draft.publish()
}

/// Puts a finished folder into its place. One that is there already is at `from` afterwards, and no reader finds the
/// place empty (renameat2(2), `RENAME_EXCHANGE`; file systems that have no such thing show it empty for a moment).
///
/// # Errors
/// [`FsError::Io`].
pub fn exchange_folder(from: &Path, to: &Path) -> Result<(), FsError> {
    use rustix::fs::{RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::NOENT) => fs::rename(from, to).map_err(FsError::at("publish", to)),
        Err(_) => {
            let old = from.with_extension("old");
            fs::rename(to, &old).map_err(FsError::at("replace", to))?;
            fs::rename(from, to).map_err(FsError::at("publish", to))?;
            fs::rename(&old, from).map_err(FsError::at("move away", &old))
        }
    }
}

/// Puts a finished file at a second place: by hard link if both may be one file, else by reflink, else by a copy that keeps
/// its holes.
///
/// # Errors
/// [`FsError::Cancelled`], [`FsError::Io`], [`FsError::Full`].
pub fn place_as(from: &Path, to: &Path, share: Share, cancel: &Cancel) -> Result<(), FsError> {
    if share == Share::Link {
        if same_file(from, to) {
            return Ok(());
        }
        // The lock is on the file, whatever its names.
        let held = File::open(from).map_err(FsError::at("open", from))?;
        hold(&held);
        let hidden = Hidden::beside(to);
        // Links fail across file systems, at a link limit, on file systems without them, and on files of others
        // (`fs.protected_hardlinks`): in each case a copy does.
        if fs::hard_link(from, &hidden.0).is_ok() {
            hidden.rename(to)?;
            return sync_folder(folder_of(to));
        }
    }
    let source = File::open(from).map_err(FsError::at("open", from))?;
    let draft = Draft::beside(to)?;
    if rustix::fs::ioctl_ficlone(&draft.file, &source).is_err() {
        copy_contents(&source, from, &draft.file, to, cancel)?;
    }
    draft.publish()
}

/// Puts the names in a folder on the disk.
///
/// # Errors
/// [`FsError::Io`].
pub fn sync_folder(folder: &Path) -> Result<(), FsError> {
    let opened = File::open(folder).map_err(FsError::at("open", folder))?;
    match opened.sync_all() {
        // Some network file systems cannot sync a folder; they keep names in order by themselves.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
        synced => synced.map_err(FsError::at("write to disk", folder)),
    }
}

/// The folder of a path; the empty parent of `name` is the working directory.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::symlink_metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_that_is_replaced_is_never_missing() {
        let folder = tempfile::tempdir().unwrap();
        let (new, place) = (folder.path().join("new"), folder.path().join("place"));
        let make = |text: &str| {
            fs::create_dir_all(&new).unwrap();
            fs::write(new.join("file"), text).unwrap();
        };
        make("0");
        exchange_folder(&new, &place).unwrap();
        assert!(!new.exists());
        let over = std::sync::atomic::AtomicBool::new(false);
        let missed = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut missed = 0;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    missed += u32::from(!place.join("file").exists());
                }
                missed
            });
            for round in 1..200 {
                make(&round.to_string());
                exchange_folder(&new, &place).unwrap();
            }
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            reader.join().unwrap()
        });
        assert_eq!(missed, 0);
        assert_eq!(fs::read_to_string(place.join("file")).unwrap(), "199");
        assert_eq!(fs::read_to_string(new.join("file")).unwrap(), "198");
    }

    #[test]
    fn readers_see_the_old_or_the_new_file_and_nothing_stays_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sums");
        write_atomic(&path, b"old").unwrap();
        let mut reader = File::open(&path).unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(std::io::read_to_string(&mut reader).unwrap(), "old");
        assert_eq!(fs::read(&path).unwrap(), b"new");
        // A draft that is given up leaves nothing, with or without a name.
        let mut draft = Draft::beside(&path).unwrap();
        draft.file.write_all(b"half").unwrap();
        drop(draft);
        let mut draft = Draft::named(&path).unwrap();
        draft.file.write_all(b"half").unwrap();
        drop(draft);
        assert_eq!(names(folder.path()), ["sums"]);
        let mut draft = Draft::named(&path).unwrap();
        draft.file.write_all(b"whole").unwrap();
        draft.publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(folder.path()), ["sums"]);
    }

    #[test]
    fn a_second_place_shares_the_file_or_owns_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, "bytes").unwrap();
        fs::write(&to, "another's").unwrap();
        let mut reader = File::open(&to).unwrap();
        place_as(&from, &to, Share::Link, &Cancel::default()).unwrap();
        assert_eq!(std::io::read_to_string(&mut reader).unwrap(), "another's");
        assert!(same_file(&from, &to));
        place_as(&from, &to, Share::Link, &Cancel::default()).unwrap();
        place_as(&from, &to, Share::Own, &Cancel::default()).unwrap();
        assert!(!same_file(&from, &to));
        fs::write(&to, "changed").unwrap();
        assert_eq!(fs::read(&from).unwrap(), b"bytes");
        assert_eq!(names(folder.path()), ["from", "to"]);
    }

    #[test]
    fn a_folder_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sums");
        fs::create_dir(&path).unwrap();
        let message = write_atomic(&path, b"x").unwrap_err().to_string();
        assert!(message.contains("a folder is in its place"), "{message}");
        assert_eq!(names(folder.path()), ["sums"]);
    }
}
