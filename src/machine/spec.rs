//! What a machine should be, as plain data. Does nothing, asks the host nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use crate::disk_format::DiskFormat;
use crate::host::facts;
use crate::platform::{Computer, Emulator};
use crate::size::ByteSize;

/// A wanted machine, with virtio disks and network. Paths may be relative to the working folder. Whatever it offers to the
/// host is on loopback or in a private folder.
#[derive(Clone, Debug)]
pub struct MachineSpec {
    /// Shown in the process list and in messages.
    pub name: String,
    /// What kind of computer it is.
    pub computer: Computer,
    /// An emulator in place of the platform's: a name looked up in PATH, or a path.
    pub program: Option<PathBuf>,
    /// How guest code is executed.
    pub accel: Accel,
    /// What the board has in addition to disks.
    pub board: Board,
    /// Guest memory, rounded up to whole MiB.
    pub memory: ByteSize,
    /// Virtual processors.
    pub cpus: u32,
    /// Disks in the order in which the guest sees them.
    pub disks: Vec<Disk>,
    /// How disks are attached.
    pub disk_mode: DiskMode,
    /// What starts first.
    pub boot: Boot,
    /// CD images in IDE drives.
    pub cdroms: Vec<PathBuf>,
    /// A cloud-init seed (see [`crate::machine::seed`]), seen by the guest as the disk after the last one.
    pub seed: Option<PathBuf>,
    /// Whether a loopback port of the host leads to the guest's port 22.
    pub ssh: bool,
    /// Further ports of the guest that loopback ports of the host lead to.
    pub forwards: Vec<Forward>,
    /// What to start for each connection to the guest's HTTP door ([`crate::machine::door::Door::relay`]); absent: no
    /// door. A machine with one may start processes, which its sandbox forbids otherwise.
    pub door: Option<Vec<OsString>>,
    /// Whether the screen can be seen by VNC, on a loopback port, with a password ([`crate::machine::screen`]).
    pub vnc: bool,
    /// Credentials for the guest's systemd (`systemd.system-credentials(7)`), by name, over SMBIOS: from version 252 on it
    /// takes them.
    pub credentials: Vec<(String, String)>,
    /// What its clock says at the start; absent: the host's time.
    pub clock: Option<Timestamp>,
    /// Whether a reset by the guest ends the machine instead of starting it again.
    pub no_reboot: bool,
}

impl MachineSpec {
    /// A machine with one scratch disk that it boots from, with a way in, and one processor.
    pub fn with_disk(
        name: impl Into<String>,
        computer: impl Into<Computer>,
        accel: Accel,
        memory: ByteSize,
        disk: Disk,
    ) -> Self {
        Self {
            name: name.into(),
            computer: computer.into(),
            program: None,
            accel,
            board: Board::Workbench,
            memory,
            cpus: 1,
            disks: vec![disk],
            disk_mode: DiskMode::Scratch,
            boot: Boot::Disk,
            cdroms: Vec::new(),
            seed: None,
            ssh: true,
            forwards: Vec::new(),
            door: None,
            vnc: false,
            credentials: Vec::new(),
            clock: None,
            no_reboot: false,
        }
    }

    /// The emulator to start.
    pub fn program(&self) -> &Path {
        let of_platform = self.emulator().program;
        self.program.as_deref().unwrap_or(Path::new(of_platform))
    }

    /// How it is emulated.
    pub(super) fn emulator(&self) -> &'static Emulator {
        &self.computer.platform.hardware().emulator
    }
}

/// What the board has in addition to disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board {
    /// For building and trying: a serial console on which the BIOS speaks too, a source of random numbers, a device by
    /// which a guest tells of its panic, one network card.
    Workbench,
    /// As KVM orchestrators have it: no serial port, a balloon, a second network card that leads nowhere here (theirs
    /// leads to a tap, which only root can make).
    Orchestrator,
}

/// A loopback port that leads into the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Port of the host; 0: the kernel chooses.
    pub host: u16,
    /// Port of the guest.
    pub guest: u16,
}

/// How guest code is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// By the processor, through `/dev/kvm`.
    Kvm,
    /// By translation in software: works everywhere, ten to thirty times slower.
    Tcg,
}

impl From<&facts::Accelerator> for Accel {
    fn from(fact: &facts::Accelerator) -> Self {
        match fact {
            facts::Accelerator::Kvm => Self::Kvm,
            facts::Accelerator::Tcg { .. } => Self::Tcg,
        }
    }
}

/// A disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Image file.
    pub path: PathBuf,
    /// Its format; never guessed, as a guest could write another format's header into a raw disk.
    pub format: DiskFormat,
    /// Whether the guest may only read it.
    pub read_only: bool,
}

impl Disk {
    /// A disk that the guest may write.
    pub fn new(path: impl AsRef<Path>, format: DiskFormat) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            format,
            read_only: false,
        }
    }
}

/// How disks are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskMode {
    /// For building: the host flushes nothing (a lost disk is built again), and what the guest frees or zeroes
    /// becomes a hole.
    Scratch,
    /// With qemu's defaults, as a user would start it.
    Plain,
}

/// What starts first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// The first disk's boot sector.
    Disk,
    /// The first CD.
    Cdrom,
    /// A kernel that qemu loads itself.
    Kernel {
        /// Kernel image.
        kernel: PathBuf,
        /// Initial RAM disk.
        initrd: Option<PathBuf>,
        /// Kernel command line.
        cmdline: String,
    },
}
