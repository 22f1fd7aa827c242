//! Small files of publishers, fetched whole: lists, and their signatures.

use std::fs;

use serde::{Deserialize, Serialize};

use super::error::Reason;
use super::local;
use crate::host::cancel::Cancel;
use crate::host::http::{Client, Get};

/// The largest; simplestreams have a few megabytes.
const LARGEST: usize = 64 << 20;

/// A small file, with what a server tells its versions apart by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Small {
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    /// A character for each byte.
    content: String,
}

impl Small {
    pub fn bytes(&self) -> Vec<u8> {
        let bytes = self.content.chars().map(|c| u8::try_from(c).unwrap_or(b'?'));
        bytes.collect()
    }
}

/// Asks for a file, under what is known of it; nothing: that is what it still is.
pub type Ask<'a> = dyn FnMut(Option<&Small>) -> Result<Option<Small>, Reason> + 'a;

/// What remembers lists between two looks at them.
pub trait Lists {
    /// What is at a URL.
    ///
    /// # Errors
    /// Those of `ask`.
    fn get(&self, url: &str, ask: &mut Ask<'_>) -> Result<Vec<u8>, Reason>;
}

/// Remembers nothing.
pub struct Unremembered;

impl Lists for Unremembered {
    fn get(&self, _url: &str, ask: &mut Ask<'_>) -> Result<Vec<u8>, Reason> {
        Ok(ask(None)?.unwrap_or_default().bytes())
    }
}

/// What is at a URL or path.
pub(super) fn get(client: &Client, lists: &dyn Lists, url: &str, cancel: &Cancel) -> Result<Vec<u8>, Reason> {
    if let Some(path) = local::path_of(url) {
        return fs::read(path).map_err(Reason::Local);
    }
    lists.get(url, &mut |known| ask(client, url, known, cancel))
}

fn ask(client: &Client, url: &str, known: Option<&Small>, cancel: &Cancel) -> Result<Option<Small>, Reason> {
    let validators = known.iter().flat_map(|known| {
        let etag = known.etag.iter().map(|etag| ("if-none-match", etag.clone()));
        let time = known.last_modified.iter();
        etag.chain(time.map(|at| ("if-modified-since", at.clone())))
    });
    let headers: Vec<_> = validators.collect();
    let get = Get {
        headers: &headers,
        ..Get::new(url)
    };
    let (head, mut body) = client.get(&get, cancel)?;
    match head.status {
        200 => {}
        304 if known.is_some() => return Ok(None),
        _ => return Err(head.error().into()),
    }
    let mut content = String::new();
    while let Some(chunk) = body.next(cancel)? {
        content.extend(chunk.into_iter().map(char::from));
        if content.len() > LARGEST {
            return Err(Reason::LongList);
        }
    }
    Ok(Some(Small {
        etag: head.etag,
        last_modified: head.last_modified,
        content,
    }))
}
