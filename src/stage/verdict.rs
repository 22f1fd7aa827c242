//! The kind of failure that an error of a stage is. Pure.

use super::error::StageError;
use super::index::IndexError;
use super::package::PackageError;
use super::sums::SumsError;
use crate::deciding::deciding;
use crate::host::fs::io_verdict;
use crate::host::process::ProcessError;
use crate::machine::disk::DiskError;
use crate::machine::media::iso::IsoError;
use crate::signing::SigningError;
use crate::verdict::Verdict;

/// What the system says when a file system is full (strerror(3)), and what we say.
const FULL: &str = "no space left";

impl StageError {
    /// The kind of failure.
    pub fn verdict(&self) -> Verdict {
        let verdict = match self {
            Self::Step { tail, .. } => return of_step(tail),
            Self::Checks(_) => return Verdict::CheckFailed,
            Self::Ssh(error) => return error.verdict(),
            Self::StepInTrouble { trouble, .. } => return trouble.verdict(),
            Self::WentDown(error) => return error.verdict(),
            Self::Installer(failure) => return failure.verdict,
            Self::Changed { .. } | Self::OtherUpload { .. } | Self::WrongMedia { .. } => {
                Verdict::DigestDiffers
            }
            Self::Disk(error) => of_disk(error),
            Self::Fetch(error) => error.verdict(),
            Self::File { source, .. } => io_verdict(source),
            Self::Fs(error)
            | Self::Index(IndexError::File(error))
            | Self::Package(PackageError::File(error))
            | Self::Sums(SumsError::File(error)) => error.verdict(),
            Self::Iso(IsoError::Unreadable { .. }) => Verdict::NotAnIsoImage,
            Self::Machine(error) => error.verdict(),
            Self::NoAnsible { .. } => Verdict::ToolMissing,
            Self::NoPassword { .. } | Self::NoSecret { .. } => Verdict::NoSecret,
            Self::Playbook { source, .. } => match of_program(source) {
                Verdict::ToolFailed => Verdict::PlaybookFailed,
                other => other,
            },
            Self::Signing(SigningError::Secret(_)) => Verdict::NoSecret,
            Self::Signing(SigningError::Tool { source, .. }) | Self::Tool { source, .. } => {
                of_program(source)
            }
            Self::TooSmall { .. } => Verdict::TooSmall,
            Self::Upload(error) => error.verdict(),
            _ => Verdict::Other,
        };
        or_full(verdict, &self.to_string())
    }
}

/// A step fails as its package manager does; what a guest says of its own disk or keys is another matter than the host's.
fn of_step(tail: &[String]) -> Verdict {
    let found = deciding(tail.iter().map(String::as_str));
    match found.and_then(|found| found.verdict) {
        Some(
            of_packages @ (Verdict::BadSignature
            | Verdict::MirrorExpired
            | Verdict::MirrorUnreachable
            | Verdict::NoSuchPackage
            | Verdict::NoSuchSuite
            | Verdict::PackageFailed),
        ) => of_packages,
        _ => Verdict::StepFailed,
    }
}

fn of_disk(error: &DiskError) -> Verdict {
    match error {
        DiskError::File { source, .. } => io_verdict(source),
        DiskError::NamesFile { .. } | DiskError::NotADisk { .. } => Verdict::NotADiskImage,
        DiskError::Tool { source, .. } => of_program(source),
        _ => Verdict::ToolFailed,
    }
}

/// A program of the host: by what it says, where that tells.
fn of_program(error: &ProcessError) -> Verdict {
    match error {
        ProcessError::NotFound { .. } => Verdict::ToolMissing,
        ProcessError::TimedOut { .. } => Verdict::TimedOut,
        ProcessError::Failed { tail, .. } => {
            let found = deciding(tail.iter().map(String::as_str));
            found
                .and_then(|found| found.verdict)
                .unwrap_or(Verdict::ToolFailed)
        }
        _ => Verdict::ToolFailed,
    }
}

