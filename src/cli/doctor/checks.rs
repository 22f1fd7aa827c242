//! Judges what this host has against what builds need.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::target::default_store;
use crate::host::cancel::Cancel;
use crate::host::facts::Obstacle;
use crate::host::foreign::{self, Foreign};
use crate::host::fs::{free_space, is_nfs_without_holes};
use crate::host::packages::{Apt, By, PackageManager, System};
use crate::host::private;
use crate::host::tools::{Need, TOOLS, Tool, Version};
use crate::host::{facts, tools};
use crate::machine::firmware;
use crate::platform::{Arch, Computer, Platform};
use crate::remote::Remote;
use crate::remote::probe::End;
use crate::remote::settings::Settings;
use crate::size::{ByteSize, GIB, MIB};
use crate::store::StoreError;

/// Screenshots as PNG, which a failed machine leaves, came with this QEMU.
const QEMU_PNG: Version = Version(7, 1);
/// `mke2fs -d`, which fills a file system without mounting it, came with this e2fsprogs.
const MKE2FS_FOLDER: Version = Version(1, 43);
/// Memory for one machine and what surrounds it; with less, nothing can start.
const MEMORY_LEAST: ByteSize = ByteSize(768 * MIB);
/// Memory below which machines run one at a time.
const MEMORY_GOOD: ByteSize = ByteSize(2 * GIB);
/// Disk for one small system and its copies; with less, a build is sure to fail.
const DISK_LEAST: ByteSize = ByteSize(3 * GIB);
/// Disk below which a manifest of some images may not fit.
const DISK_GOOD: ByteSize = ByteSize(15 * GIB);

/// No programs: they are found by their descriptors.
const FIRMWARE: [(&str, Arch); 2] = [
    ("UEFI firmware", Arch::Amd64),
    ("arm64 UEFI firmware", Arch::Arm64),
];
/// Not only a program: the kernel has to start it.
const ARM64_PROGRAMS: &str = "qemu-aarch64-static";

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Ok,
    /// Builds work, but something is worth knowing.
    Warn,
    /// Builds cannot work.
    Missing,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Missing => "missing",
        }
    }
}

/// One line of the findings.
#[derive(Clone, Debug, Serialize)]
pub(super) struct HostCheck {
    pub(super) name: String,
    pub(super) state: State,
    pub(super) detail: String,
}

fn check(name: &str, state: State, detail: impl Into<String>) -> HostCheck {
    HostCheck {
        name: name.to_owned(),
        state,
        detail: detail.into(),
    }
}

/// Tries the store that hosts share.
pub(super) fn remote(url: Option<&str>, cancel: &Cancel) -> Vec<HostCheck> {
    let opened = Settings::load(url).and_then(|settings| Remote::open(&settings.remote));
    let remote = match opened {
        Ok(Some(remote)) => remote,
        Ok(None) => {
            let detail = "this host has none; name it by PIPELINE_REMOTE, or `remote.url` of farm.toml";
            return vec![check("remote store", State::Missing, detail)];
        }
        Err(error) => return vec![check("remote store", State::Missing, error.to_string())],
    };
    let tried = remote.probe(cancel).into_iter().map(|tried| {
        let state = match tried.end {
            End::Well => State::Ok,
            End::Otherwise => State::Warn,
            End::Failed => State::Missing,
        };
        check(&format!("remote {}", tried.what), state, tried.detail)
    });
    std::iter::once(check("remote store", State::Ok, remote.url()))
        .chain(tried)
        .collect()
}

/// Looks for programs. Gives the lines, and the programs that must be there and are not.
pub(super) fn tools(needs: &[Need], cancel: &Cancel) -> (Vec<HostCheck>, Vec<&'static Tool>) {
    let (mut checks, mut missing) = (Vec::new(), Vec::new());
    for tool in TOOLS.iter() {
        let needed = needs.contains(&tool.need);
        let twice = TOOLS.iter().any(|other| {
            // A program that some manifests use may be needed for the tests: then that line counts.
            other.name == tool.name && tool.need == Need::Some && needs.contains(&other.need)
        });
        if twice || !(needed || tool.need == Need::Some) {
            continue;
        }
        let name = tool.name.rsplit('/').next().unwrap_or(&tool.name);
        if name == ARM64_PROGRAMS {
            checks.extend(arm64_programs());
            continue;
        }
        let firmware = FIRMWARE.into_iter().find(|(known, _)| *known == name);
        let place = match firmware {
            Some((_, arch)) => firmware_code(arch),
            None => tools::find(&tool.name),
        };
        checks.push(match place {
            Some(path) => check(name, State::Ok, found(tool, &path, cancel)),
            None if needed => {
                missing.push(tool);
                check(name, State::Missing, format!("not found; it {}", tool.why))
            }
            None => {
                let detail = format!(
                    "not found; only needed where it {}: {}",
                    tool.why,
                    tool.packages()
                );
                check(name, State::Warn, detail)
            }
        });
    }
    (checks, missing)
}

/// How this host runs the programs of arm64 systems that are bootstrapped; nothing where they are its own.
fn arm64_programs() -> Option<HostCheck> {
    let (state, detail) = match foreign::find(Platform::Arm64Uefi)? {
        Foreign::Registered(interpreter) => (
            State::Ok,
            format!("{}; handler registered in binfmt_misc", interpreter.display()),
        ),
        Foreign::Own(handler) => (
            State::Ok,
            format!(
                "{}; a handler of each bootstrap's own, in its user namespace",
                handler.interpreter.display()
            ),
        ),
        Foreign::Machine(why) => (
            State::Warn,
            format!("in an emulated machine, which is slower; only `bootstrap` of arm64 needs them: {why}"),
        ),
    };
    Some(check("arm64 programs", state, detail))
}

