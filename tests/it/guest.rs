//! What runs inside guests, as far as it can be told without a VM: the boot-time agent in a private root against a real
//! HTTP server, its installer, sealing, and the templates that configure fresh roots.

use std::collections::BTreeMap;
use std::fs;
use std::fs::OpenOptions;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use minijinja::Environment;
use minijinja::UndefinedBehavior;
use minijinja::Value;
use minijinja::context;
use minijinja::syntax::SyntaxConfig;

use crate::support::Bench;
use crate::support::script_server::Answer;
use crate::support::script_server::ScriptServer;
use crate::support::tool;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
const BUILD_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMgaXMgbm90IGEga2V5IG9mIGFueW9uZSBhbGl2ZQ build";

fn repository(name: &str) -> PathBuf {
    Path::new(REPOSITORY).join(name)
}

fn script(text: &str) -> Answer {
    Answer::Script(text.to_owned())
}

/// Waits for something that another process does within moments.
fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !happened() {
        assert!(Instant::now() < deadline, "{what}: not after 10 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kill(pid: &str) {
    tool("kill", &["-9", pid.trim()], Path::new("/"));
}

/// A guest's root folder with the agent installed in it by its own installer.
struct Guest {
    bench: Bench,
    server: ScriptServer,
    programs: Option<PathBuf>,
}

impl Guest {
    fn new(answer: Answer) -> Self {
        Self::with_max(answer, "10")
    }

    fn with_max(answer: Answer, max_retry: &str) -> Self {
        let bench = Bench::new();
        fresh_root(&bench);
        bench.write("usr/sbin/cron", "");
        fs::set_permissions(bench.path("usr/sbin/cron"), fs::Permissions::from_mode(0o755)).unwrap();
        let said = install(&bench, &[("MAX_RETRY", max_retry), ("HOLD", "no")]);
        assert!(said.contains("started by cron"), "{said}");
        Self {
            bench,
            server: ScriptServer::start(answer),
            programs: None,
        }
    }

    /// What cron does each minute.
    fn start(&self) -> Child {
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.bench.path("var/log/vm-bootstrap.log"))
            .unwrap();
        let path = self
            .programs
            .clone()
            .map_or_else(|| std::env::var_os("PATH").unwrap(), Into::into);
        Command::new(self.bench.path("root/bootstrap/vm-bootstrap"))
            .env_clear()
            .env("PATH", path)
            .env("BOOTSTRAP_ROOT", self.bench.path("."))
            .env("BOOTSTRAP_URL", &self.server.url)
            .env("BOOTSTRAP_PAUSE", "0")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn minute(&self) {
        let status = self.start().wait().unwrap();
        assert!(status.success(), "{status}\n{}", self.log());
    }

    fn log(&self) -> String {
        self.bench.read("var/log/vm-bootstrap.log")
    }

    fn count(&self) -> String {
        self.bench.read("root/bootstrap/retry-amount").trim().to_owned()
    }

    fn retired(&self) -> bool {
        !self.bench.path("etc/cron.d/vm-boostrap").exists()
    }

    /// Shadows the host's programs, so that the guest has this wget and no curl.
    fn only_wget(mut self, wget: &str) -> Self {
        let names = "bash cat cp date flock mv rm sed sleep sync tail timeout tr wc";
        for name in names.split(' ') {
            symlink(found(name), self.bench.path("bin").join(name)).unwrap();
        }
        symlink(found(wget), self.bench.path("bin/wget")).unwrap();
        self.programs = Some(self.bench.path("bin"));
        self
    }
}

fn found(program: &str) -> PathBuf {
    let path = tool("sh", &["-c", &format!("command -v {program}")], Path::new("/"));
    PathBuf::from(path.trim())
}

/// The folders of a system, with the real programs that the agent needs.
fn fresh_root(bench: &Bench) {
    for folder in [
        "bin", "etc", "run", "root", "tmp", "usr/bin", "usr/sbin", "var/log",
    ] {
        fs::create_dir_all(bench.path(folder)).unwrap();
    }
    for program in ["bash", "curl", "flock"] {
        symlink(found(program), bench.path("usr/bin").join(program)).unwrap();
    }
}

fn install(bench: &Bench, environment: &[(&str, &str)]) -> String {
    let output = Command::new("sh")
        .arg(repository("guest/install-agent.sh"))
        .env("DESTDIR", bench.path("."))
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text
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
        tool("shellcheck", &[name], Path::new("/"));
        let shell = if name.ends_with(".sh") { "dash" } else { "bash" };
        tool(shell, &["-n", name], Path::new("/"));
    }
}

