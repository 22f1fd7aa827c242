//! Passes progress on, but not more often than eyes can follow: a reader of events should not have to sort out a call
//! for each block.

use std::time::{Duration, Instant};

/// Time between two calls.
const EVERY: Duration = Duration::from_millis(100);

/// A progress callback that is not called too often.
pub(super) struct Meter<'a> {
    progress: &'a mut dyn FnMut(u64, u64),
    last: Option<Instant>,
}

impl<'a> Meter<'a> {
    pub(super) fn new(progress: &'a mut dyn FnMut(u64, u64)) -> Self {
        Self { progress, last: None }
    }

    /// So much is done. The first call and the one that reaches the total always get through.
    pub(super) fn set(&mut self, done: u64, total: u64) {
        if done < total && self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        (self.progress)(done, total);
    }
}
