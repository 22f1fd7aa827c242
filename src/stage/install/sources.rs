//! What of the world outside a distro is made from: suites of package archives, and lists of publishers. What a lock is of.
//! Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::host::http::redact;
use crate::lock::{Archive, Lock, Medium};
use crate::manifest::model::{Bootstrap, Distro, InstallMedia, Media, Proof, Source};

use crate::stage::fetch::locked as locked_medium;

use super::bootstrap::{Mirror, SecurityArchive};
use super::{disk, installer};

/// A suite that a distro is installed from, or that steps in its guests install from.
#[derive(Clone, Debug)]
pub struct ArchiveSource {
    pub distro: String,
    pub suite: String,
    /// The archive.
    pub url: String,
    /// Whether only steps install from it.
    pub is_of_guests: bool,
    /// Whether the manifest says so; if not, any mirror of the same archive will do.
    pub is_named: bool,
    /// URL template of its earlier states.
    pub snapshot: Option<String>,
    /// Keyring that signs it, as the manifest says.
    pub keyring: Option<PathBuf>,
    /// Whose archive it is, as names of keyrings begin: `debian`.
    pub vendor: Option<String>,
    /// Its lists of packages, below the suite and without the ending of a compression.
    pub indexes: Vec<String>,
}

/// A medium whose digest is left to its publisher.
#[derive(Clone, Copy, Debug)]
pub struct MediumSource<'a> {
    pub distro: &'a str,
    /// What it is to the distro.
    pub role: &'static str,
    pub urls: &'a [String],
    pub proof: &'a Proof,
}

impl ArchiveSource {
    /// What a lock has of it.
    pub fn locked<'l>(&self, lock: &'l Lock) -> Option<&'l Archive> {
        let url = redact(&self.url);
        if self.is_of_guests {
            return lock.guest_archive(&self.distro, &self.suite, &url);
        }
        lock.archive(&self.distro, &self.suite, self.is_named.then_some(url.as_str()))
    }
}

impl MediumSource<'_> {
    /// What a lock has of it.
    pub fn locked<'l>(&self, lock: &'l Lock) -> Option<&'l Medium> {
        locked_medium(lock, (self.distro, self.role), self.urls, self.proof)
    }
}

/// The suites that a distro is installed from. `mirrors` are those of the host.
pub fn archives(distro: &Distro, mirrors: &BTreeMap<String, Mirror>) -> Vec<ArchiveSource> {
    let of_host = mirrors.get(&distro.name);
    let bootstrap = match &distro.source {
        Source::Bootstrap(source) => Some(source),
        Source::Installer(_) | Source::Disk(_) => None,
    };
    let (mirror, named, suite, keyring) = match &distro.source {
        Source::Bootstrap(source) => {
            let mirror = mirror(source, of_host);
            (mirror, &source.mirror, Some(&source.suite), &source.keyring)
        }
        Source::Installer(source) if distro.family.apt.is_some() => {
            let mirror = source
                .mirror
                .as_ref()
                .map_or_else(|| of_host.cloned(), |uri| Some(alone(uri)));
            (
                mirror,
                &source.mirror,
                source.suite.as_ref(),
                &source.archive_keyring,
            )
        }
        Source::Installer(_) | Source::Disk(_) => return Vec::new(),
    };
    let (Some(mirror), Some(suite)) = (mirror, suite) else {
        return Vec::new();
    };
    let main = ["main".to_owned()];
    let indexes = indexes(distro, bootstrap.map_or(&main[..], |source| &source.components));
    let archive = |suite: String, url: &str| ArchiveSource {
        distro: distro.name.clone(),
        suite,
        url: url.trim_end_matches('/').to_owned(),
        is_of_guests: false,
        is_named: named.is_some(),
        snapshot: bootstrap.and_then(|source| source.snapshot.clone()),
        keyring: keyring.clone(),
        vendor: distro.family.apt.clone(),
        indexes: indexes.clone(),
    };
    let mut archives = vec![archive(suite.clone(), &mirror.uri)];
    if let Some(security) = &mirror.security {
        archives.push(archive(format!("{suite}-updates"), &mirror.uri));
        archives.push(archive(security.suite.clone(), &security.uri));
    }
    archives
}

/// The suites that steps in a distro's guests install from.
pub fn guest_archives(distro: &Distro) -> Vec<ArchiveSource> {
    let suites = distro.archives.iter().flat_map(|archive| {
        archive.suites.iter().map(|suite| ArchiveSource {
            distro: distro.name.clone(),
            suite: suite.clone(),
            url: archive.url.trim_end_matches('/').to_owned(),
            is_of_guests: true,
            is_named: true,
            snapshot: None,
            keyring: archive.keyring.clone(),
            vendor: distro.family.apt.clone(),
            indexes: indexes(distro, &archive.components),
        })
    });
    suites.collect()
}

fn indexes(distro: &Distro, components: &[String]) -> Vec<String> {
    let arch = distro.computer().platform.hardware().arch;
    let index = |component: &String| format!("{component}/binary-{arch}/Packages");
    components.iter().map(index).collect()
}

/// Where a bootstrap's packages come from; none where neither the manifest nor the host says it.
pub(super) fn mirror(source: &Bootstrap, of_host: Option<&Mirror>) -> Option<Mirror> {
    let named = source.mirror.as_deref().map(alone);
    named.or_else(|| of_host.cloned())
}

fn alone(uri: &str) -> Mirror {
    let (uri, security) = (uri.to_owned(), None::<SecurityArchive>);
    Mirror { uri, security }
}

/// What a key has of the suites: their digests and dates by suite; nothing where the lock does not have them all.
pub fn locked(archives: &[ArchiveSource], lock: &Lock) -> Option<serde_json::Value> {
    let state = |source: &ArchiveSource| {
        let archive = source.locked(lock)?;
        let state = serde_json::json!({ "date": archive.date, "sha256": archive.sha256 });
        Some((archive.name(), state))
    };
    let states: Option<serde_json::Map<_, _>> = archives.iter().map(state).collect();
    states.filter(|states| !states.is_empty()).map(Into::into)
}

/// The media of a distro, each with what it is to it.
pub fn all_media(distro: &Distro) -> Vec<(&'static str, &Media)> {
    match &distro.source {
        Source::Bootstrap(_) => Vec::new(),
        Source::Disk(source) => vec![(disk::MEDIUM, &source.media)],
        Source::Installer(source) => match &source.media {
            InstallMedia::Iso(media) => vec![(installer::ISO, media)],
            InstallMedia::Netboot { kernel, initrd } => {
                vec![(installer::KERNEL, kernel), (installer::INITRD, initrd)]
            }
        },
    }
}

/// Those whose digests are left to their publishers.
pub fn media(distro: &Distro) -> Vec<MediumSource<'_>> {
    all_media(distro)
        .into_iter()
        .filter_map(|(role, media)| match media {
            Media::Urls {
                proof: Proof::Digest(_),
                ..
            }
            | Media::Path { .. } => None,
            Media::Urls { urls, proof } => Some(MediumSource {
                distro: &distro.name,
                role,
                urls,
                proof,
            }),
        })
        .collect()
}
