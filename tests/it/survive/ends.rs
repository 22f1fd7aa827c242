//! How machines end: a run whose guests go wrong in different ways, and a host without memory.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use pipeline::internals::event::{Emitter, Verdict};
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::machine::error::MachineError;
use pipeline::internals::machine::qemu::Machine;
use pipeline::internals::machine::spec::{Accel, Boot, Disk, DiskFormat, MachineSpec};
use pipeline::internals::platform::Platform;
use pipeline::internals::size::{ByteSize, MIB};
use serde_json::Value;

use crate::machine::tiny::{self, Then};
use crate::support::debian_installer::netboot;
use crate::support::vm::qemu_with;
use crate::support::{Bench, tool};

const LONG: Duration = Duration::from_secs(90);
/// The kernel's count of kills for lack of memory is that of the whole host: one story at a time has machines killed.
static KILLS: Mutex<()> = Mutex::new(());

/// Five images that come to nothing: one panics, one switches itself off, one has nothing to start, one has a boot loader
/// that asks for commands, one is killed from outside. Each failure has a kind of its own, and each has a folder with all that is known. A qemu that breaks down is no
/// failure: its node begins again.
#[test]
fn five_ways_to_fail_have_their_verdicts_and_a_folder_each() {
    let _alone = KILLS.lock();
    let bench = Bench::new();
    let panic = "Kernel panic - not syncing: VFS: Unable to mount root fs\r\n";
    bench.write("panics.raw", tiny::disk(panic, Then::Halt));
    bench.write("leaves.raw", tiny::disk("bye\r\n", Then::PowerOff));
    // Its boot code is int 0x18, by which a boot sector says that there is nothing to start.
    let mut empty = tiny::disk("", Then::Halt);
    empty[..2].copy_from_slice(&[0xcd, 0x18]);
    bench.write("empty.raw", empty);
    bench.write("menuless.raw", tiny::disk("\x1b[2J\r\ngrub> ", Then::Halt));
    bench.write("killed.raw", tiny::disk("hello from the guest\r\n", Then::Halt));
    let names = ["panics", "leaves", "empty", "menuless", "killed"];
    let mut text =
        "[resources]\njobs = 5\ncpus = 5\n[flavors.base]\nsteps = [{ inline = \"true\" }]\n".to_owned();
    for name in names {
        text += &format!(
            "[distros.{name}]\nfamily = \"debian\"\nversion = \"12\"\nmemory = \"64M\"\ncpus = 1\n\
             source = {{ disk = {{ path = \"{name}.raw\", user = \"root\" }} }}\n\
             [[images]]\ndistro = \"{name}\"\nflavor = \"base\"\nsizes = [\"1G\"]\n"
        );
    }
    bench.write("m.toml", text);
    let began = Instant::now();
    let mut command = bench.command(&["run", "m.toml", "--format=json"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut verdicts, mut messages, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    let mut panic = Value::Null;
    let mut signals = ["-ABRT", "-KILL"].iter();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let node = event["node"].as_str().unwrap_or_default().to_owned();
        if node == "provision/killed-base" && event["text"] == "hello from the guest" {
            let signal = signals.next().expect("it begins again once");
            tool(
                "kill",
                &[signal, &qemu_of(&bench, "provision-killed-base")],
                Path::new("/"),
            );
        }
        if event["event"] == "warning" {
            warnings.push((node.clone(), event["text"].as_str().unwrap().to_owned()));
        }
        if event["outcome"] == "failed" {
            verdicts.push((node, event["verdict"].as_str().unwrap().to_owned()));
            messages.push(event["message"].as_str().unwrap().to_owned());
            if event["verdict"] == "kernel_panic" {
                panic = event;
            }
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    verdicts.sort();
    let expected = [
        ("empty", "never_booted"),
        ("killed", "guest_died"),
        ("leaves", "guest_died"),
        ("menuless", "never_booted"),
        ("panics", "kernel_panic"),
    ];
    let expected = expected.map(|(name, word)| (format!("provision/{name}-base"), word.to_owned()));
    assert_eq!(verdicts, expected, "{messages:#?}");
    let broke_down = "qemu crashed, which is no fault of the guest: it was killed by signal 6; try a newer qemu; retrying \
                      provision/killed-base";
    let wanted = ("provision/killed-base".to_owned(), broke_down.to_owned());
    assert!(warnings.contains(&wanted), "{warnings:#?}");
    let all = messages.concat();
    assert!(all.contains("qemu was killed by signal 9"), "{all}");
    assert!(all.contains("qemu exited with code 0"), "{all}");
    assert!(
        all.contains("found nothing to boot: the boot loader asks for commands (grub>)"),
        "{all}"
    );
    // Neither was the memory's fault, and no message says so.
    assert!(!all.contains("memory"), "{all}");

    let runs = fs::read_dir(bench.path("store/runs")).unwrap();
    let run = runs.map(|e| e.unwrap().path()).next().unwrap();
    for (name, words) in [("panics", "kernel panic"), ("killed", "guest died")] {
        let folder = run.join(format!("provision-{name}-base"));
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
        let verdict = read("verdict.txt");
        assert!(
            verdict.starts_with(&format!("provision/{name}-base: {words}\n\n")),
            "{verdict}"
        );
        assert!(
            verdict.contains("  provision/console.log  the guest's serial console, as received\n"),
            "{verdict}"
        );
        for file in ["qemu.argv", "qemu.stderr", "console.log"] {
            assert!(folder.join("provision").join(file).exists(), "{file}");
        }
        let host: Value = serde_json::from_str(&read("host.json")).unwrap();
        assert!(host["memory_available_bytes"].as_u64().unwrap() > 0, "{host}");
        assert!(host["qemu"].as_str().unwrap().contains('.'), "{host}");
        let own = format!("provision/{name}-base");
        let events: Vec<Value> = read("events.jsonl")
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert!(
            events.iter().all(|event| event["node"] == own.as_str()),
            "only its own events"
        );
        assert_eq!(events.last().unwrap()["event"], "node_finished");
        let mode = fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
    let screen = run.join("provision-panics-base/provision/screen.png");
    assert!(fs::read(screen).unwrap().starts_with(b"\x89PNG"));
    // The message has the lines that matter, and where the rest is.
    let panicked = panic["message"].as_str().unwrap();
    assert_eq!(panic["cause"], panicked.lines().next().unwrap());
    assert!(
        panic["log"].as_str().unwrap().ends_with("/provision-panics-base"),
        "{panic}"
    );
    assert!(
        panicked.lines().filter(|line| line.starts_with("  | ")).count() <= 10,
        "{panicked}"
    );
}

/// The qemu that works in the scratch folder of this node.
fn qemu_of(bench: &Bench, node: &str) -> String {
    let store = bench.path("store/scratch").display().to_string();
    qemu_with(&[&store, node]).unwrap_or_else(|| panic!("no qemu of {node}"))
}

/// A real kernel that has no root file system.
#[test]
fn a_real_kernel_that_panics_is_known_by_its_words() {
    let bench = Bench::new();
    let mut spec = MachineSpec::with_disk(
        "panic",
        Platform::default(),
        Accel::Tcg,
        ByteSize(256 * MIB),
        Disk::new(bench.write("disk.raw", vec![0; 1 << 20]), DiskFormat::Raw),
    );
    spec.boot = Boot::Kernel {
        kernel: netboot().kernel,
        initrd: None,
        cmdline: "console=ttyS0 root=/dev/nothing".to_owned(),
    };
    let (sender, events) = mpsc::channel();
    let mut machine = Machine::start(
        &spec,
        &bench.path("vm"),
        &Emitter::new(sender),
        &Cancel::default(),
    )
    .unwrap();
    let error = machine.wait_console("login:", LONG * 5).unwrap_err();
    drop(machine);
    assert_eq!(error.verdict(), Verdict::KernelPanic, "{error}");
    assert!(error.to_string().contains("Unable to mount root fs"), "{error}");
    drop(events);
}

/// A control group of memory, with a limit; removed when dropped.
struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// None where this host lets us make none.
    fn with(limit: u64) -> Option<Self> {
        let name = format!("pipeline-test-{}", std::process::id());
        // Of version 1, and of version 2.
        for (root, file) in [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ] {
            let folder = Path::new(root).join(&name);
            if !Path::new(root).exists() || fs::create_dir(&folder).is_err() {
                continue;
            }
            let group = Self(folder);
            if fs::write(group.0.join(file), limit.to_string()).is_ok() {
                return Some(group);
            }
        }
        None
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let began = Instant::now();
        while fs::remove_dir(&self.0).is_err() && began.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The guest uses the memory that it was promised, and the host does not have it. Where no control group can be made (a
/// plain user, a container), the same qemu is killed by us: then it must *not* be said that memory was short.
#[test]
fn a_machine_that_the_host_killed_for_want_of_memory_is_told_from_one_that_somebody_killed() {
    let _alone = KILLS.lock();
    let bench = Bench::new();
    let group = MemoryGroup::with(160 << 20);
    let enter = group.as_ref().map_or(String::new(), |group| {
        format!("echo $$ > {}/cgroup.procs\n", group.0.display())
    });
    let program = bench.write(
        "qemu",
        format!("#!/bin/sh\n{enter}exec qemu-system-x86_64 \"$@\"\n"),
    );
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let disk = bench.write("disk.raw", tiny::disk("hungry\n", Then::EatMemory));
    let mut spec = MachineSpec::with_disk(
        "tiny",
        Platform::default(),
        Accel::Tcg,
        ByteSize(512 * MIB),
        Disk::new(disk, DiskFormat::Raw),
    );
    spec.program = Some(program);
    let (sender, _events) = mpsc::channel();
    let started = Machine::start(
        &spec,
        &bench.path("vm"),
        &Emitter::new(sender),
        &Cancel::default(),
    );
    let error = match started {
        Err(error) => error,
        Ok(mut machine) => {
            if group.is_none() {
                machine.wait_console("hungry", LONG).unwrap();
                tool("kill", &["-KILL", &machine.id().to_string()], Path::new("/"));
            }
            machine.wait_console("full", LONG).unwrap_err()
        }
    };
    let text = error.to_string();
    if group.is_some() {
        assert!(matches!(error, MachineError::HostMemory { .. }), "{text}");
        assert_eq!(error.verdict(), Verdict::HostOutOfMemory);
        assert!(
            text.starts_with("this host ran out of memory and its kernel killed the machine"),
            "{text}"
        );
        if rustix::process::geteuid().is_root() {
            assert!(
                text.contains("Killed process") && text.contains("qemu"),
                "root may read who it was: {text}"
            );
        }
    } else {
        // Past the capture of the tests' output: whoever runs them should see it.
        let seen = "no control group can be made here: seen is only that a plain kill is no lack of memory";
        std::io::Write::write_all(&mut std::io::stderr(), format!("{seen}\n").as_bytes()).unwrap();
        assert_eq!(error.verdict(), Verdict::GuestDied, "{text}");
        assert!(
            text.contains("killed by signal 9") && !text.contains("memory"),
            "{text}"
        );
    }
}

/// A sandbox gave its builder a folder for temporary files whose path is longer than a socket's may be.
#[test]
fn a_machine_starts_although_the_folder_for_temporary_files_has_a_long_path() {
    let bench = Bench::new();
    bench.write("leaves.raw", tiny::disk("bye\r\n", Then::PowerOff));
    bench.write(
        "m.toml",
        "[distros.x]\nfamily = \"debian\"\nversion = \"12\"\nmemory = \"64M\"\ndisk = \"1G\"\n\
         source = { disk = { path = \"leaves.raw\", user = \"root\" } }\n[flavors.f]\nsteps = []\n\
         [[images]]\ndistro = \"x\"\nflavor = \"f\"\nsizes = [\"1G\"]\n",
    );
    let long = bench.path(&"t".repeat(100));
    fs::create_dir(&long).unwrap();
    let run = |args: &[&str]| {
        let mut command = bench.command(args);
        command.env("TMPDIR", &long);
        bench.finish(command)
    };
    // As far as the guest goes: it came up, and switched itself off.
    let ran = run(&["run", "m.toml"]);
    assert!(ran.stderr.contains("guest died: provision x-f"), "{}", ran.all());
    let doctor = run(&["doctor"]);
    let line = doctor.stdout.lines().find(|line| line.contains(" sockets "));
    assert!(
        line.is_some_and(|line| line.starts_with("ok ") && line.ends_with("below /tmp")),
        "{}",
        doctor.stdout
    );
}
