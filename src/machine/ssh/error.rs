//! What can go wrong on the way into a guest. A lost connection, a failed command and a late one are different things.

use std::path::PathBuf;
use std::time::Duration;

use crate::host::process::{ProcessError, tail_text};
use crate::size::show_duration;
use crate::verdict::Verdict;

/// What went wrong on the way into a guest.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// We were asked to stop.
    #[error("stopped")]
    Cancelled,
    /// The connection was not made.
    #[error("ssh could not connect to {user}@{host} port {port}: {talk}")]
    Connect {
        user: String,
        host: String,
        port: u16,
        /// ssh's words.
        talk: String,
        /// Whether the reason lies on this side.
        is_own: bool,
    },
    /// A command that must succeed did not.
    #[error("`{command}` exited with code {code} in the guest{}", tail_text(.tail))]
    Failed {
        /// Command: its first line, or what a comment there calls it.
        command: String,
        /// Its exit code.
        code: i32,
        tail: Vec<String>,
    },
    /// A file on this side could not be used.
    #[error("could not use `{path}` for the guest: {source}")]
    File { path: PathBuf, source: std::io::Error },
    /// A key pair could not be made or read.
    #[error("could not use the ssh key `{path}`: {source}")]
    Key {
        /// Which file.
        path: PathBuf,
        source: std::io::Error,
    },
    /// The connection ended before the command did.
    #[error("lost the connection to the guest while `{command}` ran{}", tail_text(.tail))]
    Lost {
        /// Command, its first line.
        command: String,
        /// The last lines of the command and of ssh.
        tail: Vec<String>,
    },
    /// A program of the host failed.
    #[error(transparent)]
    Process(ProcessError),
    /// sshd answered and did not take the key.
    #[error("{user}@{host} port {port} refuses the key `{key}`")]
    Refused {
        user: String,
        host: String,
        port: u16,
        /// Private key file.
        key: PathBuf,
    },
    /// The command took too long; what it started in the guest may still run.
    #[error("`{command}` did not end within {}{}", show_duration(*.limit), tail_text(.tail))]
    TimedOut {
        /// Command, its first line.
        command: String,
        limit: Duration,
        tail: Vec<String>,
    },
}

impl SshError {
    /// Why, in one word.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Failed { .. } => Verdict::StepFailed,
            Self::Process(_) | Self::Connect { is_own: true, .. } => Verdict::ToolFailed,
            Self::Refused { .. } => Verdict::KeyRefused,
            Self::TimedOut { .. } => Verdict::TimedOut,
            Self::Cancelled
            | Self::Connect { .. }
            | Self::File { .. }
            | Self::Key { .. }
            | Self::Lost { .. } => Verdict::Other,
        }
    }
}

impl From<ProcessError> for SshError {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::Cancelled => Self::Cancelled,
            error => Self::Process(error),
        }
    }
}
