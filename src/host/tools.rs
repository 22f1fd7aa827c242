//! Other people's programs: which ones we use, what for, what package has them, where they are on this host.
//! Knows nothing of how they are called.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use serde::Deserialize;

use crate::host::cancel::Cancel;
use crate::host::process::Cmd;

/// Folders searched after `PATH`: a plain user's `PATH` has no sbin on Debian, and that is where disk tools live.
/// The environment variable `PIPELINE_SBIN` replaces them (a colon-separated list, for unusual hosts and for tests).
const SBIN: &str = "/usr/sbin:/sbin";
/// A program that does not tell its version in this time is not asked again.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// What a program is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Every build.
    Build,
    /// Every build by a user who is not root.
    BuildAsUser,
    /// Some manifests.
    Some,
    /// This project's own tests.
    Tests,
}

/// A program (or a file, when its name starts with `/`) that we use.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    pub name: String,
    /// What for, as in "… partitions disks".
    pub why: String,
    pub need: Need,
    /// Package of Debian and Ubuntu.
    pub debian: String,
    fedora: Option<String>,
    arch: Option<String>,
}

impl Tool {
    /// Package of Fedora, RHEL and its rebuilds.
    pub fn fedora(&self) -> &str {
        self.fedora.as_ref().unwrap_or(&self.debian)
    }

    /// Package of Arch; empty where only its user repository (AUR) has one.
    pub fn arch(&self) -> &str {
        self.arch.as_ref().unwrap_or(&self.debian)
    }

    /// Its packages by distribution.
    pub fn packages(&self) -> String {
        let arch = match self.arch() {
            "" => format!("{} (AUR)", self.name),
            arch => format!("{arch} (Arch)"),
        };
        format!(
            "{} (Debian, Ubuntu), {} (Fedora), {arch}",
            self.debian,
            self.fedora()
        )
    }
}

/// The packages that bring a program, by distribution; none for a program that is not in the table.
pub fn packages(name: &str) -> Option<String> {
    TOOLS.iter().find(|tool| tool.name == name).map(Tool::packages)
}

/// Where Debian's archive keys are: `mmdebstrap` trusts nothing without them.
pub const ARCHIVE_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

#[derive(Deserialize)]
struct Tools {
    tools: Vec<Tool>,
}

/// Every program we use. The one list: `doctor`, its remedies and the set-up of the tests are made from it.
pub static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(|| {
    let tools: Tools =
        toml_edit::de::from_str(include_str!("tools.toml")).expect("tools.toml is as its test wants it");
    tools.tools
});

/// Where a program is: in `PATH`, else in the sbin folders. None when it is nowhere.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = std::env::var_os("PIPELINE_SBIN").unwrap_or_else(|| SBIN.into());
    if name.starts_with('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_file());
    }
    std::env::split_paths(&path)
        .chain(std::env::split_paths(&sbin))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|path| is_program(path))
}

/// Where a program is, for [`Cmd::new`]. A program that is nowhere keeps its bare name, so that starting it gives the
/// error that names the remedy.
pub fn path(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| PathBuf::from(name))
}

/// The first two parts of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

/// What a program says of its version, first line only; none when it is absent or does not tell.
pub fn version(name: &str, cancel: &Cancel) -> Option<String> {
    // e2fsprogs have no long options, and speak on standard error.
    let flag = match name {
        "e2fsck" | "mke2fs" | "debugfs" | "ssh" => "-V",
        _ => "--version",
    };
    let mut first = None;
    let cmd = Cmd::new(find(name)?).arg(flag);
    let asked = cmd.run(cancel, Some(VERSION_LIMIT), &mut |_, line| {
        if first.is_none() && !line.trim().is_empty() {
            first = Some(line.trim().to_owned());
        }
    });
    asked.ok().and(first)
}

/// The version in such a line: its first number with a dot in it.
pub fn parse_version(line: &str) -> Option<Version> {
    line.split(|c: char| !c.is_ascii_digit() && c != '.')
        .find_map(|word| {
            let mut parts = word.split('.');
            Some(Version(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
        })
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_read_and_has_the_archive_keys() {
        assert!(TOOLS.iter().any(|tool| tool.name == ARCHIVE_KEYS));
    }

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let says = |line| parse_version(line).unwrap();
        let qemu = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)";
        assert_eq!(says(qemu), Version(10, 0));
        assert_eq!(says("mke2fs 1.47.0 (5-Feb-2023)"), Version(1, 47));
        assert_eq!(says("sfdisk from util-linux 2.38.1"), Version(2, 38));
        assert!(says("x 1.9") < says("x 1.43"));
        assert_eq!(parse_version("no number 7 with a dot"), None);
    }

    #[test]
    fn a_program_is_found_and_a_missing_one_keeps_its_name() {
        assert!(find("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(
            path("no-such-program-here"),
            PathBuf::from("no-such-program-here")
        );
        // Present, but not a program.
        assert_eq!(find("passwd-"), None);
    }
}
