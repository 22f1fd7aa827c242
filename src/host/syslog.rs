//! Takes syslog from one guest on a loopback port that the kernel chose: by UDP (RFC 3164, as the Debian installer
//! sends it) and, on the same port, line by line by TCP (RFC 6587, as Anaconda does). Knows nothing of what it means.

use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::host::listener::Listener;
use crate::host::process::clean_line;

/// The longest message.
const MESSAGE: usize = 8 * 1024;
/// Messages that wait to be read; more are dropped.
const WAITING: usize = 10_000;
/// TCP connections at once.
const CONNECTIONS: usize = 8;
/// How often the receiver looks whether it should end.
const POLL: Duration = Duration::from_millis(100);
/// Attempts to find a port that is free for both.
const ATTEMPTS: usize = 20;

/// A running receiver; dropping it ends it.
#[derive(Debug)]
pub struct Syslog {
    port: u16,
    lines: mpsc::Receiver<String>,
    end: Arc<AtomicBool>,
    by_udp: Option<JoinHandle<()>>,
    _by_tcp: Listener<TcpListener>,
}

impl Syslog {
    /// Listens.
    ///
    /// # Errors
    /// When no port is free.
    pub fn listen() -> io::Result<Self> {
        let (udp, tcp) = sockets()?;
        let port = udp.local_addr()?.port();
        let (sender, lines) = mpsc::sync_channel(WAITING);
        let end = Arc::new(AtomicBool::new(false));
        let (ends, sends) = (Arc::clone(&end), sender.clone());
        let by_udp = thread::spawn(move || {
            let mut buffer = [0; MESSAGE];
            while !ends.load(Ordering::Relaxed) {
                if let Ok(count) = udp.recv(&mut buffer) {
                    deliver(&buffer[..count], &sends);
                }
            }
        });
        let ends = Arc::clone(&end);
        let by_tcp = Listener::start(tcp, CONNECTIONS, move |stream| read(stream, &ends, &sender));
        Ok(Self {
            port,
            lines,
            end,
            by_udp: Some(by_udp),
            _by_tcp: by_tcp,
        })
    }

    /// The port, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What came since the last call: `tag: message`.
    pub fn lines(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.by_udp.take() {
            drop(thread.join());
        }
    }
}

fn sockets() -> io::Result<(UdpSocket, TcpListener)> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        match TcpListener::bind(udp.local_addr()?) {
            Ok(tcp) => {
                udp.set_read_timeout(Some(POLL))?;
                return Ok((udp, tcp));
            }
            Err(error) if attempt == ATTEMPTS => return Err(error),
            Err(_) => {}
        }
    }
}

/// Reads lines until the connection or the receiver ends.
fn read(mut stream: TcpStream, end: &AtomicBool, lines: &mpsc::SyncSender<String>) {
    if stream.set_read_timeout(Some(POLL)).is_err() {
        return;
    }
    let (mut line, mut buffer) = (Vec::new(), [0; 4096]);
    while !end.load(Ordering::Relaxed) {
        let count = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        for &byte in &buffer[..count] {
            if matches!(byte, b'\n' | 0) || line.len() >= MESSAGE {
                deliver(&std::mem::take(&mut line), lines);
            }
            if !matches!(byte, b'\n' | 0) {
                line.push(byte);
            }
        }
    }
    deliver(&line, lines);
}

fn deliver(message: &[u8], lines: &mpsc::SyncSender<String>) {
    let text = String::from_utf8_lossy(message);
    for line in text.lines() {
        let line = clean_line(body(line));
        if !line.is_empty() {
            // A flood is cut rather than kept.
            drop(lines.try_send(line));
        }
    }
}

/// A message without its priority and time stamp: `<14>Nov 23 16:37:03 main-menu[307]: …`.
fn body(line: &str) -> &str {
    let priority = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let rest = match priority {
        Some((number, rest)) if number.len() <= 3 && number.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => line,
    };
    // `Mmm dd hh:mm:ss `: RFC 3164 §4.1.2.
    match rest.as_bytes().get(..16) {
        Some(stamp) if stamp[3] == b' ' && stamp[9] == b':' && stamp[12] == b':' && stamp[15] == b' ' => {
            &rest[16..]
        }
        _ => rest,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Instant;

    use super::*;

    #[test]
    fn messages_come_by_udp_and_tcp_without_their_heads() {
        let syslog = Syslog::listen().unwrap();
        let to = (Ipv4Addr::LOCALHOST, syslog.port());
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        // As sent by the Debian installer.
        udp.send_to(b"<14>Nov 23 16:37:03 main-menu[307]: INFO: Menu item 'x'\n", to)
            .unwrap();
        let mut tcp = TcpStream::connect(to).unwrap();
        tcp.write_all(b"<13>Nov  3 16:37:05 localhost anaconda: one\n<13>two\x1b[1m\n\nthree")
            .unwrap();
        drop(tcp);
        let started = Instant::now();
        let mut lines = Vec::new();
        while lines.len() < 4 && started.elapsed() < Duration::from_secs(10) {
            lines.extend(syslog.lines());
            thread::sleep(Duration::from_millis(5));
        }
        lines.sort();
        assert_eq!(
            lines,
            [
                "localhost anaconda: one",
                "main-menu[307]: INFO: Menu item 'x'",
                "three",
                "two"
            ]
        );
    }
}
