//! Signatures by minisign.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{Scheme, SigningError, left, run};
use crate::host::cancel::Cancel;
use crate::host::process::Cmd;
use crate::host::tools;

/// Signs a file.
pub(super) fn sign(
    key: &Path,
    password: Option<&str>,
    data: &Path,
    folder: &Path,
    cancel: &Cancel,
) -> Result<Vec<u8>, SigningError> {
    sign_by("-S", key, password, data, folder, cancel)
}

fn sign_by(
    verb: &str,
    key: &Path,
    password: Option<&str>,
    data: &Path,
    folder: &Path,
    cancel: &Cancel,
) -> Result<Vec<u8>, SigningError> {
    let cmd = Cmd::new(tools::path("minisign"))
        .args([verb, "-s"])
        .arg(key)
        .arg("-m")
        .arg(data)
        // It asks for the password of a key that has one.
        .stdin(format!("{}\n", password.unwrap_or_default()));
    run(
        &cmd,
        "minisign cannot sign with the key of `minisign`",
        folder,
        cancel,
    )?;
    left(data, Scheme::Minisign)
}

/// What is in a public key or a signature: the id of the key, as minisign prints it, and the key or the signature itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    pub key: String,
    pub signature: Vec<u8>,
}

impl Raw {
    /// Reads the line of base64. Two letters for the algorithm come first: `Ed` signs the bytes themselves, `ED` their hash.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(line.trim()).ok()?;
        let (_, rest) = bytes.split_first_chunk::<2>()?;
        let (key, rest) = rest.split_first_chunk::<8>()?;
        Some(Self {
            key: format!("{:016X}", u64::from_le_bytes(*key)),
            signature: rest.to_owned(),
        })
    }
}

/// A signature of the bytes of a file themselves (RFC 8032), which other programs than minisign verify.
pub(super) fn raw(
    key: &Path,
    password: Option<&str>,
    data: &Path,
    folder: &Path,
    cancel: &Cancel,
) -> Result<Raw, SigningError> {
    let made = sign_by("-Sl", key, password, data, folder, cancel)?;
    let text = String::from_utf8_lossy(&made);
    let raw = text.lines().nth(1).and_then(Raw::parse);
    raw.ok_or_else(|| SigningError::Key("minisign made a signature that cannot be read".to_owned()))
}
