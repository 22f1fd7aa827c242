//! Signatures of OpenSSH, verified by ssh-keygen.

use std::path::Path;

use super::{Found, ask, place};
use crate::host::cancel::Cancel;
use crate::host::process::Cmd;
use crate::host::tools;
use crate::signing::SigningError;
use crate::signing::agent::Public;
use crate::signing::ssh::NAMESPACE;

const WHAT: &str = "ssh-keygen cannot verify";

/// Looks who signed some bytes. `signers` are lines of an allowed-signers file.
pub(super) fn verify(
    signers: &str,
    bytes: &[u8],
    signature: &[u8],
    folder: &Path,
    cancel: &Cancel,
) -> Result<Found, SigningError> {
    let signature = place(folder, "signature", signature)?;
    let allowed = place(folder, "allowed_signers", signers.as_bytes())?;
    let keygen = |verb: &str| {
        Cmd::new(tools::path("ssh-keygen"))
            .args(["-Y", verb, "-s"])
            .arg(&signature)
    };
    let found = ask(&keygen("find-principals").arg("-f").arg(&allowed), WHAT, cancel)?;
    let Ok(names) = found else {
        // Whether it is a signature of this at all.
        let cmd = keygen("check-novalidate").args(["-n", NAMESPACE]).stdin(bytes);
        let said = ask(&cmd, WHAT, cancel)?;
        return Ok(said.map_or_else(Found::Bad, |said| Found::Stranger(key_in(&said))));
    };
    let who = names.lines().next().unwrap_or_default();
    let cmd = keygen("verify")
        .args(["-n", NAMESPACE, "-I", who, "-f"])
        .arg(&allowed)
        .stdin(bytes);
    let said = ask(&cmd, WHAT, cancel)?;
    Ok(said.map_or_else(Found::Bad, |said| Found::By(format!("{who} ({})", key_in(&said)))))
}

/// The key in `Good "file" signature for images with ED25519 key SHA256:…`.
fn key_in(said: &str) -> String {
    let (_, key) = said.trim().rsplit_once(" with ").unwrap_or(("", "key"));
    format!("SSH {key}")
}

/// The key of a line of an allowed-signers file, and whose it is, where it may sign envelopes: one of Ed25519 without options
/// that only ssh-keygen knows.
pub(super) fn plain(line: &str) -> Option<(&str, Public)> {
    let (who, key) = line.split_once(' ')?;
    let key = key.trim_start();
    let key = key.strip_prefix("namespaces=\"file\"").unwrap_or(key);
    Some((who, Public::parse(key)?))
}

/// A line of an allowed-signers file; of a public key one that says whose it is: its comment, where it has one.
pub(super) fn signer(line: &str) -> Option<String> {
    let line = line.trim();
    let words: Vec<_> = line.split_whitespace().collect();
    let is_kind = |word: &&str| {
        let word = word.strip_prefix("sk-").unwrap_or(word);
        word.starts_with("ssh-") || word.starts_with("ecdsa-sha2-")
    };
    if line.starts_with('#') {
        return None;
    }
    match words.iter().position(is_kind)? {
        0 => {
            let blob = words.get(1)?;
            let who = words.get(2).copied().unwrap_or("signer");
            Some(format!("{who} {} {blob}", words[0]))
        }
        _ => Some(line.to_owned()),
    }
}
