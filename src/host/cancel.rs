//! One flag that says "stop", shared by everything that waits. Set by Ctrl-C or by the scheduler.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A shared stop flag; clones are the same flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<(Mutex<bool>, Condvar)>);

impl Cancel {
    /// Asks everyone to stop.
    pub fn cancel(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Whether it was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps, or returns early when asked to stop. True: asked to stop.
    #[must_use]
    pub fn sleep(&self, duration: Duration) -> bool {
        let guard = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .0
            .1
            .wait_timeout_while(guard, duration, |cancelled| !*cancelled);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
