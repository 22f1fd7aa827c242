//! Facts about installers as data: reads the compiled-in table `templates/installers.toml`, whose first lines say what
//! each key means. A new distro is an entry there, not code here. Pure.

pub mod version;
mod watch;

pub use watch::{Fatal, Seen, Watch, percent};

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

const TABLE: &str = include_str!("../../templates/installers.toml");

/// How answers come to an installer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// Fetched from a server on this host's loopback, under a path that nobody can guess.
    Http,
    /// A file in the initial RAM disk.
    Initrd,
    /// A small disk with a label that the installer looks for.
    Seed,
}

impl Delivery {
    /// As in tables and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Initrd => "initrd",
            Self::Seed => "seed",
        }
    }
}

/// Where a medium keeps what starts its installer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Images {
    /// Kernel, relative to the medium's root.
    pub kernel: String,
    /// Initial RAM disk.
    pub initrd: String,
}

/// Stands in the table for the mirror that the host's own apt uses.
pub const HOST_MIRROR: &str = "host";

/// One entry: an installer as some versions of a family have it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installer {
    /// Family, as in a manifest.
    pub family: String,
    /// Versions; none: all.
    #[serde(default)]
    pub versions: Vec<String>,
    /// Name of its program.
    pub program: String,
    /// Built-in answer template.
    pub answers: String,
    /// What the answers are called.
    pub file: String,
    /// The usual way of the answers.
    pub delivery: Delivery,
    /// Where packages come from; empty: from the medium; [`HOST_MIRROR`]: see there.
    pub mirror: String,
    /// Size of the disk it is installed on, as in a manifest.
    pub disk: String,
    /// Memory of its machine, as in a manifest.
    pub memory: String,
    /// Kernel arguments for the installer alone.
    pub arguments: String,
    /// More of them where the answers are fetched.
    #[serde(default)]
    pub http: String,
    /// More of them where the answers are in the initial RAM disk.
    #[serde(default)]
    pub initrd: String,
    /// More of them where the answers are on a disk.
    #[serde(default)]
    pub seed: String,
    /// More of them where there is no ISO.
    #[serde(default)]
    pub netboot: String,
    /// Of these arguments one must be there where there is no ISO.
    #[serde(default)]
    pub netboot_needs: Vec<String>,
    /// Kernel arguments of the installed system too.
    #[serde(default)]
    pub kept: String,
    /// Whether they come after `---`.
    pub separator: bool,
    /// Label of the seed; empty: the installer looks for none.
    #[serde(default)]
    pub label: String,
    /// Empty files that must be beside the answers on a seed.
    #[serde(default)]
    pub other_seed_files: Vec<String>,
    /// What a medium's `.treeinfo` calls the architectures.
    #[serde(default)]
    pub treeinfo: BTreeMap<String, String>,
    /// Kernel and initial RAM disk by architecture.
    pub images: BTreeMap<String, Images>,
}

/// A text that tells how far an installer is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    pub has: String,
    /// What is shown for it.
    pub phase: String,
}

/// A text after which nothing will happen any more.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dead {
    pub has: String,
    /// In our words; `{}` is the reason that the installer gives.
    pub means: String,
    pub remedy: String,
    /// Text at which its explanation is complete.
    #[serde(default)]
    pub until: String,
}

/// What is seen while a program works.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// How far it is.
    pub progress: Vec<Progress>,
    /// That it is stuck.
    pub fatal: Vec<Dead>,
    /// That it waits for input, in a line that it has not ended.
    #[serde(default)]
    pub question: Vec<Dead>,
    /// Whether it waits for input after each of its errors.
    #[serde(default)]
    pub waits: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    distro: BTreeMap<String, Installer>,
    program: BTreeMap<String, Program>,
}

static FACTS: LazyLock<Table> = LazyLock::new(|| {
    toml_edit::de::from_str(TABLE).expect("templates/installers.toml is as its tests want it")
});

