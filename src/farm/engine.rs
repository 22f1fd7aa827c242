//! What an engine is asked for: to queue a job, to say how jobs are, to cancel some. It only starts processes on other hosts;
//! whether a job did its work is never its to say.

use std::fmt;
use std::time::Duration;

use crate::host::process::ProcessError;

/// An engine that starts jobs on other hosts.
pub trait Engine: fmt::Debug + Send + Sync {
    /// Queues a job. Of several jobs of one name it starts one at a time.
    ///
    /// # Errors
    /// [`EngineError`]. After [`EngineError::Away`] the job may be queued all the same.
    fn submit(&self, job: &Job) -> Result<Ticket, EngineError>;

    /// How jobs of these names are, as far as the engine knows them still.
    ///
    /// # Errors
    /// [`EngineError`]; it says nothing about the jobs.
    fn list(&self, names: &[&str]) -> Result<Vec<Seen>, EngineError>;

    /// Ends jobs that have not ended. Those that wait never start.
    ///
    /// # Errors
    /// [`EngineError`].
    fn end(&self, jobs: &[Ticket], how: Stop) -> Result<(), EngineError>;
}

/// How a job that runs is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is asked to.
    Ask,
    /// The engine sees to it: it kills what does not stop in time.
    Cancel,
    /// It is killed.
    Kill,
}

/// What an engine calls a job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub String);

/// A job for an engine.
#[derive(Clone, Debug)]
pub struct Job {
    /// The same for the same work, whoever wants it.
    pub name: String,
    /// Those that must end well before it starts.
    pub after: Vec<Ticket>,
    /// In bytes.
    pub memory: u64,
    pub cpus: u32,
    /// How long it may take; none: as long as the engine lets it.
    pub time: Option<Duration>,
    /// The smaller goes first.
    pub turn: u32,
    /// The program and its arguments.
    pub words: Vec<String>,
}

/// A job as its engine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub ticket: Ticket,
    pub name: String,
    pub phase: Phase,
    /// Where it runs or ran.
    pub host: Option<String>,
    /// State and reason in the engine's own words.
    pub words: String,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has not started, or will start again.
    Waiting,
    /// Its host failed when it was to start, and its engine does not start it again by itself.
    Stuck,
    Running,
    /// Its process has ended, or is about to be ended.
    Ending,
    Ended(End),
}

/// How a job ended, as far as its engine can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its process said so. A result proves it, nothing else does.
    Well,
    Failed,
    /// It took longer than it may.
    Time,
    /// It took more memory than it may.
    Memory,
    /// Its host failed, or others needed it more.
    Host,
    Cancelled,
    /// A job that it was to follow did not end well.
    Unmet,
}

/// An engine did not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// Nothing follows from it: what was asked for may be done, or not.
    #[error("{program} has no answer from its controller: {cause}")]
    Away { program: String, cause: String },
    /// The job will never be accepted as it is.
    #[error("{program} refused: {cause}")]
    Refused { program: String, cause: String },
    /// There is no such program.
    #[error("{program} is not installed on this host; install the client programs of the engine")]
    NoProgram { program: String },
}

/// What the engines' programs say when no controller answers.
const AWAY: [&str; 7] = [
    "timed out",
    "unable to contact",
    "connection refused",
    "zero bytes",
    "connection reset",
    "try again",
    "communication",
];

impl From<ProcessError> for EngineError {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::NotFound { program } => Self::NoProgram { program },
            ProcessError::Failed { program, tail, .. } => {
                let cause = tail.join("; ");
                let is_away = AWAY.iter().any(|words| cause.to_lowercase().contains(words));
                if is_away {
                    Self::Away { program, cause }
                } else {
                    Self::Refused { program, cause }
                }
            }
            error => Self::Away {
                program: "the engine".to_owned(),
                cause: error.to_string(),
            },
        }
    }
}
