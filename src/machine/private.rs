//! Folders for sockets: private, with a short path, as the path of a Unix socket must be shorter than 108 bytes, which one
//! inside a run's folder need not be. A process that is killed leaves them; a lock tells, and a later one sweeps them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use crate::host::fs::{FileLock, try_lock};

/// How their names begin.
const START: &str = "pipeline-m-";
/// The file in it whose lock says that it is in use.
const LOCK: &str = "lock";
/// One that is younger may belong to somebody who has not locked it yet.
const YOUNG: Duration = Duration::from_secs(60);

/// A folder that only we may enter; it goes when this is dropped.
#[derive(Debug)]
pub(super) struct PrivateFolder {
    folder: tempfile::TempDir,
    _held: FileLock,
}

impl PrivateFolder {
    /// A new one, below the folder for temporary files.
    pub(super) fn new() -> io::Result<Self> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(|| sweep(&std::env::temp_dir(), YOUNG));
        // tempfile makes folders with mode 0700.
        let folder = tempfile::Builder::new().prefix(START).tempdir()?;
        let held = try_lock(&folder.path().join(LOCK)).map_err(io::Error::other)?;
        let held = held.ok_or(io::ErrorKind::WouldBlock)?;
        Ok(Self { folder, _held: held })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes folders of ours that nobody holds.
fn sweep(place: &Path, young: Duration) {
    let Ok(entries) = fs::read_dir(place) else { return };
    let us = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let named = entry.file_name().to_string_lossy().starts_with(START);
        // Not followed: somebody else may have put a link there.
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
