//! Which operating system a build installs, known from the names of its medium and of itself.

use std::sync::LazyLock;

use regex::Regex;

use super::build::Build;
use super::model::System;
use crate::families::Tables;
use crate::import::path;
use crate::installer::{Installer, version};
use crate::platform::Platform;

/// What names look like, in lower case and without architectures: family, pattern with the version as its first group.
static NAMES: LazyLock<Vec<(&'static str, Regex)>> = LazyLock::new(|| {
    let names = [
        ("debian", r"debian[-_ ]*v?([0-9]{1,2}(?:\.[0-9]+)*)"),
        ("debian", r"firmware-([0-9]{1,2}(?:\.[0-9]+)*)[-_]+netinst"),
        ("ubuntu", r"ubuntu[-_a-z ]*?([0-9]{2}\.?(?:04|10)(?:\.[0-9]+)?)"),
        ("rhel", r"centos[-_]?stream[-_]*([0-9]{1,2})"),
        (
            "rhel",
            r"(?:centos|almalinux|alma|cloudlinux|rockylinux|rocky|rhel|oraclelinux|ol)(?:[-_]+(?:linux|server|baseos|boot|dvd|kitten|minimal))*[-_]*r?([0-9]{1,2}(?:\.[0-9]+)*)",
        ),
        ("rhel", r"fedora[-_a-z]*?[-_]*([0-9]{2}\b|rawhide)"),
        ("alpine", r"alpine[-_a-z]*?([0-9]\.[0-9]{1,2})"),
        ("suse", r"(?:leap|sles?)[-_]*([0-9]{2}(?:\.[0-9])?)"),
    ];
    // A word of its own: `carol9` is no `ol9`.
    let compiled = names
        .iter()
        .filter_map(|(family, pattern)| Some((*family, Regex::new(&format!("(?:^|[^a-z]){pattern}")).ok()?)));
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

/// What names of media and emulators call the other architecture that is built for; first as a manifest does.
const ARM64: [&str; 2] = ["arm64", "aarch64"];

/// The same of those that are not built for.
const OTHERS: [&str; 9] = [
    "armhf", "ppc64le", "ppc64el", "s390x", "riscv64", "loong64", "i386", "i586", "i686",
];

/// A URL without its host, which says nothing of what is there.
fn on_host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split_once('/').map_or(rest, |(_, path)| path)
}

/// The architecture of a build's machine, by its emulator and its medium, where it is not the usual one; an error: one that
/// is not built for.
pub fn arch(build: &Build<'_>, media: &[String]) -> Result<Option<&'static str>, &'static str> {
    let binary = build.text("qemu_binary").unwrap_or_default();
    let binary = binary
        .rsplit("qemu-system-")
        .next()
        .unwrap_or_default()
        .to_owned();
    let media = media.iter().map(|url| url.to_lowercase());
    let names = media.clone().map(|url| path::name(&url).to_owned());
    // A name that says what it is for says more than the folders before it.
    let all = std::iter::once(binary)
        .chain(names)
        .chain(media.map(|url| on_host(&url).to_owned()));
    let said = |name: String| {
        let has = |marks: &[&'static str]| marks.iter().find(|mark| name.contains(**mark)).copied();
        let own = has(&usual()).map(|_| Ok(None));
        own.or(has(&ARM64).map(|_| Ok(Some(ARM64[0]))))
            .or(has(&OTHERS).map(Err))
    };
    all.filter_map(said).next().unwrap_or(Ok(None))
}

/// What names call the usual architecture.
fn usual() -> [&'static str; 3] {
    ["x86_64", "x86-64", Platform::default().hardware().arch]
}

pub fn of(build: &Build<'_>, media: &[String]) -> Option<System> {
    if let Some(system) = &build.importer.request.system {
        return Some(system.clone());
    }
    let template = path::stem(&build.template.shown).to_owned();
    // The medium knows best; one without a name of its own (a digest) is known by what it is built as.
    let names = media
        .iter()
        .map(|url| path::name(url).to_owned())
        .chain(media.iter().map(|url| on_host(url).to_owned()))
        .chain([build.name().to_owned(), build.scope.vm_name.clone(), template]);
    names.filter_map(|name| named(&name)).next()
}

/// `FAMILY:VERSION`, as the user writes it.
pub fn written(text: &str) -> Option<System> {
    let (family, version) = text.split_once(':')?;
    let family = ["debian", "ubuntu", "rhel", "alpine", "suse"]
        .into_iter()
        .find(|known| *known == family)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    (!version.is_empty() && version.chars().all(is_plain)).then(|| System {
        family,
        version: version.to_owned(),
    })
}

/// The program that installs a system, where its answers are not read.
pub fn unread(system: &System) -> Option<&'static str> {
    let known = Tables::built_in().installer(system.family, &system.version)?;
    (system.family == "suse").then_some(known.program.as_str())
}

