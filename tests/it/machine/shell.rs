//! The way into a guest, against a real sshd.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, Instant};

use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::host::process::Output;
use pipeline::internals::machine::ssh::{Key, Ssh, SshAddress, SshError};

use super::sshd::Sshd;
use super::{LONG, MOMENT};
use crate::support::{Bench, tool};

fn target(sshd: &Sshd) -> SshAddress {
    SshAddress {
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
    connected_with(Bench::new(), "")
}

fn connected_with(bench: Bench, variables: &str) -> (Bench, Sshd, Ssh) {
    let key = Key::generate(&bench.path(""), &Cancel::default()).unwrap();
    let sshd = Sshd::start_with(&bench, key.public(), variables);
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

    // A key that ssh itself does not take is no refusal of the server's, and no waiting helps.
    std::fs::set_permissions(right.path(), PermissionsExt::from_mode(0o644)).unwrap();
    let own = connect(&sshd, &right).unwrap_err();
    assert!(matches!(own, SshError::Connect { is_own: true, .. }), "{own:?}");
    assert!(own.to_string().contains("bad permissions"), "{own}");
    std::fs::set_permissions(right.path(), PermissionsExt::from_mode(0o600)).unwrap();

    // A port that no other process gets meanwhile, as it is bound; nothing listens there.
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
    let closed = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(
        &closed,
        &std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0),
    )
    .unwrap();
    let mut target = target(&sshd);
    let bound = std::net::SocketAddrV4::try_from(getsockname(&closed).unwrap()).unwrap();
    target.port = bound.port();
    let error = Ssh::connect(&target, &right, LONG, &mut || true).unwrap_err();
    assert!(
        matches!(error, SshError::Connect { is_own: false, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("Connection refused"), "{error}");
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

    // Nothing reads what is written there.
    let stuck = bench.path("guest/stuck");
    tool("mkfifo", &["guest/stuck.part"], &bench.path(""));
    let late = ssh.put_bytes(vec![0], stuck.to_str().unwrap(), 0o644, None, MOMENT, &cancel);
    let late = late.unwrap_err().to_string();
    assert!(late.contains("/guest/stuck` did not end within "), "{late}");
}

/// Owner, mode and name of everything below a folder, the folder included, but for the names of the copied tree itself.
fn owners_and_modes(folder: &std::path::Path) -> Vec<String> {
    let mut lines: Vec<_> = tool("find", &[".", "-printf", "%p %m %u:%g\n"], folder)
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_folder_is_copied_over_the_guests_own_tree_and_only_what_was_copied_changes() {
    copy_over_a_tree(connected());
}

#[test]
fn the_same_holds_whatever_options_for_tar_the_host_has_set() {
    let the_copy =
        "machine::shell::a_folder_is_copied_over_the_guests_own_tree_and_only_what_was_copied_changes";
    let again = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", the_copy])
        .env("TAR_OPTIONS", "--exclude=motd --mode=0777")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(again.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn the_same_holds_in_a_guest_that_has_busybox() {
    let bench = Bench::new();
    let tools = bench.path("applets");
    std::fs::create_dir_all(&tools).unwrap();
    tool("busybox", &["--install", "-s", tools.to_str().unwrap()], &tools);
    let path = format!(" PATH={}", tools.display());
    let (bench, sshd, ssh) = connected_with(bench, &path);
    let tar = ssh
        .read("tar --help 2>&1 | head -n 1", &Cancel::default())
        .unwrap();
    assert!(tar.starts_with("BusyBox"), "{tar}");
    copy_over_a_tree((bench, sshd, ssh));
}

fn copy_over_a_tree((bench, _sshd, ssh): (Bench, Sshd, Ssh)) {
    let cancel = Cancel::default();
    let root = rustix::process::geteuid().is_root();
    let me = tool("id", &["-un"], &bench.path("")).trim().to_owned();
    let group = tool("id", &["-gn"], &bench.path("")).trim().to_owned();
    // Whoever may not give files away copies as himself.
    let owner = if root {
        "daemon:mail".to_owned()
    } else {
        format!("{me}:{group}")
    };

    // A guest with folders and files of many owners and modes, and /bin as a link.
    let there = bench.path("guest");
    for (file, mode, user) in [
        ("etc/shadow", 0o640, "bin"),
        ("etc/motd", 0o644, "root"),
        ("home/deploy/.bashrc", 0o600, "games"),
        ("usr/bin/tool", 0o755, "root"),
        ("root/.profile", 0o644, "root"),
        ("tmp/theirs", 0o600, "games"),
    ] {
        let path = bench.write(&format!("guest/{file}"), "the guest's\n");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        if root {
            tool("chown", &["-R", user, path.to_str().unwrap()], &there);
        }
    }
    for (folder, mode) in [
        ("tmp", 0o1777),
        ("root", 0o700),
        ("etc", 0o755),
        ("home/deploy", 0o710),
    ] {
        std::fs::set_permissions(there.join(folder), PermissionsExt::from_mode(mode)).unwrap();
    }
    if root {
        tool("chown", &["games:games", "home/deploy", "tmp"], &there);
    }
    symlink("usr/bin", there.join("bin")).unwrap();
    let before = owners_and_modes(&there);

    // The overlay has most of these folders too, with other modes, and brings new ones.
    for file in [
        "etc/motd",
        "home/deploy/.aliases",
        "tmp/t",
        "root/r",
        "bin/new tool",
        "etc/app/conf d/a\nb",
    ] {
        bench.write(&format!("overlay/{file}"), "copied\n");
    }
    std::fs::set_permissions(
        bench.path("overlay/bin/new tool"),
        PermissionsExt::from_mode(0o4755),
    )
    .unwrap();
    std::fs::set_permissions(bench.path("overlay/tmp"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(bench.path("overlay/etc/app"), PermissionsExt::from_mode(0o750)).unwrap();
    symlink("motd", bench.path("overlay/etc/issue")).unwrap();
    let overlay = bench.path("overlay");
    let to = there.to_str().unwrap();
    ssh.put_tree(&overlay, to, None, Some(&owner), LONG, &cancel)
        .unwrap();

    let copied = |mode: Option<u32>| {
        let or = |own: u32| mode.unwrap_or(own);
        let folder = |own: u32| mode.map_or(own, |mode| mode | (mode & 0o444) >> 2);
        [
            format!("./etc/app {:o} {owner}", folder(0o750)),
            format!("./etc/app/conf d {:o} {owner}", folder(0o755)),
            format!("./etc/app/conf d/a {:o} {owner}", or(0o644)).replace("/a ", "/a\nb "),
            format!("./etc/issue 777 {owner}"),
            format!("./etc/motd {:o} {owner}", or(0o644)),
            format!("./home/deploy/.aliases {:o} {owner}", or(0o644)),
            format!("./root/r {:o} {owner}", or(0o644)),
            format!("./tmp/t {:o} {owner}", or(0o644)),
            format!("./usr/bin/new tool {:o} {owner}", or(0o4755)),
        ]
        .join("\n")
        .lines()
        .map(str::to_owned)
        .collect::<Vec<_>>()
    };
    let expected = |mode: Option<u32>| {
        let copied = copied(mode);
        let untouched = before.iter().filter(|line| !line.starts_with("./etc/motd "));
        let mut lines: Vec<_> = untouched.cloned().chain(copied).collect();
        lines.sort();
        lines
    };
    assert_eq!(owners_and_modes(&there), expected(None));
    assert_eq!(bench.read("guest/etc/motd"), "copied\n");
    assert!(there.join("bin").symlink_metadata().unwrap().is_symlink());

    // Again with a mode, now that its folders are there: files and nothing else get it.
    ssh.put_tree(&overlay, to, Some(0o600), Some(&owner), LONG, &cancel)
        .unwrap();
    let modes_of_folders = expected(None);
    let folders = ["./etc/app ", "./etc/app/conf d "];
    let mut wanted: Vec<_> = expected(Some(0o600))
        .into_iter()
        .filter(|line| !folders.iter().any(|folder| line.starts_with(folder)))
        .chain(
            modes_of_folders
                .into_iter()
                .filter(|line| folders.iter().any(|folder| line.starts_with(folder))),
        )
        .collect();
    wanted.sort();
    assert_eq!(owners_and_modes(&there), wanted);

    // A target that is not there becomes the owner's too, with a mode by which its files can be reached.
    let srv = format!("{to}/srv/www");
    ssh.put_tree(&overlay, &srv, Some(0o640), Some(&owner), LONG, &cancel)
        .unwrap();
    let lines = owners_and_modes(&there.join("srv"));
    assert!(
        lines.contains(&format!("./www 750 {owner}")) && lines.contains(&format!("./www/bin 750 {owner}"))
    );
    assert!(lines.contains(&format!(". 755 {me}:{group}")), "{lines:?}");

    // An owner that the guest does not have is an error before anything is written.
    let unknown = Some("no-such-user");
    let error = ssh
        .put_tree(&overlay, &format!("{to}/opt"), None, unknown, LONG, &cancel)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("`look up no-such-user` exited with code 1"),
        "{error}"
    );
    assert!(!there.join("opt").exists());
    // A file does not slip into a folder that has its name.
    let error = ssh
        .put_bytes(vec![0], &format!("{to}/etc"), 0o644, None, LONG, &cancel)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("etc is a folder in the guest; name the file"),
        "{error}"
    );
}

#[test]
fn waiting_for_a_login_is_given_up_when_asked() {
    // A server that takes the connection and never greets.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bench = Bench::new();
    let key = Key::generate(&bench.path(""), &Cancel::default()).unwrap();
    let target = SshAddress {
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
