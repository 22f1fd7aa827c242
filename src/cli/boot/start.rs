//! From the options to a running machine, and to its end: scratch space, the disk, the door, qemu.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, thread};

use super::target::ImageFile;
use super::{Args, console, failed, refuse};
use crate::boot::agent;
use crate::boot::image::{self, Bootable, ImageError, Writes};
use crate::boot::login::{self, Login};
use crate::cli::computer::must_be_there;
use crate::cli::exit::Exit;
use crate::cli::report_error::{fail, talk};
use crate::cli::run::run_id;
use crate::emit::Emitter;
use crate::event::What;
use crate::host::cancel::Cancel;
use crate::host::fs::private_dir;
use crate::host::private;
use crate::host::{facts, terminal};
use crate::machine::disk::{DiskError, is_locked};
use crate::machine::door::{BOOT_SCRIPT, Content, Door, Visit};
use crate::machine::ending::Stopped;
use crate::machine::error::MachineError;
use crate::machine::qemu::Machine;
use crate::machine::screen::Screen;
use crate::machine::spec::{Accel, DiskMode, MachineSpec};
use crate::manifest::script;
use crate::platform::Computer;
use crate::run::signals::{self, Listening};
use crate::size::ByteSize;
use crate::stage::guest::scaled;
use crate::store::{Scratch, Store};

/// Virtual CPUs by default.
const CPUS: usize = 2;
/// How long a guest may take to power off in order.
const POWER_OFF: Duration = Duration::from_secs(90);
/// Longest boot script.
const SCRIPT: u64 = 16 << 20;

/// Where a machine is kept.
#[derive(Debug)]
pub(super) struct BootSetup {
    pub logs: PathBuf,
    pub computer: Computer,
    pub accel: Accel,
    pub cancel: Cancel,
    pub emit: Emitter,
    scratch: Scratch,
}

/// A running machine with what belongs to it.
#[derive(Debug)]
pub(super) struct Started {
    pub machine: Machine,
    pub name: String,
    pub image: Bootable,
    /// The private key that lets the user in, where one was made.
    pub key: Option<PathBuf>,
    pub screen: Option<Screen>,
    pub cpus: u32,
    /// Why it has to be started again, if it has.
    pub broke_down: Option<MachineError>,
    /// Where posted files go, where there is a door.
    pub received: Option<PathBuf>,
    visits: mpsc::Receiver<Visit>,
    _door: Option<Door>,
}

impl Started {
    /// Gives up on a machine; tells why, unless it is to be started again, which the caller's caller decides.
    pub(super) fn give_up(&mut self, when: &str, error: MachineError) -> Exit {
        if error.is_breakdown() {
            self.broke_down = Some(error);
            return Exit::Failed;
        }
        failed(format!("{when}{error}"))
    }

    /// Hands on who came to the door since the last time.
    pub(super) fn tell_visits(&self, tell: &mut dyn FnMut(&Visit)) {
        self.visits.try_iter().for_each(|visit| tell(&visit));
    }
}

impl BootSetup {
    /// Makes the folders.
    pub(super) fn open(args: &Args, computer: Computer) -> Result<Self, Exit> {
        let tpm = computer.tpm.then_some("swtpm");
        let emulator = computer.platform.hardware().emulator.program;
        let programs: Vec<_> = [emulator, "qemu-img"].into_iter().chain(tpm).collect();
        must_be_there(&programs, computer)?;
        if let Some(memory) = facts::memory().filter(|memory| args.memory.0 > memory.available) {
            let error = miette::miette!(
                help = "ask for less: --memory; nothing was started",
                "--memory asks for {}, and this host has {} to give",
                args.memory,
                ByteSize(memory.available)
            );
            return Err(fail(Exit::Host, error));
        }
        let host = |error: &dyn std::fmt::Display| fail(Exit::Host, miette::miette!("{error}"));
        private::place().map_err(|error| host(&error))?;
        let store = Store::open(&args.store.folder()).map_err(|error| host(&error))?;
        // Scratch place and logs have one name, by which a clean-up knows that the machine is alive.
        let name = args.supervise.as_deref().and_then(Path::file_name);
        let name = name.map(|name| name.to_string_lossy().into_owned());
        let id = name.unwrap_or_else(|| format!("boot-{}", run_id()));
        let logs = args.supervise.clone().unwrap_or_else(|| store.run_folder(&id));
        private_dir(&logs).map_err(|error| host(&error))?;
        let scratch = store.scratch(&id).map_err(|error| host(&error))?;
        let (sender, receiver) = mpsc::channel();
        let emit = Emitter::new(sender);
        // Of all that happens in a machine, its warnings are for the user; the console has ways of its own.
        thread::spawn(move || {
            for event in receiver {
                if let What::Warning { text } = event.what {
                    let end = if terminal::is_raw() { "\r\n" } else { "\n" };
                    talk(&format!("warning: {text}{end}"));
                }
            }
        });
        let processor = computer.platform.hardware().emulator.processor;
        let fact = facts::accelerator_for(processor);
        if let Some(warning) = fact.warning() {
            talk(&format!("warning: {warning}\n"));
        }
        Ok(Self {
            logs,
            computer,
            accel: (&fact).into(),
            cancel: Cancel::default(),
            emit,
            scratch,
        })
    }

