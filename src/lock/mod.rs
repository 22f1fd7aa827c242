//! The lock of a manifest: which state of package archives and publishers' lists its images are built from. Its file and
//! its changes in words. Pure.

mod changes;
mod file;
mod release;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::changes::{Change, day};
pub use self::file::{LockFileError, path_of, read, write};
pub use self::release::{Refusal, Release, cleartext};
use crate::digest::{Algorithm, Digest};

/// What a manifest's distros are built from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    pub archives: Vec<Archive>,
    pub media: Vec<Medium>,
}

/// A suite of a package archive, in one state of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// The distro that is installed from it.
    pub distro: String,
    /// `bookworm-security`.
    pub suite: String,
    /// Whether steps in its guests take packages from it, and not its installation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guest: bool,
    /// Where it was looked at, without secrets.
    pub url: String,
    /// What its `InRelease` says of its age.
    pub date: Timestamp,
    /// SHA-256 of its `InRelease`.
    pub sha256: String,
    /// Fingerprints of the keys that signed it; absent: not verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed_by: Vec<String>,
}

/// A medium whose digest the manifest leaves to its publisher.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Medium {
    /// The distro that is made from it.
    pub distro: String,
    /// What it is to the distro: `iso`, `disk`, `kernel`, `initrd`.
    pub role: String,
    /// Where its publisher says what it is, without secrets: the URL of a checksum file, or the release that it is the
    /// newest medium of.
    pub source: String,
    /// Its version, where the source has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where it is, in order of preference, without secrets.
    pub urls: Vec<String>,
    /// Size in bytes, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha512: Option<String>,
    /// Where its publisher gives no better digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// Fingerprints of the keys that signed what the source says; absent: not verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed_by: Vec<String>,
    /// Why the newest medium of a release was not verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unverified: Option<String>,
    /// When it was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Timestamp>,
    /// SHA-256 of the keyring that it was verified with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<String>,
}

impl Archive {
    /// What it is called next to others of its distro.
    pub fn name(&self) -> String {
        if self.guest {
            format!("{} of {}", self.suite, self.url)
        } else {
            self.suite.clone()
        }
    }

    /// Whether another entry takes its place.
    fn is_replaced_by(&self, other: &Self) -> bool {
        self.guest == other.guest && self.distro == other.distro && self.name() == other.name()
    }
}

impl Lock {
    /// The entry for a suite that a distro is installed from. `url` is what the manifest says; where the host says it, any
    /// mirror of the same archive will do.
    pub fn archive(&self, distro: &str, suite: &str, url: Option<&str>) -> Option<&Archive> {
        let mut archives = self.archives_of(distro, suite, false);
        archives.find(|one| url.is_none_or(|url| one.url == url))
    }

    /// The entry for a suite that steps in a distro's guests take packages from.
    pub fn guest_archive(&self, distro: &str, suite: &str, url: &str) -> Option<&Archive> {
        self.archives_of(distro, suite, true).find(|one| one.url == url)
    }

    fn archives_of(&self, distro: &str, suite: &str, guest: bool) -> impl Iterator<Item = &Archive> {
        let archives = self.archives.iter();
        archives.filter(move |one| one.guest == guest && one.distro == distro && one.suite == suite)
    }

    /// The entry for a medium.
    pub fn medium(&self, distro: &str, role: &str) -> Option<&Medium> {
        let mut media = self.media.iter();
        media.find(|one| one.distro == distro && one.role == role)
    }

    /// Of what day a distro's newest source is: the state of an archive, or the signature of a list of media.
    pub fn newest(&self, distro: &str) -> Option<Timestamp> {
        let archives = self.archives.iter().filter(|one| one.distro == distro);
        let media = self.media.iter().filter(|one| one.distro == distro);
        archives
            .map(|one| one.date)
            .chain(media.filter_map(|one| one.signed))
            .max()
    }

    /// Takes an entry in, in the place of an older one.
    pub fn set_archive(&mut self, archive: Archive) {
        self.archives.retain(|one| !one.is_replaced_by(&archive));
        self.archives.push(archive);
    }

    /// The same for a medium.
    pub fn set_medium(&mut self, medium: Medium) {
        self.media
            .retain(|one| (&one.distro, &one.role) != (&medium.distro, &medium.role));
        self.media.push(medium);
    }
}

impl Medium {
    /// The best of its digests.
    pub fn digest(&self) -> Option<Digest> {
        self.digests().next()
    }

    /// Its digests, the best one first.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        let all = [
            (Algorithm::Sha512, &self.sha512),
            (Algorithm::Sha256, &self.sha256),
            (Algorithm::Md5, &self.md5),
        ];
        all.into_iter().filter_map(|(algorithm, hex)| {
            let hex = hex.clone()?;
            Some(Digest { algorithm, hex })
        })
    }

    /// Takes a digest in.
    pub fn set_digest(&mut self, digest: Digest) {
        let place = match digest.algorithm {
            Algorithm::Md5 => &mut self.md5,
            Algorithm::Sha256 => &mut self.sha256,
            Algorithm::Sha512 => &mut self.sha512,
        };
        *place = Some(digest.hex);
    }
}
