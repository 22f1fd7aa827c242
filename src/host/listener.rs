//! Accepts connections, a bounded number at once, each on a thread of its own. Knows nothing of what is said on them.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Pause after an accept that failed: descriptors may be free again.
const PAUSE: Duration = Duration::from_millis(20);

/// A socket that listens.
pub trait Accept: AsFd + Send + Sync + 'static {
    type Stream: Send + 'static;

    /// Waits for the next connection.
    ///
    /// # Errors
    /// Those of accept(2).
    fn next(&self) -> io::Result<Self::Stream>;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    fn next(&self) -> io::Result<TcpStream> {
        self.accept().map(|(stream, _)| stream)
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    fn next(&self) -> io::Result<UnixStream> {
        self.accept().map(|(stream, _)| stream)
    }
}

/// Accepts until it is dropped. Connections that are open by then go on.
#[derive(Debug)]
pub struct Listener<S: Accept> {
    socket: Arc<S>,
    thread: Option<JoinHandle<()>>,
}

impl<S: Accept> Listener<S> {
    /// Calls `serve` with each connection, at most `most` at once; others are closed.
    pub fn start(socket: S, most: usize, serve: impl Fn(S::Stream) + Send + Sync + 'static) -> Self {
        let socket = Arc::new(socket);
        let (accepting, serve, open) = (Arc::clone(&socket), Arc::new(serve), Arc::new(()));
        let thread = thread::spawn(move || {
            loop {
                match accepting.next() {
                    // Each open connection holds a reference; so does this thread.
                    Ok(stream) if Arc::strong_count(&open) <= most => {
                        let (serve, place) = (Arc::clone(&serve), Arc::clone(&open));
                        thread::spawn(move || {
                            serve(stream);
                            drop(place);
                        });
                    }
                    Ok(_) => {}
                    // The socket was shut down.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
                    Err(_) => thread::sleep(PAUSE),
                }
            }
        });
        Self {
            socket,
            thread: Some(thread),
        }
    }
}

impl<S: Accept> Drop for Listener<S> {
    fn drop(&mut self) {
        // On Linux this wakes the thread that waits in accept(2).
        let _ = rustix::net::shutdown(&*self.socket, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Ipv4Addr;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn connections_beyond_the_bound_are_closed_and_a_dropped_listener_takes_none() {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = socket.local_addr().unwrap();
        let (started, starts) = mpsc::channel();
        let listener = Listener::start(socket, 1, move |mut stream: TcpStream| {
            started.send(()).unwrap();
            let _ = stream.read(&mut [0]);
            let _ = stream.write(b"x");
        });
        let mut answer = [0];
        let mut first = TcpStream::connect(to).unwrap();
        starts.recv().unwrap();
        let mut second = TcpStream::connect(to).unwrap();
        assert!(!matches!(second.read(&mut answer), Ok(1)));
        drop(listener);
        first.write_all(b"?").unwrap();
        assert_eq!((first.read(&mut answer).unwrap(), answer), (1, *b"x"));
        assert!(TcpStream::connect(to).is_err());
    }
}
