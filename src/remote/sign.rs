//! Keys of the farm: who signs results, and whose results are taken. Ed25519 (RFC 8032).

use std::fmt;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use super::error::RemoteError;
use crate::host::random;

/// What stands in front of a public key as text.
const PUBLIC: &str = "ed25519:";
/// What stands in front of a private key as text.
const PRIVATE: &str = "ed25519-private:";
/// Length of both halves in bytes.
const BYTES: usize = 32;

/// A public key; prints as `ed25519:<base64>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; BYTES]);

/// A key that signs. Shows nothing of itself.
pub struct SignKey(Ed25519KeyPair);

impl fmt::Debug for SignKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignKey({})", self.public())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", BASE64_STANDARD.encode(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Self, RemoteError> {
        let bytes = bytes_of(text, PUBLIC).ok_or_else(|| {
            RemoteError::Key(format!(
                "`{text}` is not a public key; one is like {PUBLIC}<44 characters>, as `pipeline farm key` prints it"
            ))
        })?;
        Ok(Self(bytes))
    }
}

impl PublicKey {
    pub(super) fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(text, signature)
            .is_ok()
    }
}

impl SignKey {
    /// Makes one, in a file that only its owner can read and that is not there yet.
    ///
    /// # Errors
    /// [`RemoteError::Key`].
    pub fn make(path: &Path) -> Result<Self, RemoteError> {
        let failed = |error: std::io::Error| {
            let help = match error.kind() {
                ErrorKind::AlreadyExists => "; a key in use must not be lost: choose another name",
                _ => "",
            };
            RemoteError::Key(format!(
                "the key {} cannot be made: {error}{help}",
                path.display()
            ))
        };
        let seed = random::bytes::<BYTES>().map_err(failed)?;
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let text = format!("{PRIVATE}{}\n", BASE64_STANDARD.encode(seed));
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        Self::of(&seed, path)
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`RemoteError::Key`].
    pub fn read(path: &Path) -> Result<Self, RemoteError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            RemoteError::Key(format!(
                "the signing key {} cannot be read: {error}",
                path.display()
            ))
        })?;
        match bytes_of(text.trim_end(), PRIVATE) {
            Some(seed) => Self::of(&seed, path),
            None => Err(bad(path)),
        }
    }

    fn of(seed: &[u8], path: &Path) -> Result<Self, RemoteError> {
        Ed25519KeyPair::from_seed_unchecked(seed)
            .map(Self)
            .map_err(|_| bad(path))
    }

    /// The half that others know.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    pub(super) fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.0.sign(text).as_ref().to_owned()
    }
}

fn bad(path: &Path) -> RemoteError {
    RemoteError::Key(format!(
        "{} is not a signing key; `pipeline farm key FILE` makes one",
        path.display()
    ))
}

fn bytes_of(text: &str, prefix: &str) -> Option<[u8; BYTES]> {
    let bytes = BASE64_STANDARD.decode(text.strip_prefix(prefix)?).ok()?;
    bytes.try_into().ok()
}
