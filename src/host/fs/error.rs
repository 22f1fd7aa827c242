//! What can go wrong with a file, in words: which file, during what, why, and what the user can do about it.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::size::ByteSize;
use crate::verdict::Verdict;

use super::stat::free_space;

/// What went wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// We were asked to stop.
    #[error("stopped")]
    Cancelled,
    /// The file is not as long as it was when it was opened.
    #[error("{} changed while it was read; nothing else may write to it meanwhile", path.display())]
    Changed { path: PathBuf },
    /// The file system is full, or the user's share of it is.
    #[error("no space left to {operation} {}: {free} free{}; make room there, or choose a folder on another file system",
        path.display(), needed.map(|n| format!(", about {n} needed for it in all")).unwrap_or_default())]
    Full {
        /// "write", "copy to": reads as "to <operation> <path>".
        operation: &'static str,
        path: PathBuf,
        /// What the file system had free right after the failure.
        free: ByteSize,
        /// What the whole file needs, where that is known.
        needed: Option<ByteSize>,
    },
    /// Everything else.
    #[error("could not {operation} {}: {source}{}", path.display(), remedy(source))]
    Io {
        /// "open", "rename to": reads as "could not <operation> <path>".
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl FsError {
    /// Puts place and operation to a system error; for use with `map_err`.
    pub fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::new(operation, path, source, None)
    }

    /// The same, where the size that the file will have at its end is known or can be estimated.
    pub fn needing(operation: &'static str, path: &Path, bytes: u64, source: io::Error) -> Self {
        Self::new(operation, path.to_owned(), source, Some(ByteSize(bytes)))
    }

    fn new(operation: &'static str, path: PathBuf, source: io::Error, needed: Option<ByteSize>) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full {
                operation,
                free: ByteSize(free_space(&path).unwrap_or(0)),
                path,
                needed,
            },
            _ => Self::Io {
                operation,
                path,
                source,
            },
        }
    }

    /// The kind of failure.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Full { .. } => Verdict::DiskFull,
            Self::Io { source, .. } => io_verdict(source),
            Self::Cancelled | Self::Changed { .. } => Verdict::Other,
        }
    }

    /// Whether the file (or a folder above it) does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The kind of failure that an error of the system is.
pub fn io_verdict(source: &io::Error) -> Verdict {
    use io::ErrorKind;
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Verdict::DiskFull,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Verdict::PermissionDenied,
        _ => Verdict::Other,
    }
}

/// What the user can do about an error of the system, where something can be said.
fn remedy(source: &io::Error) -> &'static str {
    if source.raw_os_error() == Some(Errno::NOLCK.raw_os_error()) {
        return "; its file system has no locks: mount NFS with version 4.2, or choose a folder on another file system";
    }
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "; give this user access to it (`ls -ld` shows its owner and mode), or choose another folder"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; choose a folder on a file system that is mounted read-write",
        io::ErrorKind::FileTooLarge => {
            "; this file system, or the limit that `ulimit -f` shows, allows no file of that size"
        }
        io::ErrorKind::NotADirectory => "; move that file away, or choose another place",
        io::ErrorKind::IsADirectory => "; a folder is in its place, move it away",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_names_the_place_and_the_remedy() {
        let path = Path::new("/");
        let of = |errno: Errno| FsError::at("write", path)(errno.into()).to_string();
        let full = of(Errno::NOSPC);
        assert!(full.starts_with("no space left to write /: "), "{full}");
        assert!(full.contains(" free; make room there"), "{full}");
        assert!(of(Errno::ACCESS).contains("give this user access"));
        assert!(of(Errno::ROFS).contains("mounted read-write"));
        assert!(of(Errno::NOLCK).contains("version 4.2"));
        assert!(of(Errno::FBIG).contains("ulimit -f"));
        let needing = FsError::needing("write", path, 3 << 30, Errno::NOSPC.into());
        assert!(needing.to_string().contains("about 3 GiB needed for it in all"));
    }
}