#[test]
fn the_script_runs_as_the_contract_says_and_the_third_run_succeeds() {
    let guest = Guest::new(script("echo \"$TERM $PWD ${BASH_VERSION:+bash}\"; exit 3"));
    guest.minute();
    assert_eq!(guest.count(), "1");
    let place = guest
        .bench
        .path(".")
        .canonicalize()
        .unwrap()
        .join("root/bootstrap");
    let log = guest.log();
    assert!(
        log.contains(&format!("xterm {} bash", place.display())) || log.contains("/root/bootstrap bash"),
        "{log}"
    );
    assert!(log.contains("the script exited with 3"), "{log}");

    guest.minute();
    assert!(!guest.retired());
    guest.server.say(script("touch \"$PWD/ran\"; exit 0"));
    guest.minute();
    assert_eq!(guest.count(), "3");
    assert!(guest.retired(), "{}", guest.log());
    assert!(guest.bench.path("root/bootstrap/ran").exists());
    assert_eq!(
        guest.bench.read("root/bootstrap/bootstrap-script"),
        "touch \"$PWD/ran\"; exit 0"
    );

    guest.minute();
    assert_eq!(
        guest.server.requests(),
        3,
        "it ended for good, yet it asked again"
    );
}

#[test]
fn a_script_that_does_not_arrive_whole_is_a_failed_run_with_curl_and_both_wgets() {
    let harm = "touch harm; exit 0 #";
    for wget in ["curl", "wget", "busybox"] {
        let guest = Guest::new(Answer::Absent);
        let guest = if wget == "curl" {
            guest
        } else {
            guest.only_wget(wget)
        };
        guest.minute();
        guest.server.say(Answer::Empty);
        guest.minute();
        guest.server.say(Answer::CutShort(harm.to_owned()));
        guest.minute();
        let log = guest.log();
        assert_eq!(
            (guest.count().as_str(), guest.retired()),
            ("3", false),
            "{wget}: {log}"
        );
        assert_eq!(log.matches("which counts as exit 1").count(), 3, "{wget}: {log}");
        assert!(
            !guest.bench.path("root/bootstrap/harm").exists(),
            "{wget} ran half a script"
        );

        guest.server.say(script("echo whole; exit 0"));
        guest.minute();
        assert!(
            guest.log().contains("\nwhole\n") && guest.retired(),
            "{wget}: {}",
            guest.log()
        );
    }
}

#[test]
fn without_a_server_it_gives_up_at_the_maximum_and_says_so() {
    let mut guest = Guest::with_max(Answer::Absent, "2");
    // Nobody listens on port 1 of loopback.
    "http://127.0.0.1:1/vm-bootstrap".clone_into(&mut guest.server.url);
    guest.minute();
    assert!(!guest.retired());
    guest.minute();
    assert!(guest.retired());
    assert!(
        guest
            .log()
            .contains("giving up: 2 runs, bootstrap-max-retry is 2"),
        "{}",
        guest.log()
    );
}

#[test]
fn the_script_may_move_the_maximum_while_it_runs() {
    let guest = Guest::with_max(script("echo 3 > bootstrap-max-retry; exit 1"), "1");
    guest.minute();
    assert!(
        !guest.retired(),
        "raised in the last run, for this very count\n{}",
        guest.log()
    );
    guest.server.say(script("echo 2 > bootstrap-max-retry; exit 1"));
    guest.minute();
    assert!(
        guest.retired(),
        "lowered to what was run already\n{}",
        guest.log()
    );
}

#[test]
fn removing_either_file_by_its_name_stops_it() {
    let guest = Guest::new(script("rm start-bootstrap; exit 1"));
    guest.minute();
    guest.minute();
    assert_eq!((guest.server.requests(), guest.count().as_str()), (1, "1"));

    let guest = Guest::new(script("rm ../../etc/cron.d/vm-boostrap; exit 1"));
    guest.minute();
    guest.minute();
    assert_eq!((guest.server.requests(), guest.count().as_str()), (1, "1"));
}

#[test]
fn a_script_without_end_keeps_the_next_minute_out_and_a_crash_does_not() {
    let guest = Guest::new(script("echo $$ > pid; exec sleep 600"));
    let mut first = guest.start();
    let pid_file = guest.bench.path("root/bootstrap/pid");
    eventually("the script starts", || {
        fs::read_to_string(&pid_file).is_ok_and(|pid| pid.ends_with('\n'))
    });

    guest.minute();
    assert_eq!(
        (guest.server.requests(), guest.count().as_str()),
        (1, "1"),
        "a second one started"
    );

    first.kill().unwrap();
    first.wait().unwrap();
    guest.server.say(script("exit 1"));
    guest.minute();
    kill(&guest.bench.read("root/bootstrap/pid"));
    assert_eq!(
        guest.count(),
        "2",
        "the crash left a lock behind\n{}",
        guest.log()
    );
}

