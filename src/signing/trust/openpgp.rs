//! Signatures of OpenPGP, verified by gpgv.

use std::path::PathBuf;

use super::{Found, last_words};
use crate::host::cancel::Cancel;
use crate::host::process::ProcessError;
use crate::host::signature;
use crate::signing::SigningError;

/// What gpgv says of a key that it does not have.
const NO_KEY: &str = "No public key";

/// Looks who signed some bytes.
pub(super) fn verify(
    keyrings: &[PathBuf],
    bytes: &[u8],
    signature: &[u8],
    cancel: &Cancel,
) -> Result<Found, SigningError> {
    let keyrings = keyrings.iter().map(PathBuf::as_path);
    match signature::verify(bytes, Some(signature), keyrings, cancel) {
        Ok(signed) => {
            let keys: Vec<_> = signed.by.iter().map(|by| by.key.as_str()).collect();
            Ok(Found::By(format!("the OpenPGP key {}", keys.join(", "))))
        }
        Err(ProcessError::Failed { tail, .. }) if tail.iter().any(|line| line.contains(NO_KEY)) => {
            let key = tail
                .iter()
                .find_map(|line| Some(line.split_once(" key ")?.1.to_owned()));
            let key = key.unwrap_or_default();
            Ok(Found::Stranger(
                format!("the OpenPGP key {key}").trim_end().to_owned(),
            ))
        }
        Err(ProcessError::Failed { tail, .. }) => Ok(Found::Bad(last_words("gpgv", &tail))),
        Err(error) => Err(SigningError::tool("gpgv cannot verify")(error)),
    }
}

/// Whether these may be keys: as text, or as packets, whose first byte has its highest bit set (RFC 9580 §4.2).
pub(super) fn is_keyring(bytes: &[u8]) -> bool {
    let is_armored = || String::from_utf8_lossy(bytes).contains("-----BEGIN PGP PUBLIC KEY BLOCK-----");
    bytes.first().is_some_and(|byte| byte & 0x80 != 0) || is_armored()
}
