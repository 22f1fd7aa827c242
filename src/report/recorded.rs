//! A recorded run with the times of all that happened in it: what a page or a trace of it is made of. Pure: events in, plain
//! data out. Times are milliseconds since the run began.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

use crate::event::{Event, What};
use crate::report::board::Board;
use crate::report::node::since;
use crate::report::summary::RunSummary;

/// Lines of output that are kept of each node.
const LINES: usize = 60;
/// Longest line of output, in characters: a progress bar of a guest may be one line of megabytes.
const LINE: usize = 1000;

#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// Run id.
    pub run: String,
    /// Name of the pipeline.
    pub pipeline: String,
    pub manifest: String,
    /// When it began, or was refused.
    pub started: Option<Timestamp>,
    /// Why it was not started.
    pub refused: Option<String>,
    /// Whether it was stopped.
    pub interrupted: bool,
    pub summary: RunSummary,
    /// When nodes did what, by id.
    pub spans: BTreeMap<String, Spans>,
    /// How long the run took, until its last event.
    pub millis: u64,
}

/// What one node did, and when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spans {
    /// When it was ready and waited, and what for.
    pub waits: Vec<Span>,
    /// When it ran.
    pub work: Option<(u64, u64)>,
    pub phases: Vec<Span>,
    /// The last lines of its output.
    pub output: VecDeque<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub from: u64,
    pub to: u64,
    /// A reason, or the name of a phase.
    pub text: String,
}

impl Recorded {
    /// What these events say. What had no end when they were recorded lasts until the last of them.
    pub fn of(events: impl IntoIterator<Item = Event>) -> Self {
        let mut board = Board::default();
        let mut recorded = Self::default();
        for event in events {
            recorded.take(&event);
            board.apply(&event);
        }
        recorded
            .spans
            .values_mut()
            .for_each(|spans| spans.end(recorded.millis));
        recorded.summary = board.into_summary();
        recorded
    }

    fn take(&mut self, event: &Event) {
        let at = millis(self.started, event.at);
        self.millis = self.millis.max(at);
        match &event.what {
            What::RunStarted {
                run,
                pipeline,
                manifest,
                ..
            } => {
                self.run.clone_from(run);
                self.begin(event.at, pipeline, manifest);
            }
            What::RunRefused {
                pipeline,
                manifest,
                error,
                interrupted,
            } => {
                self.begin(event.at, pipeline, manifest);
                self.refused = Some(error.clone());
                self.interrupted = *interrupted;
            }
            What::RunFinished { interrupted, .. } => self.interrupted = *interrupted,
            what => {
                if let Some(node) = &event.node {
                    self.spans.entry(node.clone()).or_default().take(at, what);
                }
            }
        }
    }

    fn begin(&mut self, at: Timestamp, pipeline: &str, manifest: &str) {
        self.started = Some(at);
        pipeline.clone_into(&mut self.pipeline);
        manifest.clone_into(&mut self.manifest);
    }
}

fn millis(started: Option<Timestamp>, at: Timestamp) -> u64 {
    let passed = started.map(|started| since(started, at)).unwrap_or_default();
    u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
}

impl Spans {
    /// How long it ran.
    pub fn worked(&self) -> u64 {
        self.work.map_or(0, |(from, to)| to.saturating_sub(from))
    }

    /// How long it waited although it was ready.
    pub fn waited(&self) -> u64 {
        self.waits
            .iter()
            .map(|wait| wait.to.saturating_sub(wait.from))
            .sum()
    }

    fn take(&mut self, at: u64, what: &What) {
        match what {
            What::NodeWaiting { reason } => {
                self.end(at);
                self.waits.push(Span::open(at, reason));
            }
            What::NodeStarted => {
                self.end(at);
                self.work = Some((at, u64::MAX));
            }
            What::Phase { phase } => {
                end_last(&mut self.phases, at);
                self.phases.push(Span::open(at, phase));
            }
            What::NodeFinished { .. } => self.end(at),
            What::Line { text, .. } => {
                if self.output.len() == LINES {
                    self.output.pop_front();
                }
                self.output.push_back(text.chars().take(LINE).collect());
            }
            _ => {}
        }
    }

    fn end(&mut self, at: u64) {
        end_last(&mut self.waits, at);
        end_last(&mut self.phases, at);
        if let Some((_, to)) = &mut self.work {
            *to = (*to).min(at);
        }
    }
}

impl Span {
    fn open(from: u64, text: &str) -> Self {
        let (to, text) = (u64::MAX, text.to_owned());
        Self { from, to, text }
    }
}

fn end_last(spans: &mut [Span], at: u64) {
    if let Some(last) = spans.last_mut() {
        last.to = last.to.min(at);
    }
}
