//! How missing programs get onto this host: the line to type for its package manager.
//! The line is a pure function of facts; gathering those facts is the other half. Hosts of mirrors come from the
//! host's own configuration, never from here.

use std::collections::BTreeSet;
use std::path::Path;

use crate::host::cancel::Cancel;
use crate::host::facts::{AptSources, parse_os_release};
use crate::host::process::{Cmd, Output, shell_quote};
use crate::host::tools::{ARCHIVE_KEYS, Tool};

/// Where a backports suite is put when the host has none.
const BACKPORTS_LIST: &str = "/etc/apt/sources.list.d/pipeline-backports.list";
/// QEMU's packages on Debian: all of one version, or apt refuses.
const QEMU_PACKAGES: [&str; 6] = [
    "qemu-utils",
    "qemu-system-x86",
    "qemu-system-arm",
    "qemu-system-common",
    "qemu-system-data",
    "qemu-block-extra",
];

/// Which package manager a host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageManager {
    /// `apt-get`.
    Debian,
    /// `dnf`.
    Fedora,
    /// `pacman`.
    Arch,
    /// Another one.
    Other,
}

/// What os-release(5) says of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// "Debian GNU/Linux 12 (bookworm)".
    pub name: String,
    /// Which package manager it has.
    pub manager: PackageManager,
    /// "bookworm", where there is one.
    pub codename: Option<String>,
}

/// A suite in apt's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    /// As in the sources: `bookworm-updates`.
    pub release: String,
    /// Its archive.
    pub uri: String,
}

/// What apt and dpkg know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Apt {
    /// Version of a QEMU package that is installed.
    pub qemu: Option<String>,
    /// The suites that apt has lists of: none before its first `update`.
    pub suites: Vec<Suite>,
    /// Whether Debian's archive keys are in their usual place.
    pub keys: bool,
}

/// Who types the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Root,
    /// A user who may use sudo.
    User,
}

/// What to do about missing programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remedy {
    /// One shell line, empty when there is nothing a package manager can do.
    pub line: String,
    /// What the line leaves out, in words.
    pub notes: Vec<String>,
}

impl System {
    /// Reads os-release's text.
    pub fn parse(text: &str) -> Self {
        let os = parse_os_release(text);
        let ids = std::iter::once(&os.id).chain(&os.id_like);
        let manager = ids.map(String::as_str).find_map(|id| match id {
            "debian" | "ubuntu" => Some(PackageManager::Debian),
            "fedora" | "rhel" | "centos" => Some(PackageManager::Fedora),
            "arch" => Some(PackageManager::Arch),
            _ => None,
        });
        Self {
            name: [os.name, os.id]
                .into_iter()
                .find(|name| !name.is_empty())
                .unwrap_or_else(|| "unknown".to_owned()),
            manager: manager.unwrap_or(PackageManager::Other),
            codename: Some(os.codename).filter(|name| !name.is_empty()),
        }
    }

    /// Reads this host's os-release; a host without one has none that is known.
    pub fn load(path: &Path) -> Self {
        Self::parse(&std::fs::read_to_string(path).unwrap_or_default())
    }
}

impl Apt {
    /// Asks dpkg, and reads apt's configuration. Where they are absent, nothing is known.
    pub fn load(cancel: &Cancel) -> Self {
        let query = Cmd::new("dpkg-query").args(["-W", "-f", "${db:Status-Status} ${Version}\\n"]);
        let installed = said(&query.args(QEMU_PACKAGES), cancel);
        let sources = AptSources::of_this_host();
        Self {
            qemu: installed
                .iter()
                .find_map(|line| Some(line.strip_prefix("installed ")?.to_owned())),
            suites: sources
                .downloaded()
                .map(|(release, uri)| Suite {
                    release: release.to_owned(),
                    uri: uri.to_owned(),
                })
                .collect(),
            keys: Path::new(ARCHIVE_KEYS).is_file(),
        }
    }

    /// The archive of a suite.
    pub fn mirror(&self, release: &str) -> Option<&str> {
        self.suites
            .iter()
            .find(|suite| suite.release == release)
            .map(|suite| suite.uri.as_str())
    }
}

