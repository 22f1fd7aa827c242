//! Tries again what may succeed a moment later, with pauses that grow. Knows nothing of what is tried.

use std::time::Duration;

use super::error::UploadError;
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::size::show_duration;

/// How often and how patiently.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Attempts at one thing.
    pub attempts: u32,
    /// Pause before the second attempt; doubles with each further one.
    pub pause: Duration,
    /// Longest pause, also where the server asks for a longer one (`Retry-After`).
    pub longest_pause: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            attempts: 4,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
        }
    }
}

impl Policy {
    /// Does something until it succeeds, fails for good, or has failed too often.
    pub(super) fn retry<T>(
        &self,
        emit: &Emitter,
        cancel: &Cancel,
        mut attempt: impl FnMut() -> Result<T, UploadError>,
    ) -> Result<T, UploadError> {
        let mut pause = self.pause;
        for number in 1.. {
            let error = match attempt() {
                Ok(done) => return Ok(done),
                Err(error) if !error.is_transient() || number >= self.attempts => return Err(error),
                Err(error) => error,
            };
            let wait = error
                .retry_after()
                .unwrap_or(pause)
                .max(pause)
                .min(self.longest_pause);
            emit.warn(format!(
                "{}; trying again in {} (attempt {} of {})",
                error.brief(),
                show_duration(wait),
                number + 1,
                self.attempts
            ));
            if cancel.sleep(wait) {
                break;
            }
            pause *= 2;
        }
        Err(UploadError::Cancelled)
    }

    /// Asks until there is something, for servers that take their time to show what they took.
    pub(super) fn wait_for<T>(
        &self,
        cancel: &Cancel,
        mut ask: impl FnMut() -> Result<Option<T>, UploadError>,
    ) -> Result<Option<T>, UploadError> {
        let mut pause = self.pause;
        for number in 1.. {
            if let Some(found) = ask()? {
                return Ok(Some(found));
            }
            // Two attempts more than at a failure: indexing in the background takes longer than a restart.
            if number >= self.attempts + 2 {
                return Ok(None);
            }
            if cancel.sleep(pause.min(self.longest_pause)) {
                break;
            }
            pause *= 2;
        }
        Err(UploadError::Cancelled)
    }
}
