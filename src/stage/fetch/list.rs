//! Checksum files of publishers (`SHA256SUMS`, `CHECKSUM`): fetched, their signature verified where a keyring is given,
//! and a name looked up in them.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use super::error::{FetchError, Reason};
use super::local;
use crate::checksum_list::{Missing, digest_of};
use crate::digest::Digest;
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::host::http::{Client, Get, HttpError, redact};
use crate::host::process::{Cmd, ProcessError};
use crate::host::tools;
use crate::manifest::model::ChecksumList;
use crate::verdict::Verdict;

/// The largest list, or signature; real ones have a few kilobytes.
const LARGEST: usize = 4 << 20;
/// Names of a list that a message shows.
const SHOWN: usize = 8;
/// Longest time for gpgv.
const VERIFY: Duration = Duration::from_secs(60);

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

/// The digest that a list has for the file of `url`. `folder` is private and may be written to.
///
/// # Errors
/// [`FetchError::List`], [`FetchError::Cancelled`].
pub fn look_up(
    list: &ChecksumList,
    url: &str,
    folder: &Path,
    cancel: &Cancel,
    emit: &Emitter,
) -> Result<Digest, FetchError> {
    let shown = redact(&list.url);
    emit.phase(format!("fetching {shown}"));
    let mut text = get(&list.url, cancel)?;
    if let Some(keyring) = &list.keyring {
        emit.phase("verifying the signature of the checksum file");
        let signature = list.signature.as_ref().map(|url| get(url, cancel)).transpose()?;
        text = verify(&text, signature.as_deref(), &keyring.path, folder, cancel).map_err(
            |error| match error {
                ProcessError::Cancelled => FetchError::Cancelled,
                error => FetchError::List(ListError::Signature {
                    url: shown.clone(),
                    reason: error.to_string(),
                }),
            },
        )?;
    }
    let name = url
        .split(['?', '#'])
        .next()
        .unwrap_or(url)
        .rsplit('/')
        .next()
        .unwrap_or(url);
    digest_of(&text, url).map_err(|missing| {
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
    })
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
fn get(url: &str, cancel: &Cancel) -> Result<Vec<u8>, FetchError> {
    let unavailable = |reason: Reason| {
        let url = redact(url);
        FetchError::List(ListError::Unavailable { url, reason })
    };
    if let Some(path) = local::path_of(url) {
        return fs::read(path).map_err(|error| unavailable(Reason::Local(error)));
    }
    let from_http = |error: HttpError| match error {
        HttpError::Cancelled => FetchError::Cancelled,
        error => unavailable(error.into()),
    };
    let get = Get::new(url);
    let (head, mut body) = Client::default().get(&get, cancel).map_err(from_http)?;
    if head.status != 200 {
        return Err(unavailable(head.error().into()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next(cancel).map_err(from_http)? {
        bytes.extend(chunk);
        if bytes.len() > LARGEST {
            return Err(unavailable(Reason::LongList));
        }
    }
    Ok(bytes)
}

/// What is signed: the list itself next to its signature, or the text inside a clear-signed one.
fn verify(
    list: &[u8],
    signature: Option<&[u8]>,
    keyring: &Path,
    folder: &Path,
    cancel: &Cancel,
) -> Result<Vec<u8>, ProcessError> {
    let (list_file, signature_file, text) = (
        folder.join("list"),
        folder.join("list.sig"),
        folder.join("list.text"),
    );
    let write = |path: &Path, bytes: &[u8]| fs::write(path, bytes).map_err(io_error);
    write(&list_file, list)?;
    let gpgv = Cmd::new(tools::path("gpgv")).arg("--keyring").arg(keyring);
    let cmd = match signature {
        Some(signature) => {
            write(&signature_file, signature)?;
            gpgv.arg(&signature_file).arg(&list_file)
        }
        None => gpgv.arg("--output").arg(&text).arg(&list_file),
    };
    cmd.run(cancel, Some(VERIFY), &mut |_, _| {})?;
    if signature.is_some() {
        return Ok(list.to_owned());
    }
    fs::read(&text).map_err(io_error)
}

fn io_error(source: io::Error) -> ProcessError {
    ProcessError::Io {
        program: "gpgv".to_owned(),
        source,
    }
}
