//! Reading an object: a transfer that is cut goes on where it was.

use std::io::{self, Read};

use super::Objects;
use crate::host::cancel::Cancel;
use crate::host::http::{Body, Head};
use crate::remote::error::RemoteError;

/// Times that a transfer goes on after a cut without a byte between two of them.
const CUTS: u32 = 3;

/// An object that is arriving. After a cut it is asked for from there on.
pub(in crate::remote) struct Download<'a> {
    objects: &'a Objects,
    path: &'a str,
    cancel: &'a Cancel,
    body: Body,
    etag: Option<String>,
    chunk: Vec<u8>,
    /// What of `chunk` was handed on.
    at: usize,
    /// Bytes that arrived.
    got: u64,
    /// Cuts since the last byte.
    cuts: u32,
    /// What the error of a reader has no room for.
    failed: Option<RemoteError>,
}

impl<'a> Download<'a> {
    pub(super) fn new(
        objects: &'a Objects,
        path: &'a str,
        cancel: &'a Cancel,
        head: Head,
        body: Body,
    ) -> Self {
        Self {
            objects,
            path,
            cancel,
            body,
            etag: head.etag,
            chunk: Vec::new(),
            at: 0,
            got: 0,
            cuts: 0,
            failed: None,
        }
    }

    /// Why reading failed, where that was not the reader's own fault.
    pub(in crate::remote) fn failure(&mut self) -> Option<RemoteError> {
        self.failed.take()
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, RemoteError> {
        loop {
            let error = match self.body.next(self.cancel) {
                Ok(chunk) => {
                    self.cuts = 0;
                    self.got += chunk.as_ref().map_or(0, Vec::len) as u64;
                    return Ok(chunk);
                }
                Err(error) => RemoteError::request("read", &self.objects.shown(self.path), error),
            };
            self.cuts += 1;
            if error.took_long() || error.is_transient() && self.cuts > CUTS {
                return Err(self.objects.gone(error));
            }
            if !error.is_transient() {
                return Err(error);
            }
            if let Some(chunk) = self.go_on()? {
                return Ok(Some(chunk));
            }
        }
    }

    /// Asks for the rest. Gives the first of it, where the server did not begin where it was asked to.
    fn go_on(&mut self) -> Result<Option<Vec<u8>>, RemoteError> {
        let (objects, cancel) = (self.objects, self.cancel);
        let changed =
            || RemoteError::Damaged(format!("{} changed while it was read", objects.shown(self.path)));
        let begun = objects.attempt(cancel, || {
            objects.begin(self.path, self.got, self.etag.as_deref(), cancel)
        })?;
        let (head, mut body) = begun.ok_or_else(changed)?;
        let mut first = None;
        match head.range {
            Some(range) if head.status == 206 && range.first == self.got => {}
            Some(_) => return Err(changed()),
            // All of it again: of a server without ranges, or another object; its digest will show.
            None => {
                let mut skip = self.got;
                while skip > 0 {
                    let failed = |error| RemoteError::request("read", &objects.shown(self.path), error);
                    let chunk = body.next(cancel).map_err(failed)?.ok_or_else(changed)?;
                    let there = chunk.len() as u64;
                    if there > skip {
                        let from = usize::try_from(skip).unwrap_or_default();
                        first = Some(chunk[from..].to_vec());
                        self.got += there - skip;
                    }
                    skip = skip.saturating_sub(there);
                }
            }
        }
        self.body = body;
        Ok(first)
    }
}

impl Read for Download<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            match self.next() {
                Ok(Some(chunk)) => (self.chunk, self.at) = (chunk, 0),
                Ok(None) => return Ok(0),
                Err(error) => {
                    self.failed = Some(error);
                    return Err(io::Error::other("the transfer failed"));
                }
            }
        }
        let count = buffer.len().min(self.chunk.len() - self.at);
        buffer[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
