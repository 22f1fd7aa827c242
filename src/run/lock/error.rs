//! Why a lock is not read, made or moved.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use crate::host::fs::FsError;
use crate::host::http::HttpError;
use crate::host::process::ProcessError;
use crate::lock::{LockFileError, Refusal};
use crate::stage::fetch::{FetchError, LatestError};

/// Why a lock does not serve.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum LockError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] LockFileError),
    #[error("cannot write the lock: {0}")]
    #[diagnostic(help("it stands next to the manifest; nothing was moved"))]
    Write(FsError),
    /// All that was refused.
    #[error("{}", lines(.0))]
    #[diagnostic(help("nothing was moved in the lock"))]
    Refused(Vec<Refused>),
    /// The lock may not be moved, and would have to be.
    #[error("--locked: the lock {} would have to be moved:\n  {}", path.display(), .changes.join("\n  "))]
    #[diagnostic(help("move it with `pipeline update`, or run without --locked; nothing was started"))]
    Held { path: PathBuf, changes: Vec<String> },
    #[error("stopped")]
    Cancelled,
}

/// What was refused, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}: {cause}", Vec::from_iter(.distros.iter().map(String::as_str)).join(", "))]
pub struct Refused {
    /// Who needs it.
    pub distros: BTreeSet<String>,
    /// `suite bookworm of http://…`.
    pub what: String,
    pub cause: Cause,
}

/// Why it was refused.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("there is no `InRelease`; correct `suite` or `mirror`")]
    Absent,
    #[error(transparent)]
    State(#[from] Refusal),
    #[error(
        "its signature is not good: {0}\n  \
         is the keyring the archive's? if so, do not trust this mirror"
    )]
    Signature(ProcessError),
    #[error("the keyring {} cannot be read: {source}", path.display())]
    Keyring { path: PathBuf, source: io::Error },
    #[error(transparent)]
    List(#[from] FetchError),
    #[error(transparent)]
    Latest(#[from] LatestError),
}

impl Cause {
    /// Whether it may only be that the server, or the way to it, is down or lacks something: what builds from it finds out,
    /// and reports it better.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Http(_) | Self::Absent | Self::List(_))
    }

    pub fn is_cancelled(&self) -> bool {
        matches!(
            self,
            Self::Http(HttpError::Cancelled)
                | Self::List(FetchError::Cancelled)
                | Self::Latest(LatestError::Cancelled)
                | Self::Signature(ProcessError::Cancelled)
        )
    }
}

fn lines(all: &[Refused]) -> String {
    let lines: Vec<_> = all.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
