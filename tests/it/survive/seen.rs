//! What a run shows to others while it goes on, and what it leaves for them to find: sockets, arguments, environments,
//! modes, a secret that was planted.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::machine::tiny::{self, Then};
use crate::support::{Bench, tool};

/// Planted as a token of a step and as the password of an installer's answers.
const PLANTED: &str = "pl4nted-and-never-to-be-seen";

#[test]
fn while_machines_run_only_loopback_listens_and_a_secret_is_nowhere_to_be_seen() {
    let bench = Bench::new();
    bench.write("disk.raw", tiny::disk("the disk is up\r\n", Then::Halt));
    let mut loader = tiny::disk("the medium is up\r\n", Then::Halt);
    loader.truncate(2048);
    bench.write("cd/boot.img", loader);
    let image = [
        "-as",
        "mkisofs",
        "-quiet",
        "-R",
        "-b",
        "boot.img",
        "-no-emul-boot",
        "-boot-load-size",
        "4",
    ];
    let image: Vec<_> = image.into_iter().chain(["-o", "cd.iso", "cd"]).collect();
    tool("xorriso", &image, &bench.path("."));
    bench.write(
        "m.toml",
        r#"
[resources]
jobs = 2
cpus = 2

[distros.disk]
family  = "debian"
version = "12"
memory  = "64M"
cpus    = 1
source  = { disk = { path = "disk.raw", user = "root" } }

[distros.medium]
family  = "debian"
version = "13"
disk    = "64M"
memory  = "64M"
cpus    = 1
source  = { iso = { path = "cd.iso", boot_command = "<wait0>", password = { env = "PLANTED" } } }

[flavors.base]
steps = [{ inline = "true", env = { TOKEN = { env = "PLANTED" } } }]

[[images]]
distro = "disk"
flavor = "base"
sizes  = ["1G"]

[[images]]
distro = "medium"
flavor = "base"
sizes  = ["1G"]
"#,
    );
    let mut command = bench.command(&["run", "m.toml", "--verbose"]);
    command.env("PLANTED", PLANTED).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !(said.contains("the disk is up") && said.contains("the medium is up")) {
        let before = said.len();
        stderr.read_line(&mut said).unwrap();
        assert!(said.len() > before, "it ended too early:\n{said}");
    }

    let children = descendants(child.id());
    let machines = children
        .iter()
        .filter(|pid| program(**pid).starts_with("qemu-system"))
        .count();
    assert_eq!(machines, 2, "{said}");
    for pid in &children {
        for file in ["cmdline", "environ"] {
            let shown = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let shown = String::from_utf8_lossy(&shown);
            assert!(!shown.contains(PLANTED), "{file} of {}", program(*pid));
        }
    }
    let own = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    assert!(!String::from_utf8_lossy(&own).contains(PLANTED));

    let all: Vec<_> = children.iter().copied().chain([child.id()]).collect();
    let sockets = listening(&all);
    let open: Vec<_> = sockets.iter().filter(|socket| !socket.2).collect();
    assert!(open.is_empty(), "others on the network can reach {open:?}");
    // The way into the disk's guest, the answers, and syslog by both.
    assert!(
        sockets.iter().filter(|socket| socket.0 == "tcp").count() >= 3,
        "{sockets:?}"
    );
    assert!(sockets.iter().any(|socket| socket.0 == "udp"), "{sockets:?}");

    // Others may not enter; and what lets one in is closed by itself too.
    let us = fs::metadata(bench.path("store")).unwrap().uid();
    for folder in ["results", "latest", "locks", "scratch", "runs"] {
        let facts = fs::metadata(bench.path("store").join(folder)).unwrap();
        assert_eq!((facts.mode() & 0o777, facts.uid()), (0o700, us), "{folder}");
    }
    let mut keys = 0;
    for file in files(&bench.path("store/scratch")) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let private = name == pipeline::internals::machine::ssh::KEY_NAME
            || name == "seed.img"
            || name == "answers.img";
        if private {
            keys += 1;
            assert_eq!(
                fs::metadata(&file).unwrap().mode() & 0o777,
                0o600,
                "{}",
                file.display()
            );
        }
    }
    assert!(keys >= 3, "two keys and a seed, and not {keys}");
    let secret = fs::metadata(bench.path("store/secret")).unwrap();
    assert_eq!(secret.mode() & 0o777, 0o600);

    // While all is there, and after the end.
    let searched = |when: &str| {
        let found = Command::new("grep")
            .args(["-rlaF", PLANTED, "."])
            .current_dir(bench.path(""))
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&found.stdout),
            "",
            "files with the secret {when}"
        );
    };
    searched("while it ran");
    tool("kill", &["-INT", &child.id().to_string()], Path::new("/"));
    std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!said.contains(PLANTED));
    searched("afterwards");
}

fn program(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

/// All processes below one, however deep (proc_pid_stat(5): the fourth field is the parent).
fn descendants(of: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name, in parentheses, may hold anything.
        let after = stat.rsplit(") ").next().unwrap_or_default();
        if let Some(parent) = after.split(' ').nth(1).and_then(|word| word.parse::<u32>().ok()) {
            parents.push((pid, parent));
        }
    }
    let mut found = vec![of];
    let mut next = 0;
    while next < found.len() {
        let above = found[next];
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == above)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    found.split_off(1)
}

/// What these processes listen on, from the kernel's tables: protocol, address as there, whether it is loopback.
fn listening(pids: &[u32]) -> Vec<(&'static str, String, bool)> {
    let mut inodes = BTreeSet::new();
    for pid in pids {
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        for link in open
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
        {
            let link = link.to_string_lossy().into_owned();
            inodes.extend(
                link.strip_prefix("socket:[")
                    .and_then(|rest| rest.strip_suffix(']'))
                    .map(str::to_owned),
            );
        }
    }
    let mut found = Vec::new();
    for (table, protocol) in [("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp")] {
        let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<_> = line.split_whitespace().collect();
            // TCP_LISTEN is 10; an unconnected UDP socket is TCP_CLOSE, 7 (include/net/tcp_states.h).
            let waits = words[3] == if protocol == "tcp" { "0A" } else { "07" };
            if waits && inodes.contains(words[9]) {
                found.push((protocol, words[1].to_owned(), is_loopback(words[1])));
            }
        }
    }
    found
}

/// `0100007F:1F90`: each group of four bytes in the order of this machine.
fn is_loopback(address: &str) -> bool {
    let (hex, _) = address.split_once(':').unwrap();
    let mut bytes = Vec::new();
    for group in hex.as_bytes().chunks(8) {
        let group = u32::from_str_radix(std::str::from_utf8(group).unwrap(), 16).unwrap();
        bytes.extend(group.to_ne_bytes());
    }
    match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(four) => Ipv4Addr::from(four).is_loopback(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..]).unwrap()).is_loopback(),
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn loopback_is_known_from_what_is_open_to_all() {
    assert!(is_loopback("0100007F:1F90"));
    assert!(!is_loopback("00000000:0016"));
    assert!(is_loopback("00000000000000000000000001000000:0016"));
    assert!(!is_loopback("00000000000000000000000000000000:0016"));
}
