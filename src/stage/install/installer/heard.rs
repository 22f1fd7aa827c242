//! What an installer has said so far, and what its end means. Knows a console and times, no machine and no clock: what was
//! recorded once can be replayed.

use std::time::Instant;

use crate::installer::{Fatal, Program, Seen, Watch};
use crate::machine::console::Console;
use crate::verdict::Verdict;

/// What has gone wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub verdict: Verdict,
    /// In our words.
    pub what: String,
    pub remedy: String,
}

/// What was said.
#[derive(Debug)]
pub(super) struct Heard {
    watch: Watch,
    /// What the answers make it print when all is done; none: they report nothing.
    sign: Option<String>,
    /// Whether it has reported that all is done.
    pub installed: bool,
    /// Whether it has got its answers.
    pub served: bool,
    /// Console lines read.
    read: u64,
}

impl Heard {
    pub(super) fn new(program: Program, sign: Option<String>, served: bool) -> Self {
        Self {
            watch: Watch::new(program),
            sign,
            installed: false,
            served,
            read: 0,
        }
    }

    /// A line of syslog.
    pub(super) fn log(&mut self, line: &str) -> Option<Seen> {
        self.watch.read(line)
    }

    /// A report, as a line.
    pub(super) fn report(&mut self, line: &str, now: Instant) -> Option<Seen> {
        let seen = self.watch.read(line);
        self.watch.hear(line, now);
        seen
    }

    /// Reads what is new on the console; gives what it shows, and the line that has not ended yet.
    pub(super) fn console(&mut self, console: &Console, now: Instant) -> (Vec<Seen>, String) {
        let (lines, unfinished, total) = console.lines_after(self.read);
        self.read = total;
        let mut seen = Vec::new();
        for line in &lines {
            self.look_for_sign(line);
            seen.extend(self.watch.read(line));
            self.watch.hear(line, now);
        }
        self.look_for_sign(&unfinished);
        seen.extend(self.watch.read(&unfinished));
        self.watch.hear_unfinished(&unfinished, now);
        (seen, unfinished)
    }

    fn look_for_sign(&mut self, line: &str) {
        self.installed |= self.sign.as_ref().is_some_and(|sign| line.contains(sign));
    }

    /// Why nothing more is to be expected of a machine that still runs.
    pub(super) fn stuck(&self, now: Instant) -> Option<Wrong> {
        self.watch.stuck(now).map(wrong)
    }

    /// What it means that the machine has switched itself off or reset itself.
    pub(super) fn ended(&self) -> Result<(), Wrong> {
        if let Some(fatal) = self.watch.said() {
            return Err(wrong(fatal));
        }
        if self.installed || self.served && self.sign.is_none() {
            return Ok(());
        }
        let (verdict, what, remedy) = match self.served {
            false => (
                Verdict::NeverAsked,
                "the installer ended without having asked for its answers",
                "look at the console log: which kernel arguments did it get?",
            ),
            true => (
                Verdict::InstallerFailed,
                "the machine went off before the installer reported that it had finished",
                "the last lines say what it was doing; the last command of the answers must be `{{ report_installed }}`",
            ),
        };
        Err(Wrong {
            verdict,
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        })
    }
}

fn wrong(fatal: Fatal) -> Wrong {
    Wrong {
        verdict: if fatal.waits {
            Verdict::StuckAtPrompt
        } else {
            Verdict::InstallerFailed
        },
        what: fatal.means,
        remedy: fatal.remedy,
    }
}
