//! HTTP and HTTPS: one request at a time (downloads as a head and then chunks here, uploads in [`send`]), with every
//! failure distinguished. Proxies of the environment are honoured, redirects of a GET followed within a bound, certificates
//! checked against the host's own authorities (`SSL_CERT_FILE` is heard) or those that the caller names. Knows nothing
//! of files, digests or retries.
//!
//! Each request runs on a thread of its own and hands its bytes over a short channel: so the caller can be stopped
//! within a moment even while the system waits for a name server or a mute peer.

mod error;
mod forward;
mod head;
mod proxy;
pub mod send;
mod tls;
mod url;

use std::io::{ErrorKind, Read};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::header;
use ureq::{Agent, Proxy};

pub use self::error::{HttpError, Peer};
pub use self::head::{Head, META_SHA512};
pub use self::proxy::Proxies;
pub use self::tls::{Tls, TlsFileError};
pub use self::url::{percent_encode_path, redact};

use self::head::text;
use self::url::Url;
use super::cancel::Cancel;

/// Longest time to get a connection, TLS included. A transcontinental handshake over a bad line takes seconds.
const CONNECT: Duration = Duration::from_secs(30);
/// Longest silence of a connected peer. Mirrors that spin up a disk or ask an origin first may need half a minute.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest wait for the answer to what was sent. A server may read a whole image back before it answers; the reference
/// client of shacache waits as long.
const ANSWER: Duration = Duration::from_secs(3600);
/// Most redirects followed; browsers allow 20, mirrors need 2.
const REDIRECTS: u32 = 10;
/// Bytes handed over at once.
const CHUNK: usize = 128 * 1024;
/// Bytes of a body that are read and sent at once. More than ureq's own 128 KiB: on a fast line each round costs.
const OUTPUT: usize = 512 * 1024;
/// Chunks under way between the two threads.
const CHUNKS_AHEAD: usize = 8;
/// How long a transfer is watched before it is called slow.
const WATCHED: Duration = Duration::from_secs(8);
/// How often a waiting caller looks whether it should stop.
const POLL: Duration = Duration::from_millis(50);

/// Time limits. Both are by silence: a slow transfer that moves is never cut.
#[derive(Clone, Debug)]
pub struct Limits {
    /// To get a connection.
    pub connect: Duration,
    /// Between two signs of life.
    pub silence: Duration,
    /// From the end of what was sent to its answer.
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: CONNECT,
            silence: SILENCE,
            answer: ANSWER,
        }
    }
}

/// Makes requests.
#[derive(Clone, Debug)]
pub struct Client {
    /// Time limits.
    pub limits: Limits,
    /// Bytes in a second that a transfer moves at least while it is waited for; none: it is waited for as long as it moves.
    pub slowest: Option<u64>,
    pub proxies: Proxies,
    /// Whom it trusts, and who it says it is.
    pub tls: Tls,
}

/// A GET, or a HEAD.
#[derive(Clone, Debug)]
pub struct Get<'a> {
    pub url: &'a str,
    /// The first byte wanted, when not all are.
    pub from: Option<u64>,
    /// Validator under which `from` holds (RFC 9110 §13.1.5): an `ETag` or a `Last-Modified` value.
    pub if_range: Option<&'a str>,
    /// Further headers, names in lower case. Redirects take them along only to the same place.
    pub headers: &'a [(&'a str, String)],
    /// Whether redirects are followed; if not, they are an answer like any other.
    pub follow: bool,
}

impl<'a> Get<'a> {
    /// All of what is at a URL.
    pub fn new(url: &'a str) -> Self {
        Self {
            url,
            from: None,
            if_range: None,
            headers: &[],
            follow: true,
        }
    }
}

/// A body that is arriving. Dropping it closes the connection.
#[derive(Debug)]
pub struct Body {
    messages: Receiver<Message>,
    agent: Agent,
    peer: Peer,
    silence: Duration,
    pace: Pace,
}

/// How fast a transfer is while it is waited for: what takes its time elsewhere is not its fault.
#[derive(Debug)]
struct Pace {
    slowest: Option<u64>,
    moved: u64,
    waited: Duration,
}

impl Pace {
    fn new(slowest: Option<u64>) -> Self {
        Self {
            slowest,
            moved: 0,
            waited: Duration::ZERO,
        }
    }

