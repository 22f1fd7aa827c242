//! Reads one HTTP/1 request (RFC 9112) within bounds. Knows nothing of what it asks for.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use percent_encoding::percent_decode_str;

/// Longest request line and header fields, together.
const HEAD: usize = 16 * 1024;
/// Most header fields.
const FIELDS: usize = 64;
/// What a client may still send after it was answered, and for how long we listen, before the connection is closed.
const DRAIN: u64 = 1 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// As sent: `GET`, `HEAD`, `POST`.
    pub method: String,
    /// Percent-decoded, without its first slash.
    pub path: String,
    /// What follows the `?`, as sent.
    pub query: String,
    /// The field of this name; empty without one.
    pub content_type: String,
    pub body: Vec<u8>,
}

/// How much of a stranger's request is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Longest body in bytes.
    pub body: u64,
    /// Longest time for the whole request.
    pub time: Duration,
}

/// Reads a request. Nothing: the client closed without asking.
///
/// # Errors
/// The status to answer with.
pub fn read(stream: &mut (impl Read + Write), bounds: Bounds) -> Result<Option<Request>, u16> {
    let deadline = Instant::now() + bounds.time;
    let mut bytes = Vec::new();
    let (mut request, length, expects, used) = loop {
        let before = bytes.len();
        more(stream, &mut bytes, HEAD - before, deadline)?;
        if let Some(head) = parse(&bytes)? {
            break head;
        }
        if bytes.len() == before {
            return if bytes.is_empty() { Ok(None) } else { Err(400) };
        }
        if bytes.len() >= HEAD {
            return Err(431);
        }
    };
    if length > bounds.body {
        return Err(413);
    }
    if expects && (bytes.len() - used) < usize::try_from(length).unwrap_or(usize::MAX) {
        // RFC 9110 §10.1.1: the client waits for this before it sends its body.
        let sent = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        sent.map_err(|_| 400_u16)?;
    }
    let length = usize::try_from(length).map_err(|_| 413_u16)?;
    bytes.drain(..used);
    while bytes.len() < length {
        let before = bytes.len();
        more(stream, &mut bytes, length - before, deadline)?;
        if bytes.len() == before {
            // Cut short.
            return Err(400);
        }
    }
    bytes.truncate(length);
    request.body = bytes;
    Ok(Some(request))
}

/// Reads what is there, at most `most` bytes; nothing at the end of the stream.
fn more(stream: &mut impl Read, bytes: &mut Vec<u8>, most: usize, deadline: Instant) -> Result<(), u16> {
    let mut buffer = [0; 16 * 1024];
    let most = most.min(buffer.len());
    loop {
        if Instant::now() > deadline {
            return Err(408);
        }
        match stream.read(&mut buffer[..most]) {
            Ok(count) => {
                bytes.extend_from_slice(&buffer[..count]);
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(408);
            }
            Err(_) => return Err(400),
        }
    }
}

/// The head, once it is whole: with the length of the body, whether the client waits for a go-ahead, and the head's
/// own length.
fn parse(bytes: &[u8]) -> Result<Option<(Request, u64, bool, usize)>, u16> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let used = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(431),
        Err(_) => return Err(400),
    };
    let target = parsed.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // A proxy's form of the target names the host too (RFC 9112 §3.2.2).
    let path = match path.strip_prefix("http://") {
        Some(rest) => rest.split_once('/').map_or("", |(_, path)| path),
        None => path.strip_prefix('/').ok_or(400_u16)?,
    };
    let path = percent_decode_str(path).decode_utf8().map_err(|_| 400_u16)?;
    let mut request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: path.into_owned(),
        query: query.to_owned(),
        ..Request::default()
    };
    let (mut length, mut expects) = (None, false);
    for field in parsed.headers.iter() {
        let value = || {
            std::str::from_utf8(field.value)
                .map(str::trim)
                .map_err(|_| 400_u16)
        };
        match field.name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let said = value()?;
                let said = said
                    .bytes()
                    .all(|b| b.is_ascii_digit())
                    .then(|| said.parse::<u64>());
                let said = said.and_then(Result::ok).ok_or(400_u16)?;
                if length.is_some_and(|before| before != said) {
                    return Err(400);
                }
                length = Some(said);
            }
            // No client here sends a body of unknown length.
            "transfer-encoding" => return Err(411),
            "content-type" => value()?.clone_into(&mut request.content_type),
            "expect" => expects = value()?.eq_ignore_ascii_case("100-continue"),
            _ => {}
        }
    }
    if request.method == "POST" && length.is_none() {
        return Err(411);
    }
    Ok(Some((request, length.unwrap_or(0), expects, used)))
}

/// Reads what the client still sends: closing before would make its system throw our answer away.
pub fn drain(stream: &mut impl Read) {
    let started = Instant::now();
    let mut buffer = [0; 16 * 1024];
    let mut left = DRAIN;
    while left > 0 && started.elapsed() < DRAIN_TIME {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => left = left.saturating_sub(count as u64),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn ask(text: &str) -> Result<Option<Request>, u16> {
        let bounds = Bounds {
            body: 1000,
            time: Duration::from_secs(60),
        };
        read(&mut Cursor::new(text.as_bytes().to_vec()), bounds)
    }

    #[test]
    fn a_request_is_read_whole_or_refused() {
        let request = ask("GET /a%20b/c?x=1&y HTTP/1.0\r\nHost: 10.0.2.100\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!(
            (request.path.as_str(), request.query.as_str()),
            ("a b/c", "x=1&y")
        );
        let through_proxy = ask("GET http://10.0.2.100/data HTTP/1.1\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!(through_proxy.path, "data");
        let post = "POST / HTTP/1.1\r\ncontent-type: text/x\r\nContent-Length: 3\r\n\r\nabcdef";
        let post = ask(post).unwrap().unwrap();
        assert_eq!(
            (post.body.as_slice(), post.content_type.as_str()),
            (&b"abc"[..], "text/x")
        );
        assert_eq!(ask(""), Ok(None));

        for (text, status) in [
            ("\x16\x03\x01\x02\x00", 400),
            ("GET /half HTTP/1.1\r\nHost:", 400),
            ("GET half HTTP/1.1\r\n\r\n", 400),
            ("GET /%ff HTTP/1.1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", 400),
            ("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
            (
                "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                400,
            ),
            ("POST / HTTP/1.1\r\n\r\n", 411),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                411,
            ),
            ("POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        ] {
            assert_eq!(ask(text), Err(status), "{text:?}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(HEAD));
        assert_eq!(ask(&long), Err(431));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(FIELDS + 1));
        assert_eq!(ask(&many), Err(431));
    }
}
