//! A real HTTP/1.1 server on a loopback port, for stories about downloads: ranges and validators as in RFC 9110, a
//! list of faults to act out, and a memory of what it was asked and what it sent. Also stands in for a proxy.

mod reply;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use self::reply::{Framing, Reply};

/// One way to answer a request other than well.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A status with an empty body and these further headers.
    Status(u16, Vec<(&'static str, String)>),
    /// Announces everything, sends this many bytes of the body, and closes.
    CutAfter(u64),
    /// Sends the whole file, whatever range was asked for, but only this many bytes of it.
    WholeCutAfter(u64),
    /// Announces this many bytes and sends none.
    Announce(u64),
    /// Sends this many bytes at a time with a pause after each.
    Drip(usize, Duration),
    /// Another content of the same length.
    WrongBytes,
    /// 302 to this.
    Redirect(String),
    /// Everything, whatever range was asked for.
    IgnoreRange,
    /// A 206 that begins this many bytes too early.
    EarlierRange(u64),
    /// A 206 although no request asked for a range.
    UnaskedRange,
    /// Neither length nor end mark: the close ends it.
    NoLength,
    /// A 206 whose `Content-Range` is true but whose (chunked) body goes on with this many bytes more.
    Longer(usize),
    /// Says nothing for this long, then closes.
    Mute(Duration),
    /// Bytes that are not HTTP.
    Garbage,
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub target: String,
    headers: Vec<(String, String)>,
}

impl Asked {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

#[derive(Debug)]
struct State {
    content: Vec<u8>,
    etag: Option<String>,
    last_modified: Option<String>,
    faults: VecDeque<Fault>,
    always: Option<Fault>,
    asked: Vec<Asked>,
    /// For a proxy: where tunnels lead, whatever is asked for.
    tunnel: Option<SocketAddr>,
    /// For a proxy: `Proxy-Authorization` that it insists on.
    password: Option<String>,
}

/// The server; stops when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves these bytes under every path.
    pub fn start(content: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            content: content.into(),
            etag: None,
            last_modified: None,
            faults: VecDeque::new(),
            always: None,
            asked: Vec::new(),
            tunnel: None,
            password: None,
        }));
        let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (state, sent, stop) = (state.clone(), sent.clone(), stop.clone());
            move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let (state, sent, stop) = (state.clone(), sent.clone(), stop.clone());
                    // A client that goes away in mid-answer is part of many stories.
                    std::thread::spawn(move || drop(answer(&stream.unwrap(), &state, &sent, &stop)));
                }
            }
        });
        Self {
            address,
            state,
            sent,
            stop,
            thread: Some(thread),
        }
    }

    pub fn etag(self, etag: &str) -> Self {
        self.state.lock().unwrap().etag = Some(etag.to_owned());
        self
    }

    pub fn last_modified(self, date: &str) -> Self {
        self.state.lock().unwrap().last_modified = Some(date.to_owned());
        self
    }

    /// As a proxy: tunnels all lead here.
    pub fn tunnel(self, port: u16) -> Self {
        self.state.lock().unwrap().tunnel = Some(SocketAddr::from(([127, 0, 0, 1], port)));
        self
    }

    /// As a proxy: wants this `Proxy-Authorization`.
    pub fn password(self, value: &str) -> Self {
        self.state.lock().unwrap().password = Some(value.to_owned());
        self
    }

    /// The next requests meet these faults, one each.
    pub fn faults(self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.state.lock().unwrap().faults.extend(faults);
        self
    }

    /// Every request meets this fault, after those of [`Server::faults`].
    pub fn always(self, fault: Fault) -> Self {
        self.state.lock().unwrap().always = Some(fault);
        self
    }

    /// From now on the file is another one.
    pub fn replace(&self, content: impl Into<Vec<u8>>, etag: &str) {
        let mut state = self.state.lock().unwrap();
        state.content = content.into();
        state.etag = Some(etag.to_owned());
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    /// Bytes of bodies sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A loopback port on which nothing listens, and nothing can while this is held.
#[derive(Debug)]
pub struct DeadPort(rustix::fd::OwnedFd);

impl DeadPort {
    pub fn new() -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self(socket)
    }

    pub fn port(&self) -> u16 {
        let address = rustix::net::getsockname(&self.0).unwrap();
        SocketAddr::try_from(address).unwrap().port()
    }
}

