//! Runs that do not end well, and what they say: a missing tool, too little memory, wrong media, a guest that never
//! comes up, Ctrl-C, a kill. Real qemu, guests of 512 bytes.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, Stdio};
use std::time::{Duration, Instant};

use crate::machine::tiny::{Then, disk};
use crate::support::vm::{processes_naming, wait_until};
use crate::support::{Bench, tool};

/// Two distros of tiny guests: one panics, one says something and then nothing more.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.write(
        "panics.raw",
        disk(
            "Kernel panic - not syncing: VFS: Unable to mount root fs\r\n",
            Then::Halt,
        ),
    );
    bench.write("hangs.raw", disk("hello from the guest\r\n", Then::Halt));
    let distro = |name: &str| {
        format!(
            "[distros.{name}]\nfamily = \"debian\"\nversion = \"12\"\nmemory = \"64M\"\ncpus = 1\n\
             source = {{ disk = {{ path = \"{name}.raw\", user = \"root\" }} }}\n\
             [[images]]\ndistro = \"{name}\"\nflavor = \"base\"\nsizes = [\"1G\"]\n"
        )
    };
    let flavor = "[flavors.base]\nsteps = [{ inline = \"true\" }]\n";
    bench.write(
        "m.toml",
        format!(
            "[resources]\njobs = 2\ncpus = 2\n{flavor}{}{}",
            distro("panics"),
            distro("hangs")
        ),
    );
    bench
}

fn start(bench: &Bench, args: &[&str]) -> (Child, BufReader<ChildStderr>) {
    let mut child = bench.command(args).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    (child, stderr)
}

/// Reads until a line says this; gives all lines so far.
fn read_until(stderr: &mut impl BufRead, said: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(said) {
        let before = seen.len();
        stderr.read_line(&mut seen).unwrap();
        assert!(seen.len() > before, "it ended without saying `{said}`:\n{seen}");
    }
    seen
}