    /// Takes notice of bytes that moved while they were waited for.
    fn note(&mut self, moved: u64, waited: Duration, peer: &Peer) -> Result<(), HttpError> {
        self.moved += moved;
        self.waited += waited;
        if self.waited < WATCHED {
            return Ok(());
        }
        let (bytes, within) = (self.moved, self.waited);
        (self.moved, self.waited) = (0, Duration::ZERO);
        match self.slowest {
            Some(slowest) if bytes < slowest * within.as_secs() => Err(HttpError::Slow {
                peer: peer.clone(),
                bytes,
                within,
            }),
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
enum Message {
    Head(Head, Agent, Peer),
    Chunk(Vec<u8>),
    End,
    Failed(HttpError),
}

impl Default for Client {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            slowest: None,
            proxies: Proxies::from_env(),
            tls: Tls::default(),
        }
    }
}

impl Client {
    /// Asks, follows redirects, and returns with the head of the final answer, whatever its status.
    ///
    /// # Errors
    /// Every [`HttpError`] but [`HttpError::Status`], which is the caller's to judge ([`Head::error`]).
    pub fn get(&self, get: &Get<'_>, cancel: &Cancel) -> Result<(Head, Body), HttpError> {
        self.ask(get, Part::Whole, cancel)
    }

    /// The same, but only for the head.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn head(&self, get: &Get<'_>, cancel: &Cancel) -> Result<Head, HttpError> {
        self.ask(get, Part::Head, cancel).map(|(head, _)| head)
    }

    fn ask(&self, get: &Get<'_>, part: Part, cancel: &Cancel) -> Result<(Head, Body), HttpError> {
        let first = Url::parse(get.url)?;
        let peer = Peer {
            place: first.place().to_owned(),
            proxy: None,
        };
        let (sender, messages) = mpsc::sync_channel(CHUNKS_AHEAD);
        let asker = Asker {
            client: self.clone(),
            from: get.from,
            if_range: get.if_range.map(str::to_owned),
            headers: get
                .headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            follow: get.follow,
            part,
        };
        // Not joined: it ends when its connection does, which dropping the body brings about.
        std::thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || asker.run(first, &sender))
            .map_err(|e| HttpError::Io {
                peer: peer.clone(),
                detail: e.to_string(),
            })?;
        // Name lookup, connection and the answer's head each have their own limit; this one is for all of them.
        let patience = self.limits.connect * 2 + self.limits.silence * 2;
        match wait(&messages, &peer, patience, cancel)? {
            Message::Head(head, agent, peer) => {
                let silence = self.limits.silence;
                let body = Body {
                    messages,
                    agent,
                    peer,
                    silence,
                    pace: Pace::new(self.slowest),
                };
                Ok((head, body))
            }
            Message::Failed(error) => Err(error),
            Message::Chunk(_) | Message::End => unreachable!("the head comes first"),
        }
    }

    /// The agent for a URL, and whom it talks to. One for each request: dropping the body shuts it down, and nothing
    /// else may depend on it.
    fn agent(&self, url: &Url) -> Result<(Agent, Peer, Option<String>), HttpError> {
        let Some(named) = self.proxies.find(url.scheme(), url.host(), url.port()) else {
            let peer = Peer {
                place: url.place().to_owned(),
                proxy: None,
            };
            return Ok((self.config(None).new_agent(), peer, None));
        };
        let bad = |_| HttpError::ProxyUrl {
            variable: named.variable.clone(),
        };
        let proxy = Proxy::new(&named.url).map_err(bad)?;
        let peer = Peer {
            place: format!("{}:{}", proxy.host(), proxy.port()),
            proxy: Some(named.variable.clone()),
        };
        let over_http = matches!(
            proxy.protocol(),
            ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https
        );
        if !(over_http && url.scheme() == "http") {
            return Ok((self.config(Some(proxy)).new_agent(), peer, None));
        }
        let front = Url::parse(&named.url).map_err(|_| HttpError::ProxyUrl {
            variable: named.variable.clone(),
        })?;
        let agent = forward::agent(self.config(None), proxy.uri().clone());
        Ok((agent, peer, front.authorization))
    }

    fn config(&self, proxy: Option<Proxy>) -> Config {
        Agent::config_builder()
            .tls_config(self.tls.config())
            .proxy(proxy)
            .http_status_as_error(false)
            // MKCOL is one.
            .allow_non_standard_methods(true)
            // Followed here instead: each hop may need another proxy, or none.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("pipeline/", env!("CARGO_PKG_VERSION")))
            // Images are fetched as they are: a digest of inflated bytes would be that of another file.
            .accept_encoding("identity")
            .output_buffer_size(OUTPUT)
            .timeout_resolve(Some(self.limits.connect))
            .timeout_connect(Some(self.limits.connect))
            .timeout_per_read(Some(self.limits.silence))
            .timeout_per_write(Some(self.limits.silence))
            .build()
    }
}

/// The request, on its own thread.
struct Asker {
    client: Client,
    from: Option<u64>,
    if_range: Option<String>,
    headers: Vec<(String, String)>,
    follow: bool,
    part: Part,
}

/// What of an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Head,
}

impl Asker {
    fn run(&self, first: Url, sender: &SyncSender<Message>) {
        let failed = |error| drop(sender.send(Message::Failed(error)));
        match self.ask(first) {
            Err(error) => failed(error),
            Ok((head, mut reader, agent, peer)) => {
                let length = head.length;
                if sender.send(Message::Head(head, agent, peer.clone())).is_err() {
                    return;
                }
                let end = relay(&mut reader, length, &peer, &self.client.limits, sender);
                match end {
                    Ok(()) => drop(sender.send(Message::End)),
                    Err(error) => failed(error),
                }
            }
        }
    }

