//! The key pair by which we enter a guest while it is built. Made by `ssh-keygen`; the private half stays in its file.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::SshError;
use crate::host::cancel::Cancel;
use crate::host::process::Cmd;

/// Name of the private key's file inside its folder; also the comment by which sealing finds the public key again.
pub const KEY_NAME: &str = "pipeline-build-key";

/// An ed25519 key pair.
#[derive(Clone, Debug)]
pub struct Key {
    path: PathBuf,
    public: String,
}

impl Key {
    /// Makes a new pair in `folder` (mode 0600, no passphrase), in place of one that is there.
    ///
    /// # Errors
    /// [`SshError::Key`] and [`SshError::Process`].
    pub fn generate(folder: &Path, cancel: &Cancel) -> Result<Self, SshError> {
        let path = folder.join(KEY_NAME);
        for old in [path.clone(), public_path(&path)] {
            match std::fs::remove_file(&old) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(SshError::Key { path: old, source });
                }
                _ => {}
            }
        }
        let keygen = Cmd::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", KEY_NAME, "-f"]);
        keygen.arg(&path).read(cancel)?;
        Self::load(&path)
    }

    /// Takes an existing pair: the private key's file, with the public one next to it as `.pub`.
    ///
    /// # Errors
    /// [`SshError::Key`] when either cannot be read.
    pub fn load(path: &Path) -> Result<Self, SshError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SshError::Key { path, source }
        };
        let path = std::path::absolute(path).map_err(failed(path))?;
        std::fs::metadata(&path).map_err(failed(&path))?;
        let public_path = public_path(&path);
        let public = std::fs::read_to_string(&public_path).map_err(failed(&public_path))?;
        Ok(Self {
            path,
            public: public.trim().to_owned(),
        })
    }

    /// Takes a copy of an existing private key into `folder`, closed to others as ssh asks for, and derives the public
    /// half; the original stays as it is.
    ///
    /// # Errors
    /// [`SshError::Key`] and [`SshError::Process`] (a key with a passphrase is refused here).
    pub fn adopt(private: &Path, folder: &Path, cancel: &Cancel) -> Result<Self, SshError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SshError::Key { path, source }
        };
        let bytes = std::fs::read(private).map_err(failed(private))?;
        let path = folder.join(KEY_NAME);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options.open(&path).and_then(|mut file| file.write_all(&bytes));
        written.map_err(failed(&path))?;
        let public = Cmd::new("ssh-keygen")
            .args(["-y", "-P", "", "-f"])
            .arg(&path)
            .read(cancel)?;
        let public_file = public_path(&path);
        std::fs::write(&public_file, public).map_err(failed(&public_file))?;
        Self::load(&path)
    }

    /// The public half, as a line of `authorized_keys` (without newline).
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The public half's base64 alone.
    pub fn body(&self) -> &str {
        let mut words = self.public.split(' ');
        words.find(|word| word.starts_with("AAAA")).unwrap_or_default()
    }

    /// The private half's file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The longest part of a public key's base64 that JSON and URLs spell as it is, and that keys of its kind do not share: the
/// kind and its length are in the first 25 characters (RFC 8709).
pub fn key_core(body: &str) -> &str {
    let own = body.get(25..).unwrap_or_default();
    let parts = own.split(['/', '+', '=']);
    parts.max_by_key(|part| part.len()).unwrap_or_default()
}

fn public_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}
