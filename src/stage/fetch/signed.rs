//! Small files of publishers, fetched whole, and who signed them.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::Reason;
use super::local;
use crate::host::cancel::Cancel;
use crate::host::http::{Client, Get};
use crate::host::process::{Cmd, Output, ProcessError};
use crate::host::tools;

/// The largest list, or signature; simplestreams have a few megabytes.
const LARGEST: usize = 64 << 20;
/// Longest time for gpgv.
const VERIFY: Duration = Duration::from_secs(60);

/// Who signed a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    /// Of the key: forty hexadecimal digits.
    pub fingerprint: String,
    pub at: Option<Timestamp>,
}

/// Why a signature does not count.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignatureError {
    #[error("stopped")]
    Cancelled,
    /// By a key that no keyring has.
    #[error("it is signed by the key {0}, which is not in the keyring")]
    Stranger(String),
    /// In gpgv's words.
    #[error("{0}")]
    Bad(String),
}

/// What must be signed.
pub(super) struct Signed<'a> {
    pub text: &'a [u8],
    /// The detached signature; absent: the text is clear-signed.
    pub signature: Option<&'a [u8]>,
    /// By a key of one of these files, binary or armored.
    pub keyrings: &'a [PathBuf],
}

/// The whole of a small file by URL or path.
pub(super) fn get(client: &Client, url: &str, cancel: &Cancel) -> Result<Vec<u8>, Reason> {
    if let Some(path) = local::path_of(url) {
        return fs::read(path).map_err(Reason::Local);
    }
    let (head, mut body) = client.get(&Get::new(url), cancel)?;
    if head.status != 200 {
        return Err(head.error().into());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next(cancel)? {
        bytes.extend(chunk);
        if bytes.len() > LARGEST {
            return Err(Reason::LongList);
        }
    }
    Ok(bytes)
}

impl Signed<'_> {
    /// The text that is signed (of a clear-signed one what is inside) and by whom. Of several detached signatures one must be
    /// good, as where a key takes over from another, and none may be bad.
    pub(super) fn verify(&self, cancel: &Cancel) -> Result<(Vec<u8>, Signer), SignatureError> {
        let folder = tempfile::tempdir().map_err(broken)?;
        let file = |name: &str| folder.path().join(name);
        let (list, signature, text) = (file("list"), file("list.sig"), file("list.text"));
        write(&list, self.text)?;
        let mut gpgv = Cmd::new(tools::path("gpgv")).args(["--status-fd", "1"]);
        for (number, keyring) in self.keyrings.iter().enumerate() {
            let keys = fs::read(keyring).map_err(broken)?;
            let path = match dearmored(&keys) {
                Some(keys) => {
                    let path = file(&format!("keyring{number}"));
                    write(&path, &keys)?;
                    path
                }
                None => keyring.clone(),
            };
            gpgv = gpgv.arg("--keyring").arg(path);
        }
        let gpgv = match self.signature {
            Some(bytes) => {
                write(&signature, bytes)?;
                gpgv.arg(&signature).arg(&list)
            }
            None => gpgv.arg("--output").arg(&text).arg(&list),
        };
        let (mut status, mut words) = (Vec::new(), Vec::new());
        let ended = gpgv.run(cancel, Some(VERIFY), &mut |output, line| match output {
            Output::Stdout => status.push(line.to_owned()),
            Output::Stderr => words.push(line.to_owned()),
        });
        let is_whole = match ended {
            Ok(()) => true,
            Err(ProcessError::Failed { .. }) => false,
            Err(ProcessError::Cancelled) => return Err(SignatureError::Cancelled),
            Err(error) => return Err(SignatureError::Bad(error.to_string())),
        };
        // A clear-signed text may be followed by another one, signed by another key: all must be good.
        let judged = match judge(&status) {
            Ok(_) if self.signature.is_none() && !is_whole => Err(None),
            judged => judged,
        };
        let signer = judged.map_err(|stranger| match stranger {
            Some(key) => SignatureError::Stranger(key),
            None => SignatureError::Bad(words.join("\n  | ")),
        })?;
        match self.signature {
            Some(_) => Ok((self.text.to_owned(), signer)),
            None => Ok((fs::read(&text).map_err(broken)?, signer)),
        }
    }
}

/// The signer, from what gpgv reports (`doc/DETAILS` of GnuPG); else the unknown key, where that is why there is none.
fn judge(status: &[String]) -> Result<Signer, Option<String>> {
    let lines = status.iter().filter_map(|line| line.strip_prefix("[GNUPG:] "));
    let lines: Vec<Vec<_>> = lines.map(|line| line.split(' ').collect()).collect();
    let argument = |word: &str, number: usize| {
        let line = lines.iter().find(|line| line[0] == word)?;
        line.get(number).map(|word| (*word).to_owned())
    };
    let is_there = |word: &str| lines.iter().any(|line| line[0] == word);
    if ["BADSIG", "REVKEYSIG", "EXPSIG"].into_iter().any(is_there) {
        return Err(None);
    }
    let Some(fingerprint) = argument("VALIDSIG", 1) else {
        return Err(argument("NO_PUBKEY", 1));
    };
    let at = argument("VALIDSIG", 3).and_then(|seconds| seconds.parse().ok());
    Ok(Signer {
        // Of the primary key, which the keyring is known by.
        fingerprint: argument("VALIDSIG", 10).unwrap_or(fingerprint),
        at: at.and_then(|seconds| Timestamp::from_second(seconds).ok()),
    })
}

/// The keys of an armored file (RFC 9580 §6.2), as gpgv reads them; none where it is not armored.
fn dearmored(keys: &[u8]) -> Option<Vec<u8>> {
    const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
    let text = std::str::from_utf8(keys).ok()?;
    let blocks = text.split(BEGIN).skip(1);
    let blocks = blocks.filter_map(|block| {
        let block = block.split("-----END").next()?;
        let lines = block.lines().map(str::trim).skip(1);
        // Headers end with an empty line; the checksum, which may be left out, begins with an equals sign.
        let lines = lines.skip_while(|line| line.contains(':'));
        let lines = lines.take_while(|line| !line.starts_with('='));
        STANDARD.decode(lines.collect::<String>()).ok()
    });
    let blocks: Vec<u8> = blocks.flatten().collect();
    (!blocks.is_empty()).then_some(blocks)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), SignatureError> {
    fs::write(path, bytes).map_err(broken)
}

fn broken(error: io::Error) -> SignatureError {
    SignatureError::Bad(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(lines: &[&str]) -> Result<String, Option<String>> {
        let lines: Vec<_> = lines.iter().map(|line| format!("[GNUPG:] {line}")).collect();
        judge(&lines).map(|signer| signer.fingerprint)
    }

    #[test]
    fn one_good_signature_counts_unless_one_is_bad() {
        let good = "VALIDSIG SUB 2026-01-02 1767312000 0 4 0 1 10 00 PRIMARY";
        assert_eq!(judged(&["NEWSIG", good]), Ok("PRIMARY".to_owned()));
        assert_eq!(judged(&[good, "NO_PUBKEY OTHER"]), Ok("PRIMARY".to_owned()));
        assert_eq!(judged(&["NO_PUBKEY OTHER"]), Err(Some("OTHER".to_owned())));
        for bad in ["BADSIG KEY Name", "REVKEYSIG KEY Name", "EXPSIG KEY Name"] {
            assert_eq!(judged(&[good, bad]), Err(None), "{bad}");
        }
        assert_eq!(judged(&["NODATA 4"]), Err(None));
    }
}
