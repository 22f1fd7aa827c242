//! The way into a guest: one connection of OpenSSH's client, over which commands run and files travel.
//! Knows nothing of machines; a host, a port and a key are enough.
//!
//! OpenSSH, because it is well kept, it is there anyway for Ansible, and its shared connection (`ControlMaster`) makes a
//! command cost a round trip instead of a key exchange, which under emulation takes seconds.

mod client;
mod copy;
mod error;
mod key;
mod shared;

use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use error::SshError;
pub use key::{KEY_NAME, Key, key_core};
pub use shared::SharedConnections;

use self::client::{client, control, is_own_failure, keep, key_trouble, listen, percent_escaped};
use crate::host::cancel::Cancel;
use crate::host::private::PrivateFolder;
use crate::host::process::{Cmd, Output, ProcessError, Running, shell_quote, status_text};
use crate::size::show_duration;

/// How often a waiting thread looks whether it should stop.
const POLL: Duration = Duration::from_millis(20);
/// How long a command's leftovers (a daemon that kept its outputs open) may hold the session after it has ended.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes of an answer that are kept: a guest may print for ever.
const ANSWER: usize = 16 << 20;
/// ssh's own exit code; a remote command may end with it too.
const SSH_FAILED: i32 = 255;

/// Where to, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshAddress {
    /// Address; for a machine of ours always `127.0.0.1`.
    pub host: String,
    pub port: u16,
    /// User in the guest.
    pub user: String,
}

/// Whether a command runs as the user who logged in or as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Become {
    User,
    Root,
}

/// OpenSSH's client for a user at a terminal (or with a command of their own), in a guest that was made a minute ago: its
/// host key is new each time, and on loopback there is no one in between.
pub fn login(target: &SshAddress, key: &Path) -> Cmd {
    let options = [
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "LogLevel=ERROR",
        "PreferredAuthentications=publickey",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
    ];
    let options = options.into_iter().flat_map(|option| ["-o", option]);
    Cmd::new("ssh")
        .args(["-F", "/dev/null", "-i"])
        .arg(percent_escaped(key))
        .args(options)
        .args(["-p", &target.port.to_string(), "-l", &target.user, &target.host])
}

/// A connection. Dropping it ends it.
#[derive(Debug)]
pub struct Ssh {
    target: SshAddress,
    key: Key,
    role: Become,
    master: Mutex<Running>,
    /// Control socket, known hosts; goes after the connection.
    folder: PrivateFolder,
}

