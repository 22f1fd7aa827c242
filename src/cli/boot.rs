//! `pipeline boot`: an image in a machine of its own, to look at it, to work in it, or to see its boot script run.

mod access;
mod console;
mod detach;
mod start;
mod target;
mod wait;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use clap_complete::ArgValueCandidates;
use jiff::Zoned;

use super::complete;
use super::computer::ComputerArgs;
use super::exit::Exit;
use super::report_error::{fail, out, talk};
use super::target::{DefineArgs, StoreArgs};
use crate::machine::spec::{Board, Forward};
use crate::report::style::Style;
use crate::size::{ByteSize, parse_duration};
use start::{BootSetup, Started};

/// Arguments of `pipeline boot`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pipeline boot images.toml debian12-50G-base          the console, on a throw-away copy\n  \
    pipeline boot disk.qcow2.gz --ssh                    log in as root by SSH\n  \
    pipeline boot disk.qcow2 --vnc --detach              in the background, with a screen\n  \
    pipeline boot disk.qcow2.gz --secure-boot --tpm      as UEFI computers of today start it\n  \
    pipeline boot images.toml debian12-50G-vm-bootstrap --bootstrap setup.sh --wait\n\n\
    No image has a password or a key of its own unless a step made one; --ssh and --detach make a key for this machine. \
    In the console, Ctrl-A X ends the machine and Ctrl-A H tells the other keys. Nothing that the guest does stays, \
    unless --write is given. Whatever can be reached from this host is on 127.0.0.1 only.")]
pub struct Args {
    /// An image file (qcow2 or raw, also compressed by gzip, zstd or xz), or a manifest
    #[arg(value_name = "IMAGE|MANIFEST")]
    image: PathBuf,
    /// Of a manifest: the id of one of its images, or a pattern that only one matches
    #[arg(value_name = "ID", add = ArgValueCandidates::new(complete::images))]
    id: Option<String>,
    /// Keep what the guest writes in the image file, instead of throwing it away
    #[arg(long)]
    write: bool,
    /// Log in by SSH as soon as the guest answers, and end the machine after that; a throw-away key lets you in, except with
    /// --write
    #[arg(long, value_name = "USER", num_args = 0..=1, require_equals = true, default_missing_value = "root",
        conflicts_with_all = ["detach", "wait"])]
    ssh: Option<String>,
    /// Show the screen by VNC too; prints address and password
    #[arg(long)]
    vnc: bool,
    /// Start it in the background; prints how to get in and how to stop it
    #[arg(long, conflicts_with = "wait")]
    detach: bool,
    /// Memory of the machine
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    memory: ByteSize,
    /// Virtual CPUs [default: 2, or what the host has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=255))]
    cpus: Option<u32>,
    /// Let a port of 127.0.0.1 lead to a port of the guest; HOST 0 takes any that is free
    #[arg(long, value_name = "HOST:GUEST", value_parser = parse_forward)]
    forward: Vec<Forward>,
    /// What the machine is like
    #[arg(long, value_enum, default_value_t = Profile::Default)]
    machine: Profile,
    #[command(flatten)]
    computer: ComputerArgs,
    /// Let the guest's boot-time agent find this script at http://10.0.2.100/vm-bootstrap
    #[arg(long, value_name = "FILE")]
    bootstrap: Option<PathBuf>,
    /// Let the guest find the files of this folder at http://10.0.2.100/
    #[arg(long, value_name = "DIR")]
    serve: Option<PathBuf>,
    /// Put what the guest posts (a form with path, content and clear) here [default: with the machine's logs]
    #[arg(long, value_name = "DIR")]
    receive: Option<PathBuf>,
    /// Wait until the boot-time agent is done, show its log, and return its outcome
    #[arg(long)]
    wait: bool,
    /// Longest time for --wait and for --ssh to get in
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    define: DefineArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// For --detach itself: keep the machine, with its logs in this folder
    #[arg(long, hide = true, value_name = "DIR")]
    supervise: Option<PathBuf>,
}

/// What a machine is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Profile {
    /// A serial console, one network card
    Default,
    /// As a KVM orchestrator starts it: no serial port, a balloon, a second network card that leads nowhere
    KvmOrchestrator,
}

impl Args {
    /// Who logs in.
    fn user(&self) -> &str {
        self.ssh.as_deref().unwrap_or("root")
    }
}

impl Profile {
    fn board(self) -> Board {
        match self {
            Self::Default => Board::Workbench,
            Self::KvmOrchestrator => Board::Orchestrator,
        }
    }
}

/// What is done with the machine once it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Console,
    Ssh,
    Wait,
    /// Nothing: until it is switched off.
    Hold,
}

