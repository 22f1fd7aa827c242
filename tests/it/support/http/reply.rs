//! What the server sends back: whole files and ranges as in RFC 9110, cut or slowed where a story wants it.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::Asked;

#[derive(Debug)]
pub enum Framing {
    Length,
    Chunked,
    Close,
}

/// What goes back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub first: u64,
    pub framing: Framing,
    pub cut: Option<u64>,
    pub drip: Option<(usize, Duration)>,
}

impl Reply {
    pub fn bare(status: u16, headers: Vec<(&'static str, String)>) -> Self {
        Self {
            status,
            headers,
            body: Vec::new(),
            first: 0,
            framing: Framing::Length,
            cut: None,
            drip: None,
        }
    }

    pub fn whole(content: &[u8]) -> Self {
        let body = content.to_vec();
        Self {
            body,
            ..Self::bare(200, Vec::new())
        }
    }

    pub fn range(content: &[u8], first: usize) -> Self {
        let value = format!("bytes {first}-{}/{}", content.len() - 1, content.len());
        Self {
            body: content[first..].to_vec(),
            first: first as u64,
            ..Self::bare(206, vec![("Content-Range", value)])
        }
    }

    /// What a good server does.
    pub fn plan(
        asked: &Asked,
        content: &[u8],
        etag: &Option<String>,
        last_modified: &Option<String>,
    ) -> Self {
        let range = asked
            .header("range")
            .and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-'));
        let validators = [etag, last_modified];
        let holds = |v: &str| validators.iter().any(|known| known.as_deref() == Some(v));
        let mut reply = match range.filter(|_| asked.header("if-range").is_none_or(holds)) {
            None => Self::whole(content),
            Some(first) => match first.parse::<usize>().unwrap() {
                first if first < content.len() => Self::range(content, first),
                _ => Self::bare(416, vec![("Content-Range", format!("bytes */{}", content.len()))]),
            },
        };
        reply.headers.extend(etag.clone().map(|v| ("ETag", v)));
        reply
            .headers
            .extend(last_modified.clone().map(|v| ("Last-Modified", v)));
        reply
    }

    pub fn send(&self, mut out: &TcpStream, sent: &AtomicU64, stop: &AtomicBool) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} Whatever\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        match self.framing {
            Framing::Length => head += &format!("Content-Length: {}\r\n", self.body.len()),
            Framing::Chunked => head += "Transfer-Encoding: chunked\r\n",
            Framing::Close => {}
        }
        out.write_all(format!("{head}\r\n").as_bytes())?;
        let end = self.cut.map_or(self.body.len(), |cut| cut as usize);
        let (size, pause) = self.drip.unwrap_or((64 * 1024, Duration::ZERO));
        for piece in self.body[..end.min(self.body.len())].chunks(size) {
            if stop.load(Ordering::SeqCst) {
                return Ok(());
            }
            match self.framing {
                Framing::Chunked => {
                    write!(out, "{:x}\r\n", piece.len())?;
                    out.write_all(piece)?;
                    out.write_all(b"\r\n")?;
                }
                _ => out.write_all(piece)?,
            }
            sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
            std::thread::sleep(pause);
        }
        match self.framing {
            Framing::Chunked => out.write_all(b"0\r\n\r\n"),
            _ => Ok(()),
        }
    }
}
