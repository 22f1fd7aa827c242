//! Signatures of minisign, verified by it.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{Found, ask, place};
use crate::host::cancel::Cancel;
use crate::host::process::Cmd;
use crate::host::tools;
use crate::signing::SigningError;

/// Where the id of a key is in public keys and signatures, behind two letters for the algorithm.
const ID: std::ops::Range<usize> = 2..10;
/// Length of a public key in base64.
const PUBLIC: usize = 56;

/// A public key: its base64 as minisign takes it, and its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Public {
    text: String,
    id: String,
}

impl Public {
    /// Reads what minisign writes: a line of comment, a line of base64.
    pub(super) fn parse(file: &str) -> Option<Self> {
        let mut lines = file.lines();
        lines.next()?.strip_prefix("untrusted comment:")?;
        let text = lines.next()?.trim().to_owned();
        let id = id(&text).filter(|_| text.len() == PUBLIC)?;
        Some(Self { text, id })
    }
}

/// The id of the key in a public key or a signature, as minisign prints it: a number whose lowest byte comes first.
fn id(base64: &str) -> Option<String> {
    let bytes = BASE64_STANDARD.decode(base64.trim()).ok()?;
    let id: [u8; 8] = bytes.get(ID)?.try_into().ok()?;
    Some(format!("{:016X}", u64::from_le_bytes(id)))
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
    let Some(id) = text.lines().nth(1).and_then(id) else {
        return Ok(Found::Bad("it is no signature of minisign".to_owned()));
    };
    let who = format!("the minisign key {id}");
    let Some(key) = keys.iter().find(|key| key.id == id) else {
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
