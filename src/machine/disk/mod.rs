//! Disks without a machine: image files, their partitions, their file systems. No root, no mount: everything is done
//! on plain files by qemu-img, sfdisk and e2fsprogs.

mod filesystem;
mod image;
mod inside;
mod partition;

use std::path::{Path, PathBuf};

pub use filesystem::{Ext4, FileSystem, grow_ext, make_ext4, probe, punch_free_blocks, verify_ext};
use filesystem::{device, must_be_clean_ext};
pub use image::{ImageInfo, check_image, convert, create_overlay, create_raw, image_info, resize};
pub use inside::{Put, list, put};
pub use partition::{Partition, Table, TableKind, grow_last_partition, read_table, write_root_table};

use crate::host::process::{Cmd, ProcessError};
use crate::host::tools;

/// Bytes of a sector, as sfdisk counts in files.
pub(crate) const SECTOR: u64 = 512;

/// What went wrong with a disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The file could not be read or written.
    #[error("could not use the disk `{path}`: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file system is not in a state to work on.
    #[error("the file system at byte {offset} of `{path}` {why}")]
    FileSystem {
        /// Disk.
        path: PathBuf,
        /// Where it begins.
        offset: u64,
        /// What is wrong, with the remedy.
        why: String,
    },
    /// The partitions are not what they must be.
    #[error("the partitions of `{path}` {why}")]
    Layout {
        /// Disk.
        path: PathBuf,
        /// What is wrong, with the remedy.
        why: String,
    },
    /// A tool printed what we do not understand.
    #[error("did not understand what `{program}` says about `{path}`: {why}")]
    Output {
        /// Which tool.
        program: &'static str,
        /// Disk.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A tool failed.
    #[error("{doing} `{path}` failed: {source}")]
    Tool {
        /// "growing the file system in".
        doing: &'static str,
        /// Disk.
        path: PathBuf,
        /// How it failed, with the tool's last lines.
        source: ProcessError,
    },
    /// We were asked to stop.
    #[error("stopped")]
    Cancelled,
}

impl DiskError {
    fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }

    fn tool(doing: &'static str, path: &Path) -> impl FnOnce(ProcessError) -> Self {
        let path = path.to_owned();
        move |source| match source {
            ProcessError::Cancelled => Self::Cancelled,
            source => Self::Tool { doing, path, source },
        }
    }
}

/// A tool by name; also where a plain user's PATH does not lead.
fn tool(name: &str) -> Cmd {
    Cmd::new(tools::path(name))
}
