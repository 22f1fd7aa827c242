//! What the host is and has: memory, processors, disk space, accelerator, distribution, users. Each fact is a small
//! function over a pure parser. Knows nothing of what is done with them.

mod apt;
mod oom;

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

pub use self::apt::{AptSource, AptSources};
pub use self::oom::{OomKill, OomWatch};
use super::cancel::Cancel;
use super::process::{Cmd, shell_quote};
use super::tools;

/// Memory of the host, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All of it; the control group's limit where that is lower.
    pub total: u64,
    /// What is available without swapping.
    pub available: u64,
}

/// How VMs run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// By the processor itself.
    Kvm,
    /// Emulated: ten to twenty times slower.
    Tcg {
        /// Why not KVM, with the remedy.
        why: String,
    },
}

impl Accelerator {
    /// What the user should know before a machine is started; nothing where it will be quick.
    pub fn warning(&self) -> Option<&'static str> {
        match self {
            Self::Kvm => None,
            Self::Tcg { .. } => {
                Some("no KVM: VMs are emulated, 10 to 30 times slower (see `pipeline doctor`)")
            }
        }
    }
}

/// The host's distribution, from os-release(5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// `ID`: `debian`.
    pub id: String,
    /// `ID_LIKE`: what it is made from, nearest first.
    pub id_like: Vec<String>,
    /// `VERSION_ID`: `12`; empty on rolling releases.
    pub version: String,
    /// `VERSION_CODENAME`: `bookworm`; empty where there is none.
    pub codename: String,
    /// `PRETTY_NAME`, for people.
    pub name: String,
}

/// Memory as the kernel and our control group (v2) tell it; none where `/proc` is not to be read.
pub fn memory() -> Option<Memory> {
    let mut memory = parse_meminfo(&fs::read_to_string("/proc/meminfo").ok()?)?;
    for group in cgroup_folders(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default()) {
        let read = |name: &str| fs::read_to_string(group.join(name)).unwrap_or_default();
        let (limit, used) = (read("memory.max"), read("memory.current"));
        memory = within_limit(memory, &limit, &used, &read("memory.stat"));
    }
    Some(memory)
}

/// Processors that we may use: affinity and control group limits count.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Processes that ran or wanted to, on average over the last minute, five and fifteen (proc_loadavg(5)); none where `/proc`
/// is not to be read.
pub fn load() -> Option<[f64; 3]> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    let mut numbers = text.split(' ').map_while(|word| word.parse().ok());
    Some([numbers.next()?, numbers.next()?, numbers.next()?])
}

/// Processor time that a process has used so far, all its threads together (`utime` and `stime` of proc_pid_stat(5)); none
/// where it is gone or `/proc` is not to be read.
pub fn processor_time(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_secs(parse_ticks(&stat)?) / u32::try_from(per_second).ok()?)
}

/// `utime` and `stime` together, in clock ticks. The second field is the program's name, which may have anything in it.
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let mut next = || times.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// Which accelerator works. A device that opens is not enough: on a virtual host without nested virtualisation it
/// may open, create VMs and run firmware, and then hang every kernel. On x86 the processor must show `vmx` or `svm`.
pub fn accelerator() -> Accelerator {
    let opened = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm");
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    decide_accelerator(opened.map(drop), cfg!(target_arch = "x86_64"), &cpuinfo)
}

/// Which accelerator works for guests of a processor, as [`std::env::consts::ARCH`] names it.
pub fn accelerator_for(processor: &str) -> Accelerator {
    let own = std::env::consts::ARCH;
    if processor == own {
        return accelerator();
    }
    Accelerator::Tcg {
        why: format!("this host is {own}, and a guest {processor}"),
    }
}

/// The host's distribution; empty where it does not say.
pub fn os_release() -> OsRelease {
    let text = ["/etc/os-release", "/usr/lib/os-release"]
        .into_iter()
        .find_map(|path| fs::read_to_string(path).ok());
    parse_os_release(&text.unwrap_or_default())
}

/// Whether we are root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Something that keeps a plain user from building root file systems, with the command that takes it away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    pub cause: String,
    /// A shell line for root; empty where there is none.
    pub remedy: String,
}

/// Whether this user has ids to give to the files of a root file system (subuid(5), subgid(5)).
///
/// # Errors
/// [`Obstacle`].
pub fn spare_ids() -> Result<(), Obstacle> {
    let uid = rustix::process::getuid().as_raw();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = user_name(&passwd, uid).unwrap_or_else(|| uid.to_string());
    for file in ["/etc/subuid", "/etc/subgid"] {
        if !has_range(&fs::read_to_string(file).unwrap_or_default(), &user, uid) {
            return Err(Obstacle {
                cause: format!("{file} gives {user} no {IDS} ids"),
                remedy: format!(
                    "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {}",
                    shell_quote(&user)
                ),
            });
        }
    }
    Ok(())
}

