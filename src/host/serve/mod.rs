//! A small HTTP server on loopback that hands out a few documents under a path that cannot be guessed, and takes short
//! reports. Every request is reported. Knows nothing of what the documents are.

pub mod request;
pub mod response;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use self::request::Bounds;
use crate::digest::hex;
use crate::host::listener::Listener;
use crate::host::process::clean_line;
use crate::host::random;

/// The longest report and the longest time for a request.
const BOUNDS: Bounds = Bounds {
    body: 256 * 1024,
    time: PATIENCE,
};
/// Longest time for one request; emulated guests are slow.
const PATIENCE: Duration = Duration::from_secs(120);
/// Connections at once; others are closed.
const CONNECTIONS: usize = 32;
/// Characters of a path that are reported.
const SHOWN: usize = 200;

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// `GET`, `HEAD`, `POST`.
    pub method: String,
    /// What was asked for, below the secret path where it was known, else as it came.
    pub path: String,
    /// Status of the answer.
    pub status: u16,
    /// Body of a report.
    pub body: Vec<u8>,
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.method, self.path, self.status)
    }
}

/// A running server; dropping it ends it.
pub type Server = Listener<TcpListener>;

/// A port with nothing behind it yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    /// The port, on 127.0.0.1.
    pub port: u16,
    /// The secret part of the path: documents are at `/FOLDER/NAME`.
    pub folder: String,
}

impl Bound {
    /// A server without documents yet, so that they can name its port: give them to [`Bound::serve`].
    ///
    /// # Errors
    /// When no port is free, or the kernel gives no random bytes.
    pub fn new() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        Ok(Self {
            port: listener.local_addr()?.port(),
            folder: hex(&random::bytes::<16>()?),
            listener,
        })
    }

    /// Serves documents by name; `on_request` is called after each request.
    pub fn serve(
        self,
        documents: BTreeMap<String, Vec<u8>>,
        on_request: impl Fn(Answered) + Send + Sync + 'static,
    ) -> Server {
        let secret = self.folder;
        Listener::start(self.listener, CONNECTIONS, move |stream| {
            if let Some(request) = answer(stream, &secret, &documents) {
                on_request(request);
            }
        })
    }
}

/// One request; nothing where there was none that could be read.
fn answer(mut stream: TcpStream, secret: &str, documents: &BTreeMap<String, Vec<u8>>) -> Option<Answered> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let (mut answered, sends_body, found) = match request::read(&mut stream, BOUNDS) {
        Ok(Some(request)) => {
            let name = request.path.strip_prefix(secret);
            let name = name.and_then(|rest| rest.strip_prefix('/'));
            let found = name.and_then(|name| documents.get(name));
            let status = match (request.method.as_str(), name, found) {
                ("GET" | "HEAD", _, Some(_)) => 200,
                ("GET" | "HEAD", _, None) | (_, None, _) => 404,
                ("POST", Some(_), _) => 204,
                _ => 405,
            };
            let answered = Answered {
                path: format!("/{}", name.unwrap_or(&request.path)),
                status,
                body: request.body,
                method: request.method,
            };
            let sends_body = answered.method != "HEAD";
            (answered, sends_body, found)
        }
        Ok(None) => return None,
        Err(status) => {
            let answered = Answered {
                method: "?".to_owned(),
                path: "?".to_owned(),
                status,
                body: Vec::new(),
            };
            (answered, true, None)
        }
    };
    let body = found
        .filter(|_| answered.status == 200)
        .map_or(&[][..], Vec::as_slice);
    let length = body.len() as u64;
    let body = if sends_body { body } else { &[][..] };
    let sent = response::head(&mut stream, answered.status, "text/plain", length)
        .and_then(|()| stream.write_all(body));
    // What the guest did not take, it did not get.
    if sent.is_err() {
        answered.status = 0;
    }
    drop(stream.shutdown(Shutdown::Write));
    request::drain(&mut stream);
    answered.method = shown(&answered.method);
    answered.path = shown(&answered.path);
    Some(answered)
}

/// A stranger's words, fit for a log.
fn shown(text: &str) -> String {
    clean_line(text).chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::mpsc;

    use super::*;

    /// Sends these bytes; gives all that is answered.
    fn ask(port: u16, request: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn only_documents_under_the_secret_path_are_given_and_all_requests_are_reported() {
        let bound = Bound::new().unwrap();
        let (port, folder) = (bound.port, bound.folder.clone());
        let (sender, reported) = mpsc::channel();
        let documents = BTreeMap::from([("preseed.cfg".to_owned(), b"d-i\n".to_vec())]);
        let _server = bound.serve(documents, move |request| sender.send(request).unwrap());
        let url = format!("/{folder}/preseed.cfg");
        let given = ask(port, &format!("GET {url} HTTP/1.0\r\n\r\n"));
        assert!(
            given.starts_with("HTTP/1.1 200") && given.ends_with("\r\n\r\nd-i\n"),
            "{given}"
        );
        assert_eq!(reported.recv().unwrap().to_string(), "GET /preseed.cfg 200");
        assert!(ask(port, &format!("HEAD {url} HTTP/1.1\r\n\r\n")).ends_with("\r\n\r\n"));
        assert_eq!(reported.recv().unwrap().to_string(), "HEAD /preseed.cfg 200");
        for (request, status) in [
            ("GET /preseed.cfg HTTP/1.1\r\n\r\n".to_owned(), 404),
            (format!("GET {url}/../x HTTP/1.1\r\n\r\n"), 404),
            (format!("PUT {url} HTTP/1.1\r\n\r\n"), 405),
            ("POST /x HTTP/1.1\r\nContent-Length: 1\r\n\r\nx".to_owned(), 404),
            (
                format!("POST {url} HTTP/1.1\r\nContent-Length: 999999\r\n\r\n"),
                413,
            ),
            ("rubbish\r\n\r\n".to_owned(), 400),
            (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(40_000)), 431),
        ] {
            let given = ask(port, &request);
            assert!(
                given.starts_with(&format!("HTTP/1.1 {status} ")),
                "{request}: {given}"
            );
            assert_eq!(reported.recv().unwrap().status, status, "{request}");
        }
        let report = format!("POST /{folder}/report HTTP/1.1\r\nContent-Length: 2\r\n\r\n{{}}");
        assert!(ask(port, &report).starts_with("HTTP/1.1 204"));
        assert_eq!(reported.recv().unwrap().body, b"{}");
    }
}
