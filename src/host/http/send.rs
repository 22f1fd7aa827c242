//! Requests that change something: PUT, POST, DELETE and MKCOL, the body streamed with a Content-Length, never redirected, with an answer of bounded
//! size. Knows nothing of what is sent, of retries or of who answers.
//!
//! As a download does, the request runs on a thread of its own, so that a caller can be stopped at any moment.

use std::io::{self, ErrorKind, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ureq::http::{Request, header};
use ureq::{Agent, SendBody};

use super::error::{HttpError, Peer};
use super::head::{Head, text};
use super::url::Url;
use super::{Client, Limits, POLL, Pace};
use crate::host::cancel::Cancel;

/// Most bytes taken of an answer: receipts, lists of parts and error pages are far smaller.
const ANSWER: u64 = 1 << 20;

/// How a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Puts something at a place; doing it twice is doing it once.
    Put,
    /// Hands something over.
    Post,
    /// Takes away what is at a place.
    Delete,
    /// Makes a folder on a WebDAV server (RFC 4918 §9.3).
    MakeFolder,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Delete => "DELETE",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::MakeFolder => "MKCOL",
        }
    }
}

/// A request with a body.
#[derive(Clone, Debug)]
pub struct Outgoing<'a> {
    pub method: Method,
    pub url: &'a str,
    /// Further headers; names in lower case.
    pub headers: &'a [(&'a str, String)],
    /// Bytes of the body.
    pub length: u64,
    /// Whether to wait a moment for the server to accept or refuse by the head alone (`Expect: 100-continue`,
    /// RFC 9110 §10.1.1), before a long body is sent for nothing.
    pub ask_first: bool,
}

