//! Small files of publishers, fetched whole: lists, and their signatures.

use std::fs;

use super::error::Reason;
use super::local;
use crate::host::cancel::Cancel;
use crate::host::http::{Client, Get};

/// The largest; simplestreams have a few megabytes.
const LARGEST: usize = 64 << 20;

/// What is at a URL or path.
pub(super) fn get(client: &Client, url: &str, cancel: &Cancel) -> Result<Vec<u8>, Reason> {
    if let Some(path) = local::path_of(url) {
        return fs::read(path).map_err(Reason::Local);
    }
    let (head, mut body) = client.get(&Get::new(url), cancel)?;
    if head.status != 200 {
        return Err(head.error().into());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next(cancel)? {
        bytes.extend(chunk);
        if bytes.len() > LARGEST {
            return Err(Reason::LongList);
        }
    }
    Ok(bytes)
}
