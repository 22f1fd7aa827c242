//! Requests that several kinds of place make, and what their answers mean.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::Found;
use super::error::UploadError;
use super::read_back::Bytes;
use crate::host::cancel::Cancel;
use crate::host::http::send::Outgoing;
use crate::host::http::{Client, Get, Head, HttpError};

/// The head of what a server has, wherever it keeps it. A redirect may lead to an URL that is signed for a GET alone; then
/// and where a server knows no HEAD, a GET decides whose body is not read.
pub(super) fn head(
    client: &Client,
    ask: &Get<'_>,
    read: &Get<'_>,
    cancel: &Cancel,
) -> Result<Head, HttpError> {
    let head = client.head(ask, cancel)?;
    match head.status {
        400 | 401 | 403 if head.moved_to.is_some() => {}
        405 | 501 => {}
        _ => return Ok(head),
    }
    client.get(read, cancel).map(|(head, _)| head)
}

/// Makes sense of the answer to a question for a file.
pub(super) fn looked(url: &str, head: Head) -> Result<Option<Found>, UploadError> {
    match head.status {
        200 => Ok(Some(Found::of(&head))),
        404 | 410 => Ok(None),
        _ => Err(UploadError::refused("ask for", url, head, "")),
    }
}

/// Removes what may be gone already. `shown` stands for a signed URL in messages.
pub(super) fn remove(
    client: &Client,
    outgoing: &Outgoing<'_>,
    shown: &str,
    cancel: &Cancel,
) -> Result<(), UploadError> {
    let answer = client
        .send(outgoing, io::empty(), cancel, &mut |_| {})
        .map_err(|error| UploadError::request("remove", shown, error))?;
    match answer.head.status {
        200 | 202 | 204 | 404 | 410 => Ok(()),
        _ => {
            let text = answer.text();
            Err(UploadError::refused("remove", shown, answer.head, &text))
        }
    }
}

/// Starts a download that must succeed.
pub(super) fn get(client: &Client, get: &Get<'_>, cancel: &Cancel) -> Result<Bytes, UploadError> {
    let (head, body) = client
        .get(get, cancel)
        .map_err(|error| UploadError::request("read", get.url, error))?;
    match head.status {
        200 => Ok(Bytes::Http(body)),
        _ => Err(UploadError::refused("read", get.url, head, "")),
    }
}

/// A stretch of a file as a body to send.
pub(super) fn stretch(path: &Path, from: u64, bytes: u64) -> Result<io::Take<File>, UploadError> {
    let open = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        Ok(file.take(bytes))
    };
    open().map_err(UploadError::at("read", path))
}

/// A file's path below a place as the end of a URL.
pub(super) fn url_path(name: &Path) -> String {
    crate::host::http::percent_encode_path(&name.to_string_lossy())
}
