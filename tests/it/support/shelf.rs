//! A server on loopback that keeps what it is given: by PUT at its path, by POST under its SHA-512 as a shacache does,
//! and JSON below `/shadir/` as lists. It acts out a list of faults on what is written to it, and remembers what it was
//! asked.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipeline::internals::digest::{Algorithm, Hasher, sha256_hex};

/// One way to treat a body other than well. Each is for one PUT or POST, lists apart.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Takes the body and answers with this status.
    Status(u16),
    /// Hangs up after this many bytes of the body.
    CutAfter(usize),
    /// Keeps it, and answers with a wrong hash.
    WrongReceipt,
    /// Takes the body and sends the client to a login page, which every GET of this server then gives.
    Login,
    /// Keeps other bytes of the same length, and says that all is well.
    Spoil,
    /// Says that all is well and keeps nothing.
    Forget,
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Asked {
    /// As in `PUT /a/b`.
    pub line: String,
    headers: Vec<(String, String)>,
    /// Bytes of its body.
    pub body: usize,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    faults: VecDeque<Fault>,
    asked: Vec<Asked>,
    /// `Authorization` without which nothing is taken.
    password: Option<String>,
    /// Whether `If-None-Match: *` of a PUT is heeded.
    heeds: bool,
    /// GETs of paths with such an end are answered by 404, so many times.
    hidden: Option<(String, usize)>,
    /// The next GETs of compressed files are cut after so many bytes of the body.
    cuts: VecDeque<usize>,
    /// Bytes of bodies that pass in a second, of compressed files; none: at once.
    drip: Option<usize>,
    /// So many requests more are answered; then there is silence.
    patience: Option<usize>,
    /// Bytes of bodies that were sent.
    sent: u64,
    stop: bool,
}

/// The server; stops when dropped.
pub struct Shelf {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Shelf {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.lock().unwrap().stop {
                    break;
                }
                let state = Arc::clone(&shared);
                // A client that goes away in the middle is part of many stories.
                std::thread::spawn(move || drop(answer(&stream.unwrap(), &state)));
            }
        });
        Self { address, state }
    }

    /// The next bodies meet these faults, one each.
    pub fn faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.extend(faults);
    }

    /// A PUT with `If-None-Match: *` is refused where something is.
    pub fn heed_conditions(&self) {
        self.state.lock().unwrap().heeds = true;
    }

    /// The next so many GETs of paths that end like this find nothing.
    pub fn hide(&self, end: &str, times: usize) {
        self.state.lock().unwrap().hidden = Some((end.to_owned(), times));
    }

    /// The next GETs of compressed files are cut after so many bytes, one each.
    pub fn cut_reads(&self, after: impl IntoIterator<Item = usize>) {
        self.state.lock().unwrap().cuts.extend(after);
    }

    /// Passes so many bytes of compressed files in a second, both ways; 0: says nothing when asked for one.
    pub fn drip(&self, bytes: usize) {
        self.state.lock().unwrap().drip = Some(bytes);
    }

    /// Answers so many requests more and then none; `None`: all again.
    pub fn fall_silent_after(&self, requests: Option<usize>) {
        self.state.lock().unwrap().patience = requests;
    }

    /// Whether a request came that is not answered.
    pub fn is_silent(&self) -> bool {
        self.state.lock().unwrap().patience == Some(usize::MAX)
    }

    /// Bytes of bodies that were sent so far.
    pub fn sent(&self) -> u64 {
        self.state.lock().unwrap().sent
    }

    pub fn password(&self, value: &str) {
        self.state.lock().unwrap().password = Some(value.to_owned());
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Requests so far: `PUT /a`.
    pub fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    /// Forgets what it was asked so far.
    pub fn forget_asked(&self) {
        self.state.lock().unwrap().asked.clear();
    }

    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.state.lock().unwrap().files.get(path).cloned()
    }

    pub fn paths(&self) -> Vec<String> {
        self.state.lock().unwrap().files.keys().cloned().collect()
    }

    /// Changes what is kept, behind the clients' backs.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        self.state
            .lock()
            .unwrap()
            .files
            .insert(path.to_owned(), bytes.to_vec());
    }

    pub fn remove(&self, path: &str) {
        self.state.lock().unwrap().files.remove(path);
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.state.lock().unwrap().stop = true;
        drop(TcpStream::connect(self.address));
    }
}

