//! Signatures by GnuPG: detached and armored.

use std::path::Path;

use super::{Scheme, SigningError, left, run, signature_of};
use crate::host::cancel::Cancel;
use crate::host::process::{Cmd, ProcessError};
use crate::host::tools;

/// Where a secret key is.
pub(super) enum Key<'a> {
    /// In the user's own keyring and agent, by its fingerprint.
    Agent(&'a str),
    /// Exported, armored.
    Exported(&'a str),
}

fn gpg() -> Cmd {
    Cmd::new(tools::path("gpg")).args(["--batch", "--no-tty", "--quiet"])
}

/// Makes sure that gpg has a key that it can sign with.
pub(super) fn must_have(fingerprint: &str, cancel: &Cancel) -> Result<(), SigningError> {
    let asked = gpg()
        .args(["--with-colons", "--list-secret-keys", fingerprint])
        .read(cancel);
    let listed = match asked {
        Ok(listed) => listed,
        Err(ProcessError::Failed { .. }) => {
            return Err(SigningError::Key(format!(
                "gpg has no secret key {fingerprint}; import it, or name one that `gpg --list-secret-keys` prints"
            )));
        }
        Err(error) => return Err(SigningError::tool("gpg cannot list its keys")(error)),
    };
    // doc/DETAILS of GnuPG: the second field is the validity.
    let validity = listed
        .lines()
        .find_map(|line| line.strip_prefix("sec:")?.chars().next());
    match validity {
        Some('e') => Err(SigningError::Key(format!(
            "the key {fingerprint} of gpg has expired; extend it, or name another one"
        ))),
        Some('r' | 'd' | 'i') => Err(SigningError::Key(format!(
            "the key {fingerprint} of gpg is revoked, disabled or invalid; name another one"
        ))),
        _ => Ok(()),
    }
}

/// Signs a file.
pub(super) fn sign(
    key: Key<'_>,
    password: Option<&str>,
    data: &Path,
    folder: &Path,
    cancel: &Cancel,
) -> Result<Vec<u8>, SigningError> {
    let signature = signature_of(data, Scheme::Openpgp);
    let with_password = |cmd: Cmd| match password {
        Some(password) => cmd
            .args(["--pinentry-mode", "loopback", "--passphrase-fd", "0"])
            .stdin(format!("{password}\n")),
        None => cmd,
    };
    let sign = |cmd: Cmd, what| {
        let cmd = with_password(cmd)
            .args(["--armor", "--detach-sign", "--output"])
            .arg(&signature)
            .arg(data);
        run(&cmd, what, folder, cancel)
    };
    match key {
        Key::Agent(fingerprint) => {
            let cmd = gpg().args(["--local-user", fingerprint]);
            sign(cmd, "gpg cannot sign with the key of its keyring")?;
        }
        Key::Exported(text) => {
            let home = Home(folder);
            let import = home.gpg().arg("--import").stdin(text.as_bytes());
            run(
                &import,
                "gpg cannot read the secret key of `openpgp`",
                folder,
                cancel,
            )?;
            // A key with a password is asked for it, not the user.
            let cmd = match password {
                Some(_) => home.gpg(),
                None => home.gpg().args(["--pinentry-mode", "error"]),
            };
            sign(cmd, "gpg cannot sign with the secret key of `openpgp`")?;
        }
    }
    left(data, Scheme::Openpgp)
}

/// A keyring of its own, with the agent that gpg starts for it.
struct Home<'a>(&'a Path);

impl Home<'_> {
    fn gpg(&self) -> Cmd {
        gpg().arg("--homedir").arg(self.0)
    }
}

impl Drop for Home<'_> {
    /// The agent ends by itself a minute after its folder has gone: this is sooner.
    fn drop(&mut self) {
        let gpgconf = Cmd::new(tools::path("gpgconf")).arg("--homedir").arg(self.0);
        let _ = gpgconf.args(["--kill", "gpg-agent"]).read(&Cancel::default());
    }
}
