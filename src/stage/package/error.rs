//! What can go wrong while packaging or unpacking, in words.

use std::path::PathBuf;

use crate::host::fs::FsError;
use crate::size::ByteSize;

#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// We were asked to stop.
    #[error("stopped")]
    Cancelled,
    /// A compressed file does not hold what its first bytes promise.
    #[error("{} is damaged or cut off ({what}); fetch it or make it again", path.display())]
    Corrupt {
        path: PathBuf,
        /// What the decompressor found.
        what: String,
    },
    /// A compression library refused to work; for instance for lack of memory.
    #[error("could not compress {}: {what}", path.display())]
    Compressor {
        /// The file being written.
        path: PathBuf,
        what: String,
    },
    /// Reading or writing a file failed.
    #[error(transparent)]
    File(FsError),
    /// The compression has no such level.
    #[error("level {level} does not exist: {allowed}")]
    Level {
        /// As asked for.
        level: u32,
        /// Which there are.
        allowed: String,
    },
    /// A compressed file that holds more than it may.
    #[error(
        "{} unpacks to more than {most}, which no image of this distro is large enough for; ask for a larger size in \
         `sizes`, or use another image", path.display()
    )]
    TooLarge {
        path: PathBuf,
        /// How much it may hold.
        most: ByteSize,
    },
}

impl From<FsError> for PackageError {
    fn from(error: FsError) -> Self {
        match error {
            FsError::Cancelled => Self::Cancelled,
            error => Self::File(error),
        }
    }
}
