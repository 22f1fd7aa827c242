//! A child that was started: waiting for it, ending it. Dropping one that is alive ends it.

use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::{POLL, ProcessError};
use crate::host::cancel::Cancel;

/// How long a child may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// A child that lives on when we are gone.
#[derive(Debug)]
pub struct Left {
    pub(super) child: Child,
    pub(super) program: String,
}

impl Left {
    /// Whether it ended already, and how.
    ///
    /// # Errors
    /// [`ProcessError::Io`].
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        self.child.try_wait().map_err(|source| ProcessError::Io {
            program: self.program.clone(),
            source,
        })
    }

    /// Asks it to end in order (SIGTERM).
    pub fn tell_to_end(&mut self) {
        // One that was waited for has given its id back.
        if matches!(self.try_wait(), Ok(None))
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
    }
}

/// A child that is alive (or not waited for yet). Dropping it kills its whole group.
#[derive(Debug)]
pub struct Running {
    /// The child; its pipes may be taken.
    pub child: Child,
    pub(super) program: String,
    pub(super) ended: Option<ExitStatus>,
    pub(super) group: Group,
}

/// Whose process group a child is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// One of its own.
    Own,
    Ours,
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it ended, and how.
    ///
    /// # Errors
    /// [`ProcessError::Io`].
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        if self.ended.is_none() {
            let waited = self.child.try_wait();
            self.ended = waited.map_err(|source| ProcessError::Io {
                program: self.program.clone(),
                source,
            })?;
        }
        Ok(self.ended)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`ProcessError::Cancelled`] when asked to stop first, [`ProcessError::Io`].
    pub fn wait(&mut self, cancel: &Cancel) -> Result<ExitStatus, ProcessError> {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if cancel.sleep(pause) {
                return Err(ProcessError::Cancelled);
            }
            pause = (pause * 2).min(POLL);
        }
    }

    /// Ends it: SIGTERM to the group, some seconds of grace, SIGKILL.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if !matches!(self.try_wait(), Ok(None)) {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.kill();
    }

    /// Kills the group at once and reaps the child.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if self.ended.is_none() {
            self.ended = self.child.wait().ok();
        }
    }

    fn signal(&self, signal: Signal) {
        // The group may have members left after the child itself was reaped, but then its id may be another
        // else's: signal only while the child is ours.
        if self.ended.is_some() {
            return;
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = match self.group {
                Group::Own => rustix::process::kill_process_group(pid, signal),
                Group::Ours => rustix::process::kill_process(pid, signal),
            };
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}
