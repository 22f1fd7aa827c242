//! `pipeline boot` as its user meets it: guests of one sector for all that is about the program,
//! what is about the boot-time agent is in `full_guest::agent`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::machine::tiny::{self, Then};
use crate::support::small_guest::small_disk;
use crate::support::vm::{qemu_with, wait_until};
use crate::support::{Bench, Ran, tool};

/// Far more than a guest of one sector needs.
const SOON: Duration = Duration::from_secs(60);

fn disk(bench: &Bench, name: &str, text: &str, then: Then) -> String {
    bench.write(name, tiny::disk(text, then));
    name.to_owned()
}

/// Standard error without what differs from host to host and from run to run.
fn talk(ran: &Ran) -> String {
    let lines = ran
        .stderr
        .lines()
        .filter(|line| !line.starts_with("warning: no KVM"));
    let lines = lines.map(|line| match line.split_once("store/runs/boot-") {
        Some((before, _)) => format!("{before}store/runs/boot-…\n"),
        None if line.contains("ssh -p ") => {
            line.split(' ')
                .map(|w| if w.parse::<u16>().is_ok() { "PORT" } else { w })
                .collect::<Vec<_>>()
                .join(" ")
                + "\n"
        }
        None => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn an_image_of_any_kind_boots_on_a_copy_and_stays_as_it_is() {
    let bench = Bench::new();
    disk(&bench, "disk.raw", "hello from a disk\n", Then::WriteAndPowerOff);
    for line in [
        "qemu-img convert -O qcow2 disk.raw disk.qcow2",
        "gzip -k disk.qcow2",
        "zstd -q disk.raw",
        "xz -k disk.raw",
    ] {
        tool("sh", &["-c", line], &bench.path(""));
    }
    let images = [
        "disk.raw",
        "disk.qcow2",
        "disk.qcow2.gz",
        "disk.raw.zst",
        "disk.raw.xz",
    ];
    let sums = || tool("sha256sum", &images, &bench.path(""));
    let before = sums();
    for image in images {
        let ran = bench.run(&["boot", image, "--memory", "32M", "--cpus", "1"]);
        assert_eq!(ran.code, 0, "{image}: {}", ran.all());
        assert!(ran.stdout.contains("hello from a disk"), "{image}: {}", ran.all());
        if image == "disk.raw" {
            insta::assert_snapshot!(talk(&ran), @r"
            disk.raw (1 MiB), changes are thrown away; 32 MiB of memory, 1 CPU
              ssh      ssh -p PORT -o NoHostAuthenticationForLocalhost=yes root@127.0.0.1
              logs     [ROOT]/store/runs/boot-…
            The guest's console follows. Ctrl-A X ends the machine, Ctrl-A H tells the other keys.

            the guest switched itself off
            ");
        }
    }
    assert_eq!(sums(), before);
    let left = fs::read_dir(bench.path("store/scratch")).unwrap().count();
    assert_eq!(left, 0, "the copies are gone");

    // Kept: the guest wrote its first sector to the second.
    let ran = bench.run(&["boot", "disk.raw", "--memory", "32M", "--write"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(ran.stderr.contains("changes are kept"), "{}", ran.all());
    let bytes = fs::read(bench.path("disk.raw")).unwrap();
    assert_eq!(bytes[..512], bytes[512..1024]);
}

#[test]
fn what_cannot_be_booted_is_told_with_the_remedy() {
    let bench = Bench::new();
    disk(&bench, "disk.raw", "", Then::PowerOff);
    tool("gzip", &["disk.raw"], &bench.path(""));
    tool(
        "qemu-img",
        &["create", "-q", "-f", "vmdk", "foreign.vmdk", "1M"],
        &bench.path(""),
    );
    bench.write("empty.sh", "");
    bench.write(
        "images.toml",
        "[distros.d]\nfamily = \"debian\"\nversion = \"12\"\ndisk = \"1G\"\n\
         source = { bootstrap = { suite = \"bookworm\", mirror = \"http://mirror.example/debian\" } }\n\
         [flavors.base]\nsteps = []\n[[images]]\ndistro = \"d\"\nflavor = \"base\"\nsizes = [\"2G\", \"3G\"]\n",
    );
    for (args, code, says) in [
        (
            &["nowhere.qcow2"][..],
            2,
            "the image nowhere.qcow2 does not exist",
        ),
        (&["disk.raw.gz", "--write"], 2, "unpack it first"),
        (&["foreign.vmdk"], 2, "qemu-img convert -f vmdk -O qcow2"),
        (&["images.toml"], 2, "say which: d-2G-base, d-3G-base"),
        (
            &["images.toml", "d-2G-base"],
            2,
            "build it: pipeline run images.toml d-2G-base",
        ),
        (&["images.toml", "d-4G"], 2, "no image matches"),
        (&["disk.raw.gz", "d-2G-base"], 2, "is no manifest"),
        (&["disk.raw.gz", "--wait"], 2, "--bootstrap FILE"),
        (&["disk.raw.gz", "--bootstrap", "empty.sh"], 2, "is empty"),
        (&["disk.raw.gz", "--serve", "nowhere"], 2, "does not exist"),
        (&["disk.raw.gz", "--forward", "80"], 2, "as in 8080:80"),
        (
            &["disk.raw.gz", "--machine", "kvm-orchestrator"],
            2,
            "has no serial port",
        ),
        (
            &["disk.raw.gz", "--memory", "900T"],
            3,
            "--memory asks for 900 TiB",
        ),
    ] {
        let ran = bench.run(&[&["boot"], args].concat());
        assert_eq!(ran.code, code, "{args:?}: {}", ran.all());
        let words: Vec<_> = ran
            .stderr
            .split_whitespace()
            .filter(|word| *word != "│")
            .collect();
        assert!(words.join(" ").contains(says), "{args:?}: {}", ran.all());
        assert_eq!(ran.stdout, "", "{args:?}");
    }
}

#[test]
fn a_guest_that_never_asks_for_its_boot_script_is_not_waited_for_without_end() {
    let bench = Bench::new();
    disk(&bench, "disk.raw", "no agent in here\n", Then::Halt);
    bench.write("script", "exit 0\n");
    let wait = ["--bootstrap", "script", "--wait", "--timeout", "6s"];
    let ran = bench.run(&[&["boot", "disk.raw", "--memory", "32M"], &wait[..]].concat());
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.all());
    for expected in [
        "never asked for /vm-bootstrap within 6.0s",
        "| no agent in here",
        "is the agent installed",
    ] {
        assert!(ran.stderr.contains(expected), "no `{expected}`: {}", ran.all());
    }
}

/// A terminal as a user has it.
struct Terminal {
    socket: String,
}

impl Terminal {
    fn new(bench: &Bench) -> Self {
        let socket = bench.path("tmux").display().to_string();
        let terminal = Self { socket };
        let program = Path::new(env!("CARGO_BIN_EXE_pipeline"))
            .parent()
            .unwrap()
            .display()
            .to_string();
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "100",
            "-y",
            "40",
            "env",
            "PS1=$ ",
            "ENV=",
            "sh",
        ]);
        let folder = bench.path("");
        terminal.type_line(&format!(
            "cd {}; PATH={program}:$PATH PIPELINE_STORE=store; export PATH PIPELINE_STORE",
            folder.display()
        ));
        terminal
    }

    fn tmux(&self, args: &[&str]) -> String {
        tool("tmux", &[&["-S", &self.socket], args].concat(), Path::new("/"))
    }

    fn type_line(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.tmux(&["send-keys", "Enter"]);
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-S", "-"])
    }

    fn shows(&self, text: &str) {
        wait_until(&format!("`{text}` on the screen"), SOON, || {
            self.screen().contains(text)
        });
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .args(["-S", &self.socket, "kill-server"])
            .output();
    }
}

#[test]
fn the_console_is_on_the_terminal_which_is_given_back_on_every_exit() {
    let bench = Bench::new();
    disk(&bench, "disk.raw", "\x1b[2Jtalk to me: ", Then::Echo);
    let terminal = Terminal::new(&bench);
    terminal.type_line("stty -a > before; clear; pipeline boot disk.raw --memory 32M");
    terminal.shows("talk to me:");
    let screen = terminal.screen();
    assert!(
        screen.contains("The guest's console follows."),
        "the BIOS cleared it:\n{screen}"
    );
    // Ctrl-C is the guest's, and it echoes what it gets.
    terminal.tmux(&["send-keys", "-l", "abc"]);
    terminal.tmux(&["send-keys", "C-c"]);
    terminal.shows("talk to me: abc");
    terminal.tmux(&["send-keys", "C-a", "h"]);
    terminal.shows("[Ctrl-A X ends the machine");
    terminal.tmux(&["send-keys", "C-a", "x"]);
    terminal.shows("the machine was ended");
    terminal.type_line("stty -a > after; echo code $?");
    terminal.shows("code 0");
    assert_eq!(bench.read("before"), bench.read("after"));

    // Asked to stop from outside, once, and twice in a row.
    for signals in [1, 2] {
        terminal.type_line("clear");
        wait_until("an empty screen", SOON, || !terminal.screen().contains("talk"));
        terminal
            .type_line("pipeline boot disk.raw --memory 32M; echo $? > code; stty -a > after; touch done");
        terminal.shows("talk to me:");
        let pid = tool(
            "pgrep",
            &["-f", "^pipeline boot disk.raw --memory 32M"],
            Path::new("/"),
        );
        let words = vec![format!("kill -TERM {}", pid.trim()); signals];
        tool("sh", &["-c", &(words.join("; ") + " || :")], Path::new("/"));
        wait_until("its end", SOON, || bench.path("done").exists());
        fs::remove_file(bench.path("done")).unwrap();
        assert_eq!(bench.read("code"), "130\n", "{}", terminal.screen());
        assert_eq!(
            bench.read("before"),
            bench.read("after"),
            "after {signals} signals"
        );
    }
}

/// The sockets of a process and its children, by inode.
fn sockets(pid: u32) -> BTreeSet<String> {
    let mut inodes = BTreeSet::new();
    let children = tool("sh", &["-c", &format!("pgrep -P {pid} || :")], Path::new("/"));
    for pid in children.lines().map(str::to_owned).chain([pid.to_string()]) {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            let name = target.to_string_lossy().into_owned();
            inodes.extend(
                name.strip_prefix("socket:[")
                    .and_then(|rest| rest.strip_suffix(']'))
                    .map(str::to_owned),
            );
        }
    }
    inodes
}

/// The local addresses of those sockets in one of the kernel's tables, as in `0100007F:1F90`, with their states.
fn addresses(table: &str, inodes: &BTreeSet<String>) -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap();
    let rows = text
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| inodes.contains(row[9]))
        .map(|row| (row[1].to_owned(), row[3].to_owned()))
        .collect()
}