/// Whether plain users get user namespaces (user_namespaces(7)). Only the attempt tells, as in a container or under a
/// program's own AppArmor profile; the settings tell what to do when it fails.
///
/// # Errors
/// [`Obstacle`].
pub fn user_namespaces(cancel: &Cancel) -> Result<(), Obstacle> {
    let attempt = Cmd::new(tools::path("unshare")).args(["--user", "--map-root-user", "true"]);
    if attempt.read(cancel).is_ok() {
        return Ok(());
    }
    let setting = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
    // The kernel's own limit, Debian's old switch and Ubuntu's new one.
    let switches = [
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
        (
            "kernel/unprivileged_userns_clone",
            "0",
            "kernel.unprivileged_userns_clone=1",
        ),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    let off = switches
        .iter()
        .find(|(name, off, _)| setting(name).trim() == *off);
    Err(match off {
        Some((_, _, remedy)) => Obstacle {
            cause: "this kernel is set to give no user namespaces to plain users".to_owned(),
            remedy: format!("sysctl -w {remedy}"),
        },
        None => Obstacle {
            cause: "plain users get no user namespaces here; run as root".to_owned(),
            remedy: String::new(),
        },
    })
}

/// A user's name by passwd(5).
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// Reads `/proc/meminfo` (proc_meminfo(5)); its kB are KiB.
fn parse_meminfo(text: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    };
    Some(Memory {
        total: field("MemTotal:")?,
        available: field("MemAvailable:").or_else(|| field("MemFree:"))?,
    })
}

/// The folders of our control group (v2) and all above it: a limit on any of them holds for us.
fn cgroup_folders(proc_self_cgroup: &str) -> Vec<PathBuf> {
    let Some(group) = proc_self_cgroup
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
    else {
        return Vec::new();
    };
    let mount = Path::new("/sys/fs/cgroup");
    let own = mount.join(group);
    own.ancestors()
        .take_while(|folder| folder.starts_with(mount))
        .map(Path::to_owned)
        .collect()
}

/// Lowers the figures to a control group's limit (`memory.max`, `memory.current`, `memory.stat`). File cache that is
/// charged to the group but not in use counts as available, as it does in `MemAvailable`.
fn within_limit(memory: Memory, max: &str, current: &str, stat: &str) -> Memory {
    let Ok(limit) = max.trim().parse::<u64>() else {
        return memory;
    };
    let used = current.trim().parse().unwrap_or(0);
    let cache = stat
        .lines()
        .find_map(|line| line.strip_prefix("inactive_file "))
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(0);
    let free = limit.saturating_sub(u64::saturating_sub(used, cache));
    Memory {
        total: memory.total.min(limit),
        available: memory.available.min(free),
    }
}

fn decide_accelerator(opened: io::Result<()>, x86: bool, cpuinfo: &str) -> Accelerator {
    let why = match opened {
        Ok(()) if !x86 || has_virtualisation(cpuinfo) => return Accelerator::Kvm,
        Ok(()) => {
            "/dev/kvm opens, but the processor shows neither vmx nor svm: kernels hang under such a KVM; switch \
             nested virtualisation on for this machine, or virtualisation in its firmware"
                .to_owned()
        }
        Err(e) => match e.kind() {
            io::ErrorKind::NotFound => {
                "there is no /dev/kvm; switch virtualisation on in the firmware (or nested virtualisation in the \
                 cloud), and load the module kvm_intel or kvm_amd"
                    .to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "/dev/kvm may not be opened; join its group (sudo usermod -aG kvm \"$USER\") and log in again"
                    .to_owned()
            }
            _ => format!("/dev/kvm cannot be opened: {e}"),
        },
    };
    Accelerator::Tcg { why }
}

fn has_virtualisation(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().filter(|line| line.starts_with("flags"));
    flags
        .flat_map(str::split_whitespace)
        .any(|flag| flag == "vmx" || flag == "svm")
}

/// Reads os-release(5): shell-like assignments.
pub fn parse_os_release(text: &str) -> OsRelease {
    let field = |name: &str| {
        let assigned = text.lines().filter_map(|line| line.trim().split_once('='));
        let value = assigned
            .filter(|(key, _)| *key == name)
            .map(|(_, v)| v)
            .next_back();
        let value = value.unwrap_or_default().trim();
        let quoted = |q: char| value.strip_prefix(q).and_then(|v| v.strip_suffix(q));
        let bare = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
        bare.replace('\\', "")
    };
    OsRelease {
        id: field("ID"),
        id_like: field("ID_LIKE").split_whitespace().map(str::to_owned).collect(),
        version: field("VERSION_ID"),
        codename: field("VERSION_CODENAME"),
        name: field("PRETTY_NAME"),
    }
}

