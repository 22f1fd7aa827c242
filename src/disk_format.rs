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

/// A further format in which an image is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// qcow2 as the image itself has it.
    Qcow2,
    /// qcow2 with compressed clusters, which every qemu reads.
    Qcow2Zlib,
    /// The same by zstd, for qemu 5.1 and later.
    Qcow2Zstd,
    Raw,
    /// VMware's, stream-optimized: for import, not to run from.
    Vmdk,
    /// Hyper-V's.
    Vhdx,
    /// Hyper-V's older one, of fixed size, as Azure takes it.
    Vhd,
    /// VirtualBox's.
    Vdi,
    /// A virtual machine with its disk, for VMware and VirtualBox.
    Ova,
    /// A container image with a disk in it, as KubeVirt starts it: an OCI layout in a tar archive.
    ContainerDisk,
    /// A box for Vagrant's libvirt provider.
    VagrantLibvirt,
    /// The files of the root file system, in a tar archive, for containers.
    RootTar,
}

impl From<DiskFormat> for Form {
    fn from(format: DiskFormat) -> Self {
        match format {
            DiskFormat::Raw => Self::Raw,
            DiskFormat::Qcow2 => Self::Qcow2,
        }
    }
}

impl Form {
    /// As in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Qcow2Zlib => "qcow2-zlib",
            Self::Qcow2Zstd => "qcow2-zstd",
            Self::Raw => "raw",
            Self::Vmdk => "vmdk",
            Self::Vhdx => "vhdx",
            Self::Vhd => "vhd",
            Self::Vdi => "vdi",
            Self::Ova => "ova",
            Self::ContainerDisk => "container-disk",
            Self::VagrantLibvirt => "vagrant-libvirt",
            Self::RootTar => "root-tar",
        }
    }

    /// What file names end in; it stands for `{{ format }}`.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Qcow2Zlib => "zlib.qcow2",
            Self::Qcow2Zstd => "zstd.qcow2",
            Self::ContainerDisk => "oci.tar",
            Self::VagrantLibvirt => "libvirt.box",
            Self::RootTar => "root.tar",
            other => other.name(),
        }
    }

    /// Whether its data is compressed already.
    pub fn is_compressed(self) -> bool {
        matches!(
            self,
            Self::Qcow2Zlib
                | Self::Qcow2Zstd
                | Self::Vmdk
                | Self::Ova
                | Self::ContainerDisk
                | Self::VagrantLibvirt
        )
    }
}