/// A machine in the background; asked to stop when dropped.
struct Kept(u32);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.to_string()).output();
    }
}

#[test]
fn a_detached_machine_lives_on_is_reached_by_loopback_only_and_ends_when_told() {
    let bench = Bench::new();
    disk(&bench, "disk.raw", "up\n", Then::Halt);
    bench.write("vm-bootstrap", "exit 0\n");
    let args = [
        "boot",
        "disk.raw",
        "--memory",
        "32M",
        "--detach",
        "--vnc",
        "--forward",
        "0:80",
        "--serve",
        ".",
    ];
    let ran = bench.run(&args);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let after = |start: &str| {
        let line = ran
            .stdout
            .lines()
            .find_map(|line| line.split_once(start))
            .unwrap_or_else(|| panic!("{}", ran.all()));
        line.1.split([' ', ',']).next().unwrap().to_owned()
    };
    let pid: u32 = after("stop     kill ").parse().unwrap();
    let kept = Kept(pid);
    let console = bench.path(&after("tail -f ").replace("[ROOT]/", ""));
    wait_until("the guest to speak", SOON, || {
        fs::read_to_string(&console).is_ok_and(|text| text.contains("up"))
    });

    let inodes = sockets(pid);
    let listening = "0A";
    let mut ports = BTreeSet::new();
    for (address, state) in addresses("tcp", &inodes) {
        assert!(address.starts_with("0100007F:"), "{address} is not 127.0.0.1");
        if state == listening {
            ports.insert(u16::from_str_radix(address.split_once(':').unwrap().1, 16).unwrap());
        }
    }
    let port = |start: &str| after(start).parse::<u16>().unwrap();
    let expected = [
        port("ssh -p "),
        port("VNC at 127.0.0.1:"),
        port("port     127.0.0.1:"),
    ];
    assert_eq!(ports, BTreeSet::from(expected), "{}", ran.all());
    for table in ["tcp6", "udp", "udp6", "raw"] {
        assert_eq!(addresses(table, &inodes), [], "{table}");
    }
    let mut greeting = [0; 4];
    let mut viewer = TcpStream::connect(("127.0.0.1", expected[1])).unwrap();
    viewer.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"RFB ");

    drop(kept);
    // A link that a dead process has not, also while its exit code has not been asked for.
    wait_until("the end of it", SOON, || {
        fs::read_link(format!("/proc/{pid}/exe")).is_err()
    });
    wait_until("its scratch space to be gone", SOON, || {
        fs::read_dir(bench.path("store/scratch"))
            .unwrap()
            .next()
            .is_none()
    });
    assert!(
        TcpStream::connect(("127.0.0.1", expected[1])).is_err(),
        "the machine is still there"
    );

    // One that cannot start says so at once.
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let forward = format!("{}:80", taken.local_addr().unwrap().port());
    let ran = bench.run(&["boot", "disk.raw", "--forward", &forward, "--detach"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.all());
    assert!(ran.stderr.contains("qemu did not start"), "{}", ran.all());
}

