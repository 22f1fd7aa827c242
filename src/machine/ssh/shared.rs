//! The place where another program, such as Ansible, keeps connections of its own by OpenSSH's `ControlPersist`.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::Duration;

use super::SshError;
use super::client::percent_escaped;
use crate::host::cancel::Cancel;
use crate::host::private::PrivateFolder;
use crate::host::process::Cmd;

/// How long a connection may take to end.
const END: Duration = Duration::from_secs(5);

/// A private folder with a short path for control sockets. The connections that have one there end when this is dropped.
#[derive(Debug)]
pub struct SharedConnections(PrivateFolder);

impl SharedConnections {
    /// Makes the folder.
    ///
    /// # Errors
    /// [`SshError::File`].
    pub fn new() -> Result<Self, SshError> {
        let folder = PrivateFolder::new().map_err(|source| SshError::File {
            path: std::env::temp_dir(),
            source,
        })?;
        Ok(Self(folder))
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SharedConnections {
    fn drop(&mut self) {
        let Ok(entries) = fs::read_dir(self.folder()) else {
            return;
        };
        let is_socket = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_socket());
        for entry in entries.flatten().filter(is_socket) {
            let socket = format!("ControlPath=\"{}\"", percent_escaped(&entry.path()));
            let exit = Cmd::new("ssh").args(["-F", "/dev/null", "-O", "exit", "-o", &socket, "guest"]);
            // Also when the run was stopped. One that does not answer ends by itself, a minute after its last use.
            let _ = exit.run(&Cancel::default(), Some(END), &mut |_, _| {});
        }
    }
}
