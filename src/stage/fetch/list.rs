//! Checksum files of publishers (`SHA256SUMS`, `CHECKSUM`): fetched, their signature verified where a keyring is given,
//! and a name looked up in them.

use super::error::{FetchError, Reason};
use super::small::{self, Lists};
use crate::checksum_list::{Missing, digest_of};
use crate::digest::Digest;
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::host::http::{Client, HttpError, redact};
use crate::host::process::ProcessError;
use crate::host::signature::{Signature, verify};
use crate::manifest::model::ChecksumList;
use crate::verdict::Verdict;

/// Names of a list that a message shows.
const SHOWN: usize = 8;

/// Why a list gave no digest.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It cannot be fetched.
    #[error("cannot fetch the checksum file {url}: {reason}")]
    Unavailable { url: String, reason: Reason },
    #[error(
        "the signature of the checksum file {url} is not good: {reason}\n  \
         is the keyring the publisher's (binary: `gpg --dearmor` makes one)? if so, do not trust this source"
    )]
    Signature {
        url: String,
        /// In gpgv's words.
        reason: String,
    },
    /// The name is not in it.
    #[error("the checksum file {url} has no line for {name}; {}", listed(.has))]
    NotListed {
        url: String,
        name: String,
        /// Names in it.
        has: Vec<String>,
    },
    /// Several lines have the name, and nothing tells which one is meant.
    #[error(
        "the checksum file {url} has several digests for {name}, and no line fits {source_url} better than the others: \
         {}\n  use the publisher's own URL, whose folders tell the lines apart, or pin the digest (sha256 = \"…\")",
        .fitting.join(", ")
    )]
    Ambiguous {
        url: String,
        name: String,
        /// The URL of the file.
        source_url: String,
        /// Names that fit equally well.
        fitting: Vec<String>,
    },
}

impl ListError {
    /// The kind of failure.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Unavailable { reason, .. } => reason.verdict(),
            Self::Signature { .. } => Verdict::BadSignature,
            Self::NotListed { .. } => Verdict::NotFound,
            Self::Ambiguous { .. } => Verdict::Other,
        }
    }
}

/// What a list says of a file.
#[derive(Clone, Debug)]
pub struct Listed {
    pub digest: Digest,
    /// Who signed the list; empty where no keyring is given.
    pub signed: Vec<Signature>,
}

/// What a list has for the file of `url`.
///
/// # Errors
/// [`FetchError::List`], [`FetchError::Cancelled`].
pub fn look_up(
    list: &ChecksumList,
    url: &str,
    lists: &dyn Lists,
    cancel: &Cancel,
    emit: &Emitter,
) -> Result<Listed, FetchError> {
    let shown = redact(&list.url);
    emit.phase(format!("fetching {shown}"));
    let (mut text, mut signed) = (get(&list.url, lists, cancel)?, Vec::new());
    if let Some(keyring) = &list.keyring {
        emit.phase("verifying the signature of the checksum file");
        let signature = list.signature.as_ref().map(|url| get(url, lists, cancel));
        let signature = signature.transpose()?;
        let verified = verify(&text, signature.as_deref(), [keyring.path.as_path()], cancel);
        let verified = verified.map_err(|error| match error {
            ProcessError::Cancelled => FetchError::Cancelled,
            error => FetchError::List(ListError::Signature {
                url: shown.clone(),
                reason: error.to_string(),
            }),
        })?;
        (text, signed) = (verified.text, verified.by);
    }
    let name = url
        .split(['?', '#'])
        .next()
        .unwrap_or(url)
        .rsplit('/')
        .next()
        .unwrap_or(url);
    let digest = digest_of(&text, url).map_err(|missing| {
        let (name, source_url) = (name.to_owned(), redact(url));
        let url = shown;
        FetchError::List(match missing {
            Missing::NotListed(has) => ListError::NotListed { url, name, has },
            Missing::Ambiguous(fitting) => ListError::Ambiguous {
                url,
                name,
                source_url,
                fitting: first(fitting),
            },
        })
    })?;
    Ok(Listed { digest, signed })
}

/// As many names as one can read.
fn first(mut names: Vec<String>) -> Vec<String> {
    if names.len() > SHOWN {
        names.truncate(SHOWN);
        names.push("…".to_owned());
    }
    names
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "no line of it is a digest and a name (as sha256sum, BSD's and OpenSSL's tools write them)"
            .to_owned(),
        names => format!("it has: {}", first(names.to_vec()).join(", ")),
    }
}

/// The whole of a small file by URL or path.
fn get(url: &str, lists: &dyn Lists, cancel: &Cancel) -> Result<Vec<u8>, FetchError> {
    small::get(&Client::default(), lists, url, cancel).map_err(|reason| match reason {
        Reason::Http(HttpError::Cancelled) => FetchError::Cancelled,
        reason => FetchError::List(ListError::Unavailable {
            url: redact(url),
            reason,
        }),
    })
}