/// The installer of a system, where it is one whose answers are read. Of old releases there were others.
pub fn installer(system: &System) -> Option<&'static Installer> {
    let known = Tables::built_in().installer(system.family, &system.version)?;
    let first = match (system.family, known.program.as_str()) {
        ("ubuntu", "subiquity") => 20,
        (_, "anaconda") => 7,
        (_, "debian-installer") => 0,
        _ => return None,
    };
    (version::major(&system.version) >= first).then(|| known.as_ref())
}

fn named(name: &str) -> Option<System> {
    let usual = usual();
    let marks = OTHERS.iter().chain(&ARM64).chain(&usual);
    let name = marks.fold(name.to_lowercase(), |name, mark| name.replace(mark, ""));
    for (family, pattern) in NAMES.iter() {
        let Some(exact) = pattern.captures(&name).and_then(|found| found.get(1)) else {
            continue;
        };
        let mut version = exact.as_str().to_owned();
        if *family == "ubuntu" && !version.contains('.') && version.len() >= 4 {
            version.insert(2, '.');
        }
        let parts = if matches!(*family, "ubuntu" | "alpine" | "suse") {
            2
        } else {
            1
        };
        let version = version.split('.').take(parts).collect::<Vec<_>>().join(".");
        return Some(system(family, version, &name));
    }
    let words: Vec<_> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let found = CODENAMES.iter().find(|(code, ..)| words.contains(code))?;
    Some(system(found.1, found.2.to_owned(), &name))
}

/// Of one release there are two installers; the medium's name says which.
fn system(family: &'static str, mut version: String, name: &str) -> System {
    if family == "ubuntu" && version == "20.04" && name.contains("live") {
        version.push_str("-live");
    }
    System { family, version }
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
            ("ubuntu-20.04.6-live-server-amd64.iso", "ubuntu", "20.04-live"),
            ("noble-server-cloudimg-amd64.img", "ubuntu", "24.04"),
            ("CentOS-8.1.1911-x86_64-dvd1.iso", "rhel", "8"),
            ("CentOS-7-x86_64-NetInstall-1708.iso", "rhel", "7"),
            ("CentOS-Stream-9-latest-x86_64-dvd1.iso", "rhel", "9"),
            ("AlmaLinux-9-latest-x86_64-boot.iso", "rhel", "9"),
            ("AlmaLinux-Kitten-10-latest-x86_64_v2-boot.iso", "rhel", "10"),
            ("CloudLinux-8.5-x86_64-boot.iso", "rhel", "8"),
            ("Rocky-9.3-x86_64-minimal.iso", "rhel", "9"),
            ("Fedora-Server-dvd-x86_64-42-1.1.iso", "rhel", "42"),
            ("alpine-virt-3.19.1-x86_64.iso", "alpine", "3.19"),
            ("Fedora-Server-dvd-aarch64-43-1.6.iso", "rhel", "43"),
            (
                "Fedora-Server-netinst-x86_64-Rawhide-20260101.n.0.iso",
                "rhel",
                "rawhide",
            ),
            ("OracleLinux-R9-U5-x86_64-dvd.iso", "rhel", "9"),
            ("rhel-server-7.9-x86_64-dvd.iso", "rhel", "7"),
            ("firmware-11.6.0-amd64-netinst.iso", "debian", "11"),
            ("packer_debian12", "debian", "12"),
            ("openSUSE-Leap-15.6-NET-x86_64-Media.iso", "suse", "15.6"),
            ("agama-installer.x86_64-Leap_16.0.iso", "suse", "16.0"),
            ("SLE-15-SP7-Online-x86_64-GM-Media1.iso", "suse", "15"),
        ] {
            let system = named(name).unwrap();
            assert_eq!(
                (system.family, system.version.as_str()),
                (family, version),
                "{name}"
            );
        }
        for other in [
            "freebsd-14.iso",
            "carol9",
            "sol-11_4-text-x86.iso",
            "haiku-r1beta5-x86_64.iso",
        ] {
            assert_eq!(named(other), None, "{other}");
        }
        let known = |text| written(text).map(|system| installer(&system).is_some());
        assert_eq!(known("ubuntu:14.04"), Some(false));
        assert_eq!(known("ubuntu:18.10"), Some(false));
        assert_eq!(known("rhel:6"), Some(false));
        assert_eq!(
            (known("rhel:9"), known("ubuntu:20.04-live")),
            (Some(true), Some(true))
        );
        assert_eq!((known("rocky:9"), known("rhel:")), (None, None));
        assert_eq!(known("suse:15.6"), Some(false));
    }
}
