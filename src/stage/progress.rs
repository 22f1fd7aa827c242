//! Progress events of a transfer, not too many.

use std::time::{Duration, Instant};

use crate::event::Emitter;

/// Least time between two events.
const EVERY: Duration = Duration::from_millis(100);

/// Thins out what is reported.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    emit: &'a Emitter,
    last: Option<Instant>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(emit: &'a Emitter) -> Self {
        Self { emit, last: None }
    }

    /// Bytes so far, told if the last time is long enough ago.
    pub(super) fn report(&mut self, done: u64, total: u64) {
        if self.last.is_none_or(|last| last.elapsed() >= EVERY) {
            self.last = Some(Instant::now());
            self.emit.bytes(done, total);
        }
    }

    /// The end of it, always told.
    pub(super) fn last(&self, done: u64, total: u64) {
        self.emit.bytes(done, total.max(done));
    }
}
