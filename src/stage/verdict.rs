//! Why a stage failed, in one word, from its error. Pure.

use super::error::StageError;
use crate::event::Verdict;

/// What the system says when a file system is full (strerror(3)), and what we say.
const FULL: &str = "no space left";

impl StageError {
    /// Why, in one word.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Checks(_) => Verdict::CheckFailed,
            Self::Installer(failure) => failure.verdict,
            Self::Machine(error) => or_full(error.verdict(), &error.to_string()),
            Self::Ssh(error) => error.verdict(),
            Self::Step { .. } => Verdict::StepFailed,
            Self::WentDown(error) => error.verdict(),
            Self::StepInTrouble { trouble, .. } => trouble.verdict(),
            Self::Disk(_) | Self::Tool { .. } | Self::NoAnsible { .. } => {
                or_full(Verdict::ToolFailed, &self.to_string())
            }
            _ => or_full(Verdict::Other, &self.to_string()),
        }
    }
}

/// A full disk is reported by many programs and calls, and is the better answer wherever a host's program or call failed. What
/// a guest says of its own disk is another matter.
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
        let step = StageError::Step {
            step: "fill".to_owned(),
            why: "exited with code 1".to_owned(),
            tail: vec!["cp: No space left on device".to_owned()],
            log: PathBuf::from("log"),
        };
        assert_eq!(step.verdict(), Verdict::StepFailed);
    }
}