impl Ssh {
    /// Connects and logs in. The host key of the first contact is taken: a guest's is not known beforehand, and it is
    /// reached over a loopback port. `go_on` is asked again and again while it takes its time.
    /// Call from a thread that outlives the connection (see [`crate::host::process`]).
    ///
    /// # Errors
    /// [`SshError::Refused`], [`SshError::Connect`] (also when `patience` is over), [`SshError::Cancelled`] when
    /// `go_on` says no, [`SshError::Process`].
    pub fn connect(
        target: &SshAddress,
        key: &Key,
        patience: Duration,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Self, SshError> {
        let folder = PrivateFolder::new().map_err(|source| SshError::File {
            path: std::env::temp_dir(),
            source,
        })?;
        let seconds = patience.as_secs().max(1);
        let cmd = client(folder.path(), target)
            .args(["-M", "-N", "-o", &format!("ConnectTimeout={seconds}"), "-i"])
            .arg(percent_escaped(key.path()))
            .arg(&target.host);
        let mut master = cmd.spawn(Stdio::null(), Stdio::piped())?;
        let talk = listen(master.child.stderr.take());
        let failed = |talk: String, is_own: bool| SshError::Connect {
            user: target.user.clone(),
            host: target.host.clone(),
            port: target.port,
            talk,
            is_own,
        };
        let started = Instant::now();
        loop {
            // ssh makes the socket after it has logged in, and under another name first: there means ready.
            if control(folder.path()).exists() {
                return Ok(Self {
                    target: target.clone(),
                    key: key.clone(),
                    role: Become::User,
                    master: Mutex::new(master),
                    folder,
                });
            }
            if let Some(status) = master.try_wait()? {
                let said = talk.finish();
                if let Some(trouble) = key_trouble(&said) {
                    return Err(failed(trouble.clone(), true));
                }
                // As sshd's refusal is reported; a file that ssh may not use is another thing.
                if said.iter().any(|line| line.contains("Permission denied (")) {
                    return Err(SshError::Refused {
                        user: target.user.clone(),
                        host: target.host.clone(),
                        port: target.port,
                        key: key.path().to_owned(),
                    });
                }
                let words = said.last().cloned();
                let words = words.unwrap_or_else(|| format!("it {}", status_text(status)));
                let is_own = is_own_failure(&words);
                return Err(failed(words, is_own));
            }
            if !go_on() {
                return Err(SshError::Cancelled);
            }
            if started.elapsed() > patience {
                let words = format!("no login within {}", show_duration(patience));
                return Err(failed(words, false));
            }
            thread::sleep(POLL);
        }
    }

    /// The same connection, with every command run as root through `sudo -n` (which must ask for no password).
    #[must_use]
    pub fn with_sudo(mut self) -> Self {
        self.role = Become::Root;
        self
    }

    pub(super) fn role(&self) -> Become {
        self.role
    }

    pub(super) fn with_role(mut self, role: Become) -> Self {
        self.role = role;
        self
    }

    /// Host, port and user, for tools that make their own connection.
    pub fn target(&self) -> &SshAddress {
        &self.target
    }

    /// The port on this side.
    pub fn port(&self) -> u16 {
        self.target.port
    }

    /// The private key's file.
    pub fn key_path(&self) -> &Path {
        self.key.path()
    }

    /// Whether the connection still stands.
    pub fn is_alive(&self) -> bool {
        let mut master = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(master.try_wait(), Ok(None))
    }

    /// Runs a command with the guest's `sh` and gives its exit code. Secrets belong into `stdin`: the command itself
    /// is seen in process lists on both sides.
    ///
    /// # Errors
    /// [`SshError::Lost`], [`SshError::TimedOut`] (what runs in the guest is not killed), [`SshError::Cancelled`],
    /// [`SshError::Process`].
    pub fn run(
        &self,
        command: &str,
        stdin: Vec<u8>,
        limit: Option<Duration>,
        cancel: &Cancel,
        on_line: &mut dyn FnMut(Output, &str),
    ) -> Result<i32, SshError> {
        let mark = self.mark();
        let cmd = client(self.folder.path(), &self.target)
            // Without a living master the client would quietly make a connection of its own.
            .args(["-o", "ProxyCommand=false", "-T", &self.target.host])
            .arg(wrapped(command, self.role, &mark))
            .stdin(stdin);
        let mut ends = Ends::default();
        let (ended, stop, finished) = (Cancel::default(), Cancel::default(), Cancel::default());
        let result = thread::scope(|scope| {
            scope.spawn(|| watch(cancel, &ended, &stop, &finished));
            let result = cmd.run(&stop, limit, &mut |output, line| {
                let Some((before, code)) = split_mark(line, &mark) else {
                    return on_line(output, line);
                };
                if !before.is_empty() {
                    on_line(output, before);
                }
                ends.saw(output, code);
                if ends.code().is_some() {
                    ended.cancel();
                }
            });
            finished.cancel();
            result
        });
        if let Some(code) = ends.code() {
            return Ok(code);
        }
        let command = first_line(command);
        match result {
            Ok(()) => Ok(0),
            Err(ProcessError::Failed { code: Some(code), .. }) if code != SSH_FAILED => Ok(code),
            Err(ProcessError::Failed { tail, .. }) => Err(SshError::Lost { command, tail }),
            Err(ProcessError::TimedOut { limit, tail, .. }) => {
                Err(SshError::TimedOut { command, limit, tail })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Runs a command that must succeed, and gives what it printed (of more than 16 MiB the beginning), without the last
    /// newline.
    ///
    /// # Errors
    /// As [`Ssh::run`], and [`SshError::Failed`].
    pub fn read(&self, command: &str, cancel: &Cancel) -> Result<String, SshError> {
        self.feed(command, Vec::new(), None, cancel)
    }

    /// As [`Ssh::read`], with standard input and a deadline.
    pub(super) fn feed(
        &self,
        command: &str,
        stdin: Vec<u8>,
        limit: Option<Duration>,
        cancel: &Cancel,
    ) -> Result<String, SshError> {
        let (mut text, mut tail) = (String::new(), Vec::new());
        let code = self.run(command, stdin, limit, cancel, &mut |output, line| match output {
            Output::Stdout => {
                if text.len() < ANSWER {
                    text.push_str(line);
                    text.push('\n');
                }
            }
            Output::Stderr => keep(&mut tail, line.to_owned()),
        })?;
        if code != 0 {
            let command = first_line(command);
            return Err(SshError::Failed { command, code, tail });
        }
        text.truncate(text.trim_end_matches('\n').len());
        Ok(text)
    }

    /// A word that no command prints by chance: the random part of our folder's name.
    fn mark(&self) -> String {
        let name = self.folder.path().file_name().unwrap_or_default();
        format!("{}-ended-with-", name.to_string_lossy())
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        // SIGTERM first, so that sshd hears of the end.
        self.master
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .stop();
    }
}

/// Turns a stop of the caller's, or leftovers that hold a session whose command has ended, into a stop of the client.
fn watch(cancel: &Cancel, ended: &Cancel, stop: &Cancel, finished: &Cancel) {
    let mut since = None;
    while !finished.sleep(POLL) {
        if ended.is_cancelled() && since.is_none() {
            since = Some(Instant::now());
        }
        if cancel.is_cancelled() || since.is_some_and(|since| since.elapsed() > LINGER) {
            stop.cancel();
        }
    }
}

/// The exit code with which each of a command's outputs ended. One of them can be seconds behind the other, so a command has
/// ended once both have.
#[derive(Debug, Default)]
struct Ends {
    stdout: Option<i32>,
    stderr: Option<i32>,
}

impl Ends {
    fn saw(&mut self, output: Output, code: i32) {
        match output {
            Output::Stdout => self.stdout = Some(code),
            Output::Stderr => self.stderr = Some(code),
        }
    }

    /// The command's exit code, once nothing of its output is missing.
    fn code(&self) -> Option<i32> {
        self.stdout.and(self.stderr)
    }
}

/// The command as the guest gets it. Each of its outputs ends with its exit code: ssh's own exit code 255 could mean the
/// command's, a signal in the guest, or a lost connection.
fn wrapped(command: &str, role: Become, mark: &str) -> String {
    let sudo = match role {
        Become::User => "",
        Become::Root => "sudo -n ",
    };
    let command = shell_quote(command);
    let script = format!(
        "{sudo}sh -c {command}; code=$?; printf '{mark}%d\\n' $code; printf '{mark}%d\\n' $code >&2; exit $code"
    );
    // Through sh once more, as the user's login shell may be of another kind.
    format!("exec sh -c {}", shell_quote(&script))
}

/// Finds the mark in a line: the text before it and the code after it.
fn split_mark<'l>(line: &'l str, mark: &str) -> Option<(&'l str, i32)> {
    let (before, code) = line.rsplit_once(mark)?;
    Some((before, code.trim().parse().ok()?))
}

fn first_line(command: &str) -> String {
    let line = command.lines().find(|line| !line.trim().is_empty());
    line.unwrap_or_default()
        .trim()
        .trim_start_matches("# ")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_told_from_what_the_command_printed() {
        assert_eq!(
            split_mark("half a linepipeline-x-ended-with-255", "pipeline-x-ended-with-"),
            Some(("half a line", 255))
        );
        assert_eq!(
            split_mark("printf 'pipeline-x-ended-with-%d", "pipeline-x-ended-with-"),
            None
        );
    }

    #[test]
    fn a_command_has_ended_once_both_its_outputs_have() {
        let mut ends = Ends::default();
        ends.saw(Output::Stderr, 3);
        assert_eq!(ends.code(), None);
        ends.saw(Output::Stdout, 3);
        assert_eq!(ends.code(), Some(3));
    }

    #[test]
    fn a_command_is_quoted_for_any_login_shell_and_sudo_never_asks() {
        insta::assert_snapshot!(wrapped("echo 'a b'", Become::User, "M-"), @r"exec sh -c 'sh -c '\''echo '\''\'\'''\''a b'\''\'\'''\'''\''; code=$?; printf '\''M-%d\n'\'' $code; printf '\''M-%d\n'\'' $code >&2; exit $code'");
        insta::assert_snapshot!(wrapped("id", Become::Root, "M-"), @r"exec sh -c 'sudo -n sh -c id; code=$?; printf '\''M-%d\n'\'' $code; printf '\''M-%d\n'\'' $code >&2; exit $code'");
    }
}
