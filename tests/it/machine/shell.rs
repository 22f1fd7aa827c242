//! The way into a guest, against a real sshd.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, Instant};

use pipeline::host::cancel::Cancel;
use pipeline::host::process::Output;
use pipeline::machine::ssh::{Key, Ssh, SshError, Target};

use super::sshd::Sshd;
use super::{LONG, MOMENT};
use crate::support::{Bench, tool};

fn target(sshd: &Sshd) -> Target {
    Target {
        host: "127.0.0.1".to_owned(),
        port: sshd.port,
        user: tool("id", &["-un"], std::path::Path::new("/")).trim().to_owned(),
    }
}

fn connect(sshd: &Sshd, key: &Key) -> Result<Ssh, SshError> {
    Ssh::connect(&target(sshd), key, LONG, &mut || true)
}

/// A folder, a server and a connection to it.
fn connected() -> (Bench, Sshd, Ssh) {
    let bench = Bench::new();
    let key = Key::generate(&bench.path(""), &Cancel::default()).unwrap();
    let sshd = Sshd::start(&bench, key.public());
    let ssh = connect(&sshd, &key).unwrap();
    (bench, sshd, ssh)
}

fn run(ssh: &Ssh, command: &str) -> (Result<i32, SshError>, Vec<(Output, String)>) {
    let mut lines = Vec::new();
    let code = ssh.run(
        command,
        Vec::new(),
        Some(LONG),
        &Cancel::default(),
        &mut |output, line| {
            lines.push((output, line.to_owned()));
        },
    );
    lines.sort_by_key(|(output, _)| *output == Output::Stderr);
    (code, lines)
}

#[test]
fn commands_give_their_exit_code_and_both_their_outputs() {
    let (bench, _sshd, ssh) = connected();
    let (code, lines) = run(&ssh, "echo 'it''s out'; printf 'no newline' >&2; exit 7");
    assert_eq!(code.unwrap(), 7);
    let expected = [
        (Output::Stdout, "its out".to_owned()),
        (Output::Stderr, "no newline".to_owned()),
    ];
    assert_eq!(lines, expected);
    // What ssh itself would say with 255, the command can say too; and a signal has its shell's number.
    assert_eq!(run(&ssh, "exit 255").0.unwrap(), 255);
    assert_eq!(run(&ssh, "kill -9 $$").0.unwrap(), 137);

    let cancel = Cancel::default();
    assert_eq!(
        ssh.read("cd; pwd", &cancel).unwrap(),
        bench.path("sshd").to_str().unwrap()
    );
    assert_eq!(ssh.read("printf 'a\\nb\\n'", &cancel).unwrap(), "a\nb");
    let error = ssh
        .read("echo it went wrong >&2; false", &cancel)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "`echo it went wrong >&2; false` exited with code 1 in the guest\n  | it went wrong"
    );
}

#[test]
fn standard_input_may_be_large_and_a_daemon_does_not_hold_the_session() {
    let (_bench, _sshd, ssh) = connected();
    let cancel = Cancel::default();
    let big = b"0123456789abcde\n".repeat(1 << 20);
    let (mut bytes, mut talk) = (0, Vec::new());
    let code = ssh.run(
        "cat",
        big.clone(),
        Some(LONG),
        &cancel,
        &mut |output, line| match output {
            Output::Stdout => bytes += line.len() + 1,
            Output::Stderr => talk.push(line.to_owned()),
        },
    );
    assert_eq!((code.unwrap(), bytes, talk), (0, big.len(), Vec::new()));

    let started = Instant::now();
    let (code, lines) = run(&ssh, "sleep 50 & echo started");
    assert_eq!((code.unwrap(), lines[0].1.as_str()), (0, "started"));
    assert!(started.elapsed() < LONG / 3, "{:?}", started.elapsed());
}

#[test]
fn a_lost_connection_a_late_command_and_a_stop_are_three_things() {
    let (_bench, sshd, ssh) = connected();
    let cancel = Cancel::default();
    let limit = Some(Duration::from_secs(2));
    let late = ssh.run(
        "echo working; sleep 50",
        Vec::new(),
        limit,
        &cancel,
        &mut |_, _| {},
    );
    let late = late.unwrap_err().to_string();
    assert_eq!(
        late,
        "`echo working; sleep 50` did not end within 2.0s\n  | working"
    );

    let stop = Cancel::default();
    let stopped = ssh.run("echo; sleep 50", Vec::new(), None, &stop, &mut |_, _| {
        stop.cancel();
    });
    assert!(matches!(stopped, Err(SshError::Cancelled)), "{stopped:?}");

    assert!(ssh.is_alive());
    let started = Instant::now();
    let lost = ssh.run(
        "echo here; sleep 50",
        Vec::new(),
        None,
        &cancel,
        &mut |_, line| {
            if line == "here" {
                sshd.kill_sessions();
            }
        },
    );
    assert!(started.elapsed() < LONG / 3, "{:?}", started.elapsed());
    let lost = lost.unwrap_err();
    assert!(matches!(lost, SshError::Lost { .. }), "{lost:?}");
    assert!(
        lost.to_string()
            .starts_with("lost the connection to the guest while `echo here; sleep 50` ran")
    );
    // A connection that is gone is not quietly made again.
    let again = ssh.read("true", &cancel).unwrap_err();
    assert!(matches!(again, SshError::Lost { .. }), "{again:?}");
}

