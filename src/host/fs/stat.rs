//! Facts about files and file systems, and the one kind of folder that others may not look into.

use std::io::Read;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::FsError;
use crate::host::random;

/// Enough of a file's metadata to know cheaply that it still is the file that we wrote: whoever changes the content
/// changes the time, whoever replaces the file changes the inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Length in bytes.
    pub size: u64,
    /// Last change of the content, nanoseconds since 1970.
    pub mtime_ns: i128,
    /// Inode number.
    pub inode: u64,
}

impl Stamp {
    /// The stamp of the file at a path, following symbolic links.
    ///
    /// # Errors
    /// [`FsError::Io`], with [`FsError::is_not_found`] where there is none.
    pub fn of(path: &Path) -> Result<Self, FsError> {
        let metadata = fs::metadata(path).map_err(FsError::at("look at", path))?;
        Ok(Self {
            size: metadata.len(),
            mtime_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
            inode: metadata.ino(),
        })
    }
}

/// Makes sure that files could be made in a folder that may not exist yet, nor those above it. Leaves nothing behind.
///
/// # Errors
/// [`FsError::Io`] that names the nearest thing there is: no folder, or one that this user may not write to.
pub fn can_fill(folder: &Path) -> Result<(), FsError> {
    let (place, found) =
        nearest(folder, |place| fs::metadata(place)).map_err(FsError::at("write into", folder))?;
    let tried = if found.is_dir() {
        // What access(2) says is not enough: in /proc nothing can be made, whoever asks.
        let probe = place.join(format!(".probe-{}", random::word()));
        fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe))
    } else {
        Err(rustix::io::Errno::NOTDIR.into())
    };
    tried.map_err(FsError::at("write into", place))
}

/// Bytes that this user may still write to the file system that holds a path (which need not exist yet).
///
/// # Errors
/// [`FsError::Io`].
pub fn free_space(path: &Path) -> Result<u64, FsError> {
    let asked = nearest(path, |place| Ok(rustix::fs::statvfs(place)?));
    let (_, facts) = asked.map_err(FsError::at("ask for the free space at", path))?;
    Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
}

/// Asks about a path or, where there is none, about the nearest one above it that there is.
fn nearest<T>(path: &Path, ask: impl Fn(&Path) -> io::Result<T>) -> io::Result<(&Path, T)> {
    let mut place = path;
    loop {
        // A relative path of one part has the empty path above it: the working directory.
        let named = if place.as_os_str().is_empty() {
            Path::new(".")
        } else {
            place
        };
        match (ask(named), place.parent()) {
            (Ok(answer), _) => return Ok((named, answer)),
            (Err(error), Some(parent))
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                place = parent;
            }
            (Err(error), _) => return Err(error),
        }
    }
}

/// Whether a folder, which need not exist yet, is on an NFS that shows no holes, as only version 4.2 does: there each disk
/// would be read and copied whole. Leaves nothing behind.
///
/// # Errors
/// [`FsError::Io`].
pub fn is_nfs_without_holes(folder: &Path) -> Result<bool, FsError> {
    let asked = nearest(folder, |place| Ok(rustix::fs::statfs(place)?));
    let (place, kind) = asked.map_err(FsError::at("look at", folder))?;
    if kind.f_type != rustix::fs::NFS_SUPER_MAGIC {
        return Ok(false);
    }
    let shows = shows_holes(place).map_err(FsError::at("write into", place))?;
    Ok(!shows)
}

/// Whether a file that is nothing but a hole is seen to be one.
fn shows_holes(folder: &Path) -> io::Result<bool> {
    const HOLE: u64 = 1 << 20;
    let file = tempfile::tempfile_in(folder)?;
    file.set_len(HOLE)?;
    Ok(rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0))? == 0)
}

/// Reads a file that is small by its nature: more than `limit` bytes of one are an error, as what it is not.
///
/// # Errors
/// Those of the system, and [`io::ErrorKind::FileTooLarge`].
pub fn read_small(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {limit} bytes"),
        ));
    }
    Ok(bytes)
}

/// Writes a file that only this user may read, mode 0600, also where it was there with another one.
///
/// # Errors
/// Those of the system.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)
}

/// Makes a folder (and those above it) that only this user may enter, mode 0700; one that is there is closed to others.
///
/// # Errors
/// [`FsError::Io`].
pub fn private_dir(path: &Path) -> Result<(), FsError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(FsError::at("make the folder", parent))?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made.map_err(FsError::at("make the folder", path)),
    }
    let metadata = fs::metadata(path).map_err(FsError::at("look at", path))?;
    if !metadata.is_dir() {
        let source = io::Error::from(io::ErrorKind::NotADirectory);
        return Err(FsError::at("make the folder", path)(source));
    }
    if metadata.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
        .map_err(FsError::at("close to others the folder", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_tells_a_rewritten_and_a_replaced_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "one").unwrap();
        let first = Stamp::of(&path).unwrap();
        assert_eq!(Stamp::of(&path).unwrap(), first);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_ne!(Stamp::of(&path).unwrap(), first);
        let old = Stamp::of(&path).unwrap();
        let other = folder.path().join("b");
        fs::write(&other, "two").unwrap();
        let file = fs::File::options().write(true).open(&other).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_ne!(Stamp::of(&path).unwrap(), old);
        assert!(Stamp::of(&folder.path().join("none")).unwrap_err().is_not_found());
    }

    #[test]
    fn a_local_file_system_is_no_nfs_and_shows_holes() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_nfs_without_holes(folder.path()).unwrap());
        assert!(!is_nfs_without_holes(&folder.path().join("not/yet")).unwrap());
        assert!(shows_holes(folder.path()).unwrap());
    }

    #[test]
    fn free_space_is_told_for_a_file_that_is_yet_to_be_written() {
        assert!(free_space(Path::new("no/such/folder/yet")).unwrap() > 0);
        let folder = tempfile::tempdir().unwrap();
        assert!(free_space(&folder.path().join("x/y")).unwrap() > 0);
    }

    #[test]
    fn a_private_folder_is_closed_even_when_it_was_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("above/private");
        private_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        private_dir(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(private_dir(&file).is_err());
    }
}
