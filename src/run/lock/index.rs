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
use crate::host::http::Get;
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
    for list in lists(source, state) {
        let known = match list.known(store) {
            Some(known) => known,
            None => {
                let known = fetch(&list, cancel)?;
                store.set_note(&list.note(), &known);
                known
            }
        };
        known
            .versions
            .into_iter()
            .for_each(|(name, version)| take(&mut all, name, version));
    }
    Ok(all)
}

/// The same, where all lists were fetched before.
pub(super) fn remembered(source: &ArchiveSource, state: &State, store: &Store) -> Option<Versions> {
    let mut all = Versions::new();
    for list in lists(source, state) {
        let versions = list.known(store)?.versions;
        versions
            .into_iter()
            .for_each(|(name, version)| take(&mut all, name, version));
    }
    Some(all)
}

/// A list of packages, as a release file speaks of it.
struct List<'a> {
    url: String,
    file: String,
    sha256: &'a str,
}

impl List<'_> {
    fn note(&self) -> String {
        format!("index-{}", &sha256_hex(self.url.as_bytes())[..16])
    }

    fn known(&self, store: &Store) -> Option<Known> {
        let known: Option<Known> = store.note(&self.note());
        known.filter(|known| known.sha256 == self.sha256)
    }
}

/// The lists of a suite that its distro installs from; of each the smaller file.
fn lists<'a>(source: &ArchiveSource, state: &'a State) -> Vec<List<'a>> {
    let list = |index: &String| {
        let files = ["xz", "gz"].map(|ending| format!("{index}.{ending}"));
        let mut listed = files
            .into_iter()
            .filter_map(|file| Some((state.indexes.get(&file)?, file)));
        let ((sha256, _), file) = listed.next()?;
        Some(List {
            url: format!("{}/dists/{}/{file}", source.url, source.suite),
            file,
            sha256,
        })
    };
    source.indexes.iter().filter_map(list).collect()
}

fn take(all: &mut Versions, name: String, version: String) {
    if all.get(&name).is_none_or(|known| newer(&version, known)) {
        all.insert(name, version);
    }
}

fn fetch(list: &List<'_>, cancel: &Cancel) -> Result<Known, Cause> {
    let List { url, file, sha256 } = list;
    let (head, body) = client().get(&Get::new(url), cancel)?;
    if head.status != 200 {
        return Err(head.error().into());
    }
    let bytes = body.whole(LARGEST, cancel)?;
    let other = || Refusal::OtherList { file: file.clone() };
    if sha256_hex(&bytes) != *sha256 {
        return Err(other().into());
    }
    let plain: Box<dyn Read + '_> = if file.ends_with(".xz") {
        Box::new(XzDecoder::new_multi_decoder(&bytes[..]))
    } else {
        Box::new(MultiGzDecoder::new(&bytes[..]))
    };
    let versions = read(BufReader::new(plain)).map_err(|_| other())?;
    Ok(Known {
        sha256: (*sha256).to_owned(),
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
