//! Public keys that a reader trusts, and what they say of a signature. One file for each program that verifies.

mod minisign;
mod openpgp;
mod ssh;

use std::fs;
use std::path::{Path, PathBuf};

use super::dsse::{Envelope, EnvelopeSignature};
use super::{Scheme, SigningError, private};
use crate::host::cancel::Cancel;
use crate::host::fs::read_small;
use crate::host::process::{Cmd, ProcessError};
use crate::host::tools;

/// Most bytes of a file with keys: keyrings of distributions have some hundred kilobytes.
const LARGEST: u64 = 16 << 20;

/// Public keys, by the program that verifies with them.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Files with keys of OpenPGP.
    keyrings: Vec<PathBuf>,
    /// Lines of an allowed-signers file (ssh-keygen(1)).
    signers: String,
    minisign: Vec<minisign::Public>,
}

/// What a signature is found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Good, and made by this trusted key.
    By(String),
    /// Made by this key, which is none of the trusted ones.
    Stranger(String),
    /// Not a signature of these bytes, in the words of the program.
    Bad(String),
}

/// Keys that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the keys in {} cannot be read: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: String },
    #[error("{} has no keys: it is neither a keyring of OpenPGP, nor public keys or allowed signers of OpenSSH, nor a public \
             key of minisign", path.display())]
    NoKeys { path: PathBuf },
    #[error("{} is a private key; give the public half", path.display())]
    Private { path: PathBuf },
}

impl Trust {
    /// Adds the keys of a file, whichever of the three programs they are for.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn add(&mut self, path: &Path) -> Result<(), TrustError> {
        let path = path.to_owned();
        let bytes = match read_small(&path, LARGEST) {
            Ok(bytes) => bytes,
            Err(error) => {
                let cause = error.to_string();
                return Err(TrustError::Unreadable { path, cause });
            }
        };
        let text = String::from_utf8_lossy(&bytes);
        if text.contains("PRIVATE KEY") || text.contains("minisign encrypted secret key") {
            return Err(TrustError::Private { path });
        }
        if let Some(key) = minisign::Public::parse(&text) {
            self.minisign.push(key);
            return Ok(());
        }
        let signers: Vec<_> = text.lines().filter_map(ssh::signer).collect();
        if !signers.is_empty() {
            self.signers += &(signers.join("\n") + "\n");
            return Ok(());
        }
        if !openpgp::is_keyring(&bytes) {
            return Err(TrustError::NoKeys { path });
        }
        self.keyrings.push(path);
        Ok(())
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        Scheme::ALL.iter().all(|scheme| self.verifier(*scheme).is_none())
    }

    /// A program that is needed to verify with the keys, and that this host lacks.
    pub fn lacks(&self) -> Option<&'static str> {
        let mut programs = Scheme::ALL.iter().filter_map(|scheme| self.verifier(*scheme));
        programs.find(|program| tools::find(program).is_none())
    }

    /// The program that verifies such signatures by the trusted keys; none: no trusted key makes such ones.
    fn verifier(&self, scheme: Scheme) -> Option<&'static str> {
        match scheme {
            Scheme::Openpgp => (!self.keyrings.is_empty()).then_some("gpgv"),
            Scheme::Ssh => (!self.signers.is_empty()).then_some("ssh-keygen"),
            Scheme::Minisign => (!self.minisign.is_empty()).then_some("minisign"),
        }
    }

    /// Looks who signed some bytes.
    ///
    /// # Errors
    /// [`SigningError`]: the program did not say.
    pub fn look(
        &self,
        scheme: Scheme,
        bytes: &[u8],
        signature: &[u8],
        cancel: &Cancel,
    ) -> Result<Found, SigningError> {
        if self.verifier(scheme).is_none() {
            return Ok(Found::Stranger(format!("a key of {}", scheme.title())));
        }
        let folder = private()?;
        let folder = folder.path();
        match scheme {
            Scheme::Openpgp => openpgp::verify(&self.keyrings, bytes, signature, cancel),
            Scheme::Ssh => ssh::verify(&self.signers, bytes, signature, folder, cancel),
            Scheme::Minisign => minisign::verify(&self.minisign, bytes, signature, folder, cancel),
        }
    }
}

impl Trust {
    /// Who made each signature of an envelope.
    pub fn endorsers(&self, envelope: &Envelope) -> Vec<Found> {
        let of_minisign = self.minisign.iter().map(|key| {
            let id = &key.raw.key;
            (
                id.clone(),
                key.raw.signature.clone(),
                format!("the minisign key {id}"),
            )
        });
        let of_ssh = self
            .signers
            .lines()
            .filter_map(ssh::plain)
            .filter_map(|(who, key)| {
                let id = key.fingerprint();
                let name = format!("{who} (SSH ED25519 key {id})");
                Some((id, key.bytes()?.to_owned(), name))
            });
        let keys: Vec<_> = of_minisign.chain(of_ssh).collect();
        let found = |signature: &EnvelopeSignature| {
            let mut all = keys.iter();
            if let Some((_, _, name)) = all.find(|(_, key, _)| envelope.is_by(signature, key)) {
                return Found::By(name.clone());
            }
            let id = &signature.keyid;
            match keys.iter().find(|(known, _, _)| known == id) {
                Some((_, _, name)) => Found::Bad(format!("it is not by {name}, whose id it has")),
                None => Found::Stranger(format!("the key {id}")),
            }
        };
        envelope.signatures().iter().map(found).collect()
    }
}

/// What a program says that succeeds, or why it refused, in its last words.
fn ask(cmd: &Cmd, what: &'static str, cancel: &Cancel) -> Result<Result<String, String>, SigningError> {
    match cmd.read(cancel) {
        Ok(said) => Ok(Ok(said)),
        Err(ProcessError::Failed { program, tail, .. }) => Ok(Err(last_words(&program, &tail))),
        Err(error) => Err(SigningError::tool(what)(error)),
    }
}

fn last_words(program: &str, tail: &[String]) -> String {
    let said = tail.iter().rev().find(|line| !line.trim().is_empty());
    match said {
        Some(line) if line.starts_with(program) => line.clone(),
        Some(line) => format!("{program}: {line}"),
        None => format!("{program} refuses it"),
    }
}

/// Writes a file for a program.
fn place(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, SigningError> {
    let path = folder.join(name);
    fs::write(&path, bytes).map_err(SigningError::file("write", &path))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_by_what_they_look_like() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let add = |text: &str| {
            fs::write(&path, text).unwrap();
            let mut trust = Trust::default();
            trust.add(&path).map(|()| trust)
        };
        let public = add("ssh-ed25519 AAAA release@house\n").unwrap();
        assert_eq!(public.signers, "release@house ssh-ed25519 AAAA\n");
        let allowed = "# ours\nimages namespaces=\"file\" ssh-ed25519 AAAA\n";
        assert_eq!(
            add(allowed).unwrap().signers,
            "images namespaces=\"file\" ssh-ed25519 AAAA\n"
        );
        let armored = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDM=\n-----END PGP PUBLIC KEY BLOCK-----\n";
        assert_eq!(add(armored).unwrap().keyrings.len(), 1);
        assert!(matches!(add("hello\n"), Err(TrustError::NoKeys { .. })));
        assert!(matches!(add(""), Err(TrustError::NoKeys { .. })));
        let private = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
        assert!(matches!(add(private), Err(TrustError::Private { .. })));
    }
}
