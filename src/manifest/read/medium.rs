//! Files here or elsewhere, and what proves that their bytes are the right ones.

use crate::manifest::describe::row::{Cell, Read};
use crate::manifest::describe::tables::{MEDIUM, PlaceKey, ProofKey};
use crate::manifest::describe::text::{Text, Url};
use crate::manifest::error::ProblemKind;
use crate::manifest::fields::Fields;
use crate::manifest::files::Extent;
use crate::manifest::model::{ChecksumList, Keyring, Latest, Media, Proof};
use crate::platform::Arch;
use crate::releases::Kind;

use super::Reading;

/// Reads the keys of a medium, in whatever table they are. `wanted` is what of a release it would be.
pub(super) fn read(reading: Reading<'_>, table: &Fields<'_>, wanted: Option<(Kind, Arch)>) -> Option<Media> {
    let place = table.one_of::<PlaceKey>();
    // The proof first: a missing file must not hide what is wrong with it.
    let proof = table.one_of::<ProofKey>();
    let proof = proof.map(|(key, _)| read_proof(reading, table, key));
    let (key, field) = place?;
    let urls = match key {
        PlaceKey::Path => {
            let path = table.get(&MEDIUM.path);
            let path = path.and_then(|cell| reading.file(&cell))?;
            let digest = match proof {
                None => None,
                Some(Some(Proof::Digest(digest))) => Some(digest),
                // Reported: a list is for URLs.
                Some(Some(Proof::List(_) | Proof::Latest(_)) | None) => return None,
            };
            return Some(Media::Path { path, digest });
        }
        PlaceKey::Latest => {
            if proof.is_some() {
                field.bad(
                    "what is newest has a digest of its own",
                    "take the digest out, or name a file by `url`",
                );
            }
            let latest = read_latest(reading, table, wanted)?;
            return Some(Media::Urls {
                urls: Vec::new(),
                proof: Proof::Latest(Box::new(latest)),
            });
        }
        PlaceKey::Url => table.read(&MEDIUM.url).into_iter().collect(),
        PlaceKey::Urls => {
            let urls = table.items(&MEDIUM.urls);
            if urls.is_empty() {
                field.bad("the list is empty", "name at least one URL");
            }
            urls.iter().filter_map(Cell::read).collect()
        }
    };
    let Some(proof) = proof else {
        let path = table.path.clone();
        field.report(ProblemKind::Unverified { path });
        return None;
    };
    Some(Media::Urls { urls, proof: proof? })
}

fn read_proof(reading: Reading<'_>, table: &Fields<'_>, key: ProofKey) -> Option<Proof> {
    let digest = match key {
        ProofKey::Sha256 => table.read(&MEDIUM.sha256)?,
        ProofKey::Sha512 => table.read(&MEDIUM.sha512)?,
        ProofKey::Md5 => table.read(&MEDIUM.md5)?,
        ProofKey::Checksums => {
            let signature = table.get(&MEDIUM.signature);
            return Some(Proof::List(ChecksumList {
                url: url_or_file(reading, &table.get(&MEDIUM.checksums)?)?,
                signature: signature.and_then(|cell| url_or_file(reading, &cell)),
                keyring: keyring(reading, table),
            }));
        }
    };
    Some(Proof::Digest(digest))
}

fn keyring(reading: Reading<'_>, table: &Fields<'_>) -> Option<Keyring> {
    let cell = table.get(&MEDIUM.keyring)?;
    let path = reading.file(&cell)?;
    let digest = reading.found(&cell, reading.files.digest(&path, Extent::Whole))?;
    Some(Keyring { path, digest })
}

fn read_latest(reading: Reading<'_>, table: &Fields<'_>, wanted: Option<(Kind, Arch)>) -> Option<Latest> {
    let cell = table.get(&MEDIUM.latest)?;
    let Some((kind, arch)) = wanted else {
        let cause = "releases are followed for `iso` and `disk`, not for a kernel or an initrd";
        cell.bad(
            cause,
            "take `iso = { latest = … }`, or name a file by `path` or `url`",
        );
        return None;
    };
    let release = cell.read()?;
    let remedy = "`pipeline releases` lists the recipes; files of the manifest's key `families` add others";
    let recipe = match reading.tables.release(&release) {
        Ok((recipe, _)) => recipe.as_ref().clone(),
        Err(error) => {
            cell.bad(error, remedy);
            return None;
        }
    };
    let latest = Latest {
        recipe,
        kind,
        arch,
        variant: table.read(&MEDIUM.variant),
        from: table.read(&MEDIUM.from),
        keyring: keyring(reading, table),
        release,
    };
    let is_signed = match latest.query() {
        Ok(query) => query.is_signed(),
        Err(error) => {
            cell.bad(error, remedy);
            return None;
        }
    };
    if let Some(cell) = table.get(&MEDIUM.keyring).filter(|_| !is_signed) {
        let cause = format!("the publisher of `{}` does not sign its list", latest.release);
        cell.bad(cause, "take `keyring` out: nothing can be verified by it");
    }
    Some(latest)
}

/// A URL, or a file as an absolute path.
fn url_or_file(reading: Reading<'_>, cell: &Cell<'_, Text>) -> Option<String> {
    if cell.text()?.contains("://") {
        return Url::read(cell);
    }
    let path = reading.file(cell)?;
    Some(path.display().to_string())
}
