//! The boot-time agent in a private root against a real HTTP server, and its installer.

use std::fs;
use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::repository;
use super::sealing::seal;
use crate::support::script_server::{Answer, ScriptServer};
use crate::support::{Bench, tool};

pub fn script(text: &str) -> Answer {
    Answer::Script(text.to_owned())
}

/// Waits for something that another process does within moments.
pub fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
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
pub struct Guest {
    pub bench: Bench,
    pub server: ScriptServer,
    programs: Option<PathBuf>,
}

impl Guest {
    pub fn new(answer: Answer) -> Self {
        Self::with_max(answer, "10")
    }

    pub fn with_max(answer: Answer, max_retry: &str) -> Self {
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
    pub fn start(&self) -> Child {
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

    pub fn minute(&self) {
        let status = self.start().wait().unwrap();
        assert!(status.success(), "{status}\n{}", self.log());
    }

    pub fn log(&self) -> String {
        self.bench.read("var/log/vm-bootstrap.log")
    }

    pub fn count(&self) -> String {
        self.bench.read("root/bootstrap/retry-amount").trim().to_owned()
    }

    pub fn retired(&self) -> bool {
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
    // Nothing listens on port 1 of loopback.
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
fn a_script_that_talks_without_end_does_not_fill_the_disk() {
    let guest = Guest::new(script(
        "echo $$ > pid; while :; do echo a line of a script that does not stop; done",
    ));
    let mut first = guest.start();
    let log = guest.bench.path("var/log/vm-bootstrap.log");
    let length = || fs::metadata(&log).map_or(0, |data| data.len());
    eventually("the log is large", || length() > 4 << 20);
    // Stopped, so that what is measured is what the next minute left.
    let pid = guest.bench.read("root/bootstrap/pid");
    tool("kill", &["-STOP", pid.trim()], Path::new("/"));
    guest.minute();
    let left = length();
    kill(&pid);
    first.wait().unwrap();
    assert!(left < 300 * 1024, "{left} bytes");
    assert_eq!(
        guest.server.requests(),
        1,
        "the minute that cut the log ran nothing"
    );
    assert!(guest.log().contains("the script exited with 137"));
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
