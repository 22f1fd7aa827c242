//! What can go wrong with a child.

use std::time::Duration;

/// What went wrong with a child.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program is not installed.
    #[error("`{program}` was not found; `pipeline doctor` says which package has it")]
    NotFound { program: String },
    /// The system would not start it.
    #[error("could not start `{program}`: {source}")]
    Start { program: String, source: std::io::Error },
    /// It ended with another code than 0.
    #[error("`{program}` {status}{}", tail_text(.tail))]
    Failed {
        program: String,
        /// In words: "exited with code 2", "was killed by signal 9".
        status: String,
        /// Exit code, absent when a signal ended it.
        code: Option<i32>,
        tail: Vec<String>,
    },
    /// It took too long and was stopped.
    #[error("`{program}` did not end within {}{}", crate::size::show_duration(*.limit), tail_text(.tail))]
    TimedOut {
        program: String,
        limit: Duration,
        tail: Vec<String>,
    },
    /// We were asked to stop.
    #[error("stopped")]
    Cancelled,
    /// Talking to it failed.
    #[error("lost contact with `{program}`: {source}")]
    Io { program: String, source: std::io::Error },
}

/// The last lines of an output as messages show them.
pub fn tail_text(tail: &[String]) -> String {
    tail.iter()
        .fold(String::new(), |text, line| text + "\n  | " + line)
}
