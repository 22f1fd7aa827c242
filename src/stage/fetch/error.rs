//! Why bytes could not be fetched, source by source. URLs in here are already free of secrets.

use std::fmt;
use std::path::PathBuf;

use super::list::ListError;
use crate::digest::Digest;
use crate::host::fs::io_verdict;
use crate::host::http::HttpError;
use crate::size::ByteSize;
use crate::verdict::Verdict;

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Asked to stop; what arrived so far stays for the next run.
    #[error("stopped")]
    Cancelled,
    /// The disk cannot take the bytes.
    #[error("no space left for {}{}; free some, or put the store on another disk (PIPELINE_STORE)",
        .path.display(), space_text(*.need, *.free))]
    DiskFull {
        /// The file that was being written.
        path: PathBuf,
        /// Bytes still to come, when known.
        need: Option<u64>,
        /// Bytes free.
        free: Option<u64>,
    },
    /// Every source failed.
    #[error("{}", all_text(.digest, .failures))]
    Failed {
        /// What was wanted.
        digest: Digest,
        /// One entry a source, in the order tried.
        failures: Vec<SourceFailure>,
    },
    /// A checksum file gave no digest.
    #[error(transparent)]
    List(#[from] ListError),
    /// Nothing has looked yet what the newest medium is.
    #[error("the newest medium of {release} is not in the lock; `pipeline update` looks it up")]
    Unlocked { release: String },
    /// The file that takes the bytes cannot be used.
    #[error("could not use {}: {source}; check that it can be written", .path.display())]
    Part { path: PathBuf, source: std::io::Error },
}

impl FetchError {
    /// The kind of failure: of several sources that of the first, except that other bytes than expected come before all.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Cancelled | Self::Unlocked { .. } => Verdict::Other,
            Self::DiskFull { .. } => Verdict::DiskFull,
            Self::Failed { failures, .. } => {
                let all = || failures.iter().map(|failure| failure.reason.verdict());
                let differs = all().find(|verdict| *verdict == Verdict::DigestDiffers);
                differs.or_else(|| all().next()).unwrap_or(Verdict::Other)
            }
            Self::List(error) => error.verdict(),
            Self::Part { source, .. } => io_verdict(source),
        }
    }
}

/// Why one source failed.
#[derive(Debug)]
pub struct SourceFailure {
    /// URL without secrets, or path.
    pub url: String,
    pub reason: Reason,
}

/// What was wrong with a source.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The request failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A local file cannot be read.
    #[error("the file cannot be read ({0}); check the path")]
    Local(std::io::Error),
    /// Other bytes than expected.
    #[error(
        "the bytes are not those expected\n    expected {want}\n    received {got} ({})\n    if the file changed \
         on purpose, put the new digest into the manifest; if not, do not trust this source",
        ByteSize(*.bytes)
    )]
    Mismatch {
        /// As the manifest says.
        want: Digest,
        /// As received.
        got: Digest,
        /// How many bytes were received.
        bytes: u64,
    },
    /// More bytes than announced, or than any image has.
    #[error("the server sends more than the {} that {}; use another mirror",
        ByteSize(*.limit), if *.announced { "it announced" } else { "any image may have" })]
    TooLong {
        limit: u64,
        /// Whether the server named it.
        announced: bool,
    },
    /// A checksum file that is none.
    #[error("it is larger than any checksum file; check the URL")]
    LongList,
    /// Part of the file although the whole was asked for.
    #[error(
        "the server answers with a part of the file although all of it was asked for; use another mirror"
    )]
    Unasked,
}

/// How trying one source ended badly.
#[derive(Debug)]
pub(super) enum Fault {
    /// This source is of no use; another may be.
    Source(Reason),
    /// No source can help.
    Fatal(FetchError),
}

impl Reason {
    /// The kind of failure.
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Http(error) => error.verdict(),
            Self::Local(error) if error.kind() == std::io::ErrorKind::NotFound => Verdict::NotFound,
            Self::Local(error) => io_verdict(error),
            Self::Mismatch { .. } => Verdict::DigestDiffers,
            Self::TooLong { .. } | Self::Unasked | Self::LongList => Verdict::ServerError,
        }
    }

    /// Whether another attempt at the same source makes sense.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self, Self::Http(e) if e.is_transient())
    }

    /// Whether a server says that there is no such file.
    pub(super) fn is_absent(&self) -> bool {
        matches!(
            self,
            Self::Http(HttpError::Status {
                status: 404 | 410,
                ..
            })
        )
    }

    /// In one line and without the remedy, for events about what is done next.
    pub(super) fn brief(&self) -> String {
        match self {
            Self::Mismatch { want, got, .. } => format!("received {got} instead of {want}"),
            Self::Http(error) => error.brief(),
            other => {
                let text = other.to_string();
                text.split("; ").next().unwrap_or_default().to_owned()
            }
        }
    }
}

impl fmt::Display for SourceFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.url, self.reason)
    }
}

fn all_text(digest: &Digest, failures: &[SourceFailure]) -> String {
    match failures {
        [] => format!("there is no URL for {digest}; give it one"),
        [only] => format!("could not fetch {only}"),
        many => many.iter().fold(
            format!("could not fetch {digest}: all {} sources failed", many.len()),
            |text, failure| format!("{text}\n  {failure}"),
        ),
    }
}

fn space_text(need: Option<u64>, free: Option<u64>) -> String {
    match (need, free) {
        (Some(need), Some(free)) => {
            format!(": {} more to come, {} free", ByteSize(need), ByteSize(free))
        }
        _ => String::new(),
    }
}
