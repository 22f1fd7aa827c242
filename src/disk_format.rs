//! The formats of disk image files that we read and write, under the names that `qemu-img` and file names use.

use serde::{Deserialize, Serialize};

/// Format of a disk image file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// The bytes of the disk (sparse).
    Raw,
    #[default]
    /// QEMU's copy-on-write format, version 3.
    Qcow2,
}

impl DiskFormat {
    /// As `qemu-img` and file names spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}
