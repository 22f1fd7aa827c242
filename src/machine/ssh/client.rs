//! OpenSSH's client as a child: its options, and what it says on standard error.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::SshAddress;
use crate::host::process::{Cmd, clean_line};

/// Longest line of the client's own messages.
const LINE: u64 = 8 * 1024;
/// Lines of the client's own messages kept.
const TALK: usize = 20;

/// The client with everything that a user's own configuration could change nailed down.
pub(super) fn client(folder: &Path, target: &SshAddress) -> Cmd {
    let quoted = |path: PathBuf| format!("\"{}\"", percent_escaped(&path));
    let options = [
        "BatchMode=yes".to_owned(),
        "ConnectionAttempts=1".to_owned(),
        format!("ControlPath={}", quoted(control(folder))),
        "ControlPersist=no".to_owned(),
        "ForwardAgent=no".to_owned(),
        "ForwardX11=no".to_owned(),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "IdentitiesOnly=yes".to_owned(),
        "IdentityAgent=none".to_owned(),
        "LogLevel=ERROR".to_owned(),
        "PreferredAuthentications=publickey".to_owned(),
        // A guest that is frozen, or was reset, is noticed after a minute; a slow one under emulation is not cut off.
        "ServerAliveInterval=15".to_owned(),
        "ServerAliveCountMax=4".to_owned(),
        "StrictHostKeyChecking=accept-new".to_owned(),
        "UpdateHostKeys=no".to_owned(),
        format!("UserKnownHostsFile={}", quoted(folder.join("known_hosts"))),
    ];
    let options = options.iter().flat_map(|option| ["-o", option.as_str()]);
    Cmd::new("ssh").args(["-F", "/dev/null"]).args(options).args([
        "-p",
        &target.port.to_string(),
        "-l",
        &target.user,
    ])
}

pub(super) fn control(folder: &Path) -> PathBuf {
    folder.join("ssh")
}

/// ssh expands `%h` and the like in paths.
pub(super) fn percent_escaped(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%%")
}

/// What the client says when the guest's end is to blame, or not ready yet: another attempt may go well. All else comes from
/// this side, and comes again.
const OF_THE_GUEST: [&str; 9] = [
    "Broken pipe",
    "Connection closed",
    "Connection refused",
    "Connection reset",
    "Disconnected from",
    "Received disconnect",
    "banner exchange",
    "not responding",
    "timed out",
];
/// What it says when the key's file is no good; sshd's refusal comes behind that and explains nothing.
const OF_THE_KEY: [&str; 3] = ["Load key", "bad permissions", "no such identity"];

/// Whether the client failed for a reason on this side.
pub(super) fn is_own_failure(words: &str) -> bool {
    !OF_THE_GUEST.iter().any(|part| words.contains(part))
}

/// The words that say why the key could not be used.
pub(super) fn key_trouble(said: &[String]) -> Option<&String> {
    said.iter()
        .find(|line| OF_THE_KEY.iter().any(|part| line.contains(part)))
}

pub(super) fn keep(tail: &mut Vec<String>, line: String) {
    if tail.len() == TALK {
        tail.remove(0);
    }
    tail.push(line);
}

/// What the master says, read on a thread so that it can never block on us.
pub(super) struct Talk {
    lines: Arc<Mutex<Vec<String>>>,
    thread: Option<thread::JoinHandle<()>>,
}

pub(super) fn listen(pipe: Option<impl Read + Send + 'static>) -> Talk {
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let shared = Arc::clone(&lines);
    let thread = pipe.map(|pipe| {
        thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            // A guest's banner and messages come this way: no line may fill our memory.
            while matches!((&mut reader).take(LINE).read_until(b'\n', &mut line), Ok(1..)) {
                let line = clean_line(&String::from_utf8_lossy(&std::mem::take(&mut line)));
                if !line.is_empty() {
                    keep(&mut shared.lock().unwrap_or_else(PoisonError::into_inner), line);
                }
            }
        })
    });
    Talk { lines, thread }
}

impl Talk {
    /// All of it, once the master has ended.
    pub(super) fn finish(self) -> Vec<String> {
        if let Some(thread) = self.thread {
            drop(thread.join());
        }
        std::mem::take(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
