//! Locks between processes, by `flock`: on a file of their own ([`lock`] and the like), or on a file in the making
//! ([`hold`]). A lock ends with its holder, however that ends. Who holds it may take the file away: whoever comes to hold
//! a file that is no longer in its place tries again.
//!
//! No other module locks a file. NFS makes `flock` a lock by range (flock(2)), and grants a shared one only on a descriptor
//! that can read, an exclusive one only on one that can write: a lock file is therefore opened for both.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use crate::host::cancel::Cancel;

use super::FsError;

/// How often a waiting process tries again. `flock` can wait by itself, but then nothing could stop it.
const POLL: Duration = Duration::from_millis(50);

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

/// Who else may hold a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// No one.
    Exclusive,
    /// Others who share it.
    Shared,
}

/// Takes the lock of this file (made where it is not there) if it is free, else gives `None`.
///
/// # Errors
/// [`FsError::Io`].
pub fn try_lock(path: &Path) -> Result<Option<FileLock>, FsError> {
    try_lock_as(path, Kind::Exclusive)
}

fn try_lock_as(path: &Path, kind: Kind) -> Result<Option<FileLock>, FsError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path);
    let file = file.map_err(FsError::at("open the lock", path))?;
    let locked = match kind {
        Kind::Exclusive => file.try_lock(),
        Kind::Shared => file.try_lock_shared(),
    };
    match locked {
        // Whoever held it may have removed the file meanwhile: a lock on that has no effect.
        Ok(()) => Ok(is_still(path, &file).then_some(FileLock { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(FsError::at("lock", path)(source)),
    }
}

fn is_still(path: &Path, file: &File) -> bool {
    let (Ok(there), Ok(ours)) = (path.metadata(), file.metadata()) else {
        return false;
    };
    (there.dev(), there.ino()) == (ours.dev(), ours.ino())
}

/// Takes the lock of this file, waiting for whoever holds it. `waiting` is called once, when there is a holder to
/// wait for.
///
/// # Errors
/// [`FsError::Cancelled`] when asked to stop while waiting, [`FsError::Io`].
pub fn lock(path: &Path, cancel: &Cancel, waiting: &mut dyn FnMut()) -> Result<FileLock, FsError> {
    wait(path, Kind::Exclusive, cancel, waiting)
}

/// The same, together with others who take it by this function; only [`lock`] keeps one out.
///
/// # Errors
/// As [`lock`].
pub fn lock_shared(path: &Path, cancel: &Cancel, waiting: &mut dyn FnMut()) -> Result<FileLock, FsError> {
    wait(path, Kind::Shared, cancel, waiting)
}

fn wait(path: &Path, kind: Kind, cancel: &Cancel, waiting: &mut dyn FnMut()) -> Result<FileLock, FsError> {
    let mut called = false;
    loop {
        if let Some(lock) = try_lock_as(path, kind)? {
            return Ok(lock);
        }
        if !called {
            waiting();
            called = true;
        }
        if cancel.sleep(POLL) {
            return Err(FsError::Cancelled);
        }
    }
}

/// Says that this file is worked on, until it is closed. A file system without locks has no such sign; then [`is_held`]
/// never says no.
pub(super) fn hold(file: &File) {
    let _ = file.try_lock_shared();
}

/// Whether a file is worked on, or may be.
pub(super) fn is_held(path: &Path) -> bool {
    let open = |write| File::options().read(true).write(write).open(path);
    // A file that may only be read can be locked exclusively on a local file system.
    let file = open(true).or_else(|_| open(false));
    file.and_then(|file| file.try_lock().map_err(Into::into)).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What NFS grants: a lock's kind goes with how its file was opened. The kernel shows both (proc(5), `fdinfo`).
    fn assert_as_nfs_wants_it(file: &File) {
        use std::os::fd::AsRawFd as _;
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let access = u32::from_str_radix(flags.trim(), 8).unwrap() & rustix::fs::OFlags::ACCMODE.bits();
        let lock = info.lines().find(|line| line.starts_with("lock:")).unwrap();
        let fits = match lock.split_whitespace().nth(4).unwrap() {
            "READ" => access != rustix::fs::OFlags::WRONLY.bits(),
            "WRITE" => access != rustix::fs::OFlags::RDONLY.bits(),
            other => panic!("{other}: {info}"),
        };
        assert!(fits, "NFS answers EBADF to this:\n{info}");
    }

    #[test]
    fn every_lock_is_one_that_nfs_grants() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let cancel = Cancel::default();
        assert_as_nfs_wants_it(&try_lock(&path).unwrap().unwrap()._file);
        assert_as_nfs_wants_it(&lock(&path, &cancel, &mut || {}).unwrap()._file);
        assert_as_nfs_wants_it(&lock_shared(&path, &cancel, &mut || {}).unwrap()._file);
        let file = File::open(&path).unwrap();
        hold(&file);
        assert_as_nfs_wants_it(&file);
        assert!(is_held(&path));
        drop(file);
        assert!(!is_held(&path));
    }

    #[test]
    fn a_file_that_was_taken_away_locks_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let file = File::create(&path).unwrap();
        assert!(is_still(&path, &file));
        std::fs::remove_file(&path).unwrap();
        assert!(!is_still(&path, &file));
        let _other = try_lock(&path).unwrap().unwrap();
        assert!(!is_still(&path, &file), "a file of the same name");
    }

    #[test]
    fn the_second_waits_for_the_first_and_can_be_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = try_lock(&path).unwrap().unwrap();
        assert!(try_lock(&path).unwrap().is_none());
        let (cancel, mut waits) = (Cancel::default(), 0);
        let stopped = lock(&path, &cancel, &mut || {
            waits += 1;
            cancel.cancel();
        });
        assert!(matches!(stopped, Err(FsError::Cancelled)), "{stopped:?}");
        assert_eq!(waits, 1);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| lock(&path, &Cancel::default(), &mut || {}).is_ok());
            std::thread::sleep(POLL * 2);
            drop(first);
            assert!(second.join().unwrap());
        });
        let both = [&cancel, &cancel].map(|_| lock_shared(&path, &Cancel::default(), &mut || {}));
        assert!(both.iter().all(Result::is_ok) && try_lock(&path).unwrap().is_none());
    }
}
