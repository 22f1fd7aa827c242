//! Sealing, in a private root: what it takes out and what it leaves.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::host::namespace;

use super::{BUILD_KEY, repository};
use crate::support::Bench;

pub fn seal(bench: &Bench, key: &str) -> String {
    let output = run_seal(bench, key);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn run_seal(bench: &Bench, key: &str) -> Output {
    run_seal_since(bench, key, "")
}

fn run_seal_since(bench: &Bench, key: &str, since: &str) -> Output {
    Command::new("dash")
        .arg(repository("guest/seal.sh"))
        .env("SEAL_ROOT", bench.path("."))
        .env("BUILD_KEY_PUBLIC", key)
        .env("SEAL_SINCE", since)
        .output()
        .unwrap()
}

/// Reading all files of a guest takes half a minute where it is emulated: those are left out that cannot have the build key.
#[test]
fn what_is_older_than_the_build_key_is_not_looked_through_unless_the_key_is_nowhere_else() {
    let now: u64 = crate::support::tool("date", &["+%s"], Path::new("/"))
        .trim()
        .parse()
        .unwrap();
    let sealed = |accounts: &str, since: u64| {
        let bench = Bench::new();
        bench.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        bench.write("var/log/dpkg.log", "");
        bench.write("root/.ssh/authorized_keys", format!("{accounts}\n"));
        bench.write("srv/copy", format!("{BUILD_KEY}\nmore\n"));
        let output = run_seal_since(&bench, BUILD_KEY, &since.to_string());
        assert!(output.status.success(), "{output:?}");
        (
            bench.path("root/.ssh/authorized_keys").exists(),
            bench.read("srv/copy"),
        )
    };
    let copy = format!("{BUILD_KEY}\nmore\n");
    assert_eq!(sealed(BUILD_KEY, now - 1000), (false, "more\n".to_owned()));
    assert_eq!(sealed(BUILD_KEY, now + 1000), (false, copy));
    assert_eq!(sealed("# none", now + 1000), (true, "more\n".to_owned()));
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

/// The real `cloud-init clean`, where this folder is /etc and /var, with a hook as Ubuntu's installer leaves it.
#[test]
fn the_network_that_cloud_inits_hooks_take_away_is_written_again() {
    let bench = Bench::new();
    let network = "network: {version: 2, ethernets: {any: {match: {name: \"e*\"}, dhcp4: true}}}\n";
    bench.write("etc/netplan/00-installer-config.yaml", network);
    bench.write("etc/netplan/60-more.yaml", "network: {version: 2}\n");
    bench.write("etc/netplan/70-stays.yaml", "network: {version: 2}\n");
    bench.write("etc/cloud/cloud.cfg", fs::read("/etc/cloud/cloud.cfg").unwrap());
    let hook = "#!/bin/sh\nrm /etc/netplan/00-installer-config.yaml /etc/netplan/60-more.yaml\n";
    let hook = bench.write("etc/cloud/clean.d/99-installer", hook);
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    bench.write("var/lib/cloud/instances/x/user-data", "of the build\n");
    let script = "mount --bind etc /etc && mount --bind var /var
        did() { echo \"seal: $1\"; }
        fail() { echo \"seal: $1\" >&2; exit 1; }
        eval \"$(sed -n '/^clean_cloud_init() {/,/^}/p' \"$1\")\"
        clean_cloud_init";
    let said = namespace::as_root("dash")
        .args(["-euc", script, "dash"])
        .arg(repository("guest/seal.sh"))
        .folder(&bench.path("."))
        .read(&Cancel::default())
        .unwrap();
    assert!(said.contains("there again as 50-cloud-init.yaml\n"), "{said}");
    assert_eq!(bench.read("etc/netplan/50-cloud-init.yaml"), network);
    assert!(!bench.path("etc/netplan/00-installer-config.yaml").exists());
    assert!(bench.path("etc/netplan/60-more.yaml").exists());
    assert!(bench.path("etc/netplan/70-stays.yaml").exists());
    assert!(!bench.path("var/lib/cloud/instances").exists(), "{said}");
}

/// What `guest/check.sh` answers to its questions in a private root: of identity, of traces.
fn ask(bench: &Bench, key: &str) -> (String, String) {
    let body = key.split(' ').nth(1).unwrap();
    let (first, second) = body.split_at(body.len() / 2);
    let script = format!(
        "CHECK_URL= CHECK_AFTER=no BUILD_HOSTS= BUILD_KEY='{first} {second}' KEYS_OUT=no CHECK_ROOT={}\n\
         plan() {{\nfact 0 identity\nfact 1 traces\n}}\n{}",
        bench.path(".").display(),
        pipeline::internals::guest::CHECK
    );
    let mut child = Command::new("dash")
        .arg("-s")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let mut answers = text.split("answer ").skip(1).map(|answer| {
        let base64: String = answer.lines().skip(1).filter(|line| *line != "end").collect();
        String::from_utf8(STANDARD.decode(base64).unwrap()).unwrap()
    });
    (answers.next().unwrap(), answers.next().unwrap())
}

/// A root with systemd, in which sealing and checks find nothing yet.
fn small_root() -> Bench {
    let bench = Bench::new();
    bench.write(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\ndeploy:x:999:999::/var/lib/deploy:/bin/bash\n",
    );
    bench.write("usr/lib/systemd/systemd", "");
    bench.write("var/log/syslog", "");
    bench
}

#[test]
fn the_build_key_goes_out_of_every_file_that_has_it_and_the_check_looks_in_every_file() {
    let bench = small_root();
    // Both characters of a key that other notations spell in their own way are in it.
    let body = "AAAAC3NzaC1lZDI1NTE5AAAAIB7/f+1SKcQ0/Rw5l0uYyUGn6y/Ztt0o4W8uJb+Ki9dE";
    let key = format!("ssh-ed25519 {body} pipeline-build-key");
    let alone = [
        "root/.ssh/authorized_keys",
        "root/.ssh/authorized_keys2",
        "etc/ssh/keys/root",
        "etc/skel/.ssh/authorized_keys",
        "var/lib/deploy/.ssh/authorized_keys",
        "srv/git/keydir/ci.pub",
        "opt/app/a name with blanks",
    ];
    for path in alone {
        bench.write(path, format!("{key}\n"));
    }
    bench.write("var/lib/deploy/.bash_history", "deploy --token secret\n");
    bench.write("var/lib/deploy/.psql_history", "alter role\n");
    bench.write("var/lib/deploy/.ansible/tmp/x", "");
    let user_data = "#cloud-config\nusers:\n  - name: ann\n    ssh_authorized_keys:\n";
    bench.write(
        "var/lib/cloud/seed/nocloud/user-data",
        format!("{user_data}      - {key}\n"),
    );
    bench.write(
        "var/lib/app/keys.json",
        format!("[\n\"{}\",\n\"x\"\n]\n", body.replace('/', "\\/")),
    );
    let url = body.replace('/', "%2F").replace('+', "%2B");
    bench.write("etc/app.conf", format!("a = 1\nkey = {url}\n"));
    let answer = ask(&bench, &key).1;
    assert!(
        answer.contains("/var/lib/deploy/.ansible/tmp: files of Ansible"),
        "{answer}"
    );
    for path in alone.iter().chain(&[
        "var/lib/cloud/seed/nocloud/user-data",
        "var/lib/app/keys.json",
        "etc/app.conf",
    ]) {
        assert!(
            answer.contains(&format!("/{path}: the build key\n")),
            "{path}: {answer}"
        );
    }

    let said = seal(&bench, &key);
    for path in alone {
        assert!(!bench.path(path).exists(), "{path} is still there");
        assert!(
            said.contains(&format!("seal: build key: removed from /{path}\n")),
            "{said}"
        );
    }
    // An account is at home below /var as well.
    for name in [".bash_history", ".psql_history", ".ansible"] {
        assert!(
            !bench.path("var/lib/deploy").join(name).exists(),
            "{name}: {said}"
        );
    }
    assert!(bench.path("etc/ssh/keys").exists() && !bench.path("root/.ssh").exists());
    assert_eq!(bench.read("var/lib/cloud/seed/nocloud/user-data"), user_data);
    assert_eq!(bench.read("var/lib/app/keys.json"), "[\n\"x\"\n]\n");
    assert_eq!(bench.read("etc/app.conf"), "a = 1\n");
    assert_eq!(ask(&bench, &key).1, "");

    // The key of another build, which let that one into a base image.
    let other = key.replace("IB7", "IC8");
    bench.write("home/ann/.ssh/authorized_keys", format!("{other}\n"));
    assert_eq!(
        ask(&bench, &key).1,
        "/home/ann/.ssh/authorized_keys: the key of another build\n"
    );

    // Where it is no line of a text, the image is refused, and all such files are named.
    bench.write("var/lib/app/users.db", format!("\0\x01{key}\0"));
    bench.write(
        "var/lib/app/state.json",
        format!("{{{}\"{key}\"}}", "\"x\": 1, ".repeat(2000)),
    );
    let ran = run_seal(&bench, &key);
    let complaint = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(!ran.status.success());
    assert!(
        complaint.contains("cannot be taken out of /var/lib/app/state.json /var/lib/app/users.db: "),
        "{complaint}"
    );
}

#[test]
fn identities_that_packages_made_are_taken_out_and_made_again_at_the_first_boot() {
    let bench = small_root();
    let removed = [
        "etc/nvme/hostid",
        "etc/nvme/hostnqn",
        "etc/ssl/private/ssl-cert-snakeoil.key",
        "etc/dropbear/dropbear_ed25519_host_key",
        "etc/iscsi/initiatorname.iscsi",
        "etc/shadow-",
        "var/lib/mysql/server-key.pem",
        "var/lib/systemd/credential.secret",
        "etc/pki/tls/private/localhost.key",
    ];
    for path in removed {
        bench.write(path, "one for all\n");
    }
    bench.write("usr/lib/systemd/system/httpd-init.service", "");
    bench.write("etc/munge/munge.key", "one for all\n");
    fs::set_permissions(
        bench.path("etc/munge/munge.key"),
        fs::Permissions::from_mode(0o440),
    )
    .unwrap();
    bench.write("etc/popularity-contest.conf", "A=\"1\"\nMY_HOSTID=\"0123\"\n");
    bench.write("etc/salt/pki/minion/minion.pem", "one for all\n");
    // Nothing would make these again, or they are meant so.
    bench.write("etc/pki/dovecot/private/dovecot.pem", "one for all\n");
    bench.write("etc/rndc.key", "one for all\n");
    bench.write("etc/shared-identities", "# of the cluster\n/etc/salt/pki/*\n");
    let installer = "datasource:\n  None:\n    userdata_raw: x\ndatasource_list:\n- None\n";
    bench.write("etc/cloud/cloud.cfg.d/99-installer.cfg", installer);
    bench.write("etc/cloud/ds-identify.cfg", "policy: enabled\n");
    bench.write("etc/cloud/cloud.cfg.d/99-site.cfg", "datasource_list: [None]\n");

    let said = seal(&bench, BUILD_KEY);
    for path in removed.iter().chain(&[
        "etc/munge/munge.key",
        "etc/cloud/cloud.cfg.d/99-installer.cfg",
        "etc/cloud/ds-identify.cfg",
    ]) {
        assert!(!bench.path(path).exists(), "{path} is still there: {said}");
    }
    for path in [
        "etc/pki/dovecot/private/dovecot.pem",
        "etc/rndc.key",
        "etc/salt/pki/minion/minion.pem",
        "etc/cloud/cloud.cfg.d/99-site.cfg",
    ] {
        assert!(bench.path(path).exists(), "{path} is gone: {said}");
    }
    assert!(
        said.contains("seal: MUNGE key: removed, made again at the first boot\n"),
        "{said}"
    );
    assert!(
        said.contains("seal: Salt's keys: stays, as /etc/salt/pki/minion/minion.pem is shared on purpose\n")
    );
    let unit = "etc/systemd/system/basic.target.wants/renew-identities.service";
    assert!(fs::symlink_metadata(bench.path(unit)).is_ok());
    // Sealed twice, the first boot still makes all of it.
    bench.write("etc/xrdp/rsakeys.ini", "one for all\n");
    seal(&bench, BUILD_KEY);

    // The first boot, in this root. Programs that are not here leave their part out.
    let renewal = bench.path("usr/local/sbin/renew-identities");
    let script = bench.read("usr/local/sbin/renew-identities");
    let etc = bench.path("etc");
    fs::write(&renewal, script.replace("/etc/", &format!("{}/", etc.display()))).unwrap();
    let ran = Command::new("dash")
        .arg(&renewal)
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{}\n{script}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let munge = fs::metadata(bench.path("etc/munge/munge.key")).unwrap();
    assert_eq!((munge.len(), munge.permissions().mode() & 0o777), (1024, 0o440));
    let id = bench.read("etc/nvme/hostid");
    assert_eq!(
        bench.read("etc/nvme/hostnqn"),
        format!("nqn.2014-08.org.nvmexpress:uuid:{id}")
    );
    let popularity = bench.read("etc/popularity-contest.conf");
    assert!(
        popularity.starts_with("A=\"1\"\nMY_HOSTID=\"") && popularity.trim_end().len() == 50,
        "{popularity}"
    );
    assert!(script.contains("xrdp-keygen xrdp $files"));
    assert!(
        !renewal.exists() && fs::symlink_metadata(bench.path(unit)).is_err(),
        "it runs once"
    );
}

#[test]
fn the_check_of_identity_finds_private_keys_by_what_they_are() {
    let bench = small_root();
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n";
    for path in [
        "etc/app/odd name.conf",
        "var/lib/app/tls/site.pem",
        "etc/shared/ours.key",
    ] {
        bench.write(path, pem);
    }
    bench.write(
        "etc/wireguard/wg0.conf",
        format!("[Interface]\nPrivateKey = {}=\n", "a".repeat(43)),
    );
    bench.write("etc/app/store.p12", "binary");
    bench.write("etc/munge/munge.key", "binary");
    bench.write("etc/shared-identities", "/etc/shared/*\n");
    // None of these is one.
    bench.write("etc/shadow-", "root:*:\n");
    bench.write("etc/app/public.pem", "-----BEGIN CERTIFICATE-----\n");
    bench.write(
        "etc/app/README",
        "A key begins with -----BEGIN PRIVATE KEY-----.\n",
    );
    bench.write("var/lib/docker/overlay2/1/diff/test.key", pem);
    let answer = ask(&bench, BUILD_KEY).0;
    let found: Vec<_> = answer
        .lines()
        .filter_map(|line| match line.split(' ').next()? {
            "secret" => Some(line.splitn(3, ' ').nth(2).unwrap().to_owned()),
            "shared" => Some(line.to_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(
        found,
        [
            "/etc/app/odd name.conf",
            "/etc/app/store.p12",
            "/etc/munge/munge.key",
            "shared /etc/shared/ours.key",
            "/etc/wireguard/wg0.conf",
            "/var/lib/app/tls/site.pem",
        ],
        "{answer}"
    );
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
