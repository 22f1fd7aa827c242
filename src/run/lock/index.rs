//! Which packages a suite has now, by its lists: fetched once for each state of them, verified by the release file.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;
use liblzma::read::XzDecoder;
use serde::{Deserialize, Serialize};

use super::Cause;
use super::archive::{State, client};
use crate::digest::sha256_hex;
use crate::host::cancel::Cancel;
use crate::host::http::{Get, HttpError};
use crate::lock::Refusal;
use crate::packages::newer;
use crate::stage::install::ArchiveSource;
use crate::store::Store;

/// The largest list; Debian's largest has 10 MiB.
const LARGEST: u64 = 256 << 20;

/// Newest versions by package.
pub type Versions = BTreeMap<String, String>;

/// A list as the store remembers it.
#[derive(Serialize, Deserialize)]
struct Known {
    /// SHA-256 of the list's file.
    sha256: String,
    versions: Versions,
}

/// The packages of a suite in this state.
pub(super) fn versions(
    source: &ArchiveSource,
    state: &State,
    store: &Store,
    cancel: &Cancel,
) -> Result<Versions, Cause> {
    let mut all = Versions::new();
    for index in &source.indexes {
        let files = ["xz", "gz"].map(|ending| format!("{index}.{ending}"));
        let mut listed = files.iter().filter_map(|file| state.indexes.get_key_value(file));
        let Some((file, (sha256, _))) = listed.next() else {
            continue;
        };
        let url = format!("{}/dists/{}/{file}", source.url, source.suite);
        let note = format!("index-{}", &sha256_hex(url.as_bytes())[..16]);
        let known: Option<Known> = store.note(&note);
        let known = match known.filter(|known| known.sha256 == *sha256) {
            Some(known) => known,
            None => {
                let known = fetch(&url, file, sha256, cancel)?;
                store.set_note(&note, &known);
                known
            }
        };
        for (name, version) in known.versions {
            take(&mut all, name, version);
        }
    }
    Ok(all)
}

fn take(all: &mut Versions, name: String, version: String) {
    if all.get(&name).is_none_or(|known| newer(&version, known)) {
        all.insert(name, version);
    }
}

fn fetch(url: &str, file: &str, sha256: &str, cancel: &Cancel) -> Result<Known, Cause> {
    let (head, mut body) = client().get(&Get::new(url), cancel)?;
    if head.status != 200 {
        return Err(head.error().into());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next(cancel)? {
        bytes.extend(chunk);
        if bytes.len() as u64 > LARGEST {
            let (got, want) = (bytes.len() as u64, None);
            return Err(HttpError::Cut { got, want }.into());
        }
    }
    let other = || Refusal::OtherList {
        file: file.to_owned(),
    };
    if sha256_hex(&bytes) != sha256 {
        return Err(other().into());
    }
    let plain: Box<dyn Read + '_> = if file.ends_with(".xz") {
        Box::new(XzDecoder::new_multi_decoder(&bytes[..]))
    } else {
        Box::new(MultiGzDecoder::new(&bytes[..]))
    };
    let versions = read(BufReader::new(plain)).map_err(|_| other())?;
    Ok(Known {
        sha256: sha256.to_owned(),
        versions,
    })
}

fn read(text: impl BufRead) -> std::io::Result<Versions> {
    let (mut versions, mut name) = (Versions::new(), None);
    for line in text.split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if let Some(package) = line.strip_prefix("Package: ") {
            name = Some(package.trim().to_owned());
        } else if let Some(version) = line.strip_prefix("Version: ")
            && let Some(name) = name.take()
        {
            take(&mut versions, name, version.trim().to_owned());
        }
    }
    Ok(versions)
}
