//! Asks a publisher's list what a medium is now.

use std::sync::mpsc;

use super::Cause;
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::host::http::{Client, redact};
use crate::lock::{Lock, Medium};
use crate::manifest::model::{ChecksumList, Keyring, Latest, Proof};
use crate::stage::fetch::{Finder, LatestError, Lists, Since, Trust, look_up};
use crate::stage::install::MediumSource;

/// What the list has for the medium.
pub(super) fn look(
    source: &MediumSource<'_>,
    old: &Lock,
    lists: &dyn Lists,
    cancel: &Cancel,
) -> Result<Medium, Cause> {
    let medium = match source.proof {
        Proof::Latest(latest) => newest(source, latest, old, lists, cancel)?,
        Proof::List(list) => listed(source, list, lists, cancel)?,
        Proof::Digest(digest) => {
            let mut medium = empty(source, String::new(), None);
            medium.set_digest(digest.clone());
            medium
        }
    };
    // A list that was signed again says the same: nothing moved.
    let known = old.medium(source.distro, source.role);
    let is_same = |known: &&Medium| {
        let mut known = (*known).clone();
        known.signed = medium.signed;
        known == medium
    };
    Ok(known.filter(is_same).cloned().unwrap_or(medium))
}

fn listed(
    source: &MediumSource<'_>,
    list: &ChecksumList,
    lists: &dyn Lists,
    cancel: &Cancel,
) -> Result<Medium, Cause> {
    let url = source.urls.first().map_or("", String::as_str);
    // It takes a moment: its phases are shown nowhere.
    let (sender, _receiver) = mpsc::channel();
    let listed = look_up(list, url, lists, cancel, &Emitter::new(sender))?;
    let mut medium = Medium {
        urls: source.urls.iter().map(|url| redact(url)).collect(),
        signed: listed.signed.iter().filter_map(|signature| signature.at).max(),
        signed_by: listed.signed.into_iter().map(|signature| signature.key).collect(),
        ..empty(source, redact(&list.url), list.keyring.as_ref())
    };
    medium.set_digest(listed.digest);
    Ok(medium)
}

/// The newest medium of a release. Nothing older than what is locked is taken, by another mirror or keyring neither.
fn newest(
    source: &MediumSource<'_>,
    latest: &Latest,
    old: &Lock,
    lists: &dyn Lists,
    cancel: &Cancel,
) -> Result<Medium, Cause> {
    let query = latest.query().map_err(LatestError::from)?;
    let known = old.medium(source.distro, source.role);
    let since = known
        .filter(|known| latest.is_as(&known.source))
        .map(|known| Since {
            version: known.version.clone().unwrap_or_default(),
            signed: known.signed,
        });
    let finder = Finder {
        client: &Client::default(),
        lists,
        keyring: latest.keyring.as_ref().map(|keyring| keyring.path.as_path()),
        cancel,
    };
    let found = finder.find(&latest.release, &query, since.as_ref())?;
    let mut medium = Medium {
        version: Some(found.medium.version),
        urls: found.medium.urls.iter().map(|url| redact(url)).collect(),
        size: found.medium.size,
        ..empty(source, latest.to_string(), latest.keyring.as_ref())
    };
    found
        .medium
        .digests
        .into_iter()
        .for_each(|digest| medium.set_digest(digest));
    match found.trust {
        Trust::Signed(signer) => {
            medium.signed_by = vec![signer.key];
            medium.signed = signer.at;
        }
        Trust::Unverified(why) => medium.unverified = Some(why),
    }
    Ok(medium)
}

fn empty(source: &MediumSource<'_>, of: String, keyring: Option<&Keyring>) -> Medium {
    Medium {
        distro: source.distro.to_owned(),
        role: source.role.to_owned(),
        source: of,
        keyring: keyring.map(|keyring| keyring.digest.clone()),
        ..Medium::default()
    }
}
