//! Signatures of minisign, verified by it.

use std::path::Path;

use super::{Found, ask, place};
use crate::host::cancel::Cancel;
use crate::host::process::Cmd;
use crate::host::tools;
use crate::signing::SigningError;
use crate::signing::dsse::PUBLIC;
use crate::signing::minisign::Raw;

/// A public key: its base64 as minisign takes it, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Public {
    text: String,
    pub raw: Raw,
}

impl Public {
    /// Reads what minisign writes: a line of comment, a line of base64.
    pub(super) fn parse(file: &str) -> Option<Self> {
        let mut lines = file.lines();
        lines.next()?.strip_prefix("untrusted comment:")?;
        let text = lines.next()?.trim().to_owned();
        let raw = Raw::parse(&text).filter(|raw| raw.signature.len() == PUBLIC)?;
        Some(Self { text, raw })
    }
}

/// Looks who signed some bytes.
pub(super) fn verify(
    keys: &[Public],
    bytes: &[u8],
    signature: &[u8],
    folder: &Path,
    cancel: &Cancel,
) -> Result<Found, SigningError> {
    let text = String::from_utf8_lossy(signature);
    let Some(Raw { key: id, .. }) = text.lines().nth(1).and_then(Raw::parse) else {
        return Ok(Found::Bad("it is no signature of minisign".to_owned()));
    };
    let who = format!("the minisign key {id}");
    let Some(key) = keys.iter().find(|key| key.raw.key == id) else {
        return Ok(Found::Stranger(who));
    };
    let cmd = Cmd::new(tools::path("minisign"))
        .args(["-V", "-P", &key.text, "-x"])
        .arg(place(folder, "signature", signature)?)
        .arg("-m")
        .arg(place(folder, "signed", bytes)?);
    let said = ask(&cmd, "minisign cannot verify", cancel)?;
    Ok(said.map_or_else(Found::Bad, |_| Found::By(who)))
}