    fn ask(&self, first: Url) -> Result<(Head, impl Read + use<>, Agent, Peer), HttpError> {
        let mut url = first;
        let home = url.origin();
        let mut moved = false;
        for _ in 0..=REDIRECTS {
            let (agent, peer, proxy_authorization) = self.client.agent(&url)?;
            let mut request = match self.part {
                Part::Whole => agent.get(url.as_str()),
                Part::Head => agent.head(url.as_str()),
            };
            let at_home = url.origin() == home;
            for (name, value) in self.headers.iter().filter(|_| at_home) {
                request = request.header(name, value);
            }
            let range = self.from.map(|from| format!("bytes={from}-"));
            let headers = [
                (header::RANGE, range.as_ref()),
                (header::IF_RANGE, self.if_range.as_ref()),
                (header::AUTHORIZATION, url.authorization.as_ref()),
                (header::PROXY_AUTHORIZATION, proxy_authorization.as_ref()),
            ];
            for (name, value) in headers {
                if let Some(value) = value {
                    request = request.header(name, value);
                }
            }
            let limits = &self.client.limits;
            let answer = request
                .call()
                .map_err(|e| HttpError::from_ureq(e, peer.clone(), url.place(), limits))?;
            let status = answer.status().as_u16();
            let location = text(answer.headers(), &header::LOCATION);
            if let (true, 301 | 302 | 303 | 307 | 308, Some(location)) = (self.follow, status, location) {
                url = url.join(&location)?;
                moved = true;
                continue;
            }
            let moved_to = moved.then(|| url.to_string());
            let head = Head::read(status, moved_to, answer.headers());
            return Ok((head, answer.into_body().into_reader(), agent, peer));
        }
        Err(HttpError::Redirects {
            limit: REDIRECTS,
            last: url.to_string(),
        })
    }
}

/// Passes a body on, chunk by chunk, until it ends or the reader has gone.
fn relay(
    reader: &mut impl Read,
    want: Option<u64>,
    peer: &Peer,
    limits: &Limits,
    sender: &SyncSender<Message>,
) -> Result<(), HttpError> {
    let mut got = 0u64;
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(e) => {
                return Err(match e.kind() {
                    ErrorKind::UnexpectedEof
                    | ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe => HttpError::Cut { got, want },
                    _ => HttpError::from_ureq(ureq::Error::from(e), peer.clone(), &peer.place, limits),
                });
            }
        };
        got += count as u64;
        if sender.send(Message::Chunk(buffer[..count].to_vec())).is_err() {
            return Ok(());
        }
    }
}

/// Waits for the next message, no longer than `patience`, and not after being asked to stop.
fn wait(
    messages: &Receiver<Message>,
    peer: &Peer,
    patience: Duration,
    cancel: &Cancel,
) -> Result<Message, HttpError> {
    let since = Instant::now();
    loop {
        if cancel.is_cancelled() {
            return Err(HttpError::Cancelled);
        }
        match messages.recv_timeout(POLL) {
            Ok(message) => return Ok(message),
            Err(RecvTimeoutError::Timeout) if since.elapsed() < patience => {}
            Err(RecvTimeoutError::Timeout) => {
                return Err(HttpError::Silent {
                    peer: peer.clone(),
                    after: patience,
                });
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(HttpError::Io {
                    peer: peer.clone(),
                    detail: "the transfer ended without a result".to_owned(),
                });
            }
        }
    }
}

impl Body {
    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// [`HttpError::Cut`], [`HttpError::Silent`], [`HttpError::Cancelled`], [`HttpError::Io`] and the like.
    pub fn next(&mut self, cancel: &Cancel) -> Result<Option<Vec<u8>>, HttpError> {
        let since = Instant::now();
        // The reading thread has the real limit; twice that is for the case that it cannot keep it.
        match wait(&self.messages, &self.peer, self.silence * 2, cancel)? {
            Message::Chunk(bytes) => {
                self.pace.note(bytes.len() as u64, since.elapsed(), &self.peer)?;
                Ok(Some(bytes))
            }
            Message::End => Ok(None),
            Message::Failed(error) => Err(error),
            Message::Head(..) => unreachable!("there is one head"),
        }
    }

    /// All that is left of it.
    ///
    /// # Errors
    /// As [`Body::next`]; [`HttpError::Cut`] where it has more bytes than `most`.
    pub fn whole(mut self, most: u64, cancel: &Cancel) -> Result<Vec<u8>, HttpError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.next(cancel)? {
            bytes.extend(chunk);
            if bytes.len() as u64 > most {
                let (got, want) = (bytes.len() as u64, None);
                return Err(HttpError::Cut { got, want });
            }
        }
        Ok(bytes)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.agent.clone().shutdown();
    }
}
