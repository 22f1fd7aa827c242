//! Events as plain lines with a clock in front: for CI logs, pipes, `--progress=plain` and `pipeline logs`.
//! Each line stands for itself; nothing redraws, so progress is reported sparingly.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::event::{CheckOutcome, CheckResult, Event, NodeInfo, Outcome, What};
use crate::report::Verbosity;
use crate::report::board::Board;
use crate::report::node::{Node, State, since};
use crate::report::style::{Role, Style};
use crate::size::{ByteSize, show_seconds};

/// Progress of a node is reported when it moved by this many hundredths …
const TELL_STEP: u64 = 10;
/// … and this time has gone by;
const TELL_AFTER: Duration = Duration::from_secs(10);
/// or when it moved at all within this time, so that something slow does not look dead.
const TELL_SLOW: Duration = Duration::from_secs(60);

/// Nodes that a heartbeat names.
const BEATING: usize = 4;

/// Turns events into lines.
#[derive(Debug)]
pub struct Lines {
    style: Style,
    verbosity: Verbosity,
    zone: TimeZone,
    reported: BTreeMap<String, Reported>,
    /// What nodes were reported to wait for.
    scarce: BTreeSet<String>,
}

/// What was last reported of a phase's progress.
#[derive(Clone, Copy, Debug)]
struct Reported {
    at: Timestamp,
    percent: u64,
    done: u64,
}

impl Lines {
    /// Lines in this style, with this zone's clock.
    pub fn new(style: Style, verbosity: Verbosity, zone: TimeZone) -> Self {
        Self {
            style,
            verbosity,
            zone,
            reported: BTreeMap::new(),
            scarce: BTreeSet::new(),
        }
    }

    /// The lines for an event that the board has taken in already.
    pub fn event(&mut self, board: &Board, event: &Event) -> Vec<String> {
        let node = event.node.as_deref().and_then(|id| board.node(id));
        let title = node.map(Node::title);
        let text = match &event.what {
            What::RunStarted {
                run, folder, nodes, ..
            } => self.run_started(event.at, run, folder, nodes),
            What::NodeWaiting { reason } => {
                // Hundreds may wait for the same, and all that changes is how much of it is free.
                let resource = reason.split(':').next().unwrap_or_default().to_owned();
                if !self.scarce.insert(resource) && self.verbosity == Verbosity::Normal {
                    return Vec::new();
                }
                vec![format!("waiting ({reason})")]
            }
            // Its first phase says so too.
            What::NodeStarted if self.verbosity == Verbosity::Normal => Vec::new(),
            What::NodeStarted => vec!["started".to_owned()],
            What::Phase { phase } => {
                self.forget(event);
                vec![phase.clone()]
            }
            What::Progress { .. } => node
                .and_then(|node| self.progress(event.at, node))
                .into_iter()
                .collect(),
            What::Line { text, .. } => match self.verbosity {
                Verbosity::Normal => Vec::new(),
                Verbosity::Verbose => vec![format!("| {text}")],
            },
            What::Check { cached: true, .. } => Vec::new(),
            What::Check { result, .. } => self.check(result),
            What::Warning { text } => {
                let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
                if let Some(first) = lines.first_mut() {
                    *first = format!("{} {first}", self.style.paint(Role::Attention, "warning:"));
                }
                lines
            }
            What::Layer { steps, .. } => match self.verbosity {
                Verbosity::Normal => Vec::new(),
                Verbosity::Verbose => vec![format!("a layer is kept after step {steps}")],
            },
            // The phase before it says so.
            What::MachineHeld { .. } => Vec::new(),
            // The verb itself says why, with all that belongs to it.
            What::RunRefused { .. } if self.verbosity == Verbosity::Normal => Vec::new(),
            What::RunRefused { error, .. } => vec![format!("refused: {error}")],
            What::NodeFinished { .. } => {
                self.forget(event);
                let whole = self.verbosity == Verbosity::Verbose || board.folder.is_empty();
                node.map_or_else(Vec::new, |node| self.finished(node, whole))
            }
            // The summary says so.
            What::RunFinished { .. } if self.verbosity == Verbosity::Normal => Vec::new(),
            What::RunFinished {
                seconds,
                failed,
                interrupted,
                ..
            } => {
                let took = show_seconds(*seconds);
                let word = match (*failed, *interrupted) {
                    (1.., _) => "run failed after",
                    (_, true) => "run stopped after",
                    _ => "run finished in",
                };
                vec![format!("{word} {took}")]
            }
        };
        let clock = event
            .at
            .to_zoned(self.zone.clone())
            .strftime("%H:%M:%S")
            .to_string();
        let title = title.map_or_else(String::new, |title| title + ": ");
        let mut lines = text.into_iter();
        let first = lines.next().map(|line| format!("{clock} {title}{line}"));
        // Further lines are indented below the first, so that each block is seen as one.
        first
            .into_iter()
            .chain(lines.map(|line| format!("{:9}  {line}", "").trim_end().to_owned()))
            .collect()
    }