fn parse_forward(text: &str) -> Result<Forward, String> {
    let parts = text.split_once(':').and_then(|(host, guest)| {
        let guest: u16 = guest.parse().ok().filter(|port| *port > 0)?;
        let host = host.parse().ok()?;
        Some(Forward { host, guest })
    });
    parts.ok_or_else(|| "write two port numbers, as in 8080:80 (this host's first)".to_owned())
}

/// How often a machine of which nothing is kept is started again because qemu broke down.
const NEW_BEGINNINGS: u32 = 2;

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let mode = mode(args)?;
    let target = target::find(args)?;
    let computer = args.computer.computer(target.computer)?;
    if args.detach && args.supervise.is_none() {
        return detach::leave(args);
    }
    let setup = BootSetup::open(args, computer)?;
    let listening = setup.listen()?;
    let mut beginnings = NEW_BEGINNINGS;
    let done = loop {
        let screen = (mode == Mode::Console).then(console::Screen::new);
        let mut started = match start::start(args, &target, &setup, screen.as_ref()) {
            Ok(started) => started,
            Err(exit) => break Err(exit),
        };
        let done = attend(args, mode, &mut started, &setup, screen);
        start::stop(args, &mut started, &setup);
        let Some(error) = started.broke_down else {
            break done;
        };
        // What the guest wrote is for the user to judge where it is kept.
        if beginnings == 0 || args.write {
            break Err(failed(error));
        }
        beginnings -= 1;
        let what = error.to_string();
        let what = what.lines().next().unwrap_or_default();
        talk(&format!("warning: {what}; starting the machine again\n"));
    };
    drop(listening);
    if setup.cancel.is_cancelled() && args.supervise.is_none() {
        return Ok(Exit::Interrupted);
    }
    done
}

/// What follows from the options; says what does not go together.
fn mode(args: &Args) -> Result<Mode, Exit> {
    let given = args.bootstrap.is_some()
        || args
            .serve
            .as_ref()
            .is_some_and(|dir| dir.join("vm-bootstrap").is_file());
    if args.wait && !given {
        return Err(refuse(
            "--wait needs a boot script to wait for",
            "name one: --bootstrap FILE, or --serve DIR where DIR holds vm-bootstrap",
        ));
    }
    let mode = match args {
        _ if args.wait => Mode::Wait,
        _ if args.ssh.is_some() => Mode::Ssh,
        _ if args.supervise.is_some() || args.detach => Mode::Hold,
        _ if args.machine == Profile::Default => Mode::Console,
        _ if args.vnc => Mode::Hold,
        _ => {
            return Err(refuse(
                "a kvm-orchestrator machine has no serial port, so there is no console to show",
                "add --ssh, --vnc, --wait or --detach",
            ));
        }
    };
    Ok(mode)
}

/// Does with the machine what it was started for.
fn attend(
    args: &Args,
    mode: Mode,
    started: &mut Started,
    setup: &BootSetup,
    screen: Option<console::Screen>,
) -> Result<Exit, Exit> {
    let style = Style::detect(std::io::stderr().is_terminal(), |name| std::env::var(name).ok());
    let stop = args.supervise.as_ref().map(|_| std::process::id());
    let how = access::text(args, started, setup, stop, style);
    if let Some(folder) = &args.supervise {
        return detach::supervise(folder, &how, started, setup);
    }
    talk(&how);
    match mode {
        Mode::Console => match screen {
            Some(screen) => console::run(started, setup, &screen, style),
            None => Ok(Exit::Ok),
        },
        Mode::Ssh => access::log_in(args, started, setup),
        Mode::Wait => wait::run(args, started, setup),
        Mode::Hold => hold(started, setup),
    }
}

/// Until the guest switches itself off or the user ends it.
fn hold(started: &mut Started, setup: &BootSetup) -> Result<Exit, Exit> {
    talk("Ctrl-C ends it.\n");
    while !started.machine.is_off() && !setup.cancel.is_cancelled() {
        started.tell_visits(&mut |visit| say(&visit.to_string()));
        let _ = setup.cancel.sleep(Duration::from_millis(100));
    }
    Ok(Exit::Ok)
}

/// Says what is wrong with the command line.
fn refuse(what: &str, help: &str) -> Exit {
    fail(Exit::Usage, miette::miette!(help = help.to_owned(), "{what}"))
}

/// Says what went wrong; being asked to stop is no error.
fn failed(error: impl std::fmt::Display) -> Exit {
    fail(Exit::Failed, miette::miette!("{error}"))
}

/// A line with a clock in front.
fn say(text: &str) {
    talk(&format!("{}  {text}\n", Zoned::now().strftime("%H:%M:%S")));
}

/// Prints lines that are data.
fn print(lines: &[String]) {
    for line in lines {
        out(&format!("{line}\n"));
    }
}
