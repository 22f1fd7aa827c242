//! Why an upload failed: what was tried, where (never with credentials), why, and what to do.

use std::path::PathBuf;

use super::shacache::config::ConfigError;
use super::shacache::sign::SignError;
use crate::digest::Digest;
use crate::host::fs::FsError;
use crate::host::http::{Head, HttpError, TlsFileError, redact};
use crate::size::ByteSize;
use crate::syntax::secret::SecretError;
use crate::verdict::Verdict;

/// An upload failed.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("stopped")]
    Cancelled,
    /// The configuration of a shacache.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Other bytes than those that were sent.
    #[error(
        "{url} has other bytes than the image\n  image  {want} ({})\n  there  {got} ({})\n{}",
        ByteSize(*.want_bytes), ByteSize(*.got_bytes),
        "it is not listed; look at what stands between us and the server (a cache, a proxy), take the file out there and run again"
    )]
    Differs {
        url: String,
        /// Digest of the image.
        want: Digest,
        /// Bytes of the image.
        want_bytes: u64,
        /// Digest of what is there.
        got: Digest,
        /// Bytes of it (or one more than wanted, when it goes on).
        got_bytes: u64,
    },
    /// A file here or in a folder that is published to.
    #[error(transparent)]
    File(#[from] FsError),
    /// What should be a list of versions is something else.
    #[error(
        "{url} is not a list of versions that this program wrote ({detail}); move it away, and run again"
    )]
    NotAList { url: String, detail: String },
    /// It was taken, but is not there.
    #[error(
        "{url} is not there, or not of the right size, although the server took it; it may need longer: run again, or look at its log"
    )]
    NotThere { url: String },
    /// A server's answer that is not a success.
    #[error("could not {doing} {url}: {}", refusal(doing, head, said))]
    Refused {
        /// "send to": reads as "could not <doing> <url>".
        doing: &'static str,
        url: String,
        /// The answer.
        head: Box<Head>,
        /// The start of what it said, in one line.
        said: String,
    },
    /// A request failed.
    #[error("could not {doing} {url}: {}; {}", source.brief(), remedy(source))]
    Request {
        /// "send to": reads as "could not <doing> <url>".
        doing: &'static str,
        url: String,
        source: HttpError,
    },
    /// A secret is not there.
    #[error("`publish.{target}.{key}`: {source}")]
    Secret {
        target: String,
        key: &'static str,
        source: SecretError,
    },
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The target cannot be used as it is written.
    #[error("`publish.{target}`: {cause}")]
    Target {
        target: String,
        /// What is wrong, with the remedy.
        cause: String,
    },
    /// A certificate file.
    #[error(transparent)]
    Tls(#[from] TlsFileError),
    /// A success that is none: the answer does not say what a success says.
    #[error("{url} took the file, but answered {got} where {want} was expected; is this the right address?")]
    WrongReceipt {
        url: String,
        /// The start of what it said.
        got: String,
        /// What it should have said.
        want: String,
    },
}

impl UploadError {
    /// A secret that is not there.
    pub(super) fn secret(target: &str, key: &'static str, source: SecretError) -> Self {
        Self::Secret {
            target: target.to_owned(),
            key,
            source,
        }
    }

    /// A failed request.
    pub fn request(doing: &'static str, url: &str, source: HttpError) -> Self {
        if source == HttpError::Cancelled {
            return Self::Cancelled;
        }
        let url = redact(url);
        Self::Request { doing, url, source }
    }

    /// An answer that is no success. `body` is the start of what came with it.
    pub fn refused(doing: &'static str, url: &str, head: Head, body: &str) -> Self {
        Self::Refused {
            doing,
            url: redact(url),
            head: Box::new(head),
            said: one_line(body),
        }
    }