    /// What goes on, for a long silence; none where nothing runs.
    pub fn heartbeat(&self, board: &Board, now: Timestamp) -> Option<String> {
        let running = board.nodes.iter().filter_map(|node| match &node.state {
            State::Running(work) => {
                let phase = work.phase.as_deref().unwrap_or("started");
                let time = show_seconds(since(work.since, now).as_secs_f64());
                Some(format!("{}: {phase} ({time})", node.title()))
            }
            _ => None,
        });
        let mut running: Vec<_> = running.collect();
        let more = running.len().saturating_sub(BEATING);
        running.truncate(BEATING);
        if more > 0 {
            running.push(format!("and {more} more"));
        }
        let clock = now.to_zoned(self.zone.clone()).strftime("%H:%M:%S");
        (!running.is_empty()).then(|| format!("{clock} still running: {}", running.join("; ")))
    }

    fn run_started(&self, at: Timestamp, run: &str, folder: &str, nodes: &[NodeInfo]) -> Vec<String> {
        if folder.is_empty() {
            return Vec::new();
        }
        let cached = nodes.iter().filter(|node| node.cached).count();
        let date = at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z");
        let count = nodes.len();
        vec![
            format!("run {run} started at {date}: {count} nodes, {cached} of them from the store"),
            format!("logs in {folder}"),
        ]
    }

    fn check(&self, result: &CheckResult) -> Vec<String> {
        let CheckResult {
            check,
            expected,
            seen,
            ..
        } = result;
        match result.outcome {
            CheckOutcome::Passed => vec![format!("{check} {}", self.style.paint(Role::Good, "ok"))],
            CheckOutcome::Skipped => {
                let word = self.style.paint(Role::Attention, "not run");
                vec![format!("{check} {word}: {seen}")]
            }
            CheckOutcome::Failed => {
                let head = format!("{check} {}", self.style.paint(Role::Bad, "FAILED"));
                let rest = format!("expected {expected}\nseen {seen}");
                std::iter::once(head)
                    .chain(rest.lines().map(str::to_owned))
                    .collect()
            }
        }
    }

    fn forget(&mut self, event: &Event) {
        if let Some(id) = &event.node {
            self.reported.remove(id);
        }
    }

    fn progress(&mut self, at: Timestamp, node: &Node) -> Option<String> {
        let State::Running(work) = &node.state else {
            return None;
        };
        let advance = work.progress?;
        let percent = advance.percent();
        let now = Reported {
            at,
            percent: percent.unwrap_or(0),
            done: advance.done,
        };
        let reported = self.reported.entry(node.info.id.clone()).or_insert(now);
        let after = since(reported.at, at);
        let far = now.percent >= reported.percent + TELL_STEP && after >= TELL_AFTER;
        let slow = now.done > reported.done && after >= TELL_SLOW;
        if !far && !slow {
            return None;
        }
        *reported = now;
        let doing = work.phase.clone().unwrap_or_default();
        let parts = [percent.map(|percent| format!("{percent}%")), advance.amount()];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        Some(format!("{doing} {}", parts.join(", ")).trim_start().to_owned())
    }

    /// `whole`: with the whole message of a failure, where no summary will have it, and with what never started.
    fn finished(&self, node: &Node, whole: bool) -> Vec<String> {
        let State::Done(done) = &node.state else {
            return Vec::new();
        };
        let took = show_seconds(done.seconds);
        let size = done
            .bytes
            .map_or_else(String::new, |bytes| format!(", {}", ByteSize(bytes)));
        let message = done.message.as_deref().unwrap_or_default();
        let reported = done
            .message
            .as_ref()
            .map_or_else(String::new, |message| format!(": {message}"));
        match done.outcome {
            Outcome::Built => vec![format!(
                "{} in {took}{size}{reported}",
                self.style.paint(Role::Good, "done")
            )],
            Outcome::Present => vec![format!(
                "{} already, {took}{reported}",
                self.style.paint(Role::Good, "there")
            )],
            Outcome::Shared => vec![format!("made meanwhile by another, taken after {took}{size}")],
            Outcome::Skipped if !whole => Vec::new(),
            Outcome::Skipped => vec![format!("not started: {message}")],
            Outcome::Cancelled => vec![format!("stopped after {took}")],
            Outcome::Failed => {
                let head = format!("{} after {took}", self.style.paint(Role::Bad, "FAILED"));
                if !whole {
                    return vec![format!("{head}: {}", done.why())];
                }
                let verdict = done
                    .failure
                    .as_ref()
                    .map(|failure| format!(": {}", failure.verdict));
                let head = head + &verdict.unwrap_or_default();
                std::iter::once(head)
                    .chain(message.lines().map(str::to_owned))
                    .collect()
            }
        }
    }
}
