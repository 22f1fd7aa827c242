//! The versions of a box, as Vagrant reads them.

use serde_json::json;

use super::{About, Catalog, written};
use crate::places::versions::{List, Version};

/// Its name, next to an image's list.
pub(super) const FILE: &str = "vagrant.json";

pub(super) fn versions(list: &List, about: &About, url: &dyn Fn(&Version, usize) -> String) -> String {
    let versions = Catalog::Vagrant.listed(list).map(|(version, number)| {
        json!({
            "version": number_of(&version.name),
            "providers": [{
                "name": "libvirt",
                "url": url(version, number),
                "checksum_type": "sha256",
                "checksum": version.files[number].sha256,
                "architecture": about.arch,
                "default_architecture": true,
            }],
        })
    });
    written(&json!({
        "name": list.image,
        "description": format!("{} {}, {}", about.os, about.release, about.flavor),
        "versions": versions.collect::<Vec<_>>(),
    }))
}

/// A version's name as numbers, which is what Vagrant compares: letters would make it a preliminary one.
fn number_of(name: &str) -> String {
    let numbers = name
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty());
    numbers.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbers() {
        assert_eq!(number_of("20261129T004500Z"), "20261129.004500");
        assert_eq!(number_of("20261129T004500Z-2"), "20261129.004500.2");
    }
}
