//! Signatures by OpenSSH (ssh-keygen(1), `-Y`), in the namespace `file`.

use std::fs;
use std::path::Path;

use super::{Scheme, SigningError, left, run};
use crate::host::cancel::Cancel;
use crate::host::process::{Cmd, ProcessError};
use crate::host::tools;

/// What ssh-keygen calls signatures of files.
pub(super) const NAMESPACE: &str = "file";

/// Signs a file by a private key, or by a public one whose private half the agent has.
pub(super) fn sign(key: &Path, data: &Path, folder: &Path, cancel: &Cancel) -> Result<Vec<u8>, SigningError> {
    let cmd = Cmd::new(tools::path("ssh-keygen"))
        .args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"])
        .arg(key)
        .arg(data)
        // It would ask for the password of a key: an agent is the way to use such a one.
        .env("SSH_ASKPASS_REQUIRE", "never");
    run(
        &cmd,
        "ssh-keygen cannot sign with the key of `ssh` (one with a password must be in the SSH agent: name its public half)",
        folder,
        cancel,
    )?;
    left(data, Scheme::Ssh)
}

/// Makes sure that the agent has the private half of a key.
pub(super) fn must_have(public: &Path, cancel: &Cancel) -> Result<(), SigningError> {
    let text = fs::read_to_string(public).map_err(SigningError::file("read the public key", public))?;
    let mut words = text.split_whitespace();
    let (Some(_), Some(blob)) = (words.next(), words.next()) else {
        return Err(SigningError::Key(format!(
            "{} is no public key of OpenSSH",
            public.display()
        )));
    };
    let agent = Cmd::new(tools::path("ssh-add")).arg("-L").read(cancel);
    let keys = match agent {
        Ok(keys) => keys,
        Err(ProcessError::Cancelled) => return Err(SigningError::Cancelled),
        Err(_) => String::new(),
    };
    if keys
        .lines()
        .any(|line| line.split_whitespace().nth(1) == Some(blob))
    {
        return Ok(());
    }
    Err(SigningError::Key(format!(
        "the SSH agent does not have the key {}; add it (`ssh-add`), and see that SSH_AUTH_SOCK is set",
        public.display()
    )))
}
