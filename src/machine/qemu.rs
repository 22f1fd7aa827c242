//! A running machine: from its spec to a qemu process, and to that process's end.
//! Knows nothing of what the guest is for.
//!
//! qemu must not outlive us, not even after SIGKILL. Its parent-death signal is tied to the *thread* that starts it:
//! call [`Machine::start`] from a thread that lives as long as the machine does.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::argv::{Sandbox, argv};
use super::console::Console;
use super::error::{MachineError, Tail};
use super::parts::OwnParts;
use super::qmp::{Qmp, QmpError, QmpEvent};
use super::spec::{Boot, Forward, MachineSpec};
use super::watch::{Signs, out_of_memory};
use super::wire::Wire;
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::host::facts::OomWatch;
use crate::host::process::{Cmd, Running, clean_line, status_text};

/// How often a waiting thread looks at everything that could end the wait.
pub(super) const POLL: Duration = Duration::from_millis(50);
/// How long qemu may take to answer a command; it answers at once unless the host swaps.
pub(super) const ANSWER: Duration = Duration::from_secs(20);
/// How long qemu may take to connect to its sockets. Allocating memory and opening images comes before.
const CONNECT: Duration = Duration::from_secs(60);
/// How long the console may take to hand over its last words after qemu ended.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(2);
/// Lines shown in errors.
pub(super) const SHOWN: usize = 10;

/// File in the machine's folder: the console, as received.
pub const CONSOLE_LOG: &str = "console.log";
/// File in the machine's folder: qemu's command line, as a shell would take it.
pub const ARGV_FILE: &str = "qemu.argv";
/// File in the machine's folder: what the screen showed when the machine was given up, as a PNG.
pub const SCREEN_FILE: &str = "screen.png";
/// File in the machine's folder: what qemu itself said.
pub const STDERR_FILE: &str = "qemu.stderr";

/// A running machine. Dropping it kills qemu at once, after a look at its screen ([`SCREEN_FILE`]); [`Machine::stop`] is gentler.
#[derive(Debug)]
pub struct Machine {
    pub(super) running: Running,
    pub(super) own: OwnParts,
    pub(super) qmp: Qmp,
    pub(super) events: mpsc::Receiver<QmpEvent>,
    pub(super) console: Console,
    console_stream: UnixStream,
    cancel: Cancel,
    folder: PathBuf,
    forwards: Vec<Forward>,
    pub(super) resets: u64,
    /// How many of them came before the last login: they were ordered, or belong to the boot.
    pub(super) expected_resets: u64,
    /// Whether the guest switched itself off, by qemu's word.
    pub(super) powered_off: bool,
    /// When the last reset was heard of, or the start.
    pub(super) reset: Instant,
    pub(super) panicked: bool,
    /// Whether we have pressed keys.
    pub(super) typed: bool,
    /// Whether qemu stopped the guest because its write found no room.
    pub(super) full: bool,
    pub(super) memory: OomWatch,
    pub(super) signs: Signs,
}

impl Machine {
    /// Starts qemu. `folder` (made with mode 0700) gets [`ARGV_FILE`], [`STDERR_FILE`] and [`CONSOLE_LOG`]; a console
    /// log that is there is continued, as one guest may be started several times.
    ///
    /// # Errors
    /// [`MachineError::Firmware`] and [`MachineError::Tpm`] before that, [`MachineError::StartFailed`] with qemu's own words, [`MachineError::Process`] when it is not installed,
    /// [`MachineError::Folder`], [`MachineError::Qmp`], [`MachineError::Cancelled`].
    pub fn start(
        spec: &MachineSpec,
        folder: &Path,
        emit: &Emitter,
        cancel: &Cancel,
    ) -> Result<Self, MachineError> {
        Self::start_seen(spec, folder, Box::new(io::sink()), emit, cancel)
    }

    /// As [`Machine::start`]; what the console says goes to `screen` too, byte for byte and at once.
    ///
    /// # Errors
    /// As [`Machine::start`].
    pub fn start_seen(
        spec: &MachineSpec,
        folder: &Path,
        screen: Box<dyn Write + Send>,
        emit: &Emitter,
        cancel: &Cancel,
    ) -> Result<Self, MachineError> {
        let spec = absolute(spec)?;
        make_private(folder)?;
        let mut screen = Some(screen);
        match Self::start_once(&spec, folder, &mut screen, emit, cancel, Sandbox::On) {
            // A qemu without the system call filter refuses the option, and is used without.
            Err(MachineError::StartFailed { stderr, .. }) if names_sandbox(&stderr) => {
                emit.warn(
                    "this qemu was built without its sandbox (seccomp); the guest runs without that fence",
                );
                Self::start_once(&spec, folder, &mut screen, emit, cancel, Sandbox::Off)
            }
            result => result,
        }
    }

