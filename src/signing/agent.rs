//! Raw signatures by an agent of OpenSSH (draft-ietf-sshm-ssh-agent): the user's own, or one that is started for a key.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::{SigningError, run};
use crate::host::cancel::Cancel;
use crate::host::process::{Cmd, Running};
use crate::host::tools;

/// The kind of key whose raw signatures every verifier knows.
const KIND: &str = "ssh-ed25519";
/// Numbers of the protocol's messages.
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// Most bytes of an answer.
const LARGEST: u32 = 256 << 10;
/// Longest time for an answer: a user may have to confirm it.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest time for an agent of our own to listen.
const START: Duration = Duration::from_secs(10);

/// A public key of Ed25519, as OpenSSH writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Public {
    blob: Vec<u8>,
}

impl Public {
    /// Reads `ssh-ed25519 AAAA… comment`; none: a key of another kind.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        words.next().filter(|kind| *kind == KIND)?;
        let blob = BASE64_STANDARD.decode(words.next()?).ok()?;
        let public = Self { blob };
        public.bytes().map(|_| ())?;
        Some(public)
    }

    /// The key itself.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        let mut rest = &self.blob[..];
        let (kind, key) = (text(&mut rest)?, text(&mut rest)?);
        (kind == KIND.as_bytes() && key.len() == super::dsse::PUBLIC && rest.is_empty()).then_some(key)
    }

    /// As `ssh-keygen -l` prints it.
    pub(super) fn fingerprint(&self) -> String {
        format!(
            "SHA256:{}",
            BASE64_STANDARD_NO_PAD.encode(Sha256::digest(&self.blob))
        )
    }
}

/// An agent that can sign.
pub(super) struct Agent {
    socket: PathBuf,
    /// Ours, which goes with this.
    started: Option<Running>,
}

impl Agent {
    /// The user's own.
    pub(super) fn of_user() -> Result<Self, SigningError> {
        let socket = std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
        let none = || SigningError::Key("there is no SSH agent: SSH_AUTH_SOCK is not set".to_owned());
        Ok(Self {
            socket: socket.ok_or_else(none)?,
            started: None,
        })
    }

    /// One that has the key of a file and nothing else. Its socket is in the private folder.
    pub(super) fn start(key: &Path, folder: &Path, cancel: &Cancel) -> Result<Self, SigningError> {
        let socket = folder.join("agent");
        let what = "cannot start an SSH agent for the key of `ssh`";
        let running = Cmd::new(tools::path("ssh-agent"))
            .args(["-D", "-a"])
            .arg(&socket)
            .spawn(Stdio::null(), Stdio::null())
            .map_err(SigningError::tool(what))?;
        let agent = Self {
            socket,
            started: Some(running),
        };
        let since = Instant::now();
        // Its socket is there before it listens.
        while UnixStream::connect(&agent.socket).is_err() && since.elapsed() < START {
            if cancel.sleep(Duration::from_millis(10)) {
                return Err(SigningError::Cancelled);
            }
        }
        let add = Cmd::new(tools::path("ssh-add"))
            .arg("-q")
            .arg(key)
            .env("SSH_AUTH_SOCK", &agent.socket)
            .env("SSH_ASKPASS_REQUIRE", "never");
        run(&add, "ssh-add cannot read the key of `ssh`", folder, cancel)?;
        Ok(agent)
    }

    /// The keys that it has, a line each.
    pub(super) fn keys(&self, cancel: &Cancel) -> Result<String, SigningError> {
        let list = Cmd::new(tools::path("ssh-add"))
            .arg("-L")
            .env("SSH_AUTH_SOCK", &self.socket);
        list.read(cancel)
            .map_err(SigningError::tool("the SSH agent does not list its keys"))
    }

    /// A raw signature.
    pub(super) fn sign(&self, key: &Public, bytes: &[u8]) -> Result<Vec<u8>, SigningError> {
        let failed = |action| SigningError::file(action, &self.socket);
        let mut stream = UnixStream::connect(&self.socket).map_err(failed("reach the SSH agent at"))?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .map_err(failed("ask the SSH agent at"))?;
        let mut request = vec![SIGN_REQUEST];
        for part in [&key.blob[..], bytes] {
            request.extend((part.len() as u32).to_be_bytes());
            request.extend(part);
        }
        // No flags.
        request.extend([0; 4]);
        let length = (request.len() as u32).to_be_bytes();
        stream
            .write_all(&[&length[..], &request].concat())
            .map_err(failed("ask the SSH agent at"))?;
        let mut length = [0; 4];
        stream
            .read_exact(&mut length)
            .map_err(failed("hear the SSH agent at"))?;
        let length = u32::from_be_bytes(length).min(LARGEST);
        let mut answer = vec![0; length as usize];
        stream
            .read_exact(&mut answer)
            .map_err(failed("hear the SSH agent at"))?;
        let refused = || SigningError::Key(format!("the SSH agent does not sign with {}", key.fingerprint()));
        signature(&answer).ok_or_else(refused)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(running) = &mut self.started {
            running.stop();
        }
    }
}

/// The signature in an answer.
fn signature(answer: &[u8]) -> Option<Vec<u8>> {
    let mut rest = answer.strip_prefix(&[SIGN_RESPONSE])?;
    let mut blob = text(&mut rest)?;
    let kind = text(&mut blob)?;
    let signature = text(&mut blob)?;
    (kind == KIND.as_bytes()).then(|| signature.to_owned())
}

/// The next text of a message: its length and its bytes (RFC 4251 §5).
fn text<'m>(rest: &mut &'m [u8]) -> Option<&'m [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (text, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = after;
    Some(text)
}