    /// Listens for Ctrl-C.
    pub(super) fn listen(&self) -> Result<Listening, Exit> {
        signals::listen(&self.cancel, &self.emit)
            .map_err(|error| fail(Exit::Host, miette::miette!("cannot listen for Ctrl-C: {error}")))
    }
}

/// Starts the machine. What its console says goes to the screen where there is one.
pub(super) fn start(
    args: &Args,
    target: &ImageFile,
    setup: &BootSetup,
    screen: Option<&console::Screen>,
) -> Result<Started, Exit> {
    let content = content(args, setup)?;
    let scratch = setup.scratch.folder("boot").map_err(failed)?;
    let writes = if args.write { Writes::Kept } else { Writes::Dropped };
    let mut progress = Progress::new(&target.file);
    let prepared = image::prepare(
        &target.file,
        writes,
        &scratch,
        &setup.cancel,
        &mut |done, total| {
            progress.show(done, total);
        },
    );
    progress.end();
    let mut image = prepared.map_err(|error| refuse_image(&error))?;
    let login = way_in(args, &mut image, &scratch, setup)?;
    let received = content.as_ref().and_then(|content| content.received.clone());
    let (sender, visits) = mpsc::channel();
    let door = content.map(|content| {
        // Whoever would show it may be gone already.
        Door::open(content, move |visit| drop(sender.send(visit.clone())))
    });
    let door = door
        .transpose()
        .map_err(|error| failed(format!("cannot open the guest's door: {error}")))?;
    let program = std::env::current_exe();
    let program = program.map_err(|error| failed(format!("cannot find this program's own file: {error}")))?;

    let mut spec = MachineSpec::with_disk(
        "boot",
        setup.computer,
        setup.accel,
        args.memory,
        image.disk.clone(),
    );
    spec.board = args.machine.board();
    spec.cpus = args
        .cpus
        .unwrap_or_else(|| u32::try_from(facts::cpus().min(CPUS)).unwrap_or(1));
    spec.forwards.clone_from(&args.forward);
    spec.door = door.as_ref().map(|door| door.relay(&program));
    spec.vnc = args.vnc;
    spec.credentials = login
        .as_ref()
        .map(|login| login.credentials.clone())
        .unwrap_or_default();
    if args.write {
        spec.disk_mode = DiskMode::Plain;
    }
    let sink: Box<dyn Write + Send> = match screen {
        Some(screen) => Box::new(screen.clone()),
        None => Box::new(std::io::sink()),
    };
    let machine = Machine::start_seen(&spec, &setup.logs, sink, &setup.emit, &setup.cancel);
    let mut machine = machine.map_err(|error| refuse_machine(error, &target.file))?;
    let screen = args
        .vnc
        .then(|| machine.open_screen())
        .transpose()
        .map_err(failed)?;
    Ok(Started {
        machine,
        name: target.name.clone(),
        image,
        key: login.map(|login| login.key.path().to_owned()),
        screen,
        cpus: spec.cpus,
        broke_down: None,
        received,
        visits,
        _door: door,
    })
}

/// A key for who wants to log in. None where changes are kept: it would stay in the image.
fn way_in(
    args: &Args,
    image: &mut Bootable,
    scratch: &Path,
    setup: &BootSetup,
) -> Result<Option<Login>, Exit> {
    if args.write || (args.ssh.is_none() && args.supervise.is_none()) {
        return Ok(None);
    }
    let hardware = setup.computer.platform.hardware();
    let login = login::open(image, args.user(), scratch, hardware, &setup.cancel);
    login.map(Some).map_err(|error| refuse_image(&error.into()))
}

