//! What is read at the moment, on standard error, where reading takes longer than a second.

use std::io::IsTerminal as _;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::cli::report_error::talk;

/// After so long it is worth a line, and again after so long on a terminal.
const LONG: Duration = Duration::from_secs(1);
/// How often a file or a CI log gets a line.
const SELDOM: Duration = Duration::from_secs(20);

/// Where the work is.
#[derive(Default)]
pub(super) struct Progress(Mutex<String>);

impl Progress {
    /// Does some work and shows where it is.
    pub fn show<T>(work: impl FnOnce(&Self) -> T) -> T {
        let progress = &Self::default();
        let (done, waits) = channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let moving = std::io::stderr().is_terminal();
                let mut pause = LONG;
                let mut shown = false;
                while waits.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    let at = progress.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    if at.is_empty() {
                        continue;
                    }
                    shown = true;
                    if moving {
                        talk(&format!("\r\u{1b}[K{at}"));
                    } else {
                        talk(&format!("{at}\n"));
                        pause = SELDOM;
                    }
                }
                if moving && shown {
                    talk("\r\u{1b}[K");
                }
            });
            let result = work(progress);
            drop(done);
            result
        })
    }

    /// Says what comes now.
    pub fn at(&self, what: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }
}
