//! What can go wrong with the remote store. None of it fails a run: what cannot be taken is built.

use crate::host::fs::FsError;
use crate::host::http::{HttpError, redact};
use crate::store::StoreError;

/// Something about the remote store failed.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// It did not answer a moment ago, and is not asked again for a while.
    #[error("the remote store does not answer")]
    Away,
    #[error("stopped")]
    Cancelled,
    /// What was taken is not what it should be.
    #[error("{0}")]
    Damaged(String),
    #[error(transparent)]
    File(#[from] FsError),
    /// A key of the farm.
    #[error("{0}")]
    Key(String),
    /// A request failed, or was answered with a refusal.
    #[error("could not {doing} {url}: {source}")]
    Request {
        /// "read": reads as "could not <doing> <url>".
        doing: &'static str,
        url: String,
        source: HttpError,
    },
    /// The settings of the host.
    #[error("{0}")]
    Settings(String),
    /// This host only reads.
    #[error("nothing is put into the remote store from here, or removed (`remote.write`, `remote.sign_key`)")]
    ReadOnly,
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server cannot do that.
    #[error("{0}")]
    Unsupported(&'static str),
}

impl RemoteError {
    pub(super) fn request(doing: &'static str, url: &str, source: HttpError) -> Self {
        if source == HttpError::Cancelled {
            return Self::Cancelled;
        }
        let url = redact(url);
        Self::Request { doing, url, source }
    }

    /// Whether the same may succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            // Two writers at once (S3: `ConditionalRequestConflict`).
            Self::Request {
                source: HttpError::Status { status: 409, .. },
                ..
            } => true,
            Self::Request { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    /// Whether what was asked for is not there.
    pub(super) fn is_absent(&self) -> bool {
        let Self::Request { source, .. } = self else {
            return false;
        };
        matches!(source, HttpError::Status { status: 404, .. })
    }

    /// Whether a later attempt may go on where this one was.
    pub fn may_go_on(&self) -> bool {
        self.is_cancelled() || self.is_transient() || matches!(self, Self::Away)
    }

    /// Whether it took as long as it may to find out, so that trying again would as well.
    pub(super) fn took_long(&self) -> bool {
        let source = match self {
            Self::Request { source, .. } => source,
            _ => return false,
        };
        matches!(
            source,
            HttpError::Silent { .. } | HttpError::Slow { .. } | HttpError::Unanswered { .. }
        )
    }

    /// Whether it is only that we were asked to stop.
    pub fn is_cancelled(&self) -> bool {
        matches!(
            self,
            Self::Cancelled | Self::File(FsError::Cancelled) | Self::Store(StoreError::Cancelled)
        )
    }
}
