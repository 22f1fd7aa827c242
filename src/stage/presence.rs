//! How to get into a machine of a run that goes on: a record in the node's private scratch folder, for `pipeline ssh` in
//! another process. It is there as long as the machine is.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Site;
use crate::host::fs::write_atomic;
use crate::host::process::Cmd;
use crate::machine::qemu::Machine;
use crate::machine::share::Share;
use crate::machine::ssh::{Key, SshAddress, login};

/// How the records' names end.
const SUFFIX: &str = ".machine.json";

/// What is known of a machine from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Its node: `provision/debian12-base`.
    pub node: String,
    /// What it is started for: `provision`, `first boot`, `installer`.
    pub name: String,
    /// qemu's process.
    pub process: u32,
    /// The socket of its console ([`crate::machine::share`]).
    pub console: Option<PathBuf>,
    /// How to log in, where the build does.
    pub login: Option<Login>,
}

/// A login by key, over a loopback port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Port of 127.0.0.1.
    pub port: u16,
    /// User in the guest.
    pub user: String,
    /// The private key's file.
    pub key: PathBuf,
}

/// The record, kept up to date; taken away when dropped.
#[derive(Debug)]
pub struct Present {
    path: PathBuf,
    presence: Presence,
    _share: Option<Share>,
}

impl Login {
    /// OpenSSH's client that logs in.
    pub fn client(&self) -> Cmd {
        let target = SshAddress {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: self.user.clone(),
        };
        login(&target, &self.key)
    }
}

impl Present {
    /// Records a machine. That it cannot be entered from outside is no reason to stop: a warning says so.
    pub fn tell(name: &str, machine: &Machine, site: &Site) -> Self {
        let share = machine.share_console();
        if let Err(error) = &share {
            site.emit.warn(format!(
                "`pipeline ssh --console` cannot reach this machine: {error}"
            ));
        }
        let share = share.ok();
        let present = Self {
            path: site
                .scratch
                .join(format!("{}{SUFFIX}", name.replace([' ', '/'], "-"))),
            presence: Presence {
                node: site.emit.node().unwrap_or_default().to_owned(),
                name: name.to_owned(),
                process: machine.id(),
                console: share.as_ref().map(|share| share.socket().to_owned()),
                login: None,
            },
            _share: share,
        };
        present.write(site);
        present
    }

    /// Tells how to log in.
    pub fn login(&mut self, machine: &Machine, key: &Key, user: &str, site: &Site) {
        self.presence.login = machine.ssh_port().map(|port| Login {
            port,
            user: user.to_owned(),
            key: key.path().to_owned(),
        });
        self.write(site);
    }

    /// What is recorded.
    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    fn write(&self, site: &Site) {
        let text = serde_json::to_vec_pretty(&self.presence).unwrap_or_default();
        if let Err(error) = write_atomic(&self.path, &text) {
            site.emit
                .warn(format!("`pipeline ssh` will not find this machine: {error}"));
        }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        // What stays goes with the scratch folder.
        let _ = fs::remove_file(&self.path);
    }
}

/// The machines recorded in a node's scratch folder.
pub fn read(folder: &Path) -> Vec<Presence> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = files
        .filter(|file| file.file_name().to_string_lossy().ends_with(SUFFIX))
        .collect();
    found.sort_by_key(fs::DirEntry::file_name);
    let read = |file: &fs::DirEntry| serde_json::from_slice(&fs::read(file.path()).ok()?).ok();
    found.iter().filter_map(read).collect()
}