    fn start_once(
        spec: &MachineSpec,
        folder: &Path,
        screen: &mut Option<Box<dyn Write + Send>>,
        emit: &Emitter,
        cancel: &Cancel,
        sandbox: Sandbox,
    ) -> Result<Self, MachineError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| MachineError::Folder { path, source }
        };
        let mut own = OwnParts::make(spec.computer, folder, cancel)?;
        let wire = Wire::listen().map_err(failed(Path::new("sockets")))?;
        let cmd = Cmd::new(spec.program())
            .args(argv(spec, &own.parts, &wire.sockets(), sandbox))
            .no_new_privileges();
        let argv_file = folder.join(ARGV_FILE);
        std::fs::write(&argv_file, cmd.to_line() + "\n").map_err(failed(&argv_file))?;
        let stderr_file = folder.join(STDERR_FILE);
        let stderr = File::create(&stderr_file).map_err(failed(&stderr_file))?;
        let console_log = folder.join(CONSOLE_LOG);
        let log = OpenOptions::new().create(true).append(true).open(&console_log);
        let log = log.map_err(failed(&console_log))?;

        let memory = OomWatch::begin();
        let mut running = cmd.spawn(Stdio::null(), stderr.into())?;
        let started = Instant::now();
        let alive = |running: &mut Running| matches!(running.try_wait(), Ok(None));
        let go_on = || alive(&mut running) && !cancel.is_cancelled() && started.elapsed() < CONNECT;
        let streams = wire.accept(go_on).map_err(failed(folder))?;
        own.poll()?;
        let not_started = |running: &mut Running| start_failure(running, folder, memory, cancel);
        let Some((console, qmp)) = streams else {
            return Err(not_started(&mut running));
        };
        let console_stream = console.try_clone().map_err(failed(folder))?;
        let log = Both(log, screen.take());
        let console = Console::attach(console, log, emit.clone());
        // qemu connects before it has opened disks and allocated memory: it may still fail.
        let Ok((qmp, events)) = Qmp::connect(qmp) else {
            return Err(not_started(&mut running));
        };
        let mut machine = Self {
            running,
            own,
            qmp,
            events,
            console,
            console_stream,
            cancel: cancel.clone(),
            folder: folder.to_owned(),
            forwards: Vec::new(),
            resets: 0,
            expected_resets: 0,
            powered_off: false,
            reset: started,
            panicked: false,
            typed: false,
            full: false,
            memory,
            signs: Signs::new(),
        };
        let wanted = spec.forwards.len() + usize::from(spec.ssh);
        if wanted > 0 {
            machine.forwards = machine.listed_forwards(wanted)?;
        }
        Ok(machine)
    }

    /// The forwards with the ports that the kernel gave to them, as the monitor lists them.
    fn listed_forwards(&mut self, wanted: usize) -> Result<Vec<Forward>, MachineError> {
        let command = "info usernet";
        let listed = self.qmp.human_monitor(command, ANSWER).and_then(|text| {
            let found = parse_forwards(&text);
            let all = (found.len() >= wanted).then_some(found);
            all.ok_or_else(|| QmpError::Refused {
                command: command.to_owned(),
                reason: format!("not every forwarded port is in its answer: {text}"),
            })
        });
        listed.or_else(|error| {
            // A very short-lived guest may be gone already: that is the better message.
            self.poll()?;
            Err(error.into())
        })
    }

    /// qemu's process id.
    pub fn id(&self) -> u32 {
        self.running.id()
    }

    /// The machine's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The serial console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// The machine protocol.
    pub fn qmp(&self) -> &Qmp {
        &self.qmp
    }

    /// The loopback port that leads to the guest's port 22, where one was asked for.
    pub fn ssh_port(&self) -> Option<u16> {
        let ssh = self.forwards.iter().find(|forward| forward.guest == 22);
        ssh.map(|forward| forward.host)
    }

    /// The loopback ports that lead into the guest.
    pub fn forwards(&self) -> &[Forward] {
        &self.forwards
    }

    /// What is written here, the guest reads from its serial port.
    ///
    /// # Errors
    /// When the system has no file descriptor left.
    pub fn keyboard(&self) -> io::Result<UnixStream> {
        self.console_stream.try_clone()
    }

    /// Writes what the screen shows as a PNG.
    ///
    /// # Errors
    /// [`MachineError::Qmp`], [`MachineError::Folder`].
    pub fn screendump(&mut self, path: &Path) -> Result<(), MachineError> {
        let path = std::path::absolute(path).map_err(|source| MachineError::Folder {
            path: path.to_owned(),
            source,
        })?;
        let arguments = json!({ "filename": path, "format": "png" });
        self.qmp.command("screendump", arguments, ANSWER)?;
        Ok(())
    }

    /// From now on the guest writes its first disk to this file, a layer over the one that it wrote to until now.
    ///
    /// # Errors
    /// [`MachineError::Qmp`].
    pub fn continue_on(&mut self, layer: &Path) -> Result<(), MachineError> {
        let arguments = json!({
            "device": "disk0", "snapshot-file": layer, "format": "qcow2", "mode": "existing"
        });
        self.qmp.command("blockdev-snapshot-sync", arguments, ANSWER)?;
        Ok(())
    }

    /// What stops every wait of ours.
    pub(super) fn cancel(&self) -> &Cancel {
        &self.cancel
    }
}

