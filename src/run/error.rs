//! What can go wrong with a run as a whole, and with one node of it.

use std::path::{Path, PathBuf};

use crate::host::facts::OomKill;
use crate::host::fs::FsError;
use crate::host::private::NoPlace;
use crate::host::process::{ProcessError, tail_text};
use crate::run::facts::FactsError;
use crate::run::lock::LockError;
use crate::run::process::{Failure, FailureKind};
use crate::run::schedule::TooLarge;
use crate::size::ByteSize;
use crate::stage::error::StageError;
use crate::stage::recipe::PlanError;
use crate::store::StoreError;
use crate::verdict::Verdict;

/// A node failed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The process of the node failed by itself.
    #[error("the process of this node crashed: it {how}; this is a bug in pipeline; nothing else in this run is affected{}",
        tail_text(.tail))]
    Crashed {
        how: String,
        /// What it printed last.
        tail: Vec<String>,
    },
    /// The process of the node was ended from outside.
    #[error("the process of this node {how}; nothing else in this run is affected; run again to build what is missing{}",
        tail_text(.tail))]
    Killed {
        how: String,
        /// What it printed last.
        tail: Vec<String>,
    },
    /// The host's kernel killed the process of the node.
    #[error(
        "this host ran out of memory and its kernel killed the process of this node ({kill}); lower `jobs` or `memory` under \
         [resources], or stop what else needs memory"
    )]
    HostMemory {
        /// How that is known.
        kill: OomKill,
    },
    /// The process of the node could not be started.
    #[error("this node has no process to run in: {0}")]
    NotStarted(ProcessError),
    /// What the node needs cannot be written down.
    #[error("the work of this node cannot be written as JSON: {0}; this is a bug in pipeline")]
    Request(String),
    /// A result that the node needs has gone since the plan was made.
    #[error("the result of {id} has gone from the store while this run was going; run again")]
    Gone { id: String },
    /// A stage ended well without one of its files.
    #[error("{node} ended well but left no file `{file}`; this is a bug in pipeline")]
    NotMade { node: String, file: &'static str },
    /// Its work failed, in a process of its own.
    #[error(transparent)]
    Process(Failure),
    /// Its work failed.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another host was to do it.
    #[error("{message}")]
    Elsewhere {
        verdict: Verdict,
        /// What that host said, or what is known instead.
        message: String,
    },
}

impl NodeError {
    /// Why, in one word.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Stage(error) => error.verdict(),
            Self::Process(failure) => failure.verdict,
            Self::Killed { .. } => Verdict::Killed,
            Self::HostMemory { .. } => Verdict::HostOutOfMemory,
            Self::Elsewhere { verdict, .. } => *verdict,
            Self::Store(StoreError::Fs(error)) => error.verdict(),
            Self::Crashed { .. } | Self::NotMade { .. } | Self::Request(_) => Verdict::Bug,
            Self::Gone { .. } | Self::NotStarted(_) | Self::Store(_) => Verdict::Other,
        }
    }

    /// The file with the whole output of what failed, where there is one.
    pub fn log(&self) -> Option<&Path> {
        match self {
            Self::Stage(error) => error.log(),
            Self::Process(failure) => failure.log.as_deref(),
            _ => None,
        }
    }

    /// Whether qemu broke down: the node may well end well when it is started again.
    pub fn is_breakdown(&self) -> bool {
        match self {
            Self::Stage(error) => error.is_breakdown(),
            Self::Process(failure) => failure.kind == FailureKind::Breakdown,
            _ => false,
        }
    }

    /// Whether it is only that we were asked to stop.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Store(StoreError::Cancelled) => true,
            Self::Stage(error) => error.is_cancelled(),
            Self::Process(failure) => failure.kind == FailureKind::Cancelled,
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
    /// Facts that another host passed on.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Facts(#[from] FactsError),
    /// The lock cannot be read, or does not allow this run.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Lock(#[from] LockError),
    /// A node is larger than the host.
    #[error(transparent)]
    #[diagnostic(help(
        "lower `memory` or `disk` of the distro, or make room: by what [resources] allows, or on this host; nothing was \
         started"
    ))]
    TooLarge(#[from] TooLarge),
    /// A path that cannot be passed to the processes of the nodes.
    #[error("the path `{}` is not text (UTF-8)", path.display())]
    #[diagnostic(help(
        "rename the folder, or choose another one for the store (--store); nothing was started"
    ))]
    NotText { path: PathBuf },
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
    /// A disk that the store's file system cannot hold.
    #[error("{node} makes a disk of {size}, and the file system of {} holds no file that large: {source}", folder.display())]
    #[diagnostic(help(
        "take a smaller size, or a store on a file system with larger files, such as XFS (--store); nothing was started"
    ))]
    FileTooLarge {
        node: String,
        size: ByteSize,
        /// Where it would be made.
        folder: PathBuf,
        source: std::io::Error,
    },
    /// Media that cannot be used.
    #[error("{0}")]
    #[diagnostic(help("nothing was started"))]
    Medium(String),
    /// The images could not be put where they belong.
    #[error("cannot write to the output folder: {0}")]
    #[diagnostic(help("`output` under [pipeline] names the folder; nothing was started"))]
    Output(FsError),
    /// Machines could not be spoken to.
    #[error(transparent)]
    #[diagnostic(help("nothing was started"))]
    Sockets(NoPlace),
    /// Tools are missing.
    #[error("this host lacks {what}")]
    #[diagnostic(help(
        "`pipeline doctor` prints the command that installs it, or names its package; nothing was started"
    ))]
    Missing {
        /// Programs, in words.
        what: String,
    },
}
