//! What differs between two locks, in sentences.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{Archive, Lock, Medium};

/// One entry that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub distro: String,
    /// A suite, or the role of a medium.
    pub what: String,
    /// Absent: it was not locked.
    pub old: Option<String>,
    /// Absent: nothing of the manifest needs it any more.
    pub new: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { distro, what, .. } = self;
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "{distro}: {what} {old} → {new}"),
            (None, Some(new)) => write!(f, "{distro}: {what} is locked at {new}"),
            _ => write!(f, "{distro}: {what} is no longer needed"),
        }
    }
}

impl Lock {
    /// What another lock has instead.
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let of = |lock: &Self, archive: &Archive| {
            let mut archives = lock.archives.iter();
            archives.find(|one| one.is_replaced_by(archive)).cloned()
        };
        for archive in &new.archives {
            let old = of(self, archive);
            if old.as_ref().is_none_or(|old| old.sha256 != archive.sha256) {
                changes.push(change(
                    &archive.distro,
                    &archive.name(),
                    old.map(|old| old.date),
                    archive.date,
                ));
            }
        }
        for medium in &new.media {
            let old = self.medium(&medium.distro, &medium.role);
            if old.is_none_or(|old| old.digest() != medium.digest()) {
                changes.push(Change {
                    distro: medium.distro.clone(),
                    what: medium.role.clone(),
                    old: old.map(|old| shown(old, medium)),
                    new: Some(old.map_or_else(|| name(medium), |old| shown(medium, old))),
                });
            }
        }
        let gone = |distro: &String, what: &String| Change {
            distro: distro.clone(),
            what: what.clone(),
            old: Some(String::new()),
            new: None,
        };
        let old = self.archives.iter().filter(|old| of(new, old).is_none());
        changes.extend(old.map(|old| gone(&old.distro, &old.name())));
        let old = self.media.iter();
        let old = old.filter(|old| new.medium(&old.distro, &old.role).is_none());
        changes.extend(old.map(|old| gone(&old.distro, &old.role)));
        changes
    }
}

fn change(distro: &str, what: &str, old: Option<Timestamp>, new: Timestamp) -> Change {
    let is_same_day = old.is_some_and(|old| day(old) == day(new));
    let shown = |at: Timestamp| if is_same_day { minute(at) } else { day(at) };
    Change {
        distro: distro.to_owned(),
        what: what.to_owned(),
        old: old.map(shown),
        new: Some(shown(new)),
    }
}

/// What tells a medium from another one: the version, the name, or the digest.
fn shown(medium: &Medium, other: &Medium) -> String {
    if let (Some(version), true) = (&medium.version, medium.version != other.version) {
        return version.clone();
    }
    if name(medium) != name(other) {
        return name(medium);
    }
    let digest = medium
        .digest()
        .map(|digest| digest.to_string())
        .unwrap_or_default();
    digest.chars().take(19).collect()
}

fn name(medium: &Medium) -> String {
    let url = medium.urls.first().map_or("", String::as_str);
    url.rsplit('/').next().unwrap_or(url).to_owned()
}

/// `2026-11-28`, in UTC.
pub fn day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d").to_string()
}

fn minute(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}
