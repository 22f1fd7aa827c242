//! Folders for sockets and keys: private, with a short path, as the path of a Unix socket must be shorter than 108 bytes,
//! which one inside a run's folder need not be, nor one below a `TMPDIR` of a sandbox. A process that is killed leaves them; a
//! lock tells, and a later one sweeps them.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;
use std::{fs, io};

use crate::host::fs::{FileLock, try_lock};

/// How their names begin.
const START: &str = "pipeline-m-";
/// The file in it whose lock says that it is in use.
const LOCK: &str = "lock";
/// One that is younger may belong to a process that has not locked it yet.
const YOUNG: Duration = Duration::from_secs(60);

/// Longest path of a socket (unix(7): 108 bytes with a NUL at the end).
const SOCKET: usize = 107;
/// What stands behind the place in the longest of them: `/pipeline-m-123456/`, the ten letters by which Ansible names its
/// connections, and the seventeen that ssh puts behind a name while it makes the socket.
const BEHIND: usize = 1 + START.len() + 6 + 1 + 10 + 17;

/// No folder is fit for sockets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no folder for the sockets of machines: {}; set TMPDIR to a folder of at most {} bytes that this user may write to",
    .0.join("; "), SOCKET - BEHIND
)]
pub struct NoPlace(Vec<String>);

/// Where such folders are made: below `TMPDIR`; where its path is too long, below `XDG_RUNTIME_DIR` or `/tmp`.
///
/// # Errors
/// [`NoPlace`], with what is wrong with each.
pub fn place() -> Result<PathBuf, NoPlace> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    first_fit([Some(std::env::temp_dir()), runtime, Some(PathBuf::from("/tmp"))])
}

fn first_fit(places: [Option<PathBuf>; 3]) -> Result<PathBuf, NoPlace> {
    let mut unfit: Vec<String> = Vec::new();
    for place in places.into_iter().flatten().filter(|path| path.is_absolute()) {
        let length = place.as_os_str().as_bytes().len();
        let cause = if length > SOCKET - BEHIND {
            format!("its path has {length} bytes")
        } else {
            use rustix::fs::Access;
            match rustix::fs::access(&place, Access::WRITE_OK | Access::EXEC_OK) {
                Ok(()) if place.is_dir() => return Ok(place),
                Ok(()) => "it is not a folder".to_owned(),
                Err(error) => error.to_string(),
            }
        };
        let cause = format!("{}: {cause}", place.display());
        if !unfit.contains(&cause) {
            unfit.push(cause);
        }
    }
    Err(NoPlace(unfit))
}

/// A folder that only we may enter; it goes when this is dropped.
#[derive(Debug)]
pub struct PrivateFolder {
    folder: tempfile::TempDir,
    _held: FileLock,
}

impl PrivateFolder {
    /// A new one, in the [`place`] for them.
    pub fn new() -> io::Result<Self> {
        static SWEPT: Once = Once::new();
        let place = place().map_err(io::Error::other)?;
        SWEPT.call_once(|| sweep(&place, YOUNG));
        // tempfile makes folders with mode 0700.
        let folder = tempfile::Builder::new().prefix(START).tempdir_in(&place)?;
        let held = try_lock(&folder.path().join(LOCK)).map_err(io::Error::other)?;
        let held = held.ok_or(io::ErrorKind::WouldBlock)?;
        Ok(Self { folder, _held: held })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes folders of ours that no process holds.
fn sweep(place: &Path, young: Duration) {
    let Ok(entries) = fs::read_dir(place) else { return };
    let us = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let named = entry.file_name().to_string_lossy().starts_with(START);
        // Not followed: another user may have put a link there.
        let Some(found) = entry.metadata().ok().filter(|_| named) else {
            continue;
        };
        let age = found.modified().ok().and_then(|at| at.elapsed().ok());
        if found.is_dir()
            && found.uid() == us
            && age.is_some_and(|age| age >= young)
            && let Ok(Some(_held)) = try_lock(&entry.path().join(LOCK))
        {
            // What cannot be removed is no worse than before.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_short_folder_that_can_be_written_to_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("d".repeat(80));
        fs::create_dir(&long).unwrap();
        let absent = folder.path().join("absent");
        let fit = |places: [&Path; 3]| first_fit(places.map(|path| Some(path.to_owned())));
        let short = folder.path();
        assert_eq!(fit([short, &long, &long]).unwrap(), short);
        assert_eq!(fit([&long, &absent, short]).unwrap(), short);
        assert_eq!(fit([Path::new("relative"), short, short]).unwrap(), short);
        let error = fit([&long, &absent, &long]).unwrap_err().to_string();
        let expected = format!(
            "no folder for the sockets of machines: {}: its path has {} bytes; {}: No such file or directory (os error 2); \
             set TMPDIR to a folder of at most 61 bytes that this user may write to",
            long.display(),
            long.as_os_str().len(),
            absent.display()
        );
        assert_eq!(error, expected);
        // The longest name of ours that ssh makes longer.
        let most = PathBuf::from("/".to_owned() + &"d".repeat(60));
        let socket = most
            .join(START.to_owned() + "123456")
            .join("0123456789.0123456789abcdef");
        assert_eq!(socket.as_os_str().len(), SOCKET);
    }

    #[test]
    fn folders_of_the_killed_are_swept_and_those_of_the_living_are_not() {
        let place = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = place.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("console"), "").unwrap();
            path
        };
        let (left, living, other) = (
            make("pipeline-m-a"),
            make("pipeline-m-b"),
            make("pipeline-test-c"),
        );
        let _held = try_lock(&living.join(LOCK)).unwrap().unwrap();
        sweep(place.path(), YOUNG);
        assert!(left.exists(), "it is young");
        sweep(place.path(), Duration::ZERO);
        assert!(!left.exists() && living.exists() && other.exists());
    }
}
