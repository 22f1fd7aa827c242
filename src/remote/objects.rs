//! Objects by path on a server: an S3 bucket, or an HTTP server that takes files by PUT. Every request has short limits: a
//! server that does not answer costs seconds, and is then left alone for a while. Knows nothing of results.

mod download;
mod list;
mod parts;
mod place;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use md5::{Digest as _, Md5};
use rusty_s3::actions::S3Action;

pub(super) use self::download::Download;
pub(super) use self::list::{Listing, Object, Upload};
use self::place::Place;
use super::error::RemoteError;
use super::settings::RemoteSettings;
use crate::host::cancel::Cancel;
use crate::host::http::send::{Answer, Method, Outgoing};
use crate::host::http::{Body, Client, Get, Head, HttpError, Limits, percent_encode_path, redact};
use crate::places::{Folders, folder_of};
use crate::size::MIB;

/// Time limits. A server of a farm is near; one that takes longer is of no use to a run that waits for it.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(4),
    silence: Duration::from_secs(8),
    answer: Duration::from_secs(60),
};
/// Bytes in a second from which on a transfer is worth waiting for.
const SLOWEST: u64 = 16 << 10;
/// Attempts at one request.
const ATTEMPTS: u32 = 3;
/// Pause before the second attempt; doubles with each further one.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a server that did not answer is left alone.
const AWAY: Duration = Duration::from_secs(60);
/// How long a signed URL holds, which must be as long as sending one body may take.
const SIGNED_FOR: Duration = Duration::from_secs(12 * 3600);
/// Most bytes of a list.
const LIST: usize = 8 << 20;

/// A server that is ready to be asked.
#[derive(Debug)]
pub(super) struct Objects {
    client: Client,
    place: Place,
    /// Bytes from which on a file goes in parts, and of a part.
    part: u64,
    /// Since when it is left alone.
    away: Mutex<Option<Instant>>,
}

/// What is done to an object.
#[derive(Clone, Copy, Debug)]
enum Verb {
    Get,
    Head,
    Put,
    Delete,
}

/// What is known of an object without reading it.
#[derive(Clone, Copy, Debug)]
pub(super) struct There {
    /// Its length, where the server says so.
    pub(super) bytes: Option<u64>,
    /// When it was put there, where the server says so.
    pub(super) changed: Option<Timestamp>,
    /// The server's time.
    pub(super) now: Timestamp,
}

impl There {
    /// Whether it was put there within this time.
    pub(super) fn is_younger(&self, than: Duration) -> bool {
        let age = |changed| Duration::try_from(self.now.duration_since(changed)).unwrap_or_default();
        self.changed.is_some_and(|changed| age(changed) < than)
    }
}

/// What became of an object that was put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Written,
    /// There was one already, and it was to stay.
    Refused,
}

/// What may be at the place of an object that is put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Anything,
    /// Nothing, if the server heeds `If-None-Match`.
    Nothing,
}

impl Objects {
    pub(super) fn open(settings: &RemoteSettings, url: &str) -> Result<Self, RemoteError> {
        let client = Client {
            limits: LIMITS,
            slowest: Some(SLOWEST),
            ..Client::default()
        };
        Ok(Self {
            client,
            place: Place::of(settings, url)?,
            part: parts::size(settings)?,
            away: Mutex::default(),
        })
    }

    /// The URL of an object, without secrets.
    pub(super) fn shown(&self, path: &str) -> String {
        match &self.place {
            Place::Bucket { bucket, prefix, .. } => bucket.object_url(&format!("{prefix}{path}")).to_string(),
            Place::Server { base, .. } => redact(&format!("{base}/{}", percent_encode_path(path))),
        }
    }

    /// A small object; none: it is not there.
    pub(super) fn read(
        &self,
        path: &str,
        limit: usize,
        cancel: &Cancel,
    ) -> Result<Option<Vec<u8>>, RemoteError> {
        self.attempt(cancel, || {
            let Some((_, mut body)) = self.begin(path, 0, None, cancel)? else {
                return Ok(None);
            };
            self.all(path, &mut body, limit, cancel).map(Some)
        })
    }

