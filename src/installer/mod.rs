//! What is known about an installer, as data: rows of the tables in [`crate::families`], where the first lines of
//! `templates/installers.toml` say what each key means. Pure.

pub mod version;
mod watch;

pub use watch::{Fatal, Seen, Watch, percent};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::size::{self, ByteSize};

/// How answers come to an installer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// Fetched from a server on this host's loopback, under a path that cannot be guessed.
    #[default]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Images {
    /// Kernel, relative to the medium's root.
    pub kernel: String,
    /// Initial RAM disk.
    pub initrd: String,
}

/// Stands in the table for the mirror that the host's own apt uses.
pub const HOST_MIRROR: &str = "host";

/// An installer as some versions of a family have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installer {
    /// The file that it stands in, where that is one of the user's.
    #[serde(skip)]
    pub origin: Option<String>,
    /// Family, as in a manifest.
    pub family: String,
    /// Versions; none: all.
    #[serde(default)]
    pub versions: Vec<String>,
    /// Name of its program.
    pub program: String,
    /// Answer template.
    pub answers: String,
    /// What the answers are called.
    pub file: String,
    /// Whether they are YAML.
    #[serde(default)]
    pub yaml: bool,
    /// Whether they also partition for UEFI.
    #[serde(default)]
    pub uefi: bool,
    /// The usual way of the answers.
    pub delivery: Delivery,
    /// Where packages come from; empty: from the medium; [`HOST_MIRROR`]: see there.
    #[serde(default)]
    pub mirror: String,
    /// The same for architectures that have one of their own.
    #[serde(default)]
    pub mirrors: BTreeMap<String, String>,
    /// Size of the disk it is installed on.
    #[serde(deserialize_with = "size::from_text")]
    pub disk: ByteSize,
    /// Memory of its machine.
    #[serde(deserialize_with = "size::from_text")]
    pub memory: ByteSize,
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
    #[serde(default)]
    pub separator: bool,
    /// Label of the seed; empty: the installer looks for none.
    #[serde(default)]
    pub label: String,
    /// Empty files that must be next to the answers on a seed.
    #[serde(default)]
    pub other_seed_files: Vec<String>,
    /// What a medium's `.treeinfo` calls the architectures.
    #[serde(default)]
    pub treeinfo: BTreeMap<String, String>,
    /// Kernel and initial RAM disk by architecture.
    pub images: BTreeMap<String, Images>,
}

/// A text that tells how far an installer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    pub has: String,
    /// What is shown for it.
    pub phase: String,
}

/// A text after which nothing will happen any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

impl Installer {
    /// Whether it is for a version. Nothing of this says whether another one is more so.
    pub fn names(&self, version: &str) -> bool {
        let version = version::numbered(version);
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => version.starts_with(start),
            None => pattern == version,
        };
        self.versions.iter().any(fits)
    }

    /// Its texts that are templates, by key.
    pub fn templates(&self) -> [(&'static str, &str); 6] {
        [
            ("arguments", &self.arguments),
            ("http", &self.http),
            ("initrd", &self.initrd),
            ("seed", &self.seed),
            ("netboot", &self.netboot),
            ("kept", &self.kept),
        ]
    }

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
    use crate::families::Tables;

    #[test]
    fn what_is_for_the_installer_alone_comes_before_the_line() {
        let line = Tables::built_in()
            .installer("debian", "13")
            .unwrap()
            .command_line(Delivery::Http, true);
        let (before, after) = line.split_once(" --- ").unwrap();
        assert!(
            before.contains("url={{ host.url }}") && before.contains("log_host="),
            "{line}"
        );
        assert!(after.contains("net.ifnames=0") && !after.contains("{{"), "{line}");
        let line = Tables::built_in()
            .installer("rhel", "9")
            .unwrap()
            .command_line(Delivery::Initrd, false);
        assert!(
            line.contains("inst.repo={{ mirror }}") && !line.contains("---"),
            "{line}"
        );
    }
}