/// What to type so that these programs are there.
pub fn remedy(system: &System, apt: &Apt, missing: &[&'static Tool], by: By) -> Remedy {
    let names = |package: fn(&'static Tool) -> &'static str| -> BTreeSet<&'static str> {
        missing
            .iter()
            .map(|tool| package(tool))
            .filter(|name| !name.is_empty())
            .collect()
    };
    let sudo = match by {
        By::Root => "",
        By::User => "sudo ",
    };
    let one = |install: &str, packages: BTreeSet<&str>| {
        let list: Vec<_> = packages.into_iter().collect();
        if list.is_empty() {
            String::new()
        } else {
            format!("{sudo}{install} {}", list.join(" "))
        }
    };
    match system.manager {
        PackageManager::Debian => apt_remedy(system, apt, names(|tool| &tool.debian), sudo),
        PackageManager::Fedora => Remedy {
            line: one("dnf install -y", names(Tool::fedora)),
            notes: Vec::new(),
        },
        PackageManager::Arch => Remedy {
            line: one("pacman -S --needed --noconfirm", names(Tool::arch)),
            notes: missing
                .iter()
                .filter(|tool| tool.arch().is_empty())
                .map(|tool| format!("{} is only in the AUR: build it from there", tool.name))
                .collect(),
        },
        PackageManager::Other => {
            let tools: Vec<_> = missing.iter().map(|tool| tool.name.as_str()).collect();
            let note = format!(
                "install with the package manager of {}: {}",
                system.name,
                tools.join(", ")
            );
            Remedy {
                line: String::new(),
                notes: if tools.is_empty() { Vec::new() } else { vec![note] },
            }
        }
    }
}

/// QEMU's packages depend on each other by exact version. Where one of them is from backports, a plain install of
/// another one fails ("held broken packages"): it must come from backports too, and the suite must be known.
fn apt_remedy(system: &System, apt: &Apt, mut packages: BTreeSet<&'static str>, sudo: &str) -> Remedy {
    let mut notes = Vec::new();
    let update = format!("{sudo}apt-get update");
    if packages.is_empty() {
        // Builds read the mirror from what apt knows, which is nothing before its first update.
        let line = if apt.suites.is_empty() {
            update
        } else {
            String::new()
        };
        return Remedy { line, notes };
    }
    let mut steps = Vec::new();
    let mut installs = Vec::new();
    let from_backports = apt.qemu.as_ref().is_some_and(|version| version.contains("~bpo"));
    if let (true, Some(codename)) = (from_backports, &system.codename) {
        let qemu: BTreeSet<_> = packages
            .iter()
            .copied()
            .filter(|name| QEMU_PACKAGES.contains(name))
            .collect();
        let suite = format!("{codename}-backports");
        if !qemu.is_empty() && apt.suites.is_empty() {
            let note =
                format!("QEMU is from {suite}: after the update, run `pipeline doctor` again for the rest");
            return Remedy {
                line: update,
                notes: vec![note],
            };
        }
        if !qemu.is_empty() {
            packages.retain(|name| !qemu.contains(name));
            match (apt.mirror(&suite), apt.mirror(codename)) {
                (Some(_), _) => {}
                (None, Some(uri)) => {
                    let option = if apt.keys { format!("[signed-by={ARCHIVE_KEYS}] ") } else { String::new() };
                    let source = shell_quote(&format!("deb {option}{uri} {suite} main"));
                    steps.push(format!("echo {source} | {sudo}tee {BACKPORTS_LIST}"));
                }
                (None, None) => notes.push(format!(
                    "QEMU is installed from {suite}, which apt does not know: add that suite to its sources first"
                )),
            }
            installs.push((format!(" -t {suite}"), qemu));
        }
    }
    installs.push((String::new(), packages));
    steps.push(update);
    for (option, packages) in installs.into_iter().filter(|(_, packages)| !packages.is_empty()) {
        let list: Vec<_> = packages.into_iter().collect();
        let install = "apt-get install -y --no-install-recommends";
        steps.push(format!("{sudo}{install}{option} {}", list.join(" ")));
    }
    Remedy {
        line: steps.join(" && "),
        notes,
    }
}

/// The lines that a program prints, whatever its exit code; none when it is absent.
fn said(cmd: &Cmd, cancel: &Cancel) -> Vec<String> {
    let mut lines = Vec::new();
    // dpkg-query exits with 1 when it does not know one of several packages, and still prints the others.
    let _ = cmd.run(cancel, None, &mut |output, line| {
        if output == Output::Stdout {
            lines.push(line.to_owned());
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tools::TOOLS;

    fn tools(names: &[&str]) -> Vec<&'static Tool> {
        TOOLS
            .iter()
            .filter(|tool| names.contains(&tool.name.as_str()))
            .collect()
    }

    fn bookworm() -> System {
        System::parse(
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_CODENAME=bookworm\n",
        )
    }

    fn apt(qemu: Option<&str>, releases: &[&str]) -> Apt {
        let suite = |release: &&str| Suite {
            release: (*release).to_owned(),
            uri: "http://mirror.example/debian/".to_owned(),
        };
        Apt {
            qemu: qemu.map(str::to_owned),
            suites: releases.iter().map(suite).collect(),
            keys: true,
        }
    }

    const BPO: Option<&str> = Some("1:10.0.2+ds-2+deb13u1~bpo12+1");

    #[test]
    fn a_fresh_host_gets_one_plain_install() {
        let remedy = remedy(
            &bookworm(),
            &apt(None, &["bookworm"]),
            &tools(&["qemu-img", "sfdisk"]),
            By::Root,
        );
        let expected = "apt-get update && apt-get install -y --no-install-recommends fdisk qemu-utils";
        assert_eq!(remedy.line, expected);
        assert_eq!(
            super::remedy(&bookworm(), &apt(None, &["bookworm"]), &[], By::Root),
            Remedy::default()
        );
        // A fresh container: apt knows no mirror before its first update.
        assert_eq!(
            super::remedy(&bookworm(), &Apt::default(), &[], By::Root).line,
            "apt-get update"
        );
    }

    #[test]
    fn qemu_from_backports_is_joined_by_its_like() {
        let missing = tools(&["qemu-system-x86_64", "sfdisk"]);
        let known = apt(BPO, &["bookworm", "bookworm-backports"]);
        insta::assert_snapshot!(remedy(&bookworm(), &known, &missing, By::User).line.replace(" && ", "\n"), @"
        sudo apt-get update
        sudo apt-get install -y --no-install-recommends -t bookworm-backports qemu-system-x86
        sudo apt-get install -y --no-install-recommends fdisk
        ");
        let unknown = apt(BPO, &["bookworm"]);
        insta::assert_snapshot!(remedy(&bookworm(), &unknown, &missing, By::Root).line.replace(" && ", "\n"), @"
        echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian/ bookworm-backports main' | tee /etc/apt/sources.list.d/pipeline-backports.list
        apt-get update
        apt-get install -y --no-install-recommends -t bookworm-backports qemu-system-x86
        apt-get install -y --no-install-recommends fdisk
        ");
        let early = remedy(&bookworm(), &apt(BPO, &[]), &missing, By::Root);
        assert_eq!(early.line, "apt-get update");
        let nowhere = remedy(&bookworm(), &apt(BPO, &["nodistro"]), &missing, By::Root);
        assert!(nowhere.notes[0].contains("add that suite"), "{nowhere:?}");
        // Nothing of QEMU is missing: backports are no concern.
        let other = remedy(&bookworm(), &unknown, &tools(&["sfdisk"]), By::Root);
        assert!(!other.line.contains("backports"), "{other:?}");
    }

    #[test]
    fn rebuilds_are_known_by_what_they_are_like() {
        let manager = |text: &str| System::parse(text).manager;
        assert_eq!(
            manager("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"),
            PackageManager::Debian
        );
        assert_eq!(
            manager("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"),
            PackageManager::Fedora
        );
        assert_eq!(manager("ID=manjaro\nID_LIKE=arch\n"), PackageManager::Arch);
        assert_eq!(manager("ID=alpine\n"), PackageManager::Other);
        assert_eq!(manager(""), PackageManager::Other);
    }
}
