//! Asks a publisher's list what a medium is now.

use std::sync::mpsc;

use super::Cause;
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::host::http::redact;
use crate::lock::{Lock, Medium};
use crate::stage::fetch::look_up;
use crate::stage::install::MediumSource;

/// What the list has for the medium.
pub(super) fn look(source: &MediumSource<'_>, old: &Lock, cancel: &Cancel) -> Result<Medium, Cause> {
    let url = source.urls.first().map_or("", String::as_str);
    // It takes a moment: its phases are shown nowhere.
    let (sender, _receiver) = mpsc::channel();
    let listed = look_up(source.list, url, cancel, &Emitter::new(sender))?;
    let mut medium = Medium {
        distro: source.distro.to_owned(),
        role: source.role.to_owned(),
        source: redact(&source.list.url),
        version: None,
        urls: source.urls.iter().map(|url| redact(url)).collect(),
        size: None,
        sha256: None,
        sha512: None,
        md5: None,
        signed: listed.signed.iter().filter_map(|signature| signature.at).max(),
        signed_by: listed.signed.into_iter().map(|signature| signature.key).collect(),
        keyring: source.list.keyring.as_ref().map(|keyring| keyring.digest.clone()),
    };
    medium.set_digest(listed.digest);
    // A list that was signed again says the same: nothing moved.
    let known = old.medium(source.distro, source.role);
    let is_same = |known: &&Medium| {
        let mut known = (*known).clone();
        known.signed = medium.signed;
        known == medium
    };
    Ok(known.filter(is_same).cloned().unwrap_or(medium))
}
