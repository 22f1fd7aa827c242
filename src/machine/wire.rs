//! The two sockets between us and qemu. We listen, qemu connects: nothing to poll for, and both socket files are gone
//! as soon as both ends have met.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use super::argv::Sockets;
use crate::host::private::PrivateFolder;

/// How often a waiting accept looks whether it should go on.
const POLL: Duration = Duration::from_millis(10);

/// Two listening sockets in a private folder.
#[derive(Debug)]
pub(super) struct Wire {
    folder: PrivateFolder,
    console: UnixListener,
    qmp: UnixListener,
}

impl Wire {
    /// Listens, in a folder of its own.
    pub(super) fn listen() -> io::Result<Self> {
        let folder = PrivateFolder::new()?;
        let listen = |path: &Path| -> io::Result<UnixListener> {
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let paths = sockets(&folder);
        Ok(Self {
            console: listen(&paths.console)?,
            qmp: listen(&paths.qmp)?,
            folder,
        })
    }

    pub(super) fn sockets(&self) -> Sockets {
        sockets(&self.folder)
    }

    /// Gives the console's and the protocol's stream once qemu has connected to both. `None`: `go_on` said no.
    pub(super) fn accept(
        self,
        mut go_on: impl FnMut() -> bool,
    ) -> io::Result<Option<(UnixStream, UnixStream)>> {
        let mut wait = |listener: &UnixListener| {
            loop {
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(false)?;
                        return Ok(Some(stream));
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) => return Err(e),
                }
                if !go_on() {
                    return Ok(None);
                }
                std::thread::sleep(POLL);
            }
        };
        let console = wait(&self.console)?;
        let qmp = wait(&self.qmp)?;
        Ok(console.zip(qmp))
    }
}

fn sockets(folder: &PrivateFolder) -> Sockets {
    Sockets {
        console: folder.path().join("console"),
        qmp: folder.path().join("qmp"),
    }
}
