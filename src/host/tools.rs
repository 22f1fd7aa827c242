//! Other people's programs: which ones we use, what for, what package has them, where they are on this host.
//! Knows nothing of how they are called.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::host::cancel::Cancel;
use crate::host::process::Cmd;

/// Folders searched after `PATH`: a plain user's `PATH` has no sbin on Debian, and that is where disk tools live.
/// The environment variable `PIPELINE_SBIN` replaces them (a colon-separated list, for unusual hosts and for tests).
const SBIN: &str = "/usr/sbin:/sbin";
/// A program that does not tell its version in this time is not asked again.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// What a program is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Every build.
    Build,
    /// Every build by somebody who is not root.
    BuildAsUser,
    /// Some manifests.
    Some,
    /// This project's own tests.
    Tests,
}

/// A program (or a file, when its name starts with `/`) that we use.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    pub name: &'static str,
    /// What for, as in "… partitions disks".
    pub why: &'static str,
    pub need: Need,
    /// Package of Debian and Ubuntu.
    pub debian: &'static str,
    /// Package of Fedora, RHEL and its rebuilds.
    pub fedora: &'static str,
    /// Package of Arch; empty where only its user repository (AUR) has one.
    pub arch: &'static str,
}

const fn tool(name: &'static str, need: Need, why: &'static str, packages: [&'static str; 3]) -> Tool {
    let [debian, fedora, arch] = packages;
    Tool {
        name,
        why,
        need,
        debian,
        fedora,
        arch,
    }
}

/// Where Debian's archive keys are: `mmdebstrap` trusts nothing without them.
pub const ARCHIVE_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Every program we use. The one list: `doctor`, its remedies and the set-up of the tests are made from it.
pub const TOOLS: &[Tool] = {
    use Need::{Build, BuildAsUser, Some, Tests};
    const E2FSPROGS: [&str; 3] = ["e2fsprogs"; 3];
    const UTIL_LINUX: [&str; 3] = ["util-linux"; 3];
    const ANSIBLE: [&str; 3] = ["ansible-core"; 3];
    &[
        tool(
            "qemu-system-x86_64",
            Build,
            "runs the build machines",
            ["qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86"],
        ),
        tool(
            "qemu-img",
            Build,
            "makes and converts disk images",
            ["qemu-utils", "qemu-img", "qemu-img"],
        ),
        tool(
            "mmdebstrap",
            Build,
            "makes Debian and Ubuntu root file systems",
            ["mmdebstrap", "mmdebstrap", ""],
        ),
        tool(
            ARCHIVE_KEYS,
            Build,
            "verifies Debian packages",
            [
                "debian-archive-keyring",
                "debian-keyring",
                "debian-archive-keyring",
            ],
        ),
        tool(
            "sfdisk",
            Build,
            "partitions disks",
            ["fdisk", "util-linux", "util-linux"],
        ),
        tool("e2fsck", Build, "checks file systems", E2FSPROGS),
        tool("resize2fs", Build, "grows file systems", E2FSPROGS),
        tool("mke2fs", Build, "makes file systems", E2FSPROGS),
        tool("debugfs", Build, "reads files out of file systems", E2FSPROGS),
        tool(
            "ssh",
            Build,
            "talks to build machines",
            ["openssh-client", "openssh-clients", "openssh"],
        ),
        tool(
            "ssh-keygen",
            Build,
            "makes the keys of build machines",
            ["openssh-client", "openssh", "openssh"],
        ),
        tool("unshare", Build, "isolates what is bootstrapped", UTIL_LINUX),
        tool("tar", Build, "unpacks root file systems", ["tar"; 3]),
        tool(
            "newuidmap",
            BuildAsUser,
            "gives a plain user the ids of a root file system",
            ["uidmap", "shadow-utils", "shadow"],
        ),
        tool("ansible-playbook", Some, "runs `ansible` steps", ANSIBLE),
        tool("gpgv", Some, "verifies signatures", ["gpgv", "gnupg2", "gnupg"]),
        tool("ansible-playbook", Tests, "runs `ansible` steps", ANSIBLE),
        tool(
            "btrfs",
            Tests,
            "makes and judges a file system of another kind",
            ["btrfs-progs"; 3],
        ),
        tool("busybox", Tests, "is another shell and wget", ["busybox"; 3]),
        tool("cloud-init", Tests, "judges seeds", ["cloud-init"; 3]),
        tool(
            "cpio",
            Tests,
            "is a foreign judge of initial RAM disks",
            ["cpio"; 3],
        ),
        tool("curl", Tests, "is a foreign HTTP client", ["curl"; 3]),
        tool(
            "grub-mkimage",
            Tests,
            "makes such a file system bootable",
            ["grub-common", "grub2-tools", "grub"],
        ),
        tool(
            "nginx",
            Tests,
            "is a real WebDAV server",
            ["nginx-light", "nginx", "nginx"],
        ),
        tool(
            "pip3",
            Tests,
            "installs foreign clients and servers",
            ["python3-pip", "python3-pip", "python-pip"],
        ),
        tool(
            "openssl",
            Tests,
            "is a foreign judge of digests and keys",
            ["openssl"; 3],
        ),
        tool(
            "pgrep",
            Tests,
            "finds the processes of a story",
            ["procps", "procps-ng", "procps-ng"],
        ),
        tool("pigz", Tests, "is a foreign judge of compression", ["pigz"; 3]),
        tool(
            "shellcheck",
            Tests,
            "judges shell scripts",
            ["shellcheck", "ShellCheck", "shellcheck"],
        ),
        tool(
            "sshd",
            Tests,
            "is a real SSH server",
            ["openssh-server", "openssh-server", "openssh"],
        ),
        tool("gpg", Tests, "signs what gpgv judges", ["gpg", "gnupg2", "gnupg"]),
        tool("tmux", Tests, "is a terminal for the bars", ["tmux"; 3]),
        tool("wget", Tests, "is what guests fetch with", ["wget"; 3]),
        tool(
            "xmllint",
            Tests,
            "judges JUnit files",
            ["libxml2-utils", "libxml2", "libxml2"],
        ),
        tool(
            "xorriso",
            Tests,
            "makes ISO images",
            ["xorriso", "xorriso", "libisoburn"],
        ),
        tool("xz", Tests, "is a foreign judge of .xz", ["xz-utils", "xz", "xz"]),
        tool("zstd", Tests, "is a foreign judge of .zst", ["zstd"; 3]),
    ]
};

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