impl<'a> Outgoing<'a> {
    /// A request to remove what is there.
    pub fn delete(url: &'a str, headers: &'a [(&'a str, String)]) -> Self {
        Self {
            method: Method::Delete,
            url,
            headers,
            length: 0,
            ask_first: false,
        }
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its head, whatever the status.
    pub head: Head,
    /// The start of its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text, for messages and parsers.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    /// Sends, and gives the answer whatever its status. A redirect is an answer like any other: the body would have to
    /// be sent again, and a login page is no place for it. `on_sent` hears how many bytes have been handed over so far.
    ///
    /// # Errors
    /// Every [`HttpError`] but [`HttpError::Status`].
    pub fn send(
        &self,
        outgoing: &Outgoing<'_>,
        body: impl Read + Send + 'static,
        cancel: &Cancel,
        on_sent: &mut dyn FnMut(u64),
    ) -> Result<Answer, HttpError> {
        let url = Url::parse(outgoing.url)?;
        let patient = Limits {
            silence: self.limits.answer,
            ..self.limits.clone()
        };
        let client = Self {
            limits: patient,
            ..self.clone()
        };
        let (agent, peer, proxy_authorization) = client.agent(&url)?;
        let mut headers: Vec<(String, String)> = Vec::new();
        headers.push((header::CONTENT_LENGTH.to_string(), outgoing.length.to_string()));
        let extra = outgoing.headers.iter();
        headers.extend(extra.map(|(name, value)| ((*name).to_owned(), value.clone())));
        if outgoing.ask_first {
            headers.push((header::EXPECT.to_string(), "100-continue".to_owned()));
        }
        let authorization = url.authorization.clone();
        headers.extend(authorization.map(|value| (header::AUTHORIZATION.to_string(), value)));
        headers.extend(proxy_authorization.map(|value| (header::PROXY_AUTHORIZATION.to_string(), value)));
        let meter = Arc::new(Meter::default());
        let sender = Sender {
            agent: agent.clone(),
            peer: peer.clone(),
            url,
            method: outgoing.method,
            headers,
            limits: client.limits,
            length: outgoing.length,
            meter: Arc::clone(&meter),
        };
        let (done, result) = mpsc::sync_channel(1);
        // Not joined: it ends when its connection does, which shutting the agent down brings about.
        std::thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || drop(done.send(sender.run(body))))
            .map_err(|e| HttpError::Io {
                peer: peer.clone(),
                detail: e.to_string(),
            })?;
        // A body leaves in pieces of some hundred KiB: of a slow peer none leaves for long.
        let mut pace = Pace::new(self.slowest);
        let (mut sent, mut since) = (0, Instant::now());
        loop {
            if cancel.is_cancelled() {
                agent.shutdown();
                return Err(HttpError::Cancelled);
            }
            let now = meter.sent();
            if now < outgoing.length
                && let Err(slow) = pace.note(now - sent, since.elapsed(), &peer)
            {
                agent.shutdown();
                return Err(slow);
            }
            (sent, since) = (now, Instant::now());
            match result.recv_timeout(POLL) {
                Ok(answer) => {
                    on_sent(meter.sent());
                    return answer;
                }
                Err(RecvTimeoutError::Timeout) => on_sent(meter.sent()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(HttpError::Io {
                        peer,
                        detail: "the transfer ended without a result".to_owned(),
                    });
                }
            }
        }
    }
}

/// What the two threads share: how far the body is, and why it could not be read on.
#[derive(Debug, Default)]
struct Meter {
    sent: AtomicU64,
    broken: Mutex<Option<String>>,
}

impl Meter {
    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// A body whose bytes are counted as they leave.
struct Metered<R> {
    inner: R,
    meter: Arc<Meter>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(count) => {
                self.meter.sent.fetch_add(count as u64, Ordering::Relaxed);
                Ok(count)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let mut broken = self.meter.broken.lock().unwrap_or_else(PoisonError::into_inner);
                *broken = Some(error.to_string());
                Err(error)
            }
        }
    }
}

/// The request, on its own thread.
struct Sender {
    agent: Agent,
    peer: Peer,
    url: Url,
    method: Method,
    headers: Vec<(String, String)>,
    limits: Limits,
    length: u64,
    meter: Arc<Meter>,
}

impl Sender {
    fn run(&self, body: impl Read + Send + 'static) -> Result<Answer, HttpError> {
        let mut request = Request::builder()
            .method(self.method.name())
            .uri(self.url.as_str());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let meter = Arc::clone(&self.meter);
        let mut body = Metered { inner: body, meter };
        let answer = request
            .body(SendBody::from_reader(&mut body))
            .map_err(ureq::Error::from)
            .and_then(|request| self.agent.run(request))
            .map_err(|error| self.failed(error))?;
        let location = text(answer.headers(), &header::LOCATION);
        let location = location.and_then(|location| self.url.join(&location).ok());
        let head = Head::read(
            answer.status().as_u16(),
            location.map(|url| url.to_string()),
            answer.headers(),
        );
        let mut start = Vec::new();
        let read = answer
            .into_body()
            .into_reader()
            .take(ANSWER)
            .read_to_end(&mut start);
        match read {
            Ok(_) => Ok(Answer { head, body: start }),
            // What matters of a refusal is its status; a success must be read whole.
            Err(_) if head.status >= 300 => Ok(Answer { head, body: start }),
            Err(error) => Err(self.failed(ureq::Error::from(error))),
        }
    }

    fn failed(&self, error: ureq::Error) -> HttpError {
        let broken = self.meter.broken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(detail) = broken.clone() {
            return HttpError::Source { detail };
        }
        let sent = self.meter.sent();
        let was_cut = matches!(&error, ureq::Error::Io(e) if matches!(e.kind(),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
                | ErrorKind::UnexpectedEof));
        if was_cut && sent > 0 {
            return HttpError::SendCut {
                peer: self.peer.clone(),
                sent,
                length: self.length,
            };
        }
        HttpError::from_ureq(error, self.peer.clone(), self.url.place(), &self.limits)
    }
}
