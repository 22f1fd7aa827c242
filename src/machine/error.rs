//! What can go wrong with a machine, said so that it need not run again to be understood: each failure that the
//! guest had a part in carries the last lines of its console.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::console::Trouble;
use super::firmware::FirmwareError;
use super::qmp::QmpError;
use super::ssh::SshError;
use crate::host::facts::OomKill;
use crate::host::process::ProcessError;
use crate::platform::Platform;
use crate::size::show_duration;
use crate::verdict::Verdict;

/// Lines of text from a guest or a tool, shown indented under a message; nothing when empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Where they are from: "console", "stderr".
    pub from: &'static str,
    pub lines: Vec<String>,
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lines.is_empty() {
            return Ok(());
        }
        write!(f, "\n  last lines of the {}:", self.from)?;
        self.lines.iter().try_for_each(|line| write!(f, "\n  | {line}"))
    }
}

/// How far the way into a guest led when it was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nothing answered: no network in the guest.
    Nothing,
    /// The guest's network answered, its port 22 is closed: no sshd.
    Closed,
    /// sshd did not take our key.
    Refused,
    /// sshd answered, and something else failed, in ssh's words.
    Failed(String),
    /// The ssh of this host failed by itself each time, in its words.
    Client(String),
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("the guest's network never answered"),
            Self::Closed => f.write_str(
                "the guest is on the network but its port 22 is closed; is sshd installed and started?",
            ),
            Self::Refused => f.write_str(
                "sshd answers but refuses the build key; was it put into authorized_keys of this user?",
            ),
            Self::Client(words) => write!(
                f,
                "sshd answers but the ssh client of this host fails the same way each time: {words}"
            ),
            Self::Failed(words) => write!(f, "sshd answers but the connection fails: {words}"),
        }
    }
}

/// What went wrong with a machine.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// We were asked to stop.
    #[error("stopped")]
    Cancelled,
    /// qemu found itself in a state that it thinks impossible, and gave up (abort(3)): nothing of the guest's making.
    #[error("qemu crashed, which is no fault of the guest: it {status}; try a newer qemu{stderr}{console}")]
    BrokeDown {
        status: String,
        /// What qemu said.
        stderr: Tail,
        /// What the guest said.
        console: Tail,
    },
    /// qemu ended while the guest was still needed.
    #[error("the machine ended too early: qemu {status}{stderr}{console}")]
    Ended {
        status: String,
        /// What qemu said.
        stderr: Tail,
        /// What the guest said.
        console: Tail,
    },
    /// A file or folder of the machine's could not be made.
    #[error("could not prepare the machine's `{path}`: {source}")]
    Folder { path: PathBuf, source: std::io::Error },
    /// There is no UEFI firmware for such a machine.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// The host has no room for what the guest writes; qemu has stopped it.
    #[error(
        "no space left for what the guest writes: qemu stopped it; make room where the store is, or choose another one \
         (--store){console}"
    )]
    Full {
        /// What the guest said.
        console: Tail,
    },
    /// The host's kernel killed qemu for lack of memory.
    #[error(
        "this host ran out of memory and its kernel killed the machine ({kill}); lower `memory` of the distro or `jobs`, \
         or stop what else needs memory{console}"
    )]
    HostMemory {
        /// How that is known.
        kill: OomKill,
        /// What the guest said.
        console: Tail,
    },
    /// The guest did not restart.
    #[error("the guest did not restart when it was asked to: it has neither printed nor touched its disk for {}{console}", show_duration(*.silence))]
    NoReboot {
        /// How long nothing moved.
        silence: Duration,
        /// What the guest said.
        console: Tail,
    },
    /// qemu could not be started, or spoken to.
    #[error(transparent)]
    Process(ProcessError),
    /// qemu refused a command.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// Nothing moved for too long.
    #[error("waited for {what}, but the guest has neither printed nor touched its disk for {}{console}", show_duration(*.silence))]
    Silent {
        what: String,
        /// How long nothing moved.
        silence: Duration,
        /// What the guest said.
        console: Tail,
    },
    /// The limit of a wait is over although something still moves.
    #[error("waited {} for {what}{console}", show_duration(*.limit))]
    Slow {
        what: String,
        limit: Duration,
        /// What the guest said.
        console: Tail,
    },
    /// The way into the guest fails.
    #[error(transparent)]
    Ssh(SshError),
    /// qemu ended before the machine was there.
    #[error("qemu did not start: it {status}{stderr}")]
    StartFailed { status: String, stderr: Tail },
    /// The machine's TPM is gone, or never was there.
    #[error(
        "the machine's TPM failed: swtpm {status}; run again, and reinstall swtpm if that happens again{said}"
    )]
    Tpm {
        status: String,
        /// What it said.
        said: Tail,
    },
    /// The guest showed that no waiting will help.
    #[error("{trouble}{console}")]
    Trouble {
        /// What it showed.
        trouble: Trouble,
        /// What it said before.
        console: Tail,
    },
    /// The guest could not be entered.
    #[error("no way into the guest as `{user}` after {}: {reach}{console}", show_duration(*.waited))]
    Unreachable {
        user: String,
        /// How far we came.
        reach: Reach,
        /// How long it was tried.
        waited: Duration,
        /// What the guest said.
        console: Tail,
    },
}

impl MachineError {
    /// Why, in one word.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::BrokeDown { .. } => Verdict::QemuFailed,
            Self::Ended { .. } => Verdict::GuestDied,
            Self::Full { .. } => Verdict::DiskFull,
            Self::Folder { source, .. } if is_full(source) => Verdict::DiskFull,
            Self::HostMemory { .. } => Verdict::HostOutOfMemory,
            Self::NoReboot { .. } => Verdict::NoReboot,
            Self::Process(_) | Self::StartFailed { .. } => Verdict::QemuFailed,
            Self::Firmware(_) | Self::Tpm { .. } => Verdict::ToolFailed,
            Self::Silent { console, .. } if is_firmware(console) => Verdict::NeverBooted,
            Self::Silent { .. } => Verdict::Silence,
            Self::Slow { .. } => Verdict::TimedOut,
            Self::Ssh(error) => error.verdict(),
            Self::Trouble { trouble, .. } => trouble.verdict(),
            Self::Unreachable { reach, console, .. } => match reach {
                Reach::Nothing if is_firmware(console) => Verdict::NeverBooted,
                Reach::Nothing => Verdict::NoNetwork,
                Reach::Closed => Verdict::PortClosed,
                Reach::Refused => Verdict::KeyRefused,
                Reach::Client(_) => Verdict::ToolFailed,
                Reach::Failed(_) => Verdict::Other,
            },
            Self::Cancelled | Self::Folder { .. } | Self::Qmp(_) => Verdict::Other,
        }
    }

    /// Whether qemu broke down: the same machine, started again, may work.
    pub fn is_breakdown(&self) -> bool {
        matches!(self, Self::BrokeDown { .. })
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Whether every line is one of the firmware, of whichever platform.
fn is_firmware(console: &Tail) -> bool {
    let starts = || {
        Platform::ALL
            .iter()
            .flat_map(|platform| platform.hardware().emulator.firmware_lines)
    };
    let of_firmware = |line: &String| starts().any(|start| line.trim_start().starts_with(start));
    console.lines.iter().all(of_firmware)
}

impl From<ProcessError> for MachineError {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::Cancelled => Self::Cancelled,
            error => Self::Process(error),
        }
    }
}

impl From<SshError> for MachineError {
    fn from(error: SshError) -> Self {
        match error {
            SshError::Cancelled => Self::Cancelled,
            error => Self::Ssh(error),
        }
    }
}
