//! What this host has: memory, disk space, an accelerator, rights. Numbers only; judging them is `checks`'s.

use std::fs::OpenOptions;
use std::path::Path;
use std::path::PathBuf;

use crate::host::packages::By;
use crate::size::ByteSize;
use crate::size::KIB;

/// Whether we are root.
pub(super) fn who() -> By {
    if rustix::process::geteuid().is_root() {
        By::Root
    } else {
        By::User
    }
}

/// Memory that could be given to machines: what the kernel calls available, or what our control group leaves.
pub(super) fn memory() -> Option<ByteSize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let free: u64 = line.split_whitespace().next()?.parse().ok()?;
    let number = |path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = number("/sys/fs/cgroup/memory.max")
        .map(|max| max.saturating_sub(number("/sys/fs/cgroup/memory.current").unwrap_or(0)));
    Some(ByteSize((free * KIB).min(group.unwrap_or(u64::MAX))))
}

/// Space that we may still use on the disk of a folder, which need not exist yet.
pub(super) fn space(folder: &Path) -> Option<ByteSize> {
    let existing = folder.ancestors().find(|folder| folder.exists())?;
    let stat = rustix::fs::statvfs(existing).ok()?;
    Some(ByteSize(stat.f_bavail * stat.f_frsize))
}

/// Where the store is when nobody says otherwise (XDG base directories).
pub(super) fn store() -> PathBuf {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    cache
        .unwrap_or_else(|| PathBuf::from("/var/cache"))
        .join("pipeline")
}

/// Whether KVM can be used, and why not.
/// A `/dev/kvm` that opens is not enough: on some hosts it creates machines in which every stock kernel hangs. On x86
/// the CPU must show `vmx` or `svm` as well.
pub(super) fn kvm() -> Result<(), String> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    device.map_err(|error| format!("/dev/kvm: {error}"))?;
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = info
        .lines()
        .find(|line| line.starts_with("flags"))
        .unwrap_or_default();
    let capable = flags
        .split_whitespace()
        .any(|flag| flag == "vmx" || flag == "svm");
    if capable || cfg!(not(target_arch = "x86_64")) {
        Ok(())
    } else {
        Err("/dev/kvm opens, but the CPU shows neither vmx nor svm".to_owned())
    }
}