    /// What a server gives that is asked for a small object from a byte on; none: it is not there.
    pub(super) fn part(
        &self,
        path: &str,
        from: u64,
        cancel: &Cancel,
    ) -> Result<Option<Vec<u8>>, RemoteError> {
        self.attempt(cancel, || {
            let Some((_, mut body)) = self.begin(path, from, None, cancel)? else {
                return Ok(None);
            };
            self.all(path, &mut body, LIST, cancel).map(Some)
        })
    }

    fn all(
        &self,
        path: &str,
        body: &mut Body,
        limit: usize,
        cancel: &Cancel,
    ) -> Result<Vec<u8>, RemoteError> {
        let mut bytes = Vec::new();
        let failed = |error| RemoteError::request("read", &self.shown(path), error);
        while let Some(piece) = body.next(cancel).map_err(failed)? {
            bytes.extend(piece);
            if bytes.len() > limit {
                return Err(RemoteError::Damaged(format!(
                    "{} is far too long",
                    self.shown(path)
                )));
            }
        }
        Ok(bytes)
    }

    /// A large object, as a reader that goes on after cuts; none: it is not there.
    pub(super) fn download<'a>(
        &'a self,
        path: &'a str,
        cancel: &'a Cancel,
    ) -> Result<Option<Download<'a>>, RemoteError> {
        let begun = self.attempt(cancel, || self.begin(path, 0, None, cancel))?;
        Ok(begun.map(|(head, body)| Download::new(self, path, cancel, head, body)))
    }

    /// What is known of an object without reading it; none: it is not there.
    pub(super) fn look(&self, path: &str, cancel: &Cancel) -> Result<Option<There>, RemoteError> {
        self.attempt(cancel, || {
            let (url, headers) = self.signed(Verb::Head, path, Vec::new());
            let ask = Get {
                headers: &headers,
                ..Get::new(&url)
            };
            let head = self.client.head(&ask, cancel);
            let head = head.map_err(|error| RemoteError::request("ask for", &self.shown(path), error))?;
            match head.status {
                200 => Ok(Some(There {
                    bytes: head.length,
                    changed: head.last_modified.as_deref().and_then(date),
                    now: now(&head),
                })),
                404 | 410 => Ok(None),
                _ => Err(RemoteError::request("ask for", &self.shown(path), head.error())),
            }
        })
    }

    /// Puts a small object there.
    pub(super) fn write(
        &self,
        path: &str,
        bytes: &[u8],
        over: Over,
        cancel: &Cancel,
    ) -> Result<Put, RemoteError> {
        let bytes: Arc<[u8]> = bytes.into();
        let md5 = BASE64_STANDARD.encode(Md5::digest(&bytes));
        self.put(
            path,
            bytes.len() as u64,
            &md5,
            over,
            cancel,
            &mut |_| {},
            &mut || io::Cursor::new(Arc::clone(&bytes)),
        )
    }

    /// Puts a file there, whatever was there before. A large one goes into a bucket in parts, if there is a place to note how
    /// far that is.
    pub(super) fn write_file(
        &self,
        path: &str,
        file: &Arc<File>,
        bytes: u64,
        note: Option<&Path>,
        cancel: &Cancel,
        on_sent: &mut dyn FnMut(u64),
    ) -> Result<(), RemoteError> {
        if let (Place::Bucket { .. }, Some(note)) = (&self.place, note)
            && bytes > self.part
        {
            let sending = parts::Sending {
                path,
                file,
                bytes,
                note,
                cancel,
            };
            return self.write_parts(&sending, on_sent);
        }
        let md5 = BASE64_STANDARD.encode(md5_of(Stretch::of(file, 0, bytes))?);
        self.put(path, bytes, &md5, Over::Anything, cancel, on_sent, &mut || {
            Stretch::of(file, 0, bytes)
        })
        .map(drop)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one request with all that belongs to it"
    )]
    fn put<R: Read + Send + 'static>(
        &self,
        path: &str,
        length: u64,
        md5: &str,
        over: Over,
        cancel: &Cancel,
        on_sent: &mut dyn FnMut(u64),
        body: &mut dyn FnMut() -> R,
    ) -> Result<Put, RemoteError> {
        let mut headers = vec![("content-md5", md5.to_owned())];
        if over == Over::Nothing {
            headers.push(("if-none-match", "*".to_owned()));
        }
        self.attempt(cancel, || {
            let mut answer = self.send(Verb::Put, path, &headers, length, body(), cancel, on_sent)?;
            if let (Place::Server { headers: login, .. }, 403 | 404 | 409 | 500) =
                (&self.place, answer.head.status)
            {
                let (url, _) = self.signed(Verb::Put, path, Vec::new());
                let folders = Folders {
                    client: &self.client,
                    headers: login,
                    cancel,
                };
                // What stands in the way, the second answer says.
                if folder_of(&url).is_some_and(|folder| folders.make(folder).is_ok()) {
                    answer = self.send(Verb::Put, path, &headers, length, body(), cancel, on_sent)?;
                }
            }
            match answer.head.status {
                200 | 201 | 204 => Ok(Put::Written),
                412 if over == Over::Nothing => Ok(Put::Refused),
                _ => Err(RemoteError::request(
                    "write",
                    &self.shown(path),
                    answer.head.error(),
                )),
            }
        })
    }

    /// Has the server put an object in its own place, so that it is new. False: it did not, and the object is to be sent again.
    /// On a plain HTTP server nothing is removed, so that nothing has to be new.
    pub(super) fn renew(&self, path: &str, cancel: &Cancel) -> Result<bool, RemoteError> {
        let Place::Bucket { bucket, prefix, .. } = &self.place else {
            return Ok(true);
        };
        let source = percent_encode_path(&format!("/{}/{prefix}{path}", bucket.name()));
        let headers = [
            ("x-amz-copy-source", source),
            // Without a change of something no object is copied to itself.
            ("x-amz-metadata-directive", "REPLACE".to_owned()),
        ];
        self.attempt(cancel, || {
            let answer = self.send(Verb::Put, path, &headers, 0, io::empty(), cancel, &mut |_| {})?;
            // A 200 may carry an error: it is sent before the work is done.
            Ok(answer.head.status == 200 && !answer.text().contains("<Error"))
        })
    }

    /// Takes an object away; one that is not there is no mistake.
    pub(super) fn delete(&self, path: &str, cancel: &Cancel) -> Result<(), RemoteError> {
        self.attempt(cancel, || {
            let answer = self.send(Verb::Delete, path, &[], 0, io::empty(), cancel, &mut |_| {})?;
            match answer.head.status {
                200 | 202 | 204 | 404 | 410 => Ok(()),
                _ => Err(RemoteError::request(
                    "delete",
                    &self.shown(path),
                    answer.head.error(),
                )),
            }
        })
    }

    /// Starts to read an object from a byte on.
    fn begin(
        &self,
        path: &str,
        from: u64,
        etag: Option<&str>,
        cancel: &Cancel,
    ) -> Result<Option<(Head, Body)>, RemoteError> {
        let (url, headers) = self.signed(Verb::Get, path, Vec::new());
        let get = Get {
            from: (from > 0).then_some(from),
            if_range: etag.filter(|_| from > 0),
            headers: &headers,
            ..Get::new(&url)
        };
        let failed = |error| RemoteError::request("read", &self.shown(path), error);
        let (head, body) = self.client.get(&get, cancel).map_err(failed)?;
        match head.status {
            200 | 206 => Ok(Some((head, body))),
            404 | 410 => Ok(None),
            _ => Err(failed(head.error())),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one request with all that belongs to it"
    )]
    fn send(
        &self,
        verb: Verb,
        path: &str,
        headers: &[(&'static str, String)],
        length: u64,
        body: impl Read + Send + 'static,
        cancel: &Cancel,
        on_sent: &mut dyn FnMut(u64),
    ) -> Result<Answer, RemoteError> {
        let (url, headers) = self.signed(verb, path, headers.to_vec());
        let outgoing = Outgoing {
            method: match verb {
                Verb::Delete => Method::Delete,
                _ => Method::Put,
            },
            url: &url,
            headers: &headers,
            length,
            ask_first: length >= MIB,
        };
        let sent = self.client.send(&outgoing, body, cancel, on_sent);
        sent.map_err(|error| RemoteError::request("write", &self.shown(path), error))
    }

    /// URL and headers of a request.
    fn signed(
        &self,
        verb: Verb,
        path: &str,
        mut headers: Vec<(&'static str, String)>,
    ) -> (String, Vec<(&'static str, String)>) {
        match &self.place {
            Place::Bucket {
                bucket,
                credentials,
                prefix,
            } => {
                let (who, object) = (Some(credentials), format!("{prefix}{path}"));
                let url = match verb {
                    Verb::Get => sign(bucket.get_object(who, &object), &headers),
                    Verb::Head => sign(bucket.head_object(who, &object), &headers),
                    Verb::Put => sign(bucket.put_object(who, &object), &headers),
                    Verb::Delete => sign(bucket.delete_object(who, &object), &headers),
                };
                (url, headers)
            }
            Place::Server { base, headers: login } => {
                headers.extend(login.iter().cloned());
                (format!("{base}/{}", percent_encode_path(path)), headers)
            }
        }
    }

    /// Does a request until it succeeds, fails for good, or has failed too often.
    fn attempt<T>(
        &self,
        cancel: &Cancel,
        mut once: impl FnMut() -> Result<T, RemoteError>,
    ) -> Result<T, RemoteError> {
        let mut pause = PAUSE;
        for number in 1.. {
            if self.is_away() {
                return Err(RemoteError::Away);
            }
            let error = match once() {
                Err(error) if error.is_transient() => error,
                done => return done,
            };
            if number >= ATTEMPTS || error.took_long() {
                return Err(self.gone(error));
            }
            if cancel.sleep(pause) {
                break;
            }
            pause *= 2;
        }
        Err(RemoteError::Cancelled)
    }

    /// Leaves a server alone that failed to answer.
    fn gone(&self, error: RemoteError) -> RemoteError {
        let is_busy = matches!(
            error,
            RemoteError::Request {
                source: HttpError::Status { status: 409, .. },
                ..
            }
        );
        if !is_busy {
            *self.away.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        error
    }

    /// Asks a server again that was away.
    pub(super) fn ask_again(&self) {
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn is_away(&self) -> bool {
        let since = *self.away.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() < AWAY)
    }
}

/// The time of a server. Where it does not say it, nothing there has any age.
fn now(head: &Head) -> Timestamp {
    head.date.as_deref().and_then(date).unwrap_or(Timestamp::MIN)
}

/// A date as in HTTP's headers (RFC 9110 §5.6.7).
fn date(text: &str) -> Option<Timestamp> {
    rfc2822::parse(text).ok().map(|date| date.timestamp())
}

fn sign<'a>(mut action: impl S3Action<'a>, headers: &[(&'static str, String)]) -> String {
    for (name, value) in headers {
        action.headers_mut().insert(*name, value.clone());
    }
    action.sign(SIGNED_FOR).into()
}

fn md5_of(mut stretch: Stretch) -> Result<Vec<u8>, RemoteError> {
    let mut hash = Md5::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = stretch.read(&mut buffer);
        match read
            .map_err(|error| RemoteError::Damaged(format!("what is to be sent cannot be read: {error}")))?
        {
            0 => return Ok(hash.finalize().to_vec()),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// A stretch of a file that several read at once.
struct Stretch {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Stretch {
    fn of(file: &Arc<File>, from: u64, length: u64) -> Self {
        Self {
            file: Arc::clone(file),
            at: from,
            end: from + length,
        }
    }
}

impl Read for Stretch {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
