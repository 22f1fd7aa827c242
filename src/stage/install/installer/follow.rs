//! Follows an installer to its end: console, syslog, requests and reports become phases and percentages; known prompts
//! and silence end it with a verdict, the remedy and a picture of the screen.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::InstallerWork;
use super::answers::{Answers, INSTALLED};
use super::heard::{Heard, Wrong};
use crate::emit::Emitter;
use crate::event::{Stream, Unit, What};
use crate::host::syslog::Syslog;
use crate::installer::{self, Delivery, Seen};
use crate::machine::error::MachineError;
use crate::machine::qemu::Machine;
use crate::size::show_duration;
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::guest::scaled;
use crate::verdict::Verdict;

/// How long an installer may show no sign of life (console, syslog, requests, disk), under KVM.
const SILENCE: Duration = Duration::from_secs(3 * 60);
/// How often everything is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Details (packages) are reported no more often than this.
const DETAIL: Duration = Duration::from_secs(5);
/// Bytes of syslog that are kept, so that a guest cannot fill the disk; a whole installation sends a few megabytes.
const LOGGED: u64 = 64 << 20;
/// Lines shown in errors.
pub(super) const SHOWN: usize = 16;

/// An installer that will not finish.
#[derive(Clone, Debug)]
pub struct InstallerFailure {
    /// What happened, in our words.
    pub what: String,
    /// How far it came.
    pub reached: String,
    /// Why, in one word.
    pub verdict: Verdict,
    pub remedy: String,
    /// Last lines of the console.
    pub console: Vec<String>,
    /// Last lines of syslog that tell of trouble.
    pub syslog: Vec<String>,
    /// Picture of the screen, where one could be taken.
    pub screen: Option<PathBuf>,
}

impl fmt::Display for InstallerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.reached)?;
        if !self.remedy.is_empty() {
            write!(f, "\n  {}", self.remedy)?;
        }
        for (from, lines) in [("console", &self.console), ("installer's syslog", &self.syslog)] {
            if !lines.is_empty() {
                write!(f, "\n  last lines of the {from}:")?;
                lines.iter().try_for_each(|line| write!(f, "\n  | {line}"))?;
            }
        }
        if let Some(screen) = &self.screen {
            write!(f, "\n  the screen is in {}", screen.display())?;
        }
        Ok(())
    }
}

/// Follows one installer.
pub(super) struct Follow<'a> {
    answers: &'a Answers,
    syslog: &'a Syslog,
    site: &'a Site,
    heard: Heard,
    log: File,
    logged: u64,
    reporter: Reporter,
    /// Last sign of life that the machine itself does not know of.
    alive: Instant,
    trouble: VecDeque<String>,
}

/// What is shown, and what was shown last.
#[derive(Debug)]
struct Reporter {
    emit: Emitter,
    phase: String,
    percent: Option<u8>,
    detail: Option<Instant>,
}

impl<'a> Follow<'a> {
    pub(super) fn new(
        work: &'a InstallerWork,
        answers: &'a Answers,
        syslog: &'a Syslog,
        site: &'a Site,
    ) -> Result<Self, StageError> {
        let path = site.logs.join("syslog.log");
        Ok(Self {
            answers,
            syslog,
            site,
            heard: Heard::new(
                work.program.clone(),
                answers.sign(),
                work.delivery != Delivery::Http,
            ),
            log: File::create(&path).map_err(|e| StageError::file("write", &path, e))?,
            logged: 0,
            reporter: Reporter {
                emit: site.emit.clone(),
                phase: "starting the installer".to_owned(),
                percent: None,
                detail: None,
            },
            alive: Instant::now(),
            trouble: VecDeque::new(),
        })
    }

    pub(super) fn silence(&self) -> Duration {
        scaled(self.site.accel, SILENCE)
    }

    /// Until the guest switches itself off or resets itself.
    pub(super) fn run(&mut self, machine: &mut Machine) -> Result<(), StageError> {
        loop {
            let done = machine.is_done();
            self.look(machine);
            match done {
                Ok(true) => return self.heard.ended().map_err(|wrong| self.failure(machine, wrong)),
                Err(MachineError::Trouble { trouble, .. }) => {
                    let wrong = Wrong {
                        verdict: trouble.verdict(),
                        what: trouble.to_string(),
                        remedy: String::new(),
                    };
                    return Err(self.failure(machine, wrong));
                }
                Err(error) => return Err(error.into()),
                Ok(false) => {}
            }
            if let Some(wrong) = self.heard.stuck(Instant::now()) {
                return Err(self.failure(machine, wrong));
            }
            let silence = self.silence();
            if machine.quiet_for().min(self.alive.elapsed()) >= silence {
                let wrong = Wrong {
                    verdict: match (machine.console().bytes(), self.heard.served) {
                        (0, _) => Verdict::NeverBooted,
                        (_, false) => Verdict::NeverAsked,
                        (_, true) => Verdict::Silence,
                    },
                    what: format!(
                        "the installer has shown no sign of life for {}",
                        show_duration(silence)
                    ),
                    remedy: "look at the screen and the console log for what it waits for".to_owned(),
                };
                return Err(self.failure(machine, wrong));
            }
            if self.site.cancel.sleep(LOOK) {
                return Err(MachineError::Cancelled.into());
            }
        }
    }