fn read_request(stream: &TcpStream) -> std::io::Result<Asked> {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        lines.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => break,
        }
    }
    Ok(Asked {
        method,
        target,
        headers,
    })
}

fn answer(
    stream: &TcpStream,
    state: &Mutex<State>,
    sent: &AtomicU64,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let asked = read_request(stream)?;
    let (fault, content, etag, last_modified, tunnel, password) = {
        let mut state = state.lock().unwrap();
        state.asked.push(asked.clone());
        let fault = state.faults.pop_front().or_else(|| state.always.clone());
        (
            fault,
            state.content.clone(),
            state.etag.clone(),
            state.last_modified.clone(),
            state.tunnel,
            state.password.clone(),
        )
    };
    let mut out = stream;
    if password.is_some() && asked.header("proxy-authorization") != password.as_deref() {
        return out.write_all(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    if let (Some(tunnel), "CONNECT") = (tunnel, asked.method.as_str()) {
        return relay(stream, tunnel);
    }
    let mut reply = Reply::plan(&asked, &content, &etag, &last_modified);
    match fault {
        None => {}
        Some(Fault::Status(status, headers)) => reply = Reply::bare(status, headers),
        Some(Fault::Redirect(to)) => reply = Reply::bare(302, vec![("Location", to)]),
        Some(Fault::CutAfter(bytes)) => reply.cut = Some(bytes),
        Some(Fault::WholeCutAfter(bytes)) => {
            reply = Reply::whole(&content);
            reply.cut = Some(bytes);
        }
        Some(Fault::Announce(bytes)) => {
            reply = Reply::bare(200, vec![("Content-Length", bytes.to_string())]);
            reply.framing = Framing::Close;
        }
        Some(Fault::Drip(bytes, pause)) => reply.drip = Some((bytes, pause)),
        Some(Fault::WrongBytes) => reply.body.iter_mut().for_each(|b| *b = !*b),
        Some(Fault::IgnoreRange) => reply = Reply::whole(&content),
        Some(Fault::EarlierRange(by)) => {
            let first = reply.first - by;
            reply = Reply::range(&content, first as usize);
        }
        Some(Fault::UnaskedRange) => reply = Reply::range(&content, 0),
        Some(Fault::NoLength) => reply.framing = Framing::Close,
        Some(Fault::Longer(by)) => {
            reply.framing = Framing::Chunked;
            reply.body.extend(vec![0; by]);
        }
        Some(Fault::Mute(time)) => {
            std::thread::sleep(time);
            return stream.shutdown(Shutdown::Both);
        }
        Some(Fault::Garbage) => return out.write_all(b"SSH-2.0-nothing-to-see-here\r\n\r\n"),
    }
    reply.send(out, sent, stop)?;
    stream.shutdown(Shutdown::Write)
}

/// Copies both ways until both sides are done.
fn relay(client: &TcpStream, to: SocketAddr) -> std::io::Result<()> {
    let target = TcpStream::connect(to)?;
    let mut out = client;
    out.write_all(b"HTTP/1.1 200 Go ahead\r\n\r\n")?;
    let (mut up_from, mut up_to) = (client.try_clone()?, target.try_clone()?);
    let up = std::thread::spawn(move || {
        drop(copy(&mut up_from, &mut up_to));
        drop(up_to.shutdown(Shutdown::Write));
    });
    let mut target = target;
    drop(copy(&mut target, &mut client.try_clone()?));
    client.shutdown(Shutdown::Both)?;
    up.join().unwrap();
    Ok(())
}

fn copy(from: &mut TcpStream, to: &mut TcpStream) -> std::io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => to.write_all(&buffer[..n])?,
        }
    }
}