/// The code of the firmware that has everything: packages bring all kinds or none.
fn firmware_code(arch: Arch) -> Option<PathBuf> {
    let computer = Computer {
        platform: arch.uefi(),
        secure_boot: true,
        tpm: false,
    };
    let found = firmware::find(computer).ok().flatten()?;
    Some(found.code.path)
}

fn found(tool: &Tool, path: &Path, cancel: &Cancel) -> String {
    let version = match tool.name.as_str() {
        "qemu-system-x86_64" | "qemu-system-aarch64" | "qemu-img" | "mmdebstrap" | "sfdisk" | "mke2fs" => {
            tools::version(&tool.name, cancel)
        }
        _ => None,
    };
    version.unwrap_or_else(|| path.display().to_string())
}

/// Versions that matter.
pub(super) fn versions(cancel: &Cancel) -> Vec<HostCheck> {
    let version = |name| tools::parse_version(&tools::version(name, cancel)?);
    let (system, image, mke2fs) = (
        version("qemu-system-x86_64"),
        version("qemu-img"),
        version("mke2fs"),
    );
    let mut checks = Vec::new();
    if let (Some(system), Some(image)) = (system, image)
        && system != image
    {
        let detail = "qemu-img and qemu-system-x86_64 are of different versions; install both from one suite";
        checks.push(check("qemu versions", State::Warn, detail));
    }
    if system.is_some_and(|version| version < QEMU_PNG) {
        let detail = "older than 7.1: a failed machine leaves no picture of its screen";
        checks.push(check("qemu version", State::Warn, detail));
    }
    if mke2fs.is_some_and(|version| version < MKE2FS_FOLDER) {
        let detail = "older than 1.43: mke2fs cannot fill a file system";
        checks.push(check("e2fsprogs version", State::Missing, detail));
    }
    checks
}

/// Findings that are not programs.
#[derive(Debug, Default)]
pub(super) struct Host {
    pub(super) checks: Vec<HostCheck>,
    /// Shell lines that fix something.
    pub(super) remedies: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// Looks at accelerator, memory, disks, rights and the package mirror.
pub(super) fn host(store: Option<&Path>, who: By, system: &System, apt: &Apt, cancel: &Cancel) -> Host {
    let mut host = Host::default();
    host.checks.push(match facts::accelerator() {
        facts::Accelerator::Kvm => check("accelerator", State::Ok, "KVM"),
        facts::Accelerator::Tcg { why } => {
            let detail = format!("{why}; machines are emulated, which is several times slower");
            check("accelerator", State::Warn, detail)
        }
    });
    host.checks.push(enough(
        "memory",
        facts::memory().map(|memory| ByteSize(memory.available)),
        MEMORY_LEAST,
        MEMORY_GOOD,
        "available",
    ));
    let store = store.map_or_else(default_store, Path::to_owned);
    if let Ok(true) = is_nfs_without_holes(&store) {
        let detail = StoreError::Unfit(store.clone()).to_string();
        host.checks.push(check("store", State::Missing, detail));
    }
    for (name, folder) in [("store disk", store.as_path()), ("output disk", Path::new("."))] {
        let place = format!(
            "free below {}",
            std::path::absolute(folder).unwrap_or_default().display()
        );
        host.checks.push(enough(
            name,
            free_space(folder).ok().map(ByteSize),
            DISK_LEAST,
            DISK_GOOD,
            &place,
        ));
    }
    host.checks.push(match private::place() {
        Ok(place) => check("sockets", State::Ok, format!("below {}", place.display())),
        Err(error) => check("sockets", State::Missing, error.to_string()),
    });
    if who == By::User {
        user(&mut host, cancel);
    }
    host.checks.push(mirror(system, apt));
    host
}

fn enough(name: &str, have: Option<ByteSize>, least: ByteSize, good: ByteSize, what: &str) -> HostCheck {
    match have {
        None => check(name, State::Warn, "could not be measured"),
        Some(have) if have < least => {
            let detail = format!("{have} {what}; a build needs {least} at the very least");
            check(name, State::Missing, detail)
        }
        Some(have) if have < good => {
            check(name, State::Warn, format!("{have} {what}; {good} is comfortable"))
        }
        Some(have) => check(name, State::Ok, format!("{have} {what}")),
    }
}

/// What a user who is not root needs for `mmdebstrap`: user namespaces, and a range of ids of their own.
fn user(host: &mut Host, cancel: &Cancel) {
    for (name, found) in [
        ("user namespaces", facts::user_namespaces(cancel)),
        ("subordinate ids", facts::spare_ids()),
    ] {
        match found {
            Ok(()) => host.checks.push(check(name, State::Ok, "")),
            Err(Obstacle { cause, remedy }) => {
                host.checks.push(check(name, State::Missing, cause));
                if !remedy.is_empty() {
                    host.remedies.push(format!("sudo {remedy}"));
                }
            }
        }
    }
}

fn mirror(system: &System, apt: &Apt) -> HostCheck {
    let suite = system.codename.as_deref().unwrap_or_default();
    let uri = apt
        .mirror(suite)
        .or_else(|| apt.suites.first().map(|suite| suite.uri.as_str()));
    match (uri, system.manager) {
        (Some(uri), _) => check("package mirror", State::Ok, uri),
        (None, PackageManager::Debian) => {
            let detail = "apt knows none: run `apt-get update`, or name one in the manifest (`mirror`)";
            check("package mirror", State::Warn, detail)
        }
        (None, _) => {
            let detail = "this host has no apt: name one in the manifest (`mirror`)";
            check("package mirror", State::Warn, detail)
        }
    }
}
