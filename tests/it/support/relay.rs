//! A TCP relay that can cut connections: what a bad line does to an upload.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Passes everything on to one server, until it cuts.
pub struct Relay {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Bytes from the client after which a connection is cut; 0: never.
    limit: AtomicU64,
    /// How many connections are still to be cut.
    cuts: AtomicUsize,
    /// Bytes from clients in all.
    up: AtomicU64,
    /// Bytes from clients in all after which nothing passes any more; 0: never.
    end: AtomicU64,
    /// Whether connections stay then, mute.
    hold: AtomicBool,
    stop: AtomicBool,
}

impl Relay {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.stop.load(Ordering::SeqCst) {
                    break;
                }
                let state = Arc::clone(&shared);
                // A connection that ends early is what this is for.
                std::thread::spawn(move || drop(pass(&client.unwrap(), port, &state)));
            }
        });
        Self { address, state }
    }

    /// The next so many connections that carry more than this many bytes upwards are cut there.
    pub fn cut(&self, connections: usize, after: u64) {
        self.state.limit.store(after, Ordering::SeqCst);
        self.state.cuts.store(connections, Ordering::SeqCst);
    }

    /// From now on so many bytes more, then nothing; `None`: everything again.
    pub fn end_after(&self, bytes: Option<u64>) {
        self.state.hold.store(false, Ordering::SeqCst);
        self.stop_after(bytes);
    }

    /// The same, but that connections stay.
    pub fn hold_after(&self, bytes: u64) {
        self.state.hold.store(true, Ordering::SeqCst);
        self.stop_after(Some(bytes));
    }

    fn stop_after(&self, bytes: Option<u64>) {
        let end = bytes.map_or(0, |bytes| self.sent() + bytes);
        self.state.end.store(end, Ordering::SeqCst);
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Bytes that clients have sent so far.
    pub fn sent(&self) -> u64 {
        self.state.up.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

fn pass(client: &TcpStream, port: u16, state: &State) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", port))?;
    let (mut down_from, mut down_to) = (server.try_clone()?, client.try_clone()?);
    let down = std::thread::spawn(move || {
        drop(std::io::copy(&mut down_from, &mut down_to));
        drop(down_to.shutdown(Shutdown::Both));
    });
    let (mut from, mut to) = (client, &server);
    let mut buffer = [0; 64 * 1024];
    let mut here = 0;
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        here += count as u64;
        let up = state.up.fetch_add(count as u64, Ordering::SeqCst) + count as u64;
        let end = state.end.load(Ordering::SeqCst);
        if end > 0 && up > end {
            while state.hold.load(Ordering::SeqCst) && !state.stop.load(Ordering::SeqCst) {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            client.shutdown(Shutdown::Both)?;
            server.shutdown(Shutdown::Both)?;
            break;
        }
        let limit = state.limit.load(Ordering::SeqCst);
        if limit > 0 && here > limit {
            let one_less = |cuts: usize| cuts.checked_sub(1);
            let taken = state
                .cuts
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
            if taken.is_ok() {
                client.shutdown(Shutdown::Both)?;
                server.shutdown(Shutdown::Both)?;
                break;
            }
        }
        to.write_all(&buffer[..count])?;
    }
    drop(server.shutdown(Shutdown::Write));
    down.join().unwrap();
    Ok(())
}