#[test]
fn what_a_script_leaves_in_the_background_does_not_hold_up_the_next_run() {
    let guest = Guest::new(script("sleep 600 & echo $! > pid; exit 1"));
    guest.minute();
    guest.server.say(script("exit 0"));
    guest.minute();
    kill(&guest.bench.read("root/bootstrap/pid"));
    assert!(guest.retired(), "{}", guest.log());
}

#[test]
fn the_count_survives_a_reboot_and_garbage_in_it_counts_as_none() {
    let guest = Guest::new(script("exit 1"));
    for (before, after) in [
        ("7", "8"),
        ("008", "9"),
        ("seven\n", "1"),
        ("", "1"),
        ("-3", "1"),
        ("99999999999999999999", "1"),
    ] {
        guest.bench.write("root/bootstrap/retry-amount", before);
        guest.minute();
        assert_eq!(guest.count(), after, "from {before:?}");
    }
    // And a maximum that is no number is the usual one.
    guest.bench.write("root/bootstrap/bootstrap-max-retry", "many");
    guest.bench.write("root/bootstrap/retry-amount", "9");
    guest.minute();
    assert!(
        guest.retired() && guest.log().contains("giving up: 10 runs"),
        "{}",
        guest.log()
    );
}

#[test]
fn the_log_stays_small_and_is_never_replaced_under_a_writer() {
    let guest = Guest::new(script("exit 1"));
    let log = guest.bench.write(
        "var/log/vm-bootstrap.log",
        "an old line of the log\n".repeat(200_000),
    );
    let inode = fs::metadata(&log).unwrap().ino();
    guest.minute();
    let text = guest.log();
    assert!(text.len() < 300 * 1024, "{} bytes", text.len());
    assert!(
        text.starts_with("[older lines were dropped]\nan old line of the log\n"),
        "{text:.80}"
    );
    assert!(text.ends_with("the script exited with 1\n"));
    assert_eq!(fs::metadata(&log).unwrap().ino(), inode);
}

#[test]
fn it_waits_for_sealing_which_arms_it() {
    let guest = Guest::new(script("exit 1"));
    install(&guest.bench, &[]);
    guest.minute();
    assert_eq!(
        (guest.server.requests(), guest.count().as_str()),
        (0, "0"),
        "{}",
        guest.log()
    );

    guest
        .bench
        .write("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n");
    guest.bench.write("root/bootstrap/retry-amount", "4\n");
    seal(&guest.bench, "");
    guest.minute();
    assert_eq!(guest.server.requests(), 0, "it ran between sealing and power-off");

    // What a reboot does to /run.
    fs::remove_dir_all(guest.bench.path("run")).unwrap();
    fs::create_dir(guest.bench.path("run")).unwrap();
    guest.minute();
    assert_eq!(
        (guest.server.requests(), guest.count().as_str()),
        (1, "1"),
        "{}",
        guest.log()
    );
}

#[test]
fn the_installer_writes_what_other_machines_rely_on() {
    let guest = Guest::with_max(Answer::Absent, "4");
    assert_eq!(guest.bench.read("root/bootstrap/bootstrap-max-retry"), "4\n");
    assert_eq!(guest.bench.read("root/bootstrap/retry-amount"), "0\n");
    assert!(guest.bench.path("root/bootstrap/start-bootstrap").exists());
    let entry = guest.bench.read("etc/cron.d/vm-boostrap");
    let line = "* * * * * root /root/bootstrap/vm-bootstrap >>/var/log/vm-bootstrap.log 2>&1\n";
    assert!(
        entry.contains("\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"),
        "{entry}"
    );
    assert!(entry.ends_with(line), "{entry}");

    // Without cron: a timer, and the file of that name still is what ends it.
    let bench = Bench::new();
    fresh_root(&bench);
    fs::create_dir_all(bench.path("usr/lib/systemd")).unwrap();
    symlink("/bin/true", bench.path("usr/lib/systemd/systemd")).unwrap();
    let said = install(&bench, &[]);
    assert!(said.contains("started by timer"), "{said}");
    assert!(
        bench
            .read("etc/cron.d/vm-boostrap")
            .lines()
            .all(|line| line.starts_with('#'))
    );
    let service = bench.read("etc/systemd/system/vm-bootstrap.service");
    assert!(
        service.contains("\nConditionPathExists=/etc/cron.d/vm-boostrap\n"),
        "{service}"
    );
    assert!(
        bench
            .path("etc/systemd/system/timers.target.wants/vm-bootstrap.timer")
            .exists()
    );
}