#[test]
fn a_machine_whose_qemu_breaks_down_is_started_again_but_not_for_ever() {
    let bench = Bench::new();
    disk(&bench, "disk.raw", "no login here\n", Then::Halt);
    let mut command = bench.command(&["boot", "disk.raw", "--memory", "32M", "--ssh"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let folder = bench.path("").display().to_string();
    let mut said = String::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.starts_with("waiting for the guest's sshd") {
            let qemu = qemu_with(&[&folder]).expect("a machine");
            tool("kill", &["-ABRT", &qemu], Path::new("/"));
        }
        said += &(line + "\n");
    }
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    assert_eq!(
        said.matches("; starting the machine again\n").count(),
        2,
        "{said}"
    );
    assert_eq!(said.matches("waiting for the guest's sshd").count(), 3, "{said}");
    let (_, end) = said.rsplit_once("waiting for the guest's sshd…\n").unwrap();
    assert!(end.contains("qemu crashed"), "{said}");
}

#[test]
fn a_machine_as_an_orchestrator_has_it_is_seen_by_its_screen() {
    let bench = Bench::new();
    disk(&bench, "disk.raw", "on a port of its own\n", Then::PowerOff);
    let ran = bench.run(&[
        "boot",
        "disk.raw",
        "--memory",
        "32M",
        "--machine",
        "kvm-orchestrator",
        "--vnc",
    ]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.all());
    assert!(ran.stderr.contains("VNC at 127.0.0.1:"), "{}", ran.all());
}

#[test]
fn a_shell_in_the_machine_is_opened_with_the_users_own_agent() {
    let bench = Bench::new();
    small_disk(&bench, "small");
    let program = env!("CARGO_BIN_EXE_pipeline");
    let line = format!("ssh-add -q small-key </dev/null && exec {program} boot small.raw --cpus 1 --ssh");
    let mut child = Command::new("ssh-agent")
        .args(["sh", "-c", &line])
        .current_dir(bench.path(""))
        .env("PIPELINE_STORE", bench.path("store"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = child.stdin.take().unwrap();
    keys.write_all(b"echo \"this is $(hostname)\"; exit 3\n").unwrap();
    drop(keys);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let talk = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}\n{talk}");
    assert!(said.contains("this is small"), "{said}\n{talk}");
}
