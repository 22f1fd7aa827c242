//! What can go wrong with a run as a whole, and with one node of it.

use crate::event::Verdict;
use crate::host::fs::FsError;
use crate::machine::private::NoPlace;
use crate::run::schedule::TooLarge;
use crate::stage::error::StageError;
use crate::stage::recipe::PlanError;
use crate::store::StoreError;

/// A node failed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A result that the node needs has gone since the plan was made.
    #[error("the result of {id} has gone from the store while this run was going; run again")]
    Gone { id: String },
    /// A stage ended well without one of its files.
    #[error("{node} ended well but left no file `{file}`; this is a bug in pipeline")]
    NotMade { node: String, file: &'static str },
    /// Its work failed.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NodeError {
    /// Why, in one word.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Stage(error) => error.verdict(),
            Self::Store(StoreError::Fs(FsError::Full { .. })) => Verdict::DiskFull,
            Self::NotMade { .. } => Verdict::Bug,
            Self::Gone { .. } | Self::Store(_) => Verdict::Other,
        }
    }

    /// Whether qemu broke down: the node may well end well when it is begun anew.
    pub fn is_breakdown(&self) -> bool {
        matches!(self, Self::Stage(error) if error.is_breakdown())
    }

    /// Whether it is only that we were asked to stop.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Store(StoreError::Cancelled) => true,
            Self::Stage(error) => error.is_cancelled(),
            _ => false,
        }
    }
}

/// A run could not start.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum RunError {
    #[error("cannot listen for Ctrl-C: {0}")]
    Signals(std::io::Error),
    /// A secret that a step needs.
    #[error("{0}")]
    #[diagnostic(help("nothing was started"))]
    Secret(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Plan(#[from] PlanError),
    /// A node is larger than the host.
    #[error(transparent)]
    #[diagnostic(help(
        "lower `memory` or `disk` of the distro, or make room: by what [resources] allows, or on this host; nothing was \
         started"
    ))]
    TooLarge(#[from] TooLarge),
    /// Nowhere to publish to.
    #[error("the manifest names no place to publish to")]
    #[diagnostic(help(
        "add one, such as: [publish.shacache], or [publish.directory] with path = \"/srv/images\"; nothing was started"
    ))]
    NoTarget,
    /// Images that are to be published as they are.
    #[error("not built, or not as the manifest has it now: {}", images.join(", "))]
    #[diagnostic(help(
        "build them first: `pipeline run`, or build and publish at once: `pipeline run --upload`; nothing was started"
    ))]
    NotBuilt {
        /// Their ids.
        images: Vec<String>,
    },
    /// Targets that cannot be used.
    #[error("{0}")]
    #[diagnostic(help("nothing was started"))]
    Target(String),
    /// The images could not be put where they belong.
    #[error("the images have no place: {0}")]
    #[diagnostic(help("`output` under [pipeline] names the folder; nothing was started"))]
    Output(FsError),
    /// Machines could not be spoken to.
    #[error(transparent)]
    #[diagnostic(help("nothing was started"))]
    Sockets(NoPlace),
    /// Tools are missing.
    #[error("this host lacks {what}")]
    #[diagnostic(help("`pipeline doctor` prints the command that installs it; nothing was started"))]
    Missing {
        /// Programs, in words.
        what: String,
    },
}
