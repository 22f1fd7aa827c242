//! What system is in an image, and which packages: as the guest reported it when it was provisioned, and how two such lists
//! differ. Pure.

mod cyclonedx;
mod purl;
mod spdx;
mod version;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
pub use version::newer;

use self::cyclonedx::cyclonedx;
use self::spdx::spdx;
use crate::digest::Digest;

/// A system and its packages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// Fields of os-release(5), without their quotes.
    pub os: BTreeMap<String, String>,
    /// Which database the packages are from.
    pub manager: Option<Manager>,
    /// By name, then architecture and version.
    pub packages: Vec<Package>,
}

/// What a bill of materials is of.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// `debian12-vm-bootstrap`.
    pub name: &'a str,
    /// 64 hexadecimal digits that tell this build from others.
    pub key: &'a str,
    /// When it was built.
    pub created: Timestamp,
    /// The file that has it, where the bill is of one.
    pub file: Option<SubjectFile<'a>>,
}

/// A file that a bill of materials is of.
#[derive(Clone, Copy, Debug)]
pub struct SubjectFile<'a> {
    pub name: &'a str,
    pub digests: &'a [Digest],
}

/// A form of a bill of materials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bom {
    /// SPDX 2.3.
    Spdx,
    /// CycloneDX 1.6.
    Cyclonedx,
}

impl Bom {
    /// As in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spdx => "spdx",
            Self::Cyclonedx => "cyclonedx",
        }
    }

    /// The document as JSON. Equal builds give equal bytes.
    pub fn document(self, inside: &Inside, subject: Subject<'_>) -> Value {
        match self {
            Self::Spdx => spdx(inside, subject),
            Self::Cyclonedx => cyclonedx(inside, subject),
        }
    }
}

/// A database of packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    Dpkg,
    Rpm,
    Apk,
}

/// An installed package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    pub name: String,
    #[serde(rename = "architecture")]
    pub arch: String,
    pub version: String,
    /// The source package that it was built from; empty where the database has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// As the database has it; empty where it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub licence: String,
}

/// A package that two systems do not have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PackageChange {
    pub name: String,
    #[serde(rename = "architecture")]
    pub arch: String,
    /// Versions in the first; none: it is not in it.
    pub old: Option<String>,
    /// Versions in the second.
    pub new: Option<String>,
}

impl Inside {
    /// Reads the lines of `guest/list-packages.sh`. Other lines are skipped: a shell of the guest's may print some.
    pub fn read<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut inside = Self::default();
        for line in lines {
            let Some((kind, rest)) = line.split_once(' ') else {
                continue;
            };
            match kind {
                "os" => {
                    if let Some((name, value)) = rest.split_once('=') {
                        inside.os.insert(name.to_owned(), unquoted(value));
                    }
                }
                "manager" => inside.manager = Manager::named(rest),
                "package" => inside.packages.extend(Package::read(rest)),
                _ => {}
            }
        }
        inside.packages.sort();
        inside
    }

    /// `Debian GNU/Linux 12 (bookworm)`; empty where it does not say.
    pub fn os_name(&self) -> &str {
        let names = ["PRETTY_NAME", "NAME", "ID"].into_iter();
        let mut known = names.filter_map(|name| self.os.get(name));
        known.next().map_or("", String::as_str)
    }

    /// What the other has instead. Several versions of one package (kernels) are compared together.
    pub fn changes(&self, other: &Self) -> Vec<PackageChange> {
        let (old, new) = (self.versions(), other.versions());
        let mut names: Vec<_> = old.keys().chain(new.keys()).copied().collect();
        names.sort_unstable();
        names.dedup();
        let change = |key: (&str, &str)| {
            let (old, new) = (old.get(&key), new.get(&key));
            (old != new).then(|| PackageChange {
                name: key.0.to_owned(),
                arch: key.1.to_owned(),
                old: old.map(|versions| versions.join(", ")),
                new: new.map(|versions| versions.join(", ")),
            })
        };
        names.into_iter().filter_map(change).collect()
    }

    fn versions(&self) -> BTreeMap<(&str, &str), Vec<&str>> {
        let mut versions: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for package in &self.packages {
            let key = (package.name.as_str(), package.arch.as_str());
            versions.entry(key).or_default().push(package.version.as_str());
        }
        versions
    }
}

impl Package {
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.splitn(5, '|').map(|field| match field {
            // rpm's word for a field that is not there.
            "(none)" => String::new(),
            field => field.to_owned(),
        });
        Some(Self {
            name: fields.next()?,
            version: fields.next()?,
            arch: fields.next()?,
            source: fields.next()?,
            licence: fields.next()?,
        })
    }
}

impl Manager {
    fn named(name: &str) -> Option<Self> {
        match name {
            "dpkg" => Some(Self::Dpkg),
            "rpm" => Some(Self::Rpm),
            "apk" => Some(Self::Apk),
            _ => None,
        }
    }

    /// Its type in package URLs (github.com/package-url/purl-spec).
    pub fn purl_type(self) -> &'static str {
        match self {
            Self::Dpkg => "deb",
            Self::Rpm => "rpm",
            Self::Apk => "apk",
        }
    }
}

impl fmt::Display for PackageChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "{}  {old} -> {new}", self.name),
            (None, Some(new)) => write!(f, "{}  added, {new}", self.name),
            (Some(old), None) => write!(f, "{}  removed, was {old}", self.name),
            (None, None) => f.write_str(&self.name),
        }
    }
}

/// A value of os-release(5), which may be quoted as in a shell.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    let inner = ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    inner.unwrap_or(value).replace('\\', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_of_all_three_databases_are_read() {
        let debian = Inside::read([
            "Welcome!",
            "os PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"",
            "os ID=debian",
            "manager dpkg",
            "package openssl|3.0.17-1~deb12u3|amd64|openssl|",
            "package libc6|2.36-9|amd64|glibc|",
        ]);
        assert_eq!(debian.os_name(), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(debian.manager, Some(Manager::Dpkg));
        let names: Vec<_> = debian.packages.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["libc6", "openssl"]);
        let rpm = Inside::read([
            "manager rpm",
            "package bash|5.1.8-9.el9|x86_64|(none)|GPLv3+ | MIT",
        ]);
        assert_eq!(
            (rpm.packages[0].source.as_str(), rpm.packages[0].licence.as_str()),
            ("", "GPLv3+ | MIT")
        );
    }

    #[test]
    fn two_lists_differ_in_what_was_added_removed_and_changed() {
        let old = Inside::read([
            "package a|1|amd64|a|",
            "package k|5|amd64|k|",
            "package w|1|amd64|w|",
        ]);
        let new = Inside::read([
            "package a|2|amd64|a|",
            "package c|1|all|c|",
            "package k|5|amd64|k|",
            "package k|6|amd64|k|",
        ]);
        let changes: Vec<_> = old.changes(&new).iter().map(ToString::to_string).collect();
        assert_eq!(
            changes,
            ["a  1 -> 2", "c  added, 1", "k  5 -> 5, 6", "w  removed, was 1"]
        );
        assert_eq!(old.changes(&old), []);
    }
}
