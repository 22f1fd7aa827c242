//! The two sockets between us and qemu. We listen, qemu connects: nothing to poll for, and both socket files are gone
//! as soon as both ends have met.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use super::argv::Sockets;

/// How often a waiting accept looks whether it should go on.
const POLL: Duration = Duration::from_millis(10);

/// Two listening sockets in a private folder.
#[derive(Debug)]
pub(super) struct Wire {
    folder: tempfile::TempDir,
    console: UnixListener,
    qmp: UnixListener,
}

impl Wire {
    /// Listens. The folder is a short one of its own (0700): a Unix socket's path must be shorter than 108 bytes,
    /// which a path inside a run's folder need not be.
    pub(super) fn listen() -> io::Result<Self> {
        let folder = private_folder()?;
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

fn sockets(folder: &tempfile::TempDir) -> Sockets {
    Sockets {
        console: folder.path().join("console"),
        qmp: folder.path().join("qmp"),
    }
}

/// A new folder that only we may enter, with a short path.
pub(super) fn private_folder() -> io::Result<tempfile::TempDir> {
    // tempfile makes folders with mode 0700.
    tempfile::Builder::new().prefix("pipeline-").tempdir()
}
