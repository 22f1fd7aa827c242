//! Reads what is published and compares its digest, with bounded memory. Knows nothing of how it came there.

use std::io::Read;

use super::error::UploadError;
use crate::digest::{Digest, Hasher};
use crate::emit::{Emitter, Progress};
use crate::host::cancel::Cancel;
use crate::host::http::{Body, HttpError};

/// Bytes read at once from a file.
const BLOCK: usize = 1 << 20;

/// What must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Size in bytes; none where only a digest is known.
    pub bytes: Option<u64>,
    pub digest: Digest,
}

/// Bytes that are read back.
pub enum Bytes {
    /// From a server.
    Http(Body),
    /// From a file.
    File(std::fs::File),
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http(_) => "Http",
            Self::File(_) => "File",
        })
    }
}

impl Bytes {
    /// All of it, which is a small text.
    pub(super) fn all(mut self, most: usize, url: &str, cancel: &Cancel) -> Result<Vec<u8>, UploadError> {
        let mut text = Vec::new();
        while let Some(piece) = self.next(url, cancel)? {
            text.extend(piece);
            if text.len() > most {
                break;
            }
        }
        Ok(text)
    }

    fn next(&mut self, url: &str, cancel: &Cancel) -> Result<Option<Vec<u8>>, UploadError> {
        match self {
            Self::Http(body) => body
                .next(cancel)
                .map_err(|error: HttpError| UploadError::request("read back", url, error)),
            Self::File(file) => {
                if cancel.is_cancelled() {
                    return Err(UploadError::Cancelled);
                }
                let mut buffer = vec![0; BLOCK];
                let count = file
                    .read(&mut buffer)
                    .map_err(UploadError::at("read back", std::path::Path::new(url)))?;
                buffer.truncate(count);
                Ok((count > 0).then_some(buffer))
            }
        }
    }
}

/// Reads all of it and compares.
///
/// # Errors
/// [`UploadError::Differs`] when it is something else, [`UploadError::Request`], [`UploadError::Cancelled`].
pub fn compare(
    url: &str,
    mut bytes: Bytes,
    want: &Want,
    cancel: &Cancel,
    emit: &Emitter,
) -> Result<(), UploadError> {
    let mut hasher = Hasher::new(want.digest.algorithm);
    let mut progress = Progress::new(emit);
    let total = want.bytes.unwrap_or(0);
    let mut count = 0;
    while let Some(piece) = bytes.next(url, cancel)? {
        hasher.update(&piece);
        count += piece.len() as u64;
        progress.report(count, total);
        if want.bytes.is_some_and(|most| count > most) {
            break;
        }
    }
    progress.last(count, total);
    let got = hasher.finish();
    if got == want.digest && want.bytes.is_none_or(|wanted| wanted == count) {
        return Ok(());
    }
    Err(UploadError::Differs {
        url: url.to_owned(),
        want: want.digest.clone(),
        want_bytes: want.bytes.unwrap_or(count),
        got,
        got_bytes: count,
    })
}
