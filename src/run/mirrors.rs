//! The package mirrors of this host, for distros that name none.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::host::facts::{AptSource, AptSources};
use crate::installer;
use crate::manifest::model::{Distro, Manifest, Source};
use crate::stage::install::{Mirror, SecurityArchive};

/// Mirrors of the selected distros that name none and cannot do without, by distro.
pub fn mirrors(manifest: &Manifest, selected: &[usize]) -> BTreeMap<String, Mirror> {
    let images = selected.iter().filter_map(|&i| manifest.images.get(i));
    let wanted: BTreeSet<_> = images.map(|image| image.distro.as_str()).collect();
    let apt = LazyCell::new(AptSources::of_this_host);
    let distros = manifest
        .distros
        .iter()
        .filter(|d| wanted.contains(d.name.as_str()));
    let found = distros.filter_map(|distro| {
        let vendor = distro.family.apt.as_deref()?;
        let mirror = apt.mirror(vendor, wanted_suite(distro)?)?;
        Some((distro.name.clone(), as_mirror(mirror)))
    });
    found.collect()
}

/// The suite of a distro that is to come from the host's mirror. An archive carries all of its distribution's suites: an
/// installer that is given none takes its own.
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
