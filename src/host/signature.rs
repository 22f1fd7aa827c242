//! OpenPGP signatures of what publishers write, verified by `gpgv`. Knows nothing of what is signed.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;

use super::cancel::Cancel;
use super::process::{Cmd, Output, ProcessError};
use super::{fs as host_fs, tools};

/// Longest time for gpgv.
const VERIFY: Duration = Duration::from_secs(60);
/// Lines of gpgv that a message shows.
const SHOWN: usize = 10;
/// How keys as a text begin.
const ARMOUR: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
/// How gpgv begins the lines that are for programs (GnuPG: doc/DETAILS).
const STATUS: &str = "[GNUPG:] ";

/// What was signed, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The text that the signature is of.
    pub text: Vec<u8>,
    /// At least one.
    pub by: Vec<Signature>,
}

/// A good signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Fingerprint of the primary key.
    pub key: String,
    pub at: Option<Timestamp>,
}

/// Verifies a text next to its detached signature, or a clear-signed one. Archives sign with several keys, of which a keyring
/// may have one: one good signature is enough, and a bad one too many.
///
/// # Errors
/// [`ProcessError`]; with gpgv's words where no key of the keyrings signed it.
pub fn verify<'k>(
    text: &[u8],
    detached: Option<&[u8]>,
    keyrings: impl IntoIterator<Item = &'k Path>,
    cancel: &Cancel,
) -> Result<Signed, ProcessError> {
    let folder = tempfile::tempdir().map_err(io_error)?;
    let place = |name: &str| folder.path().join(name);
    let write = |name: &str, bytes: &[u8]| std::fs::write(place(name), bytes).map_err(io_error);
    write("signed", text)?;
    // Its words are read too.
    let mut cmd = Cmd::new(tools::path("gpgv"))
        .env("LC_ALL", "C")
        .args(["--status-fd", "1"]);
    for (number, keyring) in keyrings.into_iter().enumerate() {
        let keys = std::fs::read(keyring).map_err(io_error)?;
        let binary = format!("keyring-{number}.gpg");
        write(&binary, &without_armour(&keys))?;
        cmd = cmd.arg("--keyring").arg(place(&binary));
    }
    let cmd = match detached {
        Some(signature) => {
            write("signature", signature)?;
            cmd.arg(place("signature")).arg(place("signed"))
        }
        None => cmd.arg("--output").arg(place("text")).arg(place("signed")),
    };
    let (mut said, mut words) = (Vec::new(), Vec::new());
    let ran = cmd.run(cancel, Some(VERIFY), &mut |output, line| match output {
        Output::Stdout => said.extend(line.strip_prefix(STATUS).map(str::to_owned)),
        Output::Stderr => words.push(line.to_owned()),
    });
    // Another text may follow, signed by another key: gpgv puts out all of them.
    let is_one = detached.is_some() || said.iter().filter(|line| line.starts_with("PLAINTEXT ")).count() == 1;
    let by = if is_one { judge(&said) } else { Vec::new() };
    match ran {
        Ok(()) | Err(ProcessError::Failed { .. }) if !by.is_empty() => {}
        Ok(()) => {
            return Err(failed(
                "found no signature of a key that it may believe".to_owned(),
                None,
                words,
            ));
        }
        Err(ProcessError::Failed { status, code, .. }) => return Err(failed(status, code, words)),
        Err(error) => return Err(error),
    }
    let text = match detached {
        Some(_) => text.to_owned(),
        None => host_fs::read_small(&place("text"), text.len() as u64).map_err(io_error)?,
    };
    Ok(Signed { text, by })
}

/// Keys as gpgv reads them: others write them as text too (RFC 9580 §6.2).
fn without_armour(keys: &[u8]) -> Cow<'_, [u8]> {
    let text = std::str::from_utf8(keys)
        .ok()
        .filter(|text| text.contains(ARMOUR));
    let Some((_, text)) = text.and_then(|text| text.split_once(ARMOUR)) else {
        return Cow::Borrowed(keys);
    };
    let lines = text.lines().map(str::trim);
    let lines = lines.skip_while(|line| !line.is_empty());
    let lines = lines.take_while(|line| !line.starts_with(['=', '-']));
    let joined: String = lines.collect();
    BASE64_STANDARD
        .decode(joined)
        .map_or(Cow::Borrowed(keys), Cow::Owned)
}

/// The good signatures; none where one is bad.
fn judge(said: &[String]) -> Vec<Signature> {
    let mut by = Vec::new();
    let mut is_good = false;
    for line in said {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["BADSIG", ..] => return Vec::new(),
            ["NEWSIG", ..] => is_good = false,
            // A signature by a key that has expired or was revoked is valid, but not good.
            ["GOODSIG", ..] => is_good = true,
            ["VALIDSIG", key, _, at, ..] if is_good => by.push(Signature {
                key: (*words.last().unwrap_or(&key)).to_owned(),
                at: at.parse().ok().and_then(|at| Timestamp::from_second(at).ok()),
            }),
            _ => {}
        }
    }
    by
}

fn failed(status: String, code: Option<i32>, words: Vec<String>) -> ProcessError {
    let skipped = words.len().saturating_sub(SHOWN);
    ProcessError::Failed {
        program: "gpgv".to_owned(),
        status,
        code,
        tail: words.into_iter().skip(skipped).collect(),
    }
}

fn io_error(source: io::Error) -> ProcessError {
    ProcessError::Io {
        program: "gpgv".to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_good_signature_is_enough_and_one_bad_too_many() {
        let keys = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|&line| line.to_owned()).collect();
            judge(&lines).into_iter().map(|one| one.key).collect::<Vec<_>>()
        };
        let valid = "VALIDSIG SUB 2026-11-29 1795968917 0 4 0 22 8 01 PRIMARY";
        let good = ["NEWSIG a", "GOODSIG 1 a", valid];
        assert_eq!(
            keys(&[&good[..], &["NEWSIG b", "ERRSIG 2", "NO_PUBKEY 2"]].concat()),
            ["PRIMARY"]
        );
        assert_eq!(keys(&[&good[..], &["NEWSIG b", "BADSIG 2 b"]].concat()), [""; 0]);
        assert_eq!(keys(&["NEWSIG a", "EXPKEYSIG 1 a", valid]), [""; 0]);
        assert_eq!(keys(&["NEWSIG a", "GOODSIG 1 a", "NEWSIG b", valid]), [""; 0]);
    }
}
