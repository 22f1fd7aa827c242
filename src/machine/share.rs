//! Lets other processes of this user attach to a machine's console while it is read here: a Unix socket in a private folder
//! (0700). Who attaches gets the last lines, then every byte as it comes; what they send is typed. Whoever reads too slowly
//! is let go: the guest and our own reading never wait for them.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::qemu::Machine;
use crate::host::listener::Listener;
use crate::host::private::PrivateFolder;

/// Attached at once; others are closed.
const CONNECTIONS: usize = 64;

/// The socket. Ends when dropped; attachments end with the console.
#[derive(Debug)]
pub struct Share {
    _listener: Listener<UnixListener>,
    socket: PathBuf,
    _folder: PrivateFolder,
}

impl Machine {
    /// Opens the socket.
    ///
    /// # Errors
    /// When folder, socket or descriptors cannot be made.
    pub fn share_console(&self) -> io::Result<Share> {
        let folder = PrivateFolder::new()?;
        let socket = folder.path().join("console");
        let listener = UnixListener::bind(&socket)?;
        let (console, keyboard) = (self.console().clone(), self.keyboard()?);
        let listener = Listener::start(listener, CONNECTIONS, move |stream: UnixStream| {
            if let (Ok(typed), Ok(keyboard)) = (stream.try_clone(), keyboard.try_clone()) {
                console.tap(stream);
                pass_keys(typed, keyboard);
            }
        });
        Ok(Share {
            _listener: listener,
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

fn pass_keys(mut from: UnixStream, mut keyboard: UnixStream) {
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if keyboard.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
}
