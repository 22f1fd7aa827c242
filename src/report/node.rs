//! One node of a run as its events tell it: what it does since when, how far it is, how long it may still take.
//! Pure: time comes from the events and from the caller. Knows nothing of other nodes.

use std::time::Duration;

use jiff::Timestamp;

use crate::deciding::cause;
use crate::event::{CheckResult, FailureInfo, NodeInfo, Outcome, Unit, What};
use crate::size::ByteSize;
use crate::took::Job;

#[derive(Clone, Debug)]
pub struct Node {
    /// What the plan says of it.
    pub info: NodeInfo,
    /// The host that works on it; empty for that of the run.
    pub host: String,
    pub state: State,
    /// What came of its checks, where it has any.
    pub checks: Vec<CheckResult>,
}

/// Where a node is.
#[derive(Clone, Debug)]
pub enum State {
    /// It needs nodes that are not done, or its turn has not come.
    Pending,
    /// Its result is in the store; it never runs.
    Cached,
    /// It could run but for this.
    Waiting { reason: String },
    /// It runs.
    Running(Work),
    /// It ended.
    Done(Done),
}

/// What a running node is at.
#[derive(Clone, Debug)]
pub struct Work {
    /// Since when it runs.
    pub since: Timestamp,
    /// What it does, once it said so.
    pub phase: Option<String>,
    /// How far that is, where it is known.
    pub progress: Option<Advance>,
    /// Last line of output.
    pub line: Option<String>,
}

/// How far a phase is.
#[derive(Clone, Copy, Debug)]
pub struct Advance {
    /// Done so far.
    pub done: u64,
    /// Of how many; 0 when unknown.
    pub total: u64,
    /// Unit of both.
    pub unit: Unit,
}

/// How a node ended.
#[derive(Clone, Debug)]
pub struct Done {
    pub outcome: Outcome,
    /// Wall time.
    pub seconds: f64,
    /// Bytes of its result.
    pub bytes: Option<u64>,
    /// The failure, or what a skipped node lacked.
    pub message: Option<String>,
    /// Why it failed.
    pub failure: Option<FailureInfo>,
}

impl Done {
    /// Why it failed, in one line; of an outcome that is no failure what else is said of it.
    pub fn cause(&self) -> String {
        match &self.failure {
            Some(failure) if !failure.cause.is_empty() => failure.cause.clone(),
            _ => cause(self.message.as_deref().unwrap_or_default()),
        }
    }

    /// Kind and cause of a failure: `no such package: Unable to locate package sudoo`.
    pub fn why(&self) -> String {
        let verdict = self
            .failure
            .as_ref()
            .map(|failure| format!("{}: ", failure.verdict));
        verdict.unwrap_or_default() + &self.cause()
    }
}

impl Node {
    /// Whether it never started because of something else: that is said of what was in its way.
    pub fn is_skipped(&self) -> bool {
        matches!(&self.state, State::Done(done) if done.outcome == Outcome::Skipped)
    }

    /// Where an upload put its file: the beginning of what it said.
    pub fn published(&self) -> Option<&str> {
        let State::Done(done) = &self.state else {
            return None;
        };
        let is_there = matches!(done.outcome, Outcome::Built | Outcome::Present | Outcome::Shared);
        let message = done.message.as_deref().filter(|_| is_there)?;
        message.split(", nothing was sent").next()
    }

    /// As the estimates of times know it.
    pub(super) fn job(&self) -> Job<'_> {
        Job {
            stage: &self.info.stage,
            subject: &self.info.subject,
            alike: &self.info.alike,
        }
    }

    /// As people call it: `size debian12-50G-base`, and where another host works on it.
    pub fn title(&self) -> String {
        let NodeInfo { stage, subject, .. } = &self.info;
        let title = format!("{stage} {subject}").trim_end().to_owned();
        match self.host.as_str() {
            "" => title,
            host => format!("{title} on {host}"),
        }
    }

    pub(super) fn apply(&mut self, at: Timestamp, what: &What) {
        match what {
            What::NodeWaiting { reason } => {
                self.state = State::Waiting {
                    reason: reason.clone(),
                };
            }
            What::NodeStarted => self.state = State::Running(Work::new(at)),
            What::Phase { phase } => {
                let work = self.work(at);
                work.phase = Some(phase.clone());
                work.progress = None;
            }
            What::Progress { done, total, unit } => {
                let (done, total, unit) = (*done, *total, *unit);
                self.work(at).progress = Some(Advance { done, total, unit });
            }
            What::Line { text, .. } => {
                if !text.trim().is_empty() {
                    self.work(at).line = Some(text.clone());
                }
            }
            What::Check { result, .. } => self.checks.push(result.clone()),
            What::NodeFinished {
                outcome,
                seconds,
                bytes,
                message,
                failure,
            } => {
                self.state = State::Done(Done {
                    outcome: *outcome,
                    seconds: *seconds,
                    bytes: *bytes,
                    message: message.clone(),
                    failure: failure.clone(),
                });
            }
            What::RunStarted { .. }
            | What::RunFinished { .. }
            | What::RunRefused { .. }
            | What::Warning { .. }
            | What::Layer { .. }
            | What::MachineHeld { .. } => {}
        }
    }

    /// The work of a node that is clearly at work, whether or not it said that it started.
    fn work(&mut self, at: Timestamp) -> &mut Work {
        if !matches!(self.state, State::Running(_)) {
            self.state = State::Running(Work::new(at));
        }
        match &mut self.state {
            State::Running(work) => work,
            _ => unreachable!("set to running two lines above"),
        }
    }
}

impl Work {
    fn new(since: Timestamp) -> Self {
        Self {
            since,
            phase: None,
            progress: None,
            line: None,
        }
    }

    /// How long the node may still take, of the time that it is expected to take; none once that is over. How far its phase
    /// is says nothing about those that follow.
    pub fn eta(&self, expected: Option<Duration>, now: Timestamp) -> Option<Duration> {
        expected?.checked_sub(since(self.since, now))
    }
}

impl Advance {
    /// Done, in hundredths; none when the total is unknown.
    pub fn percent(&self) -> Option<u64> {
        let hundredths = u128::from(self.done.min(self.total)) * 100;
        let percent = hundredths.checked_div(u128::from(self.total))?;
        u64::try_from(percent).ok()
    }

    /// What is counted, in words: `12 MiB of 30 MiB`, `step 2 of 5`; nothing where the percentage says it all.
    pub fn amount(&self) -> Option<String> {
        let (done, total) = (self.done, self.total);
        match (self.unit, total) {
            (Unit::Bytes, 0) => Some(ByteSize(done).to_string()),
            (Unit::Bytes, _) => Some(format!("{} of {}", ByteSize(done), ByteSize(total))),
            (Unit::Steps, 0) => Some(format!("step {done}")),
            (Unit::Steps, _) => Some(format!("step {done} of {total}")),
            (Unit::Percent, _) => None,
        }
    }
}

/// Time from one moment to a later one; clocks that step back make it zero.
pub fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}
