//! Whatever a job leaves or needs is waited for while the remote store does not answer: hours of work may depend on it.

use std::time::{Duration, Instant};

use crate::host::cancel::Cancel;
use crate::remote::Remote;
use crate::remote::error::RemoteError;

/// How long one is waited for. A job that waits keeps its place on its host.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
const PAUSE: Duration = Duration::from_secs(5);

/// Does something with the remote store until it answers.
///
/// # Errors
/// [`RemoteError`], when it refuses, was away for too long, or all is stopped.
pub fn outlast<T>(
    remote: &Remote,
    cancel: &Cancel,
    mut once: impl FnMut() -> Result<T, RemoteError>,
) -> Result<T, RemoteError> {
    let began = Instant::now();
    loop {
        match once() {
            Err(error) if error.may_go_on() && !error.is_cancelled() && began.elapsed() < PATIENCE => {
                if cancel.sleep(PAUSE) {
                    return Err(RemoteError::Cancelled);
                }
                remote.ask_again();
            }
            done => return done,
        }
    }
}