#[test]
fn a_guest_that_panics_fails_its_node_at_once_with_its_console() {
    let bench = bench();
    let began = Instant::now();
    let ran = bench.run(&["run", "m.toml", "--distro", "panics"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    for expected in [
        "Unable to mount root fs",
        "    log     ",
        "    next    pipeline logs provision/panics-base",
        "not done",
    ] {
        assert!(ran.stderr.contains(expected), "no `{expected}` in\n{}", ran.all());
    }
    assert!(!bench.path("out").exists());
}

#[test]
fn fail_fast_stops_the_others_and_keep_going_does_not() {
    let bench = bench();
    let began = Instant::now();
    let ran = bench.run(&["run", "m.toml", "--fail-fast"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert!(ran.stderr.contains("Unable to mount root fs"), "{}", ran.all());
    assert!(processes_naming(&bench.path("store")).is_empty());
    // Without it the hanging guest is still waited for when the other one has failed.
    let (mut child, mut stderr) = start(&bench, &["run", "m.toml"]);
    let seen = read_until(&mut stderr, "FAILED");
    assert!(seen.contains("provision panics-base: FAILED"), "{seen}");
    assert!(child.try_wait().unwrap().is_none(), "the other image goes on");
    tool("kill", &["-INT", &child.id().to_string()], &bench.path(""));
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn ctrl_c_stops_vms_in_order_and_says_so() {
    let bench = bench();
    let (mut child, mut stderr) = start(&bench, &["run", "m.toml", "--distro", "hangs", "--verbose"]);
    read_until(&mut stderr, "hello from the guest");
    assert!(!processes_naming(&bench.path("store")).is_empty(), "a VM runs");
    tool("kill", &["-INT", &child.id().to_string()], &bench.path(""));
    let said = read_until(&mut stderr, "logs: ");
    assert!(said.contains("stopping in order; press Ctrl-C again"), "{said}");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(processes_naming(&bench.path("store")).is_empty());
    let scratch: Vec<_> = std::fs::read_dir(bench.path("store/scratch")).unwrap().collect();
    assert!(scratch.is_empty(), "{scratch:?}");
}

/// Servers are asked before any node begins; here one takes the question and says nothing.
#[test]
fn a_run_that_is_stopped_before_its_first_node_was_interrupted() {
    let bench = bench();
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = format!(
        "source = {{ bootstrap = {{ suite = \"bookworm\", mirror = \"http://{}/debian\" }} }}",
        mute.local_addr().unwrap()
    );
    let text = bench.read("m.toml").replace(
        "source = { disk = { path = \"panics.raw\", user = \"root\" } }",
        &source,
    );
    bench.write("mute.toml", text.replace("1G", "3G"));
    let (mut child, mut stderr) = start(&bench, &["run", "mute.toml"]);
    read_until(&mut stderr, "waiting for archives and publishers");
    tool("kill", &["-INT", &child.id().to_string()], &bench.path(""));
    let began = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let runs = bench.run(&["runs", "--format", "json"]).stdout;
    let runs: serde_json::Value = serde_json::from_str(&runs).unwrap();
    assert_eq!(runs["runs"][0]["outcome"], "interrupted", "{runs:#}");
    let logs = bench.run(&["logs"]);
    assert!(logs.stdout.contains(": interrupted"), "{}", logs.all());
}

/// A node that does not stop when it should, here because its process is frozen.
#[test]
fn a_second_ctrl_c_kills_vms_at_once() {
    let bench = bench();
    let (mut child, mut stderr) = start(&bench, &["run", "m.toml", "--distro", "hangs", "--verbose"]);
    read_until(&mut stderr, "hello from the guest");
    let id = child.id().to_string();
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap().flatten();
    let children = threads.map(|thread| std::fs::read_to_string(thread.path().join("children")).unwrap());
    let nodes = children.collect::<String>();
    for node in nodes.split_whitespace() {
        tool("kill", &["-STOP", node], &bench.path(""));
    }
    let interrupt = || tool("kill", &["-INT", &id], &bench.path(""));
    interrupt();
    read_until(&mut stderr, "stopping in order; press Ctrl-C again");
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "it waits for its node");
    interrupt();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    wait_until("the VM to be gone", Duration::from_secs(5), || {
        processes_naming(&bench.path("store")).is_empty()
    });
}

#[test]
fn a_killed_program_leaves_no_vm() {
    let bench = bench();
    let (mut child, mut stderr) = start(&bench, &["run", "m.toml", "--distro", "hangs", "--verbose"]);
    read_until(&mut stderr, "hello from the guest");
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the VM to be gone", Duration::from_secs(5), || {
        processes_naming(&bench.path("store")).is_empty()
    });
}

#[test]
fn what_the_host_lacks_is_told_before_anything_starts() {
    let bench = bench();
    let folder = bench.path("bin");
    std::fs::create_dir(&folder).unwrap();
    let mut command = bench.command(&["run", "m.toml", "--distro", "hangs"]);
    command.env("PATH", &folder).env("PIPELINE_SBIN", &folder);
    let ran = bench.finish(command);
    assert_eq!(ran.code, 3, "{}", ran.all());
    assert!(
        ran.stderr.contains("this host lacks") && ran.stderr.contains("qemu-system-x86_64"),
        "{}",
        ran.all()
    );
    assert!(ran.stderr.contains("pipeline doctor"), "{}", ran.all());

    let text = bench
        .read("m.toml")
        .replace("memory = \"64M\"", "memory = \"9000G\"");
    bench.write("m.toml", text);
    let ran = bench.run(&["run", "m.toml", "--distro", "hangs"]);
    assert_eq!(ran.code, 3, "{}", ran.all());
    assert!(ran.stderr.contains("needs 8.8 TiB of memory"), "{}", ran.all());
}

#[test]
fn wrong_or_broken_media_are_told_apart() {
    let bench = bench();
    let digest = "ab".repeat(32);
    let text = bench.read("m.toml").replace(
        "path = \"hangs.raw\"",
        &format!("path = \"hangs.raw\", sha256 = \"{digest}\""),
    );
    bench.write("m.toml", text);
    let ran = bench.run(&["run", "m.toml", "--distro", "hangs"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    let real = tool("sha256sum", &["hangs.raw"], &bench.path(""));
    let real = real.split(' ').next().unwrap();
    assert!(
        ran.stderr.contains(&digest) && ran.stderr.contains(real),
        "both digests:\n{}",
        ran.all()
    );

    tool(
        "sh",
        &[
            "-c",
            "gzip -k panics.raw && head -c 300 panics.raw.gz > half && mv half panics.raw",
        ],
        &bench.path(""),
    );
    let ran = bench.run(&["run", "m.toml", "--distro", "panics"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.stderr.contains("panics.raw"), "{}", ran.all());

    tool(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "raw",
            "-b",
            "base.raw",
            "panics.raw",
            "1M",
            "-u",
        ],
        &bench.path(""),
    );
    let ran = bench.run(&["run", "m.toml", "--distro", "panics"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(
        ran.stderr.contains("as its backing file:") && ran.stderr.contains("base.raw; only an image"),
        "{}",
        ran.all()
    );
}

#[test]
fn plain_lines_have_no_colour_and_data_goes_to_standard_output() {
    let bench = bench();
    let ran = bench.run(&["run", "m.toml", "--dry-run"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(
        ran.stdout.contains("panics-1G-base") && ran.stderr.is_empty(),
        "{}",
        ran.all()
    );
    let ran = bench.run(&["run", "m.toml", "--distro", "panics"]);
    assert!(
        ran.stdout.is_empty() && !ran.stderr.contains('\u{1b}'),
        "{}",
        ran.all()
    );
}