    /// The kind of failure.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Differs { .. } => Verdict::DigestDiffers,
            Self::File(error) => error.verdict(),
            Self::NotThere { .. } | Self::WrongReceipt { .. } => Verdict::ServerError,
            Self::Refused { head, .. } => head.error().verdict(),
            Self::Request { source, .. } => source.verdict(),
            Self::Secret { .. } => Verdict::NoSecret,
            Self::Tls(_) => Verdict::Tls,
            Self::Cancelled
            | Self::Config(_)
            | Self::NotAList { .. }
            | Self::Sign(_)
            | Self::Target { .. } => Verdict::Other,
        }
    }

    /// Whether the same may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Request { source, .. } => source.is_transient(),
            Self::Refused { head, .. } => head.error().is_transient(),
            _ => false,
        }
    }

    /// How long the server asked us to wait.
    pub fn retry_after(&self) -> Option<std::time::Duration> {
        match self {
            Self::Refused { head, .. } => head.retry_after,
            _ => None,
        }
    }

    /// Whether it is only that we were asked to stop.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled | Self::File(FsError::Cancelled))
    }

    /// The cause in one line, for events about what is done next.
    pub fn brief(&self) -> String {
        match self {
            Self::Request { source, .. } => source.brief(),
            Self::Refused { head, .. } => format!("HTTP {}", head.status),
            other => other.to_string().lines().next().unwrap_or_default().to_owned(),
        }
    }

    /// A call on a file of a published folder failed.
    pub fn at(operation: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path: PathBuf = path.to_owned();
        move |source| Self::File(FsError::at(operation, &path)(source))
    }
}

/// What a server says, fit for a message: one line, no controls, not too long.
pub(super) fn one_line(text: &str) -> String {
    const MOST: usize = 160;
    let words: Vec<_> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().filter(|c| !c.is_control()).collect();
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// What is said of a server that wants to know who we are.
const NOT_LET: (&str, &str) = (
    "the server does not let us",
    "check the credentials (user, password or token; for a shacache: shacache-cert-file and shadir-cert-file in its \
     configuration) and what they allow",
);

/// What is done to a URL when something there changes; all else reads.
const WRITES: [&str; 3] = ["send to", "make the folder", "remove"];

fn refusal(doing: &str, head: &Head, said: &str) -> String {
    let status = head.status;
    // nginx says so by 400 with these words (and 495, 496 in its log).
    let certificate = status == 400 && said.contains("certificate");
    let (what, remedy) = match status {
        300..=399 if !WRITES.contains(&doing) => (
            "the server redirects",
            "it does not say where the file is: check the URL (and the region of a bucket)",
        ),
        300..=399 => (
            "the server redirects",
            "a write is never redirected by a server that takes it (this may be a login page): check the credentials, \
             or write the URL that it ends at",
        ),
        401 | 403 | 495 | 496 => NOT_LET,
        400 if certificate => NOT_LET,
        404 | 405 | 409 | 501 => (
            "the server takes no file there",
            "check the URL, that the folder or bucket exists, and that the server allows writing",
        ),
        413 => (
            "the server finds it too large",
            "raise its limit (nginx: client_max_body_size)",
        ),
        429 => ("the server says that we ask too often", "try again later"),
        507 => ("the server has no room left", "make room there, and run again"),
        500..=599 => (
            "the server has a problem of its own",
            "look at its log (a full disk often looks like this), and run again",
        ),
        _ => ("the server gave an unexpected answer", "check the URL"),
    };
    let to = head
        .moved_to
        .as_ref()
        .map_or_else(String::new, |to| format!(" to {to}"));
    let said = if said.is_empty() || (300..400).contains(&status) {
        String::new()
    } else {
        format!(", saying \"{said}\"")
    };
    format!("{what}{to} (HTTP {status}{said}); {remedy}")
}

/// A shacache has files of its own for this.
const TLS_HINT: &str =
    " (for a shacache: shacache-ca-file, shacache-cert-file and their shadir twins in its configuration)";

fn remedy(error: &HttpError) -> String {
    match error {
        HttpError::Tls { .. } | HttpError::Dns { .. } | HttpError::Refused { .. } => {
            let text = error.to_string();
            let remedy = text.split_once("; ").map_or("", |(_, remedy)| remedy);
            match error {
                HttpError::Tls { .. } => format!("{remedy}{TLS_HINT}"),
                _ => remedy.to_owned(),
            }
        }
        HttpError::SendCut { .. } => {
            "look at its log: servers hang up on what they refuse (credentials, size) or cannot store"
                .to_owned()
        }
        _ => "check that the server runs and can be reached, and run again".to_owned(),
    }
}
