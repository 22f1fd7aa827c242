//! Objects by path on a server: an S3 bucket, or an HTTP server that takes files by PUT. Every request has short limits: a
//! server that does not answer costs seconds, and is then left alone for a while. Knows nothing of results.

mod download;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};
use rusty_s3::actions::{ListObjectsV2, S3Action};
use rusty_s3::{Bucket, Credentials, UrlStyle};

pub(super) use self::download::Download;
use super::error::RemoteError;
use super::settings::{RemoteSettings, SecretSource};
use crate::host::cancel::Cancel;
use crate::host::http::send::{Answer, Method, Outgoing};
use crate::host::http::{Body, Client, Get, Head, HttpError, Limits, percent_encode_path, redact};
use crate::places::{Folders, folder_of};
use crate::size::MIB;
use crate::syntax::secret::Secret;

/// Time limits. A server of a farm is near; one that takes longer is of no use to a run that waits for it.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(4),
    silence: Duration::from_secs(8),
    answer: Duration::from_secs(60),
};
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
/// Variable with the token of temporary credentials, which goes with the variables that are the default.
const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";

/// A server that is ready to be asked.
#[derive(Debug)]
pub(super) struct Objects {
    client: Client,
    place: Place,
    /// Since when it is left alone.
    away: Mutex<Option<Instant>>,
}

