//! The package mirrors of this host, for distros that name none. Asking apt may take most of a second, which is
//! more than the rest of a run with nothing to do; so the answer is kept in the store until apt's configuration changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::facts::{AptSource, AptSources};
use crate::host::fs::Stamp;
use crate::installer;
use crate::manifest::model::{Distro, Manifest, Source};
use crate::stage::install::{Mirror, SecurityArchive};
use crate::store::Store;

/// Name of the note in the store.
const NOTE: &str = "mirrors";
/// What apt's answer depends on: its configuration, and the release files that it has downloaded.
const APT: [&str; 5] = [
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d",
    "/etc/apt/apt.conf",
    "/etc/apt/apt.conf.d",
    "/var/lib/apt/lists",
];

#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// Stamps of apt's files when the answers were given.
    apt: Vec<(PathBuf, Stamp)>,
    /// Answers by `vendor/suite`.
    mirrors: BTreeMap<String, Option<Mirror>>,
}

/// Mirrors of the selected distros that name none and cannot do without, by distro.
pub fn mirrors(manifest: &Manifest, selected: &[usize], store: &Store) -> BTreeMap<String, Mirror> {
    let images = selected.iter().filter_map(|&i| manifest.images.get(i));
    let wanted: BTreeSet<_> = images.map(|image| image.distro.as_str()).collect();
    let mut found = BTreeMap::new();
    let mut note: Option<Note> = None;
    let mut apt = None;
    for distro in manifest
        .distros
        .iter()
        .filter(|d| wanted.contains(d.name.as_str()))
    {
        let Some(suite) = wanted_suite(distro) else {
            continue;
        };
        let Some(vendor) = distro.family.apt.as_deref() else {
            continue;
        };
        let note = note.get_or_insert_with(|| recall(store));
        let name = format!("{vendor}/{suite}");
        let mirror = note
            .mirrors
            .entry(name)
            .or_insert_with(|| {
                let apt = apt.get_or_insert_with(AptSources::of_this_host);
                apt.mirror(vendor, suite).map(as_mirror)
            })
            .clone();
        found.extend(mirror.map(|mirror| (distro.name.clone(), mirror)));
    }
    if let Some(note) = note {
        store.set_note(NOTE, &note);
    }
    found
}

/// The suite of a distro that is to come from the host's mirror. An archive carries all of its distribution's suites: an
/// installer that is told none takes its own.
fn wanted_suite(distro: &Distro) -> Option<&str> {
    match &distro.source {
        Source::Bootstrap(source) if source.mirror.is_none() => Some(&source.suite),
        Source::Installer(source) if source.mirror.is_none() => {
            let is_of_host = source.installer.mirror == installer::HOST_MIRROR;
            is_of_host.then(|| source.suite.as_deref().unwrap_or("stable"))
        }
        _ => None,
    }
}

fn as_mirror(source: AptSource) -> Mirror {
    let security = source.security.map(|s| SecurityArchive {
        uri: s.uri,
        suite: s.suite,
    });
    Mirror {
        uri: source.uri,
        security,
    }
}

/// What was noted, if nothing of apt's has changed since; else an empty note with the stamps of now.
fn recall(store: &Store) -> Note {
    let apt: Vec<_> = APT
        .iter()
        .flat_map(|path| {
            let path = Path::new(path);
            let inside = fs::read_dir(path)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path());
            // Of the downloaded lists the folder's own time is enough: each update replaces files in it.
            let inside: Vec<_> = if path.ends_with("lists") {
                Vec::new()
            } else {
                inside.collect()
            };
            inside.into_iter().chain([path.to_owned()])
        })
        .filter_map(|path| Stamp::of(&path).ok().map(|stamp| (path, stamp)))
        .collect::<BTreeMap<_, _>>()
        .into_iter()
        .collect();
    match store.note::<Note>(NOTE) {
        Some(note) if note.apt == apt => note,
        _ => Note {
            apt,
            mirrors: BTreeMap::new(),
        },
    }
}
