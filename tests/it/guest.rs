//! What runs inside guests, as far as that is seen without a VM.

mod agent;
mod reporting;
mod sealing;
mod templates;

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::tool;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
const BUILD_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMgaXMgbm90IGEga2V5IG9mIGFueW9uZSBhbGl2ZQ build";

fn repository(name: &str) -> PathBuf {
    Path::new(REPOSITORY).join(name)
}

#[test]
fn every_script_is_clean() {
    let scripts: Vec<PathBuf> = fs::read_dir(repository("guest"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(scripts.len() >= 8, "{scripts:?}");
    for path in scripts {
        let name = path.to_str().unwrap();
        // From here, as scripts name what they source by its path in the repository.
        tool("shellcheck", &["-x", name], &repository(""));
        let shell = if name.ends_with(".sh") { "dash" } else { "bash" };
        tool(shell, &["-n", name], Path::new("/"));
    }
}

/// What the library finds on machines as others have them, in a /sys of the story's own.
#[test]
fn the_console_and_the_disk_are_found_in_the_guest() {
    let library = repository("guest/lib.sh");
    let ask = |prepared: &str, question: &str| {
        let line = format!(
            "mount -t tmpfs none /sys && cd /sys && mkdir -p class/tty class/block && {prepared} && \
             self=test && . {} && {question}",
            library.display()
        );
        let words = ["--user", "--map-root-user", "--mount", "sh", "-euc", &line];
        tool("unshare", &words, Path::new("/")).trim().to_owned()
    };
    let port =
        |name: &str, kind: u32| format!("mkdir class/tty/{name} && echo {kind} >class/tty/{name}/type");
    let ports = |all: &[(&str, u32)]| {
        let made: Vec<_> = all.iter().map(|(name, kind)| port(name, *kind)).collect();
        ask(&made.join(" && "), "serial_port || echo none")
    };
    assert_eq!(ports(&[("ttyS0", 4), ("ttyS1", 0)]), "ttyS0");
    assert_eq!(ports(&[("ttyS0", 0), ("ttyS1", 4)]), "ttyS1");
    assert_eq!(ports(&[("ttyAMA0", 32)]), "ttyAMA0");
    assert_eq!(ports(&[("ttyS0", 0), ("ttyS1", 0)]), "none");

    let devices = "mkdir -p devices/sdb/sdb3 devices/sdb/slaves devices/sdb/sdb3/slaves devices/dm-0/slaves devices/dm-1/slaves && \
                   touch devices/sdb/sdb3/partition && \
                   for device in sdb sdb/sdb3 dm-0 dm-1; do ln -s /sys/devices/$device class/block/${device##*/}; done && \
                   ln -s /sys/devices/sdb/sdb3 devices/dm-0/slaves/sdb3 && ln -s /sys/devices/dm-0 devices/dm-1/slaves/dm-0";
    for (device, is) in [
        ("dm-1", "encrypted, on LVM"),
        ("sdb/sdb3", "a partition"),
        ("sdb", "the disk itself"),
    ] {
        let question = format!("disk_below /sys/devices/{device}");
        assert_eq!(ask(devices, &question), "/sys/devices/sdb", "{is}");
    }
}

/// What the guest answers between two steps, on a /run as other systems leave it.
#[test]
fn a_system_that_goes_down_says_so() {
    let script = repository("guest/going-down.sh");
    let ask = |prepared: &str| {
        let line = format!(
            "mount -t tmpfs none /run && {prepared} && sh {}",
            script.display()
        );
        let words = ["--user", "--map-root-user", "--mount", "sh", "-c", &line];
        tool("unshare", &words, Path::new("/")).trim().to_owned()
    };
    let openrc = "mkdir /run/openrc && echo default > /run/openrc/softlevel";
    assert_eq!(ask("true"), "");
    assert_eq!(ask(openrc), "");
    assert_eq!(
        ask(&format!(
            "{openrc} && echo reboot > /run/openrc/softlevel && touch /run/openrc/rc.stopping"
        )),
        "reboot"
    );
    assert_eq!(
        ask(&format!(
            "{openrc} && echo shutdown > /run/openrc/softlevel && touch /run/openrc/rc.stopping"
        )),
        "poweroff"
    );
    assert_eq!(
        ask("echo 'System is booting up. Unprivileged users are not permitted' > /run/nologin"),
        ""
    );
    assert_eq!(
        ask("echo 'The system is going down at Sun 10:00!' > /run/nologin"),
        "down"
    );
    let systemd = "mkdir -p /run/systemd/system /run/systemd/shutdown";
    assert_eq!(ask(systemd), "");
    assert_eq!(
        ask(&format!(
            "{systemd} && printf 'USEC=1\\nMODE=poweroff\\n' > /run/systemd/shutdown/scheduled"
        )),
        "poweroff"
    );
}
