//! Which operating system a build installs, known from the names of its medium and of itself.

use std::sync::LazyLock;

use regex::Regex;

use super::build::Build;
use super::model::System;

/// What names look like, in lower case: family, pattern with the version as its first group.
static NAMES: LazyLock<Vec<(&'static str, Regex)>> = LazyLock::new(|| {
    let names = [
        ("debian", r"debian[-_ ]?v?([0-9]{1,2}(?:\.[0-9]+)*)"),
        ("ubuntu", r"ubuntu[-_a-z ]*?([0-9]{2}\.?(?:04|10)(?:\.[0-9]+)?)"),
        ("rhel", r"centos[-_]stream[-_]?([0-9]{1,2})"),
        (
            "rhel",
            r"(?:centos|almalinux|alma|rockylinux|rocky|rhel|oraclelinux-r|oraclelinux|ol)[-_]?([0-9]{1,2}(?:\.[0-9]+)*)",
        ),
        ("rhel", r"fedora[-_a-z]*?(?:x86_64[-_])?([0-9]{2})\b"),
        ("alpine", r"alpine[-_a-z]*?([0-9]\.[0-9]{1,2})"),
    ];
    let compiled = names
        .iter()
        .filter_map(|(family, pattern)| Some((*family, Regex::new(pattern).ok()?)));
    compiled.collect()
});

/// Names that releases go by.
const CODENAMES: [(&str, &str, &str); 15] = [
    ("jessie", "debian", "8"),
    ("stretch", "debian", "9"),
    ("buster", "debian", "10"),
    ("bullseye", "debian", "11"),
    ("bookworm", "debian", "12"),
    ("trixie", "debian", "13"),
    ("forky", "debian", "14"),
    ("xenial", "ubuntu", "16.04"),
    ("bionic", "ubuntu", "18.04"),
    ("focal", "ubuntu", "20.04"),
    ("jammy", "ubuntu", "22.04"),
    ("noble", "ubuntu", "24.04"),
    ("plucky", "ubuntu", "25.04"),
    ("questing", "ubuntu", "25.10"),
    ("resolute", "ubuntu", "26.04"),
];

/// The release's name on mirrors.
pub fn suite(family: &str, version: &str) -> Option<&'static str> {
    let found = CODENAMES
        .iter()
        .find(|(_, of, known)| *of == family && *known == version);
    found.map(|(name, ..)| *name)
}

pub fn of(build: &Build<'_>, media: &[String]) -> Option<System> {
    let template = crate::import::path::stem(&build.template.shown).to_owned();
    // The medium knows best; a medium without a name of its own (a digest) is known by what it is built as.
    let names = media
        .iter()
        .map(|url| crate::import::path::name(url).to_owned())
        .chain([build.name().to_owned(), build.scope.vm_name.clone(), template])
        .chain(media.iter().cloned());
    names.filter_map(|name| named(&name)).next()
}

fn named(name: &str) -> Option<System> {
    let name = name.to_lowercase();
    for (family, pattern) in NAMES.iter() {
        let Some(exact) = pattern.captures(&name).and_then(|found| found.get(1)) else {
            continue;
        };
        let mut exact = exact.as_str().to_owned();
        if *family == "ubuntu" && !exact.contains('.') && exact.len() >= 4 {
            exact.insert(2, '.');
        }
        let parts = if matches!(*family, "ubuntu" | "alpine") {
            2
        } else {
            1
        };
        let version = exact.split('.').take(parts).collect::<Vec<_>>().join(".");
        return Some(System {
            family,
            version,
            exact,
        });
    }
    let words: Vec<_> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let found = CODENAMES.iter().find(|(code, ..)| words.contains(code))?;
    Some(System {
        family: found.1,
        version: found.2.to_owned(),
        exact: found.2.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_media_tell_the_system() {
        for (name, family, version) in [
            ("debian-11.3.0-amd64-netinst.iso", "debian", "11"),
            ("debian13", "debian", "13"),
            ("debian-bookworm-generic", "debian", "12"),
            ("ubuntu-20.04-legacy-server-amd64.iso", "ubuntu", "20.04"),
            ("ubuntu-22.04.1-live-server-amd64.iso", "ubuntu", "22.04"),
            ("ubuntu2404", "ubuntu", "24.04"),
            ("noble-server-cloudimg-amd64.img", "ubuntu", "24.04"),
            ("CentOS-8.1.1911-x86_64-dvd1.iso", "rhel", "8"),
            ("CentOS-7-x86_64-NetInstall-1708.iso", "rhel", "7"),
            ("CentOS-Stream-9-latest-x86_64-dvd1.iso", "rhel", "9"),
            ("AlmaLinux-9-latest-x86_64-boot.iso", "rhel", "9"),
            ("Rocky-9.3-x86_64-minimal.iso", "rhel", "9"),
            ("Fedora-Server-dvd-x86_64-42-1.1.iso", "rhel", "42"),
            ("alpine-virt-3.19.1-x86_64.iso", "alpine", "3.19"),
        ] {
            let system = named(name).unwrap();
            assert_eq!(
                (system.family, system.version.as_str()),
                (family, version),
                "{name}"
            );
        }
        assert_eq!(named("freebsd-14.iso"), None);
    }
}