/// A full disk is reported by many programs and calls, and is the better answer wherever one of them failed.
fn or_full(verdict: Verdict, message: &str) -> Verdict {
    match verdict {
        Verdict::Other | Verdict::ToolFailed | Verdict::QemuFailed
            if message.to_ascii_lowercase().contains(FULL) =>
        {
            Verdict::DiskFull
        }
        verdict => verdict,
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use super::*;
    use crate::host::facts::OomKill;
    use crate::host::process::ProcessError;
    use crate::machine::console::Trouble;
    use crate::machine::error::{MachineError, Reach, Tail};

    fn console(lines: &[&str]) -> Tail {
        Tail {
            from: "console",
            lines: lines.iter().map(|&line| line.to_owned()).collect(),
        }
    }

    #[test]
    fn every_end_of_a_machine_has_its_word() {
        let firmware = ["SeaBIOS (version 1.16.2)", "Booting from Hard Disk..."];
        let kernel = ["SeaBIOS (version 1.16.2)", "Linux version 6.1"];
        let waited = Duration::from_secs(60);
        let silent = |lines: &[&str]| MachineError::Silent {
            what: "x".to_owned(),
            silence: waited,
            console: console(lines),
        };
        let unreachable = |reach, lines: &[&str]| MachineError::Unreachable {
            user: "root".to_owned(),
            reach,
            waited,
            console: console(lines),
        };
        let line = || "a line".to_owned();
        let trouble = |trouble| MachineError::Trouble {
            trouble,
            console: console(&[]),
        };
        let cases = [
            (silent(&firmware), Verdict::NeverBooted),
            (silent(&kernel), Verdict::Silence),
            (unreachable(Reach::Nothing, &firmware), Verdict::NeverBooted),
            (unreachable(Reach::Nothing, &kernel), Verdict::NoNetwork),
            (unreachable(Reach::Closed, &kernel), Verdict::PortClosed),
            (unreachable(Reach::Refused, &kernel), Verdict::KeyRefused),
            (trouble(Trouble::KernelPanic(line())), Verdict::KernelPanic),
            (trouble(Trouble::Emergency(line())), Verdict::RescueShell),
            (trouble(Trouble::NotBootable(line())), Verdict::NeverBooted),
            (trouble(Trouble::OutOfMemory(line())), Verdict::GuestOutOfMemory),
            (
                MachineError::HostMemory {
                    kill: OomKill::Counted,
                    console: console(&[]),
                },
                Verdict::HostOutOfMemory,
            ),
        ];
        for (error, verdict) in cases {
            let text = error.to_string();
            assert_eq!(StageError::from(error).verdict(), verdict, "{text}");
        }
    }

    #[test]
    fn a_full_disk_is_known_by_whoever_meets_it_but_not_by_what_a_guest_says() {
        let full = || std::io::Error::from(rustix::io::Errno::NOSPC);
        let file = StageError::file("write", Path::new("/x"), full());
        assert_eq!(file.verdict(), Verdict::DiskFull);
        assert!(file.to_string().contains("make room there"), "{file}");
        let tool = StageError::Tool {
            what: "compacting",
            log: None,
            source: ProcessError::Failed {
                program: "qemu-img".to_owned(),
                status: "exited with code 1".to_owned(),
                code: Some(1),
                tail: vec!["error while writing at byte 0: No space left on device".to_owned()],
            },
        };
        assert_eq!(tool.verdict(), Verdict::DiskFull);
        let step = |said: &str| StageError::Step {
            step: "fill".to_owned(),
            why: "exited with code 1".to_owned(),
            tail: vec!["Reading package lists...".to_owned(), said.to_owned()],
            log: PathBuf::from("log"),
        };
        let full = step("cp: No space left on device");
        assert_eq!(full.verdict(), Verdict::StepFailed);
        let misspelt = step("E: Unable to locate package sudoo");
        assert_eq!(misspelt.verdict(), Verdict::NoSuchPackage);
    }
}