/// As many ids as a distribution uses.
const IDS: u64 = 65_536;

/// Whether subuid(5) gives a user (by name or number) as many ids as a distribution uses.
fn has_range(subids: &str, user: &str, uid: u32) -> bool {
    subids.lines().any(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next().unwrap_or_default();
        let count = fields.nth(1).and_then(|n| n.parse::<u64>().ok());
        (owner == user || owner == uid.to_string()) && count.is_some_and(|n| n >= IDS)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::size::{GIB, MIB};

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 99 4096\n";
        assert_eq!(parse_ticks(stat), Some(300));
        assert_eq!(parse_ticks("7 (a"), None);
        let used = || processor_time(std::process::id()).unwrap();
        let (before, until) = (used(), Instant::now() + Duration::from_secs(30));
        while used() == before {
            assert!(Instant::now() < until, "it stays at {before:?}");
        }
    }

    #[test]
    fn memory_is_the_hosts_or_the_groups_whichever_is_less() {
        let host = parse_meminfo("MemTotal:  8388608 kB\nMemFree: 1 kB\nMemAvailable: 4194304 kB\n").unwrap();
        assert_eq!((host.total, host.available), (8 * GIB, 4 * GIB));
        assert_eq!(within_limit(host, "max\n", "5", ""), host);
        let used = (1536 * MIB).to_string();
        let stat = format!("anon 5\ninactive_file {}\n", 512 * MIB);
        let limited = within_limit(host, "2147483648\n", &used, &stat);
        assert_eq!((limited.total, limited.available), (2 * GIB, GIB));
        assert_eq!(
            cgroup_folders("1:name=x:/y\n0::/a/b\n"),
            ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"].map(PathBuf::from)
        );
        assert!(cgroup_folders("3:memory:/old\n").is_empty());
    }

    #[test]
    fn this_host_has_memory_disk_and_processors() {
        let memory = memory().unwrap();
        assert!(
            memory.available <= memory.total && memory.available > 0,
            "{memory:?}"
        );
        assert!(cpus() >= 1);
    }

    #[test]
    fn kvm_needs_a_device_that_opens_and_a_processor_that_can() {
        let why = |accel| match accel {
            Accelerator::Kvm => "kvm".to_owned(),
            Accelerator::Tcg { why } => why,
        };
        let amd = "processor : 0\nflags\t\t: fpu svm sse\n";
        let trap = "flags\t\t: fpu svm_lock sse\nvmx flags : vnmi\n";
        assert_eq!(why(decide_accelerator(Ok(()), true, amd)), "kvm");
        assert_eq!(why(decide_accelerator(Ok(()), false, "")), "kvm");
        assert!(why(decide_accelerator(Ok(()), true, trap)).contains("neither vmx nor svm"));
        let denied = Err(io::ErrorKind::PermissionDenied.into());
        assert!(why(decide_accelerator(denied, true, amd)).contains("usermod -aG kvm"));
        let absent = Err(io::ErrorKind::NotFound.into());
        assert!(why(decide_accelerator(absent, true, amd)).starts_with("there is no /dev/kvm"));
    }

    #[test]
    fn distributions_are_recognised() {
        let text = "PRETTY_NAME=\"Ubuntu 24.04 LTS\"\nID=ubuntu\nID_LIKE='debian'\nVERSION_ID=\"24.04\"\n\
                    VERSION_CODENAME=noble\n# ID=no\n";
        let os = parse_os_release(text);
        assert_eq!((os.id.as_str(), os.version.as_str()), ("ubuntu", "24.04"));
        assert_eq!(
            (os.id_like, os.codename),
            (vec!["debian".to_owned()], "noble".to_owned())
        );
        assert_eq!(parse_os_release(""), OsRelease::default());
    }

    #[test]
    fn ranges_of_ids() {
        let text = "joe:100000:65536\n1001:200000:65536\nann:300000:1000\n";
        assert!(has_range(text, "joe", 1000) && has_range(text, "max", 1001));
        assert!(!has_range(text, "ann", 1002) && !has_range("", "joe", 1000));
        let passwd = "root:x:0:0:root:/root:/bin/sh\njoe:x:1000:1000::/home/joe:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("joe"));
        assert_eq!(user_name(passwd, 1001), None);
    }
}
