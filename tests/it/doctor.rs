//! A user asks whether a host can build images, and what to type where it cannot.

use std::process::Command;

use crate::support::{Bench, Ran};

/// `pipeline doctor` on a host that has no program but `id`, and says that it is this distribution.
fn doctor(bench: &Bench, os_release: &str, args: &[&str]) -> Ran {
    let release = bench.write("os-release", os_release);
    let bin = bench.path("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let mut command = bench.command(&[&["doctor"], args].concat());
    command
        .env("PATH", &bin)
        .env("PIPELINE_SBIN", &bin)
        .env("PIPELINE_OS_RELEASE", release);
    bench.finish(command)
}

/// The line that the program says to type, without the `sudo` that a plain user gets.
fn remedy(ran: &Ran) -> String {
    let after = ran.stdout.split("to set this host up, run:\n").nth(1);
    let line = after
        .unwrap_or_else(|| panic!("no remedy in {}", ran.all()))
        .lines()
        .next()
        .unwrap();
    line.trim().replace("sudo ", "")
}

const DEBIAN: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_CODENAME=bookworm\n";

#[test]
fn missing_programs_are_named_with_what_they_are_for() {
    let ran = doctor(&Bench::new(), DEBIAN, &[]);
    assert_eq!(ran.code, 3, "{}", ran.all());
    assert_eq!(ran.stderr, "");
    for (tool, why) in [
        ("qemu-system-x86_64", "it runs the build machines"),
        ("sfdisk", "it partitions disks"),
        ("ssh-keygen", "it makes the keys of build machines"),
    ] {
        let named = ran.stdout.lines().any(|line| {
            line.starts_with("missing") && line.contains(&format!(" {tool} ")) && line.ends_with(why)
        });
        assert!(named, "{tool}: {}", ran.stdout);
    }
    // What only some manifests need is a warning, and what only our tests need is no concern of a user.
    assert!(
        ran.stdout.contains("\nwarn     ansible-playbook "),
        "{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains("shellcheck"), "{}", ran.stdout);
}

/// Firmware is found by descriptors of the host, which ones of the user's hide here.
#[test]
fn what_only_some_manifests_need_is_named_with_its_packages() {
    let bench = Bench::new();
    for entry in std::fs::read_dir("/usr/share/qemu/firmware").unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        bench.write(&format!(".config/qemu/firmware/{name}"), "");
    }
    let ran = doctor(&bench, DEBIAN, &[]);
    for (name, packages) in [
        ("swtpm", "swtpm (Debian, Ubuntu), swtpm (Fedora), swtpm (Arch)"),
        (
            "UEFI firmware",
            "ovmf (Debian, Ubuntu), edk2-ovmf (Fedora), edk2-ovmf (Arch)",
        ),
        (
            "arm64 UEFI firmware",
            "qemu-efi-aarch64 (Debian, Ubuntu), edk2-aarch64 (Fedora), edk2-aarch64 (Arch)",
        ),
        (
            "qemu-system-aarch64",
            "qemu-system-arm (Debian, Ubuntu), qemu-system-aarch64-core (Fedora), qemu-system-aarch64 (Arch)",
        ),
        // Where the host has a handler for them, that runs them without the program.
        ("arm64 programs", ""),
    ] {
        let mut lines = ran.stdout.lines();
        let named = lines.any(|line| line.contains(&format!("  {name} ")) && line.ends_with(packages));
        assert!(named, "{name}: {}", ran.stdout);
    }
}

#[test]
fn how_foreign_programs_run_is_reported_and_can_be_chosen() {
    let bench = Bench::new();
    let mut command = bench.command(&["doctor"]);
    command.env("PIPELINE_FOREIGN", "machine");
    let ran = bench.finish(command);
    let named = ran.stdout.lines().any(|line| {
        line.starts_with("warn     arm64 programs ")
            && line.contains(" in an emulated machine, ")
            && line.ends_with("PIPELINE_FOREIGN=machine chooses it")
    });
    assert!(named, "{}", ran.stdout);
}

#[test]
fn the_remedy_is_one_line_for_this_distribution() {
    let line = |os_release| remedy(&doctor(&Bench::new(), os_release, &[]));
    let debian = line(DEBIAN);
    let expected = "apt-get update && apt-get install -y --no-install-recommends ";
    assert!(debian.starts_with(expected), "{debian}");
    for package in [
        "qemu-system-x86",
        "qemu-utils",
        "mmdebstrap",
        "fdisk",
        "openssh-client",
    ] {
        assert!(
            debian.split(' ').any(|word| word == package),
            "{package}: {debian}"
        );
    }
    let fedora = line("ID=fedora\nPRETTY_NAME=\"Fedora Linux 42\"\n");
    assert!(fedora.starts_with("dnf install -y "), "{fedora}");
    assert!(fedora.contains(" qemu-system-x86-core"), "{fedora}");
    let arch = doctor(&Bench::new(), "ID=arch\n", &[]);
    assert!(
        remedy(&arch).starts_with("pacman -S --needed --noconfirm "),
        "{}",
        arch.stdout
    );
    assert!(
        arch.stdout.contains("note: mmdebstrap is only in the AUR"),
        "{}",
        arch.stdout
    );
}

#[test]
fn a_host_we_know_nothing_of_gets_names_and_no_line() {
    let ran = doctor(
        &Bench::new(),
        "ID=plan9\nPRETTY_NAME=\"Plan 9\"\n",
        &["--install"],
    );
    assert_eq!(ran.code, 3);
    assert!(
        ran.stderr
            .contains("--install knows only apt, and this is Plan 9"),
        "{}",
        ran.stderr
    );
    let note = "note: install with the package manager of Plan 9: qemu-system-x86_64, qemu-img, ";
    assert!(ran.stdout.contains(note), "{}", ran.stdout);
}

#[test]
fn the_tests_have_their_programs_in_the_same_list() {
    let bench = Bench::new();
    let line = remedy(&doctor(&bench, DEBIAN, &["--tests"]));
    for package in ["shellcheck", "pigz", "xz-utils", "openssh-server", "tmux"] {
        assert!(line.split(' ').any(|word| word == package), "{package}: {line}");
    }
}

#[test]
fn programs_read_the_findings_as_json() {
    let ran = doctor(&Bench::new(), DEBIAN, &["--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["ready"], false);
    assert_eq!(json["system"], "Debian GNU/Linux 12 (bookworm)");
    let checks = json["checks"].as_array().unwrap();
    let state = |name: &str| {
        checks
            .iter()
            .find(|check| check["name"] == name)
            .map(|check| check["state"].clone())
    };
    assert_eq!(state("qemu-img"), Some("missing".into()));
    assert_eq!(state("gpgv"), Some("warn".into()));
    for name in [
        "accelerator",
        "memory",
        "store disk",
        "output disk",
        "package mirror",
    ] {
        assert!(state(name).is_some(), "{name}: {}", ran.stdout);
    }
    assert!(json["remedy"].as_str().unwrap().contains("apt-get install"));
}

/// The host's own apt and dpkg are asked: what they print reaches the remedy. The two scripts stand at their places.
#[test]
fn qemu_from_backports_is_joined_by_its_like_and_the_mirror_is_that_of_this_hosts_apt() {
    let bench = Bench::new();
    // dpkg-query exits with 1 when it does not know one of the packages asked for.
    let text = "#!/bin/sh\necho 'installed 1:10.0.2+ds-2~bpo12+1'\necho 'no packages found' >&2\nexit 1\n";
    let path = bench.write("bin/dpkg-query", text);
    crate::support::tool("chmod", &["755", path.to_str().unwrap()], &bench.path(""));
    let ran = doctor(&bench, DEBIAN, &[]);
    let line = remedy(&ran);
    assert!(
        line.contains("install -y --no-install-recommends -t bookworm-backports qemu-system-x86 qemu-utils"),
        "{line}"
    );
    let mirror = ran
        .stdout
        .lines()
        .find(|line| line.contains("package mirror"))
        .unwrap();
    assert!(
        mirror.starts_with("ok ") && mirror.contains(&crate::support::debian_mirror()),
        "{mirror}"
    );
}

#[test]
fn this_very_host_can_run_the_tests() {
    let bench = Bench::new();
    let ran = bench.run(&["doctor", "--tests"]);
    assert_eq!(
        ran.code,
        0,
        "`make setup` installs what the tests need\n{}",
        ran.all()
    );
    // And what it says of QEMU is what QEMU says.
    let version = crate::support::tool("qemu-img", &["--version"], &bench.path(""));
    let version = version.lines().next().unwrap();
    assert!(ran.stdout.contains(version), "{}", ran.stdout);
    let kvm = Command::new("grep")
        .args(["-qE", "^flags.* (vmx|svm)", "/proc/cpuinfo"])
        .status()
        .unwrap();
    if !kvm.success() {
        assert!(
            ran.stdout.contains("warn     accelerator"),
            "no KVM without the CPU flag: {}",
            ran.stdout
        );
    }
}
