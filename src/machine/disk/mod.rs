//! Disks without a machine: image files, their partitions, their file systems. No root, no mount: everything is done
//! on plain files by qemu-img, sfdisk and e2fsprogs.

mod esp;
mod ext;
mod filesystem;
mod foreign;
mod grub;
mod image;
mod inside;
mod layers;
mod look;
mod partition;
mod root;
mod search;
mod skeleton;
mod start;
mod tree;
mod whole;

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub use esp::make_esp;
pub use ext::{Ext, Inode, Type};
pub use filesystem::{
    Ext4, FEATURES, FileSystem, descriptor_blocks, grow_ext, make_ext4, probe, punch_free_blocks, verify_ext,
};
use filesystem::{device, must_be_clean_ext};
pub use foreign::text_in;
pub use grub::write_grub;
pub use image::{
    Held, check_image, convert, convert_to, create_layer, create_overlay, create_raw, must_equal, rebase,
    resize,
};
pub use inside::{Put, list, put};
pub use layers::{Image, Layer, Layers};
pub use look::{look, look_as};
pub use partition::{
    Partition, StartsBy, Table, TableKind, grow_last_partition, last_partition, read_table, write_root_table,
};
pub use root::{grows, must_fill, root};
pub use search::occurrences;
pub use skeleton::Skeleton;
pub use start::must_start;
pub use tree::{Entry, Kind, Tree, tree};
pub use whole::must_be_whole;

use crate::host::fs::FsError;
use crate::host::process::{Cmd, ProcessError};
use crate::host::tools;

/// Bytes of a sector, as sfdisk counts in files.
pub(crate) const SECTOR: u64 = 512;

/// What went wrong with a disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The file could not be read or written.
    #[error("could not use the disk `{path}`: {source}")]
    File { path: PathBuf, source: std::io::Error },
    /// A disk that was converted is not the one that it was made of.
    #[error("the disk in `{path}` has {found} bytes, not {wanted}", path = path.display())]
    OtherSize { path: PathBuf, found: u64, wanted: u64 },
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
    /// A file could not be read or written, as its error says.
    #[error(transparent)]
    Fs(FsError),
    /// An image is not as we write them.
    #[error("the image `{path}` {why}")]
    Image { path: PathBuf, why: String },
    /// The partitions are not what they must be.
    #[error("the partitions of `{path}` {why}")]
    Layout {
        /// Disk.
        path: PathBuf,
        /// What is wrong, with the remedy.
        why: String,
    },
    /// An image that needs a file of its maker's choice.
    #[error(
        "`{path}` names another file of this host as its {role}: {file}; only an image that stands alone is read; where \
         you made it yourself and trust that file, make one image of both: qemu-img convert -f qcow2 -O qcow2 '{path}' whole.qcow2",
        path = path.display()
    )]
    NamesFile {
        path: PathBuf,
        /// "backing file", "external data file".
        role: &'static str,
        /// As the image says it.
        file: String,
    },
    /// A machine, or a tool, has it.
    #[error("`{path}` is in use by another process, such as a machine that runs from it; end that one first, or use a copy",
        path = path.display())]
    InUse { path: PathBuf },
    /// A file that is no disk image, or none that is read here.
    #[error("`{path}` is {what}, not a raw or qcow2 disk image; {remedy}", path = path.display())]
    NotADisk {
        path: PathBuf,
        what: String,
        /// How a disk image is made of it.
        remedy: String,
    },
    /// A tool printed what we do not understand.
    #[error("did not understand what `{program}` says about `{path}`: {why}")]
    Output {
        /// Which tool.
        program: &'static str,
        /// Disk.
        path: PathBuf,
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
    /// Its files cannot be listed.
    #[error("the files of the root file system cannot be read ({why}); only ext4 is read without a machine")]
    Unreadable { why: String },
    /// We were asked to stop.
    #[error("stopped")]
    Cancelled,
}

impl From<FsError> for DiskError {
    fn from(error: FsError) -> Self {
        match error {
            FsError::Cancelled => Self::Cancelled,
            error => Self::Fs(error),
        }
    }
}

impl DiskError {
    /// The same about a file that the user knows, where work is done on a copy of it.
    #[must_use]
    pub fn of(mut self, name: &Path) -> Self {
        if let Self::FileSystem { path, .. } | Self::Layout { path, .. } = &mut self {
            name.clone_into(path);
        }
        self
    }

    fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }

    fn tool(doing: &'static str, path: &Path) -> impl FnOnce(ProcessError) -> Self {
        let path = path.to_owned();
        move |source| match source {
            ProcessError::Cancelled => Self::Cancelled,
            ProcessError::Failed { tail, .. } if tail.iter().any(|line| is_locked(line)) => {
                Self::InUse { path }
            }
            source => Self::Tool { doing, path, source },
        }
    }
}

/// What qemu's block layer says of a lock that another process holds.
pub fn is_locked(line: &str) -> bool {
    line.contains("Failed to get") && line.contains(" lock")
}

/// A tool by name; also where a plain user's PATH does not lead.
fn tool(name: &str) -> Cmd {
    neutral(Cmd::new(tools::path(name)))
}

/// Nothing of the host's settings gets into results or into words that are read: no configuration of e2fsprogs, no clock
/// or files of its tests, no language.
fn neutral(cmd: Cmd) -> Cmd {
    const LEFT_OUT: [&str; 8] = [
        "E2FSCK_TIME",
        "E2FSPROGS_FAKE_TIME",
        "E2FSPROGS_UNDO_DIR",
        "MKE2FS_DEVICE_SECTSIZE",
        "MKE2FS_FIRST_META_BG",
        "MKE2FS_SYNC",
        "RESIZE2FS_FORCE_LAZY_ITABLE_INIT",
        "SOURCE_DATE_EPOCH",
    ];
    let cmd = LEFT_OUT.into_iter().fold(cmd, Cmd::without);
    let none = "/dev/null";
    cmd.env("E2FSCK_CONFIG", none)
        .env("MKE2FS_CONFIG", none)
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
}

/// Bytes at a place; fewer where the file ends.
fn read_at(file: &File, at: u64, count: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    match file.read_exact_at(&mut bytes, at) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Vec::new()),
        result => result.map(|()| bytes),
    }
}
