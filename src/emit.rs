//! The channel that events go through: its sending end, which knows the time, and what thins out reports of progress.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::event::{Event, Stream, Unit, What};

/// Least time between two events.
const EVERY: Duration = Duration::from_millis(100);

/// The sending end of the channel, bound to one node (or to the run as a whole).
#[derive(Clone, Debug)]
pub struct Emitter {
    sender: mpsc::Sender<Event>,
    node: Option<String>,
    host: Option<String>,
}

impl Emitter {
    /// An emitter for the run as a whole.
    pub fn new(sender: mpsc::Sender<Event>) -> Self {
        Self {
            sender,
            node: None,
            host: None,
        }
    }

    /// The same channel, for one node.
    #[must_use]
    pub fn for_node(&self, node: &str) -> Self {
        Self {
            sender: self.sender.clone(),
            node: Some(node.to_owned()),
            host: self.host.clone(),
        }
    }

    /// The same channel, for what happens on another host.
    #[must_use]
    pub fn on(&self, host: Option<String>) -> Self {
        Self { host, ..self.clone() }
    }

    /// The node it is bound to.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// Sends an event. A reader that has gone away is no concern of the sender.
    pub fn emit(&self, what: What) {
        let event = Event {
            at: Timestamp::now(),
            node: self.node.clone(),
            host: self.host.clone(),
            what,
        };
        drop(self.sender.send(event));
    }

    /// Sends an event of another process.
    pub fn pass_on(&self, event: Event) {
        drop(self.sender.send(event));
    }

    /// Enters a phase.
    pub fn phase(&self, phase: impl Into<String>) {
        self.emit(What::Phase { phase: phase.into() });
    }

    /// Reports bytes done of a total.
    pub fn bytes(&self, done: u64, total: u64) {
        self.emit(What::Progress {
            done,
            total,
            unit: Unit::Bytes,
        });
    }

    /// Reports a line of output.
    pub fn line(&self, stream: Stream, text: impl Into<String>) {
        self.emit(What::Line {
            stream,
            text: text.into(),
        });
    }

    pub fn warn(&self, text: impl Into<String>) {
        self.emit(What::Warning { text: text.into() });
    }
}

/// Thins out what is reported.
#[derive(Debug)]
pub struct Progress<'a> {
    emit: &'a Emitter,
    last: Option<Instant>,
}

impl<'a> Progress<'a> {
    pub fn new(emit: &'a Emitter) -> Self {
        Self { emit, last: None }
    }

    /// Bytes so far, reported if the last time is long enough ago.
    pub fn report(&mut self, done: u64, total: u64) {
        if self.last.is_none_or(|last| last.elapsed() >= EVERY) {
            self.last = Some(Instant::now());
            self.emit.bytes(done, total);
        }
    }

    /// The end of it, always reported.
    pub fn last(&self, done: u64, total: u64) {
        self.emit.bytes(done, total.max(done));
    }
}