#[test]
fn a_wrong_key_is_refused_and_a_closed_port_is_something_else() {
    let bench = Bench::new();
    let cancel = Cancel::default();
    std::fs::create_dir_all(bench.path("right")).unwrap();
    std::fs::create_dir_all(bench.path("wrong")).unwrap();
    let right = Key::generate(&bench.path("right"), &cancel).unwrap();
    let wrong = Key::generate(&bench.path("wrong"), &cancel).unwrap();
    assert_eq!(std::fs::metadata(wrong.path()).unwrap().mode() & 0o777, 0o600);
    assert_eq!(Key::load(wrong.path()).unwrap().public(), wrong.public());

    let sshd = Sshd::start(&bench, right.public());
    let refused = connect(&sshd, &wrong).unwrap_err();
    assert!(matches!(refused, SshError::Refused { .. }), "{refused:?}");
    assert!(refused.to_string().contains("refuses the key `"), "{refused}");
    connect(&sshd, &right).unwrap();

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut target = target(&sshd);
    target.port = closed.local_addr().unwrap().port();
    drop(closed);
    let error = Ssh::connect(&target, &right, LONG, &mut || true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("Connection refused"), "{error}");
}

#[test]
fn files_and_trees_arrive_as_they_are() {
    let (bench, _sshd, ssh) = connected();
    let cancel = Cancel::default();
    let path = bench.path("guest/etc/it's here/file");
    let remote = path.to_str().unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    ssh.put_bytes(bytes.clone(), remote, 0o640, None, LONG, &cancel)
        .unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(
        std::fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777,
        0o755
    );

    let script = bench.write("tree/bin/-run me.sh", "#!/bin/sh\n");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    bench.write("tree/.hidden", "h");
    bench.write("tree/-dash", "d");
    symlink("bin/-run me.sh", bench.path("tree/link")).unwrap();
    let there = bench.path("guest/opt/tree");
    let me = tool("id", &["-un"], &bench.path("")).trim().to_owned();
    let (tree, to) = (bench.path("tree"), there.to_str().unwrap());
    ssh.put_tree(&tree, to, None, Some(&me), LONG, &cancel).unwrap();
    let listing = |folder| tool("find", &[".", "-mindepth", "1", "-printf", "%p %m %l\n"], folder);
    let sorted = |text: String| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(listing(&there)), sorted(listing(&bench.path("tree"))));
    assert_eq!(
        std::fs::read_to_string(there.join("link")).unwrap(),
        "#!/bin/sh\n"
    );

    let error = ssh
        .put_bytes(Vec::new(), "/proc/nowhere/x", 0o644, None, LONG, &cancel)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("`write /proc/nowhere/x` exited with code 1 in the guest"),
        "{error}"
    );
    let error = ssh
        .put_tree(&bench.path("absent"), "/tmp", None, None, LONG, &cancel)
        .unwrap_err();
    assert!(matches!(error, SshError::File { .. }), "{error}");

    // All with one mode: whoever may read the files may enter their folders.
    let to = bench.path("guest/opt/modes");
    let owner = Some(me.as_str());
    ssh.put_tree(&tree, to.to_str().unwrap(), Some(0o640), owner, LONG, &cancel)
        .unwrap();
    let modes = sorted(tool("find", &[".", "-mindepth", "1", "-printf", "%p %m\n"], &to));
    assert_eq!(
        modes,
        [
            "./-dash 640",
            "./.hidden 640",
            "./bin 750",
            "./bin/-run me.sh 640",
            "./link 777"
        ]
    );

    // Nobody reads what is written there.
    let stuck = bench.path("guest/stuck");
    tool("mkfifo", &["guest/stuck.part"], &bench.path(""));
    let late = ssh.put_bytes(vec![0], stuck.to_str().unwrap(), 0o644, None, MOMENT, &cancel);
    let late = late.unwrap_err().to_string();
    assert!(late.contains("/guest/stuck` did not end within "), "{late}");
}

#[test]
fn waiting_for_a_login_is_given_up_when_asked() {
    // A server that takes the connection and never greets.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bench = Bench::new();
    let key = Key::generate(&bench.path(""), &Cancel::default()).unwrap();
    let target = Target {
        host: "127.0.0.1".to_owned(),
        port: mute.local_addr().unwrap().port(),
        user: "root".to_owned(),
    };
    let started = Instant::now();
    let error = Ssh::connect(&target, &key, LONG, &mut || started.elapsed() < MOMENT).unwrap_err();
    assert!(matches!(error, SshError::Cancelled), "{error}");
    let error = Ssh::connect(&target, &key, Duration::from_secs(1), &mut || true).unwrap_err();
    assert!(matches!(error, SshError::Connect { .. }), "{error}");
}
