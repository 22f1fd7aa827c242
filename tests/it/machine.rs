//! Machines: real qemu with guests of one sector, a real sshd, real partition tables and file systems.

mod disks;
mod door;
mod playbook;
mod shell;
mod sshd;
pub mod tiny;
mod uefi;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use pipeline::internals::event::{Emitter, Event, Verdict, What};
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::machine::console::Trouble;
use pipeline::internals::machine::ending::{Down, Stopped};
use pipeline::internals::machine::error::{MachineError, Reach};
use pipeline::internals::machine::qemu::Machine;
use pipeline::internals::machine::spec::{Accel, Boot, Disk, DiskFormat, MachineSpec};
use pipeline::internals::machine::ssh::Key;
use pipeline::internals::platform::Platform;
use pipeline::internals::size::{ByteSize, MIB, TIB};

use crate::support::Bench;
use tiny::Then;

/// Far more than anything here needs: a wait that ends by it has failed.
const LONG: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(200);

/// A machine with a guest of one sector, and the events it sends.
fn spec(bench: &Bench, text: &str, then: Then) -> MachineSpec {
    let disk = bench.write("disk.raw", tiny::disk(text, then));
    MachineSpec::with_disk(
        "tiny",
        Platform::default(),
        Accel::Tcg,
        ByteSize(32 * MIB),
        Disk::new(disk, DiskFormat::Raw),
    )
}

fn start(bench: &Bench, spec: &MachineSpec) -> (Result<Machine, MachineError>, mpsc::Receiver<Event>) {
    let (sender, events) = mpsc::channel();
    let emit = Emitter::new(sender).for_node("provision/tiny");
    (
        Machine::start(spec, &bench.path("vm"), &emit, &Cancel::default()),
        events,
    )
}

fn is_running(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/exe")).read_link().is_ok()
}