/// What is behind the door; nothing where none was asked for.
fn content(args: &Args, setup: &BootSetup) -> Result<Option<Content>, Exit> {
    if args.bootstrap.is_none() && args.serve.is_none() && args.receive.is_none() {
        return Ok(None);
    }
    if let Some(folder) = args.serve.as_ref().filter(|folder| !folder.is_dir()) {
        let what = format!("the folder to serve, {}, does not exist", folder.display());
        return Err(refuse(&what, "name a folder: --serve DIR"));
    }
    let mut files = BTreeMap::new();
    let in_folder = args.serve.as_ref().map(|folder| folder.join(BOOT_SCRIPT));
    let script = args.bootstrap.clone().or_else(|| in_folder.filter(|_| args.wait));
    if let Some(path) = script {
        let script = read_script(&path)?;
        let script = if args.wait {
            agent::reporting(&script)
        } else {
            script
        };
        files.insert(BOOT_SCRIPT.to_owned(), script);
    }
    Ok(Some(Content {
        files,
        folder: args.serve.clone(),
        received: Some(
            args.receive
                .clone()
                .unwrap_or_else(|| setup.logs.join("received")),
        ),
    }))
}

fn read_script(path: &Path) -> Result<Vec<u8>, Exit> {
    let wrong = |why: &str| {
        let what = format!("the boot script {} {why}", path.display());
        refuse(&what, "name a file with a script for bash: --bootstrap FILE")
    };
    let length = fs::metadata(path)
        .map_err(|error| wrong(&format!("cannot be read: {error}")))?
        .len();
    if length > SCRIPT {
        return Err(wrong(&format!("is larger than {}", ByteSize(SCRIPT))));
    }
    let script = fs::read(path).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    if script.is_empty() {
        return Err(wrong("is empty, which the agent counts as a failed run"));
    }
    if let Some(fault) = script::fault(&String::from_utf8_lossy(&script), Some("bash")) {
        let what = format!("the boot script {} {fault}", path.display());
        return Err(refuse(&what, &script::remedy(&path.display().to_string())));
    }
    Ok(script)
}

/// Ends the machine, if it still runs: at once where nothing is kept.
pub(super) fn stop(args: &Args, started: &mut Started, setup: &BootSetup) {
    let grace = if args.write {
        scaled(setup.accel, POWER_OFF)
    } else {
        Duration::ZERO
    };
    if args.write && !started.machine.is_off() {
        talk("powering the guest off, so that its disk is whole…\n");
    }
    let stopped = started.machine.stop(grace);
    if args.write && matches!(stopped, Stopped::Quit | Stopped::Killed) {
        talk(
            "warning: the guest did not power off; what it had not written to its disk is lost, and its file system \
             will be checked at its next boot\n",
        );
    }
}

/// Why there is no machine. An image that another one runs from is known by what qemu says of its lock.
fn refuse_machine(error: MachineError, image: &Path) -> Exit {
    match error {
        MachineError::StartFailed { stderr, .. } if stderr.lines.iter().any(|line| is_locked(line)) => {
            failed(DiskError::InUse {
                path: image.to_owned(),
            })
        }
        error => failed(error),
    }
}

fn refuse_image(error: &ImageError) -> Exit {
    if error.is_cancelled() {
        return Exit::Interrupted;
    }
    fail(Exit::Usage, miette::miette!("{error}"))
}

/// Unpacking takes seconds: on a terminal a line tells how far it is.
struct Progress {
    name: String,
    moving: bool,
    shown: bool,
}

impl Progress {
    fn new(file: &Path) -> Self {
        Self {
            name: file.display().to_string(),
            moving: std::io::stderr().is_terminal(),
            shown: false,
        }
    }

    fn show(&mut self, done: u64, total: u64) {
        if self.moving {
            let percent = u128::from(done) * 100 / u128::from(total.max(1));
            talk(&format!("\runpacking {}: {percent} %", self.name));
        } else if !self.shown {
            talk(&format!("unpacking {}\n", self.name));
        }
        self.shown = true;
    }

    fn end(&self) {
        if self.moving && self.shown {
            // Erases the line (ECMA-48 §8.3.41).
            talk("\r\u{1b}[K");
        }
    }
}