/// The installer of a version of a family (`debian`, `12`). An entry that names versions goes before one for all.
pub fn find(family: &str, version: &str) -> Option<&'static Installer> {
    let version = version::numbered(version);
    let fits = |pattern: &String| match pattern.strip_suffix('*') {
        Some(start) => version.starts_with(start),
        None => pattern == version,
    };
    let of_family = || FACTS.distro.values().filter(|entry| entry.family == family);
    let named = of_family().find(|entry| entry.versions.iter().any(fits));
    named.or_else(|| of_family().find(|entry| entry.versions.is_empty()))
}

/// What is seen while a program works.
pub fn program(name: &str) -> Program {
    FACTS.program.get(name).cloned().unwrap_or_default()
}

impl Installer {
    /// The kernel's command line as a template: what is for the installer alone, and what stays.
    pub fn command_line(&self, delivery: Delivery, has_iso: bool) -> String {
        let more = match delivery {
            Delivery::Http => &self.http,
            Delivery::Initrd => &self.initrd,
            Delivery::Seed => &self.seed,
        };
        let netboot = if has_iso { "" } else { self.netboot.as_str() };
        let (line, kept) = match self.separator {
            true => ("---", self.kept.as_str()),
            false => ("", ""),
        };
        let parts = [self.arguments.as_str(), more, netboot, line, kept];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(" ")
    }

    /// Whether answers can come this way.
    pub fn takes(&self, delivery: Delivery) -> bool {
        match delivery {
            Delivery::Http => !self.http.is_empty(),
            Delivery::Initrd => !self.initrd.is_empty(),
            Delivery::Seed => !self.label.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_distro_of_the_table_is_whole() {
        for (name, entry) in &FACTS.distro {
            assert!(FACTS.program.contains_key(&entry.program), "{name}");
            assert!(entry.takes(entry.delivery), "{name}");
            assert!(entry.images.contains_key("amd64"), "{name}");
            assert!(entry.disk.parse::<crate::size::ByteSize>().is_ok(), "{name}");
            assert!(entry.memory.parse::<crate::size::ByteSize>().is_ok(), "{name}");
            assert!(entry.label.len() <= 11, "{name}: a FAT label has eleven letters");
        }
        for (name, program) in &FACTS.program {
            assert!(
                !program.progress.is_empty() && !program.fatal.is_empty(),
                "{name}"
            );
            let mut known = program.fatal.iter().chain(&program.question);
            assert!(known.all(|dead| !dead.remedy.is_empty()), "{name}");
        }
    }

    #[test]
    fn versions_choose_the_installer() {
        let program = |family, version| find(family, version).map(|entry| entry.program.as_str());
        assert_eq!(program("debian", "13"), Some("debian-installer"));
        assert_eq!(program("ubuntu", "20.04"), Some("debian-installer"));
        assert_eq!(program("ubuntu", "20.04.6"), Some("debian-installer"));
        assert_eq!(program("ubuntu", "focal"), Some("debian-installer"));
        assert_eq!(program("ubuntu", "24.04.2"), Some("subiquity"));
        assert_eq!(program("ubuntu", "noble"), Some("subiquity"));
        assert_eq!(program("rhel", "8"), Some("anaconda"));
        assert_eq!(program("alpine", "3.23"), None);
    }

    #[test]
    fn what_is_for_the_installer_alone_comes_before_the_line() {
        let line = find("debian", "13").unwrap().command_line(Delivery::Http, true);
        let (before, after) = line.split_once(" --- ").unwrap();
        assert!(
            before.contains("url={{ host.url }}") && before.contains("log_host="),
            "{line}"
        );
        assert!(after.contains("net.ifnames=0") && !after.contains("{{"), "{line}");
        let line = find("rhel", "9").unwrap().command_line(Delivery::Initrd, false);
        assert!(
            line.contains("inst.repo={{ mirror }}") && !line.contains("---"),
            "{line}"
        );
    }
}
