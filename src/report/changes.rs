//! What changed in the packages of systems since the build before of each, as pages list it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::packages::PackageChange;

/// Changes that are listed of one system; a release upgrade has thousands.
const LISTED: usize = 200;

#[derive(Serialize)]
pub(super) struct PackageGroup<'a> {
    /// The node that built the system.
    node: &'a str,
    /// `2 added, 1 removed, 3 changed`.
    summary: String,
    changes: &'a [PackageChange],
    /// How many are not listed.
    more: usize,
}

pub(super) fn of(changes: &BTreeMap<String, Vec<PackageChange>>) -> Vec<PackageGroup<'_>> {
    changes
        .iter()
        .map(|(node, changes)| group(node, changes))
        .collect()
}

pub(super) fn group<'a>(node: &'a str, changes: &'a [PackageChange]) -> PackageGroup<'a> {
    PackageGroup {
        node,
        summary: summed(changes),
        changes: changes.get(..LISTED).unwrap_or(changes),
        more: changes.len().saturating_sub(LISTED),
    }
}

fn summed(changes: &[PackageChange]) -> String {
    let added = changes.iter().filter(|change| change.old.is_none()).count();
    let removed = changes.iter().filter(|change| change.new.is_none()).count();
    let parts = [
        (added, "added"),
        (removed, "removed"),
        (changes.len() - added - removed, "changed"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<_> = parts.map(|(count, word)| format!("{count} {word}")).collect();
    if parts.is_empty() {
        return "the same packages".to_owned();
    }
    parts.join(", ")
}