fn soon(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < LONG, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_a_guest_prints_is_logged_seen_live_and_its_screen_can_be_kept() {
    let bench = Bench::new();
    let (machine, events) = start(
        &bench,
        &spec(&bench, "\x1b[1mhello\x1b[0m\r\nready> ", Then::Halt),
    );
    let mut machine = machine.unwrap();
    assert_eq!(machine.wait_console("hello", LONG).unwrap(), "hello");
    assert_eq!(machine.wait_console("ready>", LONG).unwrap(), "ready>");
    assert_ne!(machine.ssh_port().unwrap(), 0);

    let screen = bench.path("screen.png");
    machine.screendump(&screen).unwrap();
    assert!(std::fs::read(&screen).unwrap().starts_with(b"\x89PNG\r\n\x1a\n"));

    let pid = machine.id();
    drop(machine);
    soon("the end of qemu", || !is_running(pid));
    let last = std::fs::read(bench.path("vm/screen.png")).unwrap();
    assert!(
        last.starts_with(b"\x89PNG"),
        "who drops a running machine wants to know why"
    );
    assert!(
        bench.read("vm/console.log").contains("\x1b[1mhello"),
        "the log is as received"
    );
    assert!(
        bench
            .read("vm/qemu.argv")
            .starts_with("qemu-system-x86_64 -name guest=pipeline-tiny")
    );
    let lines: Vec<_> = events
        .iter()
        .filter_map(|event| match event.what {
            What::Line { text, .. } => Some(text),
            _ => None,
        })
        .collect();
    assert!(
        lines.contains(&"hello".to_owned()) && lines.contains(&"ready>".to_owned()),
        "{lines:?}"
    );
    let mode = std::os::unix::fs::MetadataExt::mode(&bench.path("vm").metadata().unwrap());
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn keys_are_typed_when_the_console_shows_that_somebody_reads_them() {
    let bench = Bench::new();
    let (machine, _events) = start(&bench, &spec(&bench, "boot: ", Then::EchoKeys));
    let mut machine = machine.unwrap();
    let text = "<waitFor 'boot:'><wait200ms>auto url=\"http://x/~{a}_b\" <leftShiftOn>held<leftShiftOff> &|<<On><<Off>#";
    let typed =
        pipeline::internals::boot_command::actions(&pipeline::internals::boot_command::parse(text).unwrap());
    machine.type_keys(&typed, LONG).unwrap();
    let shown = machine.wait_console("#", LONG).unwrap();
    // The prompt's own blank may come behind what was waited for.
    assert_eq!(shown.trim_start(), "auto url=\"http://x/~{a}_b\" HELD &|<#");

    let never = pipeline::internals::boot_command::parse("<waitFor 'login:' 1s>").unwrap();
    let error = machine
        .type_keys(&pipeline::internals::boot_command::actions(&never), LONG)
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("waited 1.0s for `login:` on the console"),
        "{text}"
    );
    assert!(text.contains("HELD &|<#"), "{text}");
}

#[test]
fn a_kernel_from_the_host_starts_although_the_disk_could() {
    let bench = Bench::new();
    let mut direct = spec(&bench, "from the disk\n", Then::Halt);
    direct.boot = Boot::Kernel {
        kernel: bench.write("linux", tiny::kernel("from the kernel\n", Then::Halt)),
        initrd: None,
        cmdline: "console=ttyS0".to_owned(),
    };
    let mut machine = start(&bench, &direct).0.unwrap();
    assert_eq!(
        machine.wait_console("from the kernel", LONG).unwrap(),
        "from the kernel"
    );
}

#[test]
fn a_machine_is_stopped_by_the_gentlest_means_that_works() {
    for (then, grace, how) in [
        (Then::ObeyPowerButton, LONG, Stopped::PowerButton),
        (Then::Halt, MOMENT, Stopped::Quit),
        (Then::Halt, Duration::ZERO, Stopped::Quit),
    ] {
        let bench = Bench::new();
        let mut machine = start(&bench, &spec(&bench, "up\n", then)).0.unwrap();
        machine.wait_console("up", LONG).unwrap();
        // The guest turns to its power button just after it has printed.
        std::thread::sleep(MOMENT);
        assert_eq!(machine.stop(grace), how);
        assert!(!is_running(machine.id()));
        assert_eq!(machine.stop(grace), Stopped::Already);
    }
}

#[test]
fn a_guest_that_switches_itself_off_is_done_and_one_that_does_not_is_late() {
    let bench = Bench::new();
    let mut brief = spec(&bench, "bye\n", Then::PowerOff);
    // Its port would be asked for when it may be gone already.
    brief.ssh = false;
    let mut machine = start(&bench, &brief).0.unwrap();
    machine.wait_off(LONG).unwrap();
    assert_eq!(machine.console().last_lines(1), ["bye"]);

    let bench = Bench::new();
    let mut machine = start(&bench, &spec(&bench, "still here\n", Then::Halt))
        .0
        .unwrap();
    machine.wait_console("still", LONG).unwrap();
    let error = machine.wait_off(MOMENT).unwrap_err().to_string();
    assert!(
        error.starts_with("waited 0.2s for the guest to switch itself off"),
        "{error}"
    );
    assert!(error.ends_with("\n  | still here"), "{error}");
    let error = machine.wait_console("what never comes", MOMENT).unwrap_err();
    assert_eq!(error.verdict(), Verdict::Silence);
    let error = error.to_string();
    assert!(
        error.contains("neither printed nor touched its disk for 0.2s"),
        "{error}"
    );
}

#[test]
fn a_restart_is_noticed_and_can_be_made_the_end() {
    let bench = Bench::new();
    let mut machine = start(&bench, &spec(&bench, "again\n", Then::Reset)).0.unwrap();
    machine.wait_reset(1, LONG).unwrap();
    machine.wait_console("again", LONG).unwrap();
    machine.wait_console("again", LONG).unwrap();

    let bench = Bench::new();
    let mut machine = start(&bench, &spec(&bench, "never\n", Then::Halt)).0.unwrap();
    machine.wait_console("never", LONG).unwrap();
    let error = machine.wait_reset(1, MOMENT).unwrap_err();
    assert_eq!(error.verdict(), Verdict::NoReboot);
    assert!(
        error
            .to_string()
            .starts_with("the guest did not restart when it was asked to"),
        "{error}"
    );

    // One that has booted is waited for as long as it works, but not for ever.
    let bench = Bench::new();
    let mut machine = start(&bench, &spec(&bench, "tiny login: ", Then::Spin))
        .0
        .unwrap();
    machine.wait_console("login:", LONG).unwrap();
    let error = machine.wait_reset(1, MOMENT).unwrap_err();
    assert_eq!(error.verdict(), Verdict::NoReboot);

    let bench = Bench::new();
    let mut once = spec(&bench, "only once\n", Then::Reset);
    once.no_reboot = true;
    let mut machine = start(&bench, &once).0.unwrap();
    machine.wait_off(LONG).unwrap();
    assert_eq!(bench.read("vm/console.log").matches("only once").count(), 1);
}

#[test]
fn a_guest_that_goes_down_by_itself_is_told_from_one_that_stays() {
    for (then, down) in [
        (Then::Reset, Some(Down::Restarted)),
        (Then::PowerOff, Some(Down::PoweredOff)),
        (Then::Halt, None),
    ] {
        let bench = Bench::new();
        let mut brief = spec(&bench, "working\n", then);
        // Its port would be asked for when it may be gone already.
        brief.ssh = false;
        let mut machine = start(&bench, &brief).0.unwrap();
        machine.wait_console("working", LONG).unwrap();
        let limit = if down.is_some() { LONG } else { MOMENT };
        assert_eq!(machine.wait_down(limit).unwrap(), down);
        assert_eq!(machine.went_down(), down);
    }
}

#[test]
fn a_machine_that_cannot_start_says_why_in_the_words_of_qemu() {
    let bench = Bench::new();
    let mut missing = spec(&bench, "", Then::Halt);
    missing.disks[0].path = bench.path("no,such.raw");
    let error = start(&bench, &missing).0.unwrap_err();
    assert_eq!(error.verdict(), Verdict::QemuFailed);
    let error = error.to_string();
    assert!(
        error.starts_with("qemu did not start: it exited with code 1\n"),
        "{error}"
    );
    assert!(
        error.contains("no,such.raw': No such file or directory"),
        "{error}"
    );

    let mut greedy = spec(&bench, "", Then::Halt);
    greedy.memory = ByteSize(4096 * TIB);
    let error = start(&bench, &greedy).0.unwrap_err();
    assert!(matches!(error, MachineError::StartFailed { .. }), "{error}");
    assert!(error.to_string().contains("\n  | "), "{error}");

    let mut kernel = spec(&bench, "", Then::Halt);
    kernel.boot = Boot::Kernel {
        kernel: bench.path("no-kernel"),
        initrd: None,
        cmdline: String::new(),
    };
    let error = start(&bench, &kernel).0.unwrap_err().to_string();
    assert!(error.contains("no-kernel"), "{error}");

    let mut absent = spec(&bench, "", Then::Halt);
    absent.program = Some("qemu-system-pdp11".into());
    let error = start(&bench, &absent).0.unwrap_err().to_string();
    assert!(error.starts_with("`qemu-system-pdp11` was not found"), "{error}");
}

#[test]
fn a_qemu_without_a_sandbox_is_used_all_the_same_with_a_warning() {
    let bench = Bench::new();
    let script = "#!/bin/sh\ncase \"$*\" in *' -sandbox '*)\n\
                  echo '-sandbox support is not enabled in this QEMU binary' >&2; exit 1;;\nesac\n\
                  exec qemu-system-x86_64 \"$@\"\n";
    let program = bench.write("old-qemu", script);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let mut old = spec(&bench, "fine\n", Then::Halt);
    old.program = Some(program);
    let (machine, events) = start(&bench, &old);
    machine.unwrap().wait_console("fine", LONG).unwrap();
    let warned = events
        .iter()
        .any(|event| matches!(event.what, What::Warning { text } if text.contains("seccomp")));
    assert!(warned);
}

#[test]
fn waiting_for_a_login_ends_with_a_verdict() {
    let bench = Bench::new();
    let key = Key::generate(&bench.path(""), &Cancel::default()).unwrap();
    let wait = |text: &str, then: Then| {
        let bench = Bench::new();
        let mut machine = start(&bench, &spec(&bench, text, then)).0.unwrap();
        let started = Instant::now();
        let error = machine
            .wait_ssh(&key, "root", Duration::from_secs(2))
            .unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(20), "{error}");
        error
    };
    let error = wait("Loading stage 2\n", Then::Halt);
    assert!(
        matches!(
            error,
            MachineError::Unreachable {
                reach: Reach::Nothing,
                ..
            }
        ),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(
        text.starts_with("no way into the guest as `root` after "),
        "{text}"
    );
    let verdict = "the guest's network never answered\n  last lines of the console:\n  | SeaBIOS";
    assert!(
        text.contains(verdict) && text.ends_with("| Loading stage 2"),
        "{text}"
    );

    let error = wait(
        "Kernel panic - not syncing: VFS: Unable to mount root fs\n",
        Then::Halt,
    );
    assert!(
        matches!(
            error,
            MachineError::Trouble {
                trouble: Trouble::KernelPanic(_),
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .starts_with("the guest's kernel panicked: Kernel panic - not syncing: VFS")
    );

    let error = wait("going down\n", Then::PowerOff).to_string();
    assert!(
        error.starts_with("the machine ended too early: qemu exited with code 0"),
        "{error}"
    );
    assert!(error.ends_with("| going down"), "{error}");
}

#[test]
fn an_empty_disk_is_told_by_the_bios_on_the_console() {
    let bench = Bench::new();
    let empty = spec(&bench, "", Then::Halt);
    bench.write("disk.raw", vec![0; 1 << 20]);
    let mut machine = start(&bench, &empty).0.unwrap();
    let error = machine.wait_console("login:", LONG).unwrap_err();
    assert_eq!(error.verdict(), Verdict::NeverBooted);
    let error = error.to_string();
    assert!(
        error.starts_with("the machine found nothing to boot: No bootable device."),
        "{error}"
    );
}

#[test]
fn a_stop_of_the_run_ends_every_wait_at_once() {
    let bench = Bench::new();
    let cancel = Cancel::default();
    let (sender, _events) = mpsc::channel();
    let spec = spec(&bench, "up\n", Then::Halt);
    let mut machine = Machine::start(&spec, &bench.path("vm"), &Emitter::new(sender), &cancel).unwrap();
    machine.wait_console("up", LONG).unwrap();
    let stopper = cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(MOMENT);
        stopper.cancel();
    });
    let started = Instant::now();
    let error = machine.wait_off(LONG).unwrap_err();
    assert!(matches!(error, MachineError::Cancelled), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(
        machine.stop(Duration::ZERO),
        Stopped::Quit,
        "stopping still works"
    );
}

/// Name of the variable that makes the test below play the program that is killed.
const HOLD: &str = "PIPELINE_TEST_HOLD_MACHINE";

#[test]
fn a_program_killed_with_kill_9_leaves_no_qemu() {
    let bench = Bench::new();
    let spec = spec(&bench, "up\n", Then::Halt);
    if std::env::var_os(HOLD).is_some() {
        let mut machine = start(&bench, &spec).0.unwrap();
        machine.wait_console("up", LONG).unwrap();
        std::fs::write(std::env::var_os(HOLD).unwrap(), machine.id().to_string() + "\n").unwrap();
        std::thread::sleep(LONG);
        return;
    }
    // Complete once it ends with a newline.
    let pid_file = bench.path("pid");
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "machine::a_program_killed_with_kill_9_leaves_no_qemu",
            "--nocapture",
        ])
        .env(HOLD, &pid_file)
        // What it leaves behind goes with our folder.
        .env("TMPDIR", bench.path(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut qemu = 0;
    soon("the start of qemu", || {
        let text = std::fs::read_to_string(&pid_file).unwrap_or_default();
        qemu = text.strip_suffix('\n').map_or(0, |pid| pid.parse().unwrap());
        qemu != 0
    });
    assert!(is_running(qemu));
    holder.kill().unwrap();
    holder.wait().unwrap();
    soon("the end of qemu", || !is_running(qemu));
    drop(BufReader::new(holder.stdout.take().unwrap()).lines().last());
}