fn seal(bench: &Bench, key: &str) -> String {
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

/// The templates as the program sets them up: strict, and block lines leave nothing behind.
fn templates() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .unwrap();
    environment.set_syntax(syntax);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    for entry in fs::read_dir(repository("templates")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "j2") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            environment
                .add_template_owned(name, fs::read_to_string(&path).unwrap())
                .unwrap();
        }
    }
    environment
}

fn build_facts() -> Value {
    context! {
        distro => "debian12", family => "debian", version => "12", suite => "bookworm",
        components => ["main", "contrib"], mirror => "http://127.0.0.1/debian", security_mirror => "",
        hostname => "vm", root_uuid => "6b1d5f1c-0e35-4f0e-9d3f-6f7b3f0a2a11", build_key => BUILD_KEY, user => "ann",
    }
}

#[test]
fn fresh_roots_are_configured_by_clean_scripts_that_a_template_can_override() {
    let mut environment = templates();
    let own = "{% extends 'bootstrap-debian.sh.j2' %}{% block extra %}\necho mine\n{% endblock %}";
    environment.add_template("own.sh.j2", own).unwrap();
    let bench = Bench::new();
    for name in ["bootstrap-debian.sh.j2", "bootstrap-ubuntu.sh.j2", "own.sh.j2"] {
        let vars = context! { keymap => "fr", locale => "en_US.UTF-8", timezone => "Europe/Paris", kernel_args => "quiet" };
        for facts in [build_facts(), context! { ..build_facts(), ..vars }] {
            let text = environment.get_template(name).unwrap().render(facts).unwrap();
            assert!(text.starts_with("#!/bin/sh\n"), "{name}:\n{text}");
            let path = bench.write("setup.sh", &text);
            tool("shellcheck", &[path.to_str().unwrap()], Path::new("/"));
            tool("dash", &["-n", path.to_str().unwrap()], Path::new("/"));
            assert_eq!(text.contains("echo mine"), name.starts_with("own"));
            assert!(
                text.contains("\nUUID=6b1d5f1c-0e35-4f0e-9d3f-6f7b3f0a2a11  /  ext4 "),
                "{text}"
            );
            assert!(text.contains(&format!("\n{BUILD_KEY}\n")), "{text}");
        }
    }
}

#[test]
fn cloud_init_accepts_the_seed_that_lets_the_build_in() {
    let environment = templates();
    let bench = Bench::new();
    for user in ["root", "ann"] {
        let facts = context! { user, ..build_facts() };
        let text = environment
            .get_template("cloud-init-user-data.yaml.j2")
            .unwrap()
            .render(&facts)
            .unwrap();
        assert!(
            text.starts_with("#cloud-config\n") && text.contains(BUILD_KEY),
            "{text}"
        );
        let path = bench.write("user-data", text);
        let said = tool(
            "cloud-init",
            &["schema", "--config-file", path.to_str().unwrap()],
            Path::new("/"),
        );
        assert!(said.contains("Valid"), "{said}");
        let meta = environment
            .get_template("cloud-init-meta-data.yaml.j2")
            .unwrap()
            .render(&facts)
            .unwrap();
        assert!(
            meta.contains("instance-id: \"build-vm\"\nlocal-hostname: \"vm\""),
            "{meta}"
        );
    }
}

/// `[family]` and `[family.suite]` as the table's own first lines describe them.
#[test]
fn the_package_table_knows_every_suite() {
    let text = fs::read_to_string(repository("templates/families.toml")).unwrap();
    let table: BTreeMap<String, BTreeMap<String, serde_json::Value>> =
        toml_edit::de::from_str(&text).unwrap();
    for (family, suites) in [
        ("debian", ["bullseye", "bookworm", "trixie"]),
        ("ubuntu", ["focal", "jammy", "noble"]),
    ] {
        let family = &table[family];
        assert!(family["kernel"].as_str().unwrap().starts_with("linux-image-"));
        assert!(
            family["packages"]
                .as_array()
                .unwrap()
                .iter()
                .all(serde_json::Value::is_string)
        );
        for suite in suites {
            assert!(family[suite]["packages"].is_array(), "{suite}");
        }
    }
}