#[derive(Debug)]
enum Place {
    Bucket {
        bucket: Box<Bucket>,
        credentials: Credentials,
        /// What object names begin with; empty, or with a slash at its end.
        prefix: String,
    },
    Server {
        /// Without a slash at its end.
        base: String,
        headers: Vec<(&'static str, String)>,
    },
}

/// What is done to an object.
#[derive(Clone, Copy, Debug)]
enum Verb {
    Get,
    Head,
    Put,
    Delete,
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
            ..Client::default()
        };
        let place = match url.split_once("://") {
            Some(("s3", rest)) => bucket(settings, rest)?,
            Some(("http" | "https", _)) => server(settings, url)?,
            _ => {
                return Err(RemoteError::Settings(format!(
                    "`{}` is no remote store; write s3://bucket/prefix or https://host/path",
                    redact(url)
                )));
            }
        };
        Ok(Self {
            client,
            place,
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

    /// Bytes of an object, where the server says how many; none: it is not there.
    pub(super) fn length(&self, path: &str, cancel: &Cancel) -> Result<Option<Option<u64>>, RemoteError> {
        self.attempt(cancel, || {
            let (url, headers) = self.signed(Verb::Head, path, Vec::new());
            let ask = Get {
                headers: &headers,
                ..Get::new(&url)
            };
            let head = self.client.head(&ask, cancel);
            let head = head.map_err(|error| RemoteError::request("ask for", &self.shown(path), error))?;
            match head.status {
                200 => Ok(Some(head.length)),
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

    /// Puts a file there, whatever was there before.
    pub(super) fn write_file(
        &self,
        path: &str,
        file: &Arc<File>,
        bytes: u64,
        cancel: &Cancel,
        on_sent: &mut dyn FnMut(u64),
    ) -> Result<(), RemoteError> {
        let mut hash = Md5::new();
        let mut buffer = vec![0; 1 << 18];
        let mut whole = Stretch::of(file);
        loop {
            match whole.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => hash.update(&buffer[..count]),
                Err(error) => {
                    return Err(RemoteError::Damaged(format!(
                        "what is to be sent cannot be read: {error}"
                    )));
                }
            }
        }
        let md5 = BASE64_STANDARD.encode(hash.finalize());
        self.put(path, bytes, &md5, Over::Anything, cancel, on_sent, &mut || {
            Stretch::of(file)
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

    /// The paths of all objects that begin with `prefix` and come after `start_after`, in order.
    pub(super) fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        cancel: &Cancel,
    ) -> Result<Vec<String>, RemoteError> {
        let Place::Bucket {
            bucket,
            credentials,
            prefix: all,
        } = &self.place
        else {
            return Err(RemoteError::Unsupported(
                "a plain HTTP server lists nothing; use a bucket",
            ));
        };
        let (mut paths, mut token) = (Vec::new(), None::<String>);
        loop {
            let list = self.attempt(cancel, || {
                let mut action = bucket.list_objects_v2(Some(credentials));
                action.with_prefix(format!("{all}{prefix}"));
                match (&token, start_after) {
                    (Some(token), _) => action.with_continuation_token(token.clone()),
                    (None, Some(after)) => action.with_start_after(format!("{all}{after}")),
                    (None, None) => {}
                }
                let url = action.sign(SIGNED_FOR);
                let failed = |error| RemoteError::request("list", &self.shown(prefix), error);
                let (head, mut body) = self.client.get(&Get::new(url.as_str()), cancel).map_err(failed)?;
                if head.status != 200 {
                    return Err(failed(head.error()));
                }
                let text = self.all(prefix, &mut body, LIST, cancel)?;
                ListObjectsV2::parse_response(&String::from_utf8_lossy(&text)).map_err(|error| {
                    RemoteError::Damaged(format!(
                        "{}: what it lists cannot be read: {error}",
                        self.shown(prefix)
                    ))
                })
            })?;
            let keys = list.contents.into_iter().map(|object| object.key);
            paths.extend(keys.filter_map(|key| key.strip_prefix(all.as_str()).map(str::to_owned)));
            token = list.next_continuation_token;
            if token.is_none() {
                return Ok(paths);
            }
        }
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

    fn is_away(&self) -> bool {
        let since = *self.away.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() < AWAY)
    }
}

fn sign<'a>(mut action: impl S3Action<'a>, headers: &[(&'static str, String)]) -> String {
    for (name, value) in headers {
        action.headers_mut().insert(*name, value.clone());
    }
    action.sign(SIGNED_FOR).into()
}

fn bucket(settings: &RemoteSettings, rest: &str) -> Result<Place, RemoteError> {
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/');
    let region = settings.region.clone().unwrap_or_else(|| "us-east-1".to_owned());
    let endpoint = settings.endpoint.clone();
    let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
    let bad = |cause: String| {
        RemoteError::Settings(format!("the endpoint `{endpoint}` {cause}; write https://host"))
    };
    let parsed = endpoint
        .parse()
        .map_err(|error| bad(format!("is not a URL ({error})")))?;
    let bucket = Bucket::new(parsed, UrlStyle::Path, name.to_owned(), region)
        .map_err(|error| bad(format!("cannot be one: {error}")))?;
    let usual = settings.access_key.is_none();
    let key = read("access_key", settings.access_key.as_ref(), "AWS_ACCESS_KEY_ID")?;
    let secret = read(
        "secret_key",
        settings.secret_key.as_ref(),
        "AWS_SECRET_ACCESS_KEY",
    )?;
    let token = std::env::var(SESSION_TOKEN).ok();
    let credentials = match token.filter(|token| usual && !token.is_empty()) {
        Some(token) => Credentials::new_with_token(key, secret, token),
        None => Credentials::new(key, secret),
    };
    Ok(Place::Bucket {
        bucket: Box::new(bucket),
        credentials,
        prefix: match prefix {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        },
    })
}

fn server(settings: &RemoteSettings, url: &str) -> Result<Place, RemoteError> {
    let mut headers = Vec::new();
    if let Some(user) = &settings.access_key {
        let user = read("access_key", Some(user), "")?;
        let password = read(
            "secret_key",
            settings.secret_key.as_ref(),
            "PIPELINE_REMOTE_SECRET_KEY",
        )?;
        let basic = BASE64_STANDARD.encode(format!("{user}:{password}"));
        headers.push(("authorization", format!("Basic {basic}")));
    }
    Ok(Place::Server {
        base: url.trim_end_matches('/').to_owned(),
        headers,
    })
}

fn read(key: &str, source: Option<&SecretSource>, default: &str) -> Result<String, RemoteError> {
    let secret = source.map_or_else(|| Secret::Env(default.to_owned()), SecretSource::secret);
    match secret.read() {
        Ok(value) => Ok(value.expose().trim().to_owned()),
        Err(error) => Err(RemoteError::Settings(format!("`remote.{key}`: {error}"))),
    }
}

/// A file that is read from its beginning, however often.
struct Stretch {
    file: Arc<File>,
    at: u64,
}

impl Stretch {
    fn of(file: &Arc<File>) -> Self {
        Self {
            file: Arc::clone(file),
            at: 0,
        }
    }
}

impl Read for Stretch {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
