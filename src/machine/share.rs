//! Lets other processes of this user attach to a machine's console while it is read here: a Unix socket in a private folder
//! (0700). Who attaches gets the last lines, then every byte as it comes; what they send is typed. Whoever reads too slowly
//! is let go: the guest and our own reading never wait for them.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::private::PrivateFolder;
use super::qemu::Machine;

/// Pause after an accept that failed.
const PAUSE: Duration = Duration::from_millis(20);

/// The socket. Ends when dropped; attachments end with the console.
#[derive(Debug)]
pub struct Share {
    listener: Arc<UnixListener>,
    thread: Option<thread::JoinHandle<()>>,
    socket: PathBuf,
    _folder: PrivateFolder,
}

impl Machine {
    /// Opens the socket.
    ///
    /// # Errors
    /// When folder, socket or descriptors cannot be had.
    pub fn share_console(&self) -> io::Result<Share> {
        let folder = PrivateFolder::new()?;
        let socket = folder.path().join("console");
        let listener = Arc::new(UnixListener::bind(&socket)?);
        let (ours, console, keyboard) = (Arc::clone(&listener), self.console().clone(), self.keyboard()?);
        let thread = thread::spawn(move || {
            loop {
                match ours.accept() {
                    Ok((stream, _)) => {
                        let keyboard = keyboard.try_clone();
                        if let (Ok(typed), Ok(keyboard)) = (stream.try_clone(), keyboard) {
                            console.tap(stream);
                            thread::spawn(move || pass_keys(typed, keyboard));
                        }
                    }
                    // It was closed.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
                    Err(_) => thread::sleep(PAUSE),
                }
            }
        });
        Ok(Share {
            listener,
            thread: Some(thread),
            socket,
            _folder: folder,
        })
    }
}

impl Share {
    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // On Linux this wakes the thread that waits in accept(2).
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn pass_keys(mut from: UnixStream, mut keyboard: UnixStream) {
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if keyboard.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
}