/// The spec with absolute paths: a relative one with a colon would be read as a protocol.
fn absolute(spec: &MachineSpec) -> Result<MachineSpec, MachineError> {
    let mut spec = spec.clone();
    let mut paths: Vec<&mut PathBuf> = Vec::new();
    paths.extend(spec.disks.iter_mut().map(|disk| &mut disk.path));
    paths.extend(&mut spec.cdroms);
    paths.extend(&mut spec.seed);
    if let Boot::Kernel { kernel, initrd, .. } = &mut spec.boot {
        paths.push(kernel);
        paths.extend(initrd);
    }
    for path in paths {
        *path = std::path::absolute(&*path).map_err(|source| MachineError::Folder {
            path: path.clone(),
            source,
        })?;
    }
    Ok(spec)
}

fn make_private(folder: &Path) -> Result<(), MachineError> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    let private = || std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700));
    made.and_then(|()| private())
        .map_err(|source| MachineError::Folder {
            path: folder.to_owned(),
            source,
        })
}

/// Why there is no machine: we were asked to stop, qemu ended, or it hangs.
fn start_failure(running: &mut Running, folder: &Path, memory: OomWatch, cancel: &Cancel) -> MachineError {
    // The sockets end a moment before the process does.
    let deadline = Instant::now() + LAST_WORDS;
    while matches!(running.try_wait(), Ok(None)) && !cancel.is_cancelled() && Instant::now() < deadline {
        std::thread::sleep(POLL / 5);
    }
    match running.try_wait() {
        _ if cancel.is_cancelled() => MachineError::Cancelled,
        Ok(Some(status)) => match out_of_memory(status, memory, running.id()) {
            Some(kill) => MachineError::HostMemory {
                kill,
                console: Tail::default(),
            },
            None => MachineError::StartFailed {
                status: status_text(status),
                stderr: stderr_tail(folder),
            },
        },
        Ok(None) => MachineError::StartFailed {
            status: "gave no sign of life on its sockets".to_owned(),
            stderr: stderr_tail(folder),
        },
        Err(error) => error.into(),
    }
}

pub(super) fn stderr_tail(folder: &Path) -> Tail {
    let bytes: io::Result<Vec<u8>> = std::fs::read(folder.join(STDERR_FILE));
    let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
    let lines: Vec<_> = text
        .lines()
        .map(clean_line)
        .filter(|line| !line.is_empty())
        .collect();
    Tail {
        from: "qemu's messages",
        lines: lines[lines.len().saturating_sub(SHOWN)..].to_vec(),
    }
}

fn names_sandbox(stderr: &Tail) -> bool {
    stderr
        .lines
        .iter()
        .any(|line| line.contains("-sandbox") || line.contains("seccomp"))
}

/// Reads `info usernet`: `TCP[HOST_FORWARD]  10  127.0.0.1 34429  10.0.2.15  22  0  0`.
fn parse_forwards(text: &str) -> Vec<Forward> {
    let lines = text.lines().filter(|line| line.contains("TCP[HOST_FORWARD]"));
    let forward = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let port = |at: usize| words.get(at)?.parse().ok();
        Some(Forward {
            host: port(3)?,
            guest: port(5)?,
        })
    };
    lines.filter_map(forward).collect()
}

/// The console's log and the screen it is shown on.
struct Both(File, Option<Box<dyn Write + Send>>);

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    /// Neither a full disk nor a closed terminal keeps the other from getting its bytes.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let shown = self
            .1
            .as_mut()
            .map(|screen| screen.write_all(bytes).and_then(|()| screen.flush()));
        if matches!(shown, Some(Err(_))) {
            self.1 = None;
        }
        self.0.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forwarded_port_is_read_from_the_monitor() {
        // As printed by qemu 7.2 and 10.0.
        let text = "Hub -1 (net0):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  \
                    TCP[HOST_FORWARD]  10       127.0.0.1 34429       10.0.2.15    22     0     0\r\n";
        let ssh = Forward {
            host: 34429,
            guest: 22,
        };
        assert_eq!(parse_forwards(text), [ssh]);
        assert_eq!(parse_forwards("Hub -1 (net0):\r\n"), []);
    }
}