fn answer(stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    let [method, path, _] = &words[..] else {
        return Ok(());
    };
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let header = |name: &str| {
        headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.clone())
    };
    let length: usize = header("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let writes = method == "PUT" || method == "POST";
    let listing = path.starts_with("/shadir/");
    let (fault, password, drip) = {
        let mut state = state.lock().unwrap();
        state.asked.push(Asked {
            line: format!("{method} {path}"),
            headers: headers.clone(),
            body: length,
        });
        if let Some(left) = state.patience.filter(|left| *left < usize::MAX) {
            state.patience = Some(left.checked_sub(1).unwrap_or(usize::MAX));
        }
        let drip = state.drip.filter(|_| path.ends_with(".zst"));
        if state.patience == Some(usize::MAX) || drip == Some(0) {
            drop(state);
            // Until the client has gone.
            let _ = reader.read_to_end(&mut Vec::new());
            return Ok(());
        }
        let fault = if writes && !listing {
            state.faults.pop_front()
        } else {
            None
        };
        (fault, state.password.clone(), drip)
    };
    if password.is_some() && header("authorization") != password {
        return reply(stream, 401, &[], b"who are you?", method != "HEAD");
    }
    if header("expect").is_some() {
        (&mut &*stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    if let Some(Fault::CutAfter(bytes)) = fault {
        reader.take(bytes as u64).read_to_end(&mut Vec::new())?;
        return stream.shutdown(Shutdown::Both);
    }
    let mut body = vec![0; length];
    match drip {
        None => reader.read_exact(&mut body)?,
        Some(bytes) => {
            for piece in body.chunks_mut(bytes) {
                reader.read_exact(piece)?;
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
    let mut state = state.lock().unwrap();
    if method == "DELETE" {
        state.files.remove(path);
        return reply(stream, 204, &[], b"", true);
    }
    if !writes {
        let hidden = state
            .hidden
            .as_mut()
            .filter(|(end, left)| path.ends_with(end.as_str()) && *left > 0);
        if let Some((_, left)) = hidden {
            *left -= 1;
            return reply(stream, 404, &[], b"nothing here", method == "GET");
        }
        let from =
            header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let cut = if method == "GET" && path.ends_with(".zst") {
            state.cuts.pop_front()
        } else {
            None
        };
        let found = state.files.get(path).cloned();
        if let (Some(bytes), "GET") = (&found, method.as_str()) {
            let from: usize = from.unwrap_or(0);
            state.sent += bytes.len().saturating_sub(from).min(cut.unwrap_or(usize::MAX)) as u64;
        }
        if let (Some(drip), Some(bytes), "GET") = (drip, &found, method.as_str()) {
            drop(state);
            let mut out = stream;
            let head = format!("HTTP/1.1 200 Well\r\nContent-Length: {}\r\n\r\n", bytes.len());
            out.write_all(head.as_bytes())?;
            for piece in bytes.chunks(drip) {
                out.write_all(piece)?;
                std::thread::sleep(Duration::from_secs(1));
            }
            return Ok(());
        }
        return match &found {
            Some(bytes) if from.is_some_and(|from: usize| from < bytes.len()) => {
                let from = from.unwrap_or(0);
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                reply(stream, 206, &[("Content-Range", &range)], &bytes[from..], true)
            }
            Some(bytes) if cut.is_some_and(|cut| cut < bytes.len()) => {
                let mut out = stream;
                let head = format!("HTTP/1.1 200 Well\r\nContent-Length: {}\r\n\r\n", bytes.len());
                out.write_all(head.as_bytes())?;
                out.write_all(&bytes[..cut.unwrap_or(0)])?;
                stream.shutdown(Shutdown::Both)
            }
            Some(bytes) => {
                let tag = format!("\"{}\"", &sha256_hex(bytes)[..16]);
                if header("if-none-match").as_ref() == Some(&tag) {
                    return reply(stream, 304, &[("ETag", &tag)], b"", false);
                }
                reply(stream, 200, &[("ETag", &tag)], bytes, method == "GET")
            }
            None => reply(stream, 404, &[], b"nothing here", method == "GET"),
        };
    }
    if listing {
        let old = state
            .files
            .get(path)
            .map_or("[]".into(), |b| String::from_utf8_lossy(b).into_owned());
        let mut list: Vec<serde_json::Value> = serde_json::from_str(&old).unwrap();
        list.push(serde_json::from_slice(&body).unwrap());
        let text = serde_json::to_vec(&list).unwrap();
        state.files.insert(path.clone(), text);
        return reply(stream, 201, &[], b"", true);
    }
    if state.heeds && header("if-none-match").is_some() && state.files.contains_key(path) {
        return reply(stream, 412, &[], b"there is one", true);
    }
    let hash = sha512(&body);
    let (place, receipt) = if method == "POST" {
        (format!("{path}/{hash}"), hash)
    } else {
        (path.clone(), String::new())
    };
    match fault {
        Some(Fault::Status(status)) => reply(stream, status, &[], b"no", true),
        Some(Fault::Login) => reply(stream, 302, &[("Location", "/login?from=upload")], b"", true),
        Some(Fault::Forget) => reply(stream, 201, &[], receipt.as_bytes(), true),
        Some(Fault::WrongReceipt) => {
            state.files.insert(place, body);
            reply(stream, 201, &[], "0".repeat(128).as_bytes(), true)
        }
        Some(Fault::Spoil) => {
            let wrong = body.iter().map(|byte| !byte).collect();
            state.files.insert(place, wrong);
            reply(stream, 201, &[], receipt.as_bytes(), true)
        }
        Some(Fault::CutAfter(_)) | None => {
            state.files.insert(place, body);
            reply(stream, 201, &[], receipt.as_bytes(), true)
        }
    }
}

fn reply(
    mut stream: &TcpStream,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
    with_body: bool,
) -> std::io::Result<()> {
    let mut head = format!(
        "HTTP/1.1 {status} Whatever\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if with_body {
        stream.write_all(body)?;
    }
    stream.shutdown(Shutdown::Write)
}

pub fn sha512(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(bytes);
    hasher.finish().hex
}
