//! Sealing, in a private root: what it takes out and what it leaves.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::BUILD_KEY;
use super::repository;
use crate::support::Bench;

pub fn seal(bench: &Bench, key: &str) -> String {
    let output = Command::new("dash")
        .arg(repository("guest/seal.sh"))
        .env("SEAL_ROOT", bench.path("."))
        .env("BUILD_KEY_PUBLIC", key)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn sealing_takes_the_build_out_and_leaves_the_user_in() {
    let bench = Bench::new();
    let theirs = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGEgcGVyc29uIHdobyBtYXkgc3RheSBoZXJlIGZvcmV2ZXI me\n";
    let key_body = BUILD_KEY.split(' ').nth(1).unwrap();
    bench.write(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nwww:x:33:33::/var/www:/bin/false\n",
    );
    bench.write("root/.ssh/authorized_keys", format!("{BUILD_KEY}\n\n"));
    // As cloud-init leaves it: options before, another comment behind.
    bench.write(
        "home/ann/.ssh/authorized_keys",
        format!("{theirs}no-pty,command=\"echo no\" ssh-ed25519 {key_body} other\n"),
    );
    bench.write("home/ann/notes.txt", "keep me\n");
    bench.write("home/ann/.bash_history", "secret\n");
    bench.write(
        "etc/ssh/sshd_config.d/10-pipeline-build.conf",
        "PermitRootLogin prohibit-password\n",
    );
    bench.write("etc/ssh/sshd_config.d/50-site.conf", "X11Forwarding no\n");
    bench.write(
        "etc/systemd/system/apt-daily.timer.d/10-pipeline-build.conf",
        "[Unit]\n",
    );
    bench.write("etc/ssh/ssh_host_ed25519_key", "private\n");
    bench.write("etc/ssh/ssh_host_ed25519_key.pub", "public\n");
    bench.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    bench.write("var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef\n");
    bench.write("usr/lib/systemd/systemd", "");
    bench.write("etc/resolv.conf", "search lan\nnameserver 10.0.2.3\n");
    bench.write(
        "etc/netplan/50-cloud-init.yaml",
        "network:\n  x: {match: {macaddress: 52:54:00:12:34:56}}\n",
    );
    bench.write("var/lib/dhcp/dhclient.eth0.leases", "lease {}\n");
    bench.write("etc/udev/rules.d/70-persistent-net.rules", "#\n");
    bench.write("var/log/syslog", "line\n");
    bench.write("var/log/syslog.1", "line\n");
    bench.write("var/log/journal/0123/system.journal", "binary\n");
    bench.write("var/tmp/left over", "x");
    bench.write("tmp/a/b", "x");

    let said = seal(&bench, BUILD_KEY);
    assert!(
        said.contains("seal: build key: removed from /root/.ssh/authorized_keys\n"),
        "{said}"
    );
    assert!(said.ends_with("seal: done\n"), "{said}");

    assert!(!bench.path("root/.ssh").exists());
    assert_eq!(bench.read("home/ann/.ssh/authorized_keys"), theirs);
    assert_eq!(bench.read("etc/machine-id"), "");
    assert_eq!(bench.read("etc/resolv.conf"), "");
    assert_eq!(bench.read("var/log/syslog"), "");
    assert!(
        !bench
            .read("etc/netplan/50-cloud-init.yaml")
            .contains("macaddress")
    );
    assert_eq!(
        fs::read_link(bench.path("var/lib/dbus/machine-id")).unwrap(),
        Path::new("/etc/machine-id")
    );
    for kept in [
        "home/ann/notes.txt",
        "etc/ssh/sshd_config.d/50-site.conf",
        "tmp",
        "var/log/journal",
    ] {
        assert!(bench.path(kept).exists(), "{kept} is gone");
    }
    for gone in [
        "home/ann/.bash_history",
        "etc/ssh/sshd_config.d/10-pipeline-build.conf",
        "etc/systemd/system/apt-daily.timer.d",
        "etc/ssh/ssh_host_ed25519_key",
        "etc/ssh/ssh_host_ed25519_key.pub",
        "var/lib/dhcp/dhclient.eth0.leases",
        "etc/udev/rules.d/70-persistent-net.rules",
        "var/log/syslog.1",
        "var/log/journal/0123",
        "var/tmp/left over",
        "tmp/a",
    ] {
        assert!(!bench.path(gone).exists(), "{gone} is still there");
    }
    assert!(
        bench
            .path("etc/systemd/system/ssh.service.wants/ssh-host-keys.service")
            .exists()
    );

    seal(&bench, BUILD_KEY);
    assert_eq!(bench.read("home/ann/.ssh/authorized_keys"), theirs);
}

#[test]
fn sealing_refuses_a_machine_that_is_not_being_built() {
    let bench = Bench::new();
    let output = Command::new("dash")
        .arg(repository("guest/seal.sh"))
        .env("SEAL_ROOT", bench.path("."))
        .env_remove("BUILD_KEY_PUBLIC")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("BUILD_KEY_PUBLIC") && said.contains("not for a machine in use"),
        "{said}"
    );
}