    /// Reads what is new.
    fn look(&mut self, machine: &Machine) {
        let now = Instant::now();
        for request in self.answers.requests() {
            self.alive = now;
            let is_sign = request.path == format!("/{INSTALLED}");
            self.heard.installed |= is_sign;
            self.heard.served |= request.status == 200 && !is_sign;
            if !request.body.is_empty() {
                let seen = self.heard.report(&report(&request.body), now);
                self.reporter.seen(seen);
            }
        }
        for line in self.syslog.lines() {
            self.alive = now;
            // A full disk must not stop the guest; what is read live goes on.
            self.logged += line.len() as u64;
            if self.logged <= LOGGED {
                drop(writeln!(self.log, "{line}"));
                self.reporter.emit.line(Stream::Syslog, line.clone());
            }
            if tells_of_trouble(&line) {
                if self.trouble.len() == SHOWN {
                    self.trouble.pop_front();
                }
                self.trouble.push_back(line.clone());
            }
            self.reporter.seen(self.heard.log(&line));
        }
        let (seen, unfinished) = self.heard.console(machine.console(), now);
        self.reporter.seen(seen);
        if let Some(percent) = installer::percent(&unfinished) {
            self.reporter.percent(percent);
        }
    }

    fn failure(&self, machine: &mut Machine, wrong: Wrong) -> StageError {
        let screen = self.site.logs.join("screen.png");
        let taken = machine.screendump(&screen).is_ok();
        let lines = machine.console().last_lines(SHOWN);
        StageError::Installer(Box::new(InstallerFailure {
            what: wrong.what,
            reached: reached(machine.console().bytes(), self.heard.served, &self.reporter.phase),
            verdict: wrong.verdict,
            remedy: wrong.remedy,
            console: lines,
            syslog: self.trouble.iter().cloned().collect(),
            screen: taken.then_some(screen),
        }))
    }
}

impl Reporter {
    fn seen(&mut self, seen: impl IntoIterator<Item = Seen>) {
        for seen in seen {
            match seen {
                Seen::Phase(phase) => {
                    self.percent = None;
                    self.detail = None;
                    self.emit.phase(phase.clone());
                    self.phase = phase;
                }
                Seen::Detail(phase) => {
                    if self.detail.is_none_or(|at| at.elapsed() >= DETAIL) {
                        self.detail = Some(Instant::now());
                        self.emit.phase(phase.clone());
                    }
                    self.phase = phase;
                }
            }
        }
    }

    fn percent(&mut self, percent: u8) {
        if self.percent.replace(percent) != Some(percent) {
            self.emit.emit(What::Progress {
                done: percent.into(),
                total: 100,
                unit: Unit::Percent,
            });
        }
    }
}

/// How far an installer came.
fn reached(console: u64, served: bool, phase: &str) -> String {
    match (console, served) {
        (0, _) => "its kernel never said anything".to_owned(),
        (_, false) => format!("it never asked for its answers; its last phase was: {phase}"),
        (_, true) => format!("it had its answers; its last phase was: {phase}"),
    }
}

/// A report of Subiquity's webhook as one line: `{"name": "subiquity/Install/install", "event_type": "finish", …}`.
fn report(body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    format!(
        "{}: {}: {} {}",
        text("event_type"),
        text("name"),
        text("result"),
        text("description")
    )
}

fn tells_of_trouble(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    ["error", "warning", "fail", "bad signature", "cannot", "unable"]
        .iter()
        .any(|word| line.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_how_far_it_came() {
        assert_eq!(reached(0, false, "x"), "its kernel never said anything");
        assert!(reached(9, false, "configuring the network").contains("never asked for its answers"));
        assert!(reached(9, true, "partitioning").ends_with("partitioning"));
    }

    #[test]
    fn reports_become_lines() {
        let body = br#"{"name": "subiquity/Install/install", "event_type": "finish", "result": "FAIL", "description": "x"}"#;
        assert_eq!(report(body), "finish: subiquity/Install/install: FAIL x");
        assert_eq!(report(b"rubbish"), ": :  ");
    }
}
