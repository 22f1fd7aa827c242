//! Why a run did not begin: as an error, as an exit code, as what is left of it.

use std::path::{Path, PathBuf};

use crate::cli::exit::Exit;
use crate::cli::report_error::report_error;
use crate::event::What;
use crate::manifest::model::Manifest;
use crate::run::error::RunError;
use crate::store::StoreError;

/// Why a run did not begin.
pub(super) enum Stop {
    /// To be shown, and kept in the run's journal.
    Refused(RunError),
    /// Shown already.
    Reported(Exit),
}

impl Stop {
    /// Says why, unless that is on the screen already.
    pub(super) fn exit(self) -> Exit {
        match self {
            Self::Refused(error) => refuse(&error),
            Self::Reported(exit) => exit,
        }
    }
}

impl From<RunError> for Stop {
    fn from(error: RunError) -> Self {
        Self::Refused(error)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Exit> for Stop {
    fn from(exit: Exit) -> Self {
        Self::Reported(exit)
    }
}

/// Says why a run does not start.
pub(super) fn refuse(error: &RunError) -> Exit {
    // Being asked to stop is no error.
    if matches!(error, RunError::Store(StoreError::Cancelled)) {
        return Exit::Interrupted;
    }
    report_error(error);
    match error {
        RunError::Missing { .. }
        | RunError::NotText { .. }
        | RunError::Output(_)
        | RunError::TooLarge(_)
        | RunError::FileTooLarge { .. }
        | RunError::Store(_)
        | RunError::Sockets(_)
        | RunError::Signals(_) => Exit::Host,
        RunError::NotBuilt { .. } => Exit::Failed,
        RunError::Secret(_)
        | RunError::Target(_)
        | RunError::Medium(_)
        | RunError::NoTarget
        | RunError::Lock(_)
        | RunError::Facts(_)
        | RunError::Plan(_) => Exit::Usage,
    }
}

/// What is left of a run that was refused, for `pipeline runs`.
pub(super) fn refusal(manifest: &Manifest, error: &RunError) -> What {
    What::RunRefused {
        pipeline: manifest.name.clone(),
        manifest: absolute(&manifest.path).display().to_string(),
        error: error.to_string(),
        interrupted: matches!(error, RunError::Store(StoreError::Cancelled)),
    }
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
