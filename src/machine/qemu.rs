//! A running machine: from its spec to a qemu process, and to that process's end.
//! Knows nothing of what the guest is for.
//!
//! qemu must not outlive us, not even after SIGKILL. Its parent-death signal is tied to the *thread* that starts it:
//! call [`Machine::start`] from a thread that lives as long as the machine does.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::argv::{Sandbox, argv};
use super::console::{Console, Trouble};
use super::error::{MachineError, Tail};
use super::qmp::{Qmp, QmpEvent};
use super::spec::{Boot, MachineSpec};
use super::wire::Wire;
use crate::event::Emitter;
use crate::host::cancel::Cancel;
use crate::host::process::{Cmd, Running, clean_line, status_text};

/// How often a waiting thread looks at everything that could end the wait.
pub(super) const POLL: Duration = Duration::from_millis(50);
/// How long qemu may take to answer a command; it answers at once unless the host swaps.
pub(super) const ANSWER: Duration = Duration::from_secs(20);
/// How long qemu may take to connect to its sockets. Allocating memory and opening images comes before.
const CONNECT: Duration = Duration::from_secs(60);
/// How long qemu may take to end after it was told to quit.
const QUIT: Duration = Duration::from_secs(10);
/// How long the console may take to hand over its last words after qemu ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Console lines shown in errors.
const SHOWN: usize = 20;
/// Disk counters are asked for no more often than this.
const DISK_POLL: Duration = Duration::from_secs(1);

/// File in the machine's folder: the console, as received.
pub const CONSOLE_LOG: &str = "console.log";
/// File in the machine's folder: qemu's command line, as a shell would take it.
pub const ARGV_FILE: &str = "qemu.argv";
/// File in the machine's folder: what qemu itself said.
pub const STDERR_FILE: &str = "qemu.stderr";

/// What made a machine stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It was off already.
    Already,
    /// The guest followed the power button.
    PowerButton,
    /// qemu was told to quit; the guest lost what it had not written.
    Quit,
    /// qemu had to be killed.
    Killed,
}

/// A running machine. Dropping it kills qemu at once; [`Machine::stop`] is gentler.
#[derive(Debug)]
pub struct Machine {
    running: Running,
    qmp: Qmp,
    events: mpsc::Receiver<QmpEvent>,
    console: Console,
    cancel: Cancel,
    folder: PathBuf,
    ssh_port: Option<u16>,
    resets: u64,
    panicked: bool,
    disk: DiskActivity,
}

/// What the disks' counters say about life in the guest.
#[derive(Debug)]
struct DiskActivity {
    operations: u64,
    asked: Instant,
    changed: Instant,
}

impl Machine {
    /// Starts qemu. `folder` (made with mode 0700) gets [`ARGV_FILE`], [`STDERR_FILE`] and [`CONSOLE_LOG`]; a console
    /// log that is there is continued, as one guest may be started several times.
    ///
    /// # Errors
    /// [`MachineError::StartFailed`] with qemu's own words, [`MachineError::Process`] when it is not installed,
    /// [`MachineError::Folder`], [`MachineError::Qmp`], [`MachineError::Cancelled`].
    pub fn start(
        spec: &MachineSpec,
        folder: &Path,
        emit: &Emitter,
        cancel: &Cancel,
    ) -> Result<Self, MachineError> {
        let spec = absolute(spec)?;
        make_private(folder)?;
        match Self::start_once(&spec, folder, emit, cancel, Sandbox::On) {
            // A qemu without the system call filter refuses the option, and is used without.
            Err(MachineError::StartFailed { stderr, .. }) if names_sandbox(&stderr) => {
                emit.warn(
                    "this qemu was built without its sandbox (seccomp); the guest runs without that fence",
                );
                Self::start_once(&spec, folder, emit, cancel, Sandbox::Off)
            }
            result => result,
        }
    }

    fn start_once(
        spec: &MachineSpec,
        folder: &Path,
        emit: &Emitter,
        cancel: &Cancel,
        sandbox: Sandbox,
    ) -> Result<Self, MachineError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| MachineError::Folder { path, source }
        };
        let wire = Wire::listen().map_err(failed(&std::env::temp_dir()))?;
        let cmd = Cmd::new(&spec.program).args(argv(spec, &wire.sockets(), sandbox));
        let argv_file = folder.join(ARGV_FILE);
        std::fs::write(&argv_file, cmd.to_line() + "\n").map_err(failed(&argv_file))?;
        let stderr_file = folder.join(STDERR_FILE);
        let stderr = File::create(&stderr_file).map_err(failed(&stderr_file))?;
        let console_log = folder.join(CONSOLE_LOG);
        let log = OpenOptions::new().create(true).append(true).open(&console_log);
        let log = log.map_err(failed(&console_log))?;

        let mut running = cmd.spawn(Stdio::null(), stderr.into())?;
        let started = Instant::now();
        let alive = |running: &mut Running| matches!(running.try_wait(), Ok(None));
        let go_on = || alive(&mut running) && !cancel.is_cancelled() && started.elapsed() < CONNECT;
        let streams = wire.accept(go_on).map_err(failed(folder))?;
        let not_started = |running: &mut Running| start_failure(running, folder, cancel);
        let Some((console, qmp)) = streams else {
            return Err(not_started(&mut running));
        };
        let console = Console::attach(console, log, emit.clone());
        // qemu connects before it has opened disks and allocated memory: it may still fail.
        let Ok((qmp, events)) = Qmp::connect(qmp) else {
            return Err(not_started(&mut running));
        };
        let now = Instant::now();
        let mut machine = Self {
            running,
            qmp,
            events,
            console,
            cancel: cancel.clone(),
            folder: folder.to_owned(),
            ssh_port: None,
            resets: 0,
            panicked: false,
            disk: DiskActivity {
                operations: 0,
                asked: now,
                changed: now,
            },
        };
        if spec.ssh {
            machine.ssh_port = machine.forwarded_port()?;
        }
        Ok(machine)
    }

    /// The port that the kernel gave to the forward, as the monitor lists it.
    fn forwarded_port(&mut self) -> Result<Option<u16>, MachineError> {
        match self.qmp.human_monitor("info usernet", ANSWER) {
            Ok(text) => Ok(parse_forward(&text)),
            Err(error) => {
                // A very short-lived guest may be gone already: that is the better message.
                self.poll()?;
                Err(error.into())
            }
        }
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
        self.ssh_port
    }

    /// How often the guest was reset since it was started.
    pub fn resets(&mut self) -> u64 {
        self.take_events();
        self.resets
    }

    /// Looks once at everything that can end a wait.
    ///
    /// # Errors
    /// [`MachineError::Cancelled`], [`MachineError::Trouble`], [`MachineError::Ended`].
    pub fn poll(&mut self) -> Result<(), MachineError> {
        if self.cancel.is_cancelled() {
            return Err(MachineError::Cancelled);
        }
        let ended = self.running.try_wait()?;
        if ended.is_some() {
            self.console.wait_closed(LAST_WORDS);
        }
        self.trouble()?;
        ended.map_or(Ok(()), |status| Err(self.ended(status)))
    }

    /// How long the guest has neither printed nor touched a disk.
    pub fn quiet_for(&mut self) -> Duration {
        if self.disk.asked.elapsed() >= DISK_POLL {
            self.disk.asked = Instant::now();
            // No answer means no sign of life, and a dead qemu is told by `poll`.
            let operations = self.disk_operations().unwrap_or(self.disk.operations);
            if operations != self.disk.operations {
                self.disk.operations = operations;
                self.disk.changed = Instant::now();
            }
        }
        self.disk.changed.max(self.console.last_activity()).elapsed()
    }

    /// Waits for a line with `text` on the console, as long as the guest shows signs of life every `silence`.
    ///
    /// # Errors
    /// As [`Machine::poll`], and [`MachineError::Silent`].
    pub fn wait_console(&mut self, text: &str, silence: Duration) -> Result<String, MachineError> {
        loop {
            if let Some(line) = self.console.wait_for(text, POLL) {
                return Ok(line);
            }
            self.poll()?;
            self.check_silence(&format!("`{text}` on the console"), silence)?;
        }
    }

    /// Presses the power button: a guest that listens to ACPI shuts down in order.
    ///
    /// # Errors
    /// [`MachineError::Qmp`].
    pub fn power_off(&mut self) -> Result<(), MachineError> {
        self.qmp.command("system_powerdown", json!({}), ANSWER)?;
        Ok(())
    }

    /// Waits until the guest has switched itself off, at most `limit`.
    ///
    /// # Errors
    /// [`MachineError::Slow`], [`MachineError::Trouble`], [`MachineError::Cancelled`], and [`MachineError::Ended`] when
    /// qemu ended in another way.
    pub fn wait_off(&mut self, limit: Duration) -> Result<(), MachineError> {
        let deadline = Instant::now() + limit;
        self.wait_end(&mut |machine| {
            if Instant::now() < deadline {
                return Ok(());
            }
            Err(MachineError::Slow {
                what: "the guest to switch itself off".to_owned(),
                limit,
                console: machine.last_words(),
            })
        })
    }

    /// As [`Machine::wait_off`], for a guest that works until it is done, such as an installer: as long as it shows signs
    /// of life every `silence`.
    ///
    /// # Errors
    /// As [`Machine::wait_off`], with [`MachineError::Silent`].
    pub fn wait_done(&mut self, silence: Duration) -> Result<(), MachineError> {
        self.wait_end(&mut |machine| machine.check_silence("the guest to switch itself off", silence))
    }

    fn wait_end(
        &mut self,
        on_time: &mut dyn FnMut(&mut Self) -> Result<(), MachineError>,
    ) -> Result<(), MachineError> {
        loop {
            match self.poll() {
                Ok(()) => on_time(self)?,
                Err(error @ MachineError::Ended { .. }) => {
                    let clean = self.running.try_wait()?.is_some_and(|status| status.success());
                    return if clean { Ok(()) } else { Err(error) };
                }
                Err(error) => return Err(error),
            }
            // The end of the console is the first sign of the end.
            self.console.wait_closed(POLL);
            if self.console.is_closed() && self.cancel.sleep(POLL / 10) {
                return Err(MachineError::Cancelled);
            }
        }
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

    /// Stops the machine, each means given its time: the power button (`grace`; zero leaves it out), then qemu's own
    /// quit, then signals. Works also after a cancel.
    pub fn stop(&mut self, grace: Duration) -> Stopped {
        if self.is_off() {
            return Stopped::Already;
        }
        if !grace.is_zero() && self.power_off().is_ok() && self.off_within(grace) {
            return Stopped::PowerButton;
        }
        // The answer may be lost with the socket: what counts is that qemu ends.
        drop(self.qmp.command("quit", json!({}), QUIT));
        if self.off_within(QUIT) {
            return Stopped::Quit;
        }
        self.running.stop();
        Stopped::Killed
    }

    fn is_off(&mut self) -> bool {
        !matches!(self.running.try_wait(), Ok(None))
    }

    fn off_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.is_off() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(POLL / 5);
        }
        true
    }

    /// The console's last lines, for errors.
    pub(super) fn last_words(&self) -> Tail {
        Tail {
            from: "console",
            lines: self.console.last_lines(SHOWN),
        }
    }

    pub(super) fn check_silence(&mut self, what: &str, silence: Duration) -> Result<(), MachineError> {
        if self.quiet_for() < silence {
            return Ok(());
        }
        Err(MachineError::Silent {
            what: what.to_owned(),
            silence,
            console: self.last_words(),
        })
    }

    fn trouble(&mut self) -> Result<(), MachineError> {
        self.take_events();
        let reported = || {
            let panic = || Trouble::KernelPanic("it told the machine so".to_owned());
            self.panicked.then(panic)
        };
        let Some(trouble) = self.console.trouble().or_else(reported) else {
            return Ok(());
        };
        // A moment, so that the message has the lines that follow, such as the call trace.
        self.console.wait_closed(POLL * 2);
        Err(MachineError::Trouble {
            trouble,
            console: self.last_words(),
        })
    }

    fn ended(&self, status: ExitStatus) -> MachineError {
        MachineError::Ended {
            status: status_text(status),
            stderr: stderr_tail(&self.folder),
            console: self.last_words(),
        }
    }

    fn take_events(&mut self) {
        for event in self.events.try_iter() {
            match event.name.as_str() {
                "RESET" => self.resets += 1,
                "GUEST_PANICKED" => self.panicked = true,
                _ => {}
            }
        }
    }

    fn disk_operations(&self) -> Option<u64> {
        let stats = self.qmp.command("query-blockstats", json!({}), ANSWER).ok()?;
        let names = [
            "rd_operations",
            "wr_operations",
            "unmap_operations",
            "flush_operations",
        ];
        let of_one = |disk: &serde_json::Value| -> u64 {
            names.iter().filter_map(|name| disk["stats"][name].as_u64()).sum()
        };
        Some(stats.as_array()?.iter().map(of_one).sum())
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
fn start_failure(running: &mut Running, folder: &Path, cancel: &Cancel) -> MachineError {
    // The sockets end a moment before the process does.
    let deadline = Instant::now() + LAST_WORDS;
    while matches!(running.try_wait(), Ok(None)) && !cancel.is_cancelled() && Instant::now() < deadline {
        std::thread::sleep(POLL / 5);
    }
    match running.try_wait() {
        _ if cancel.is_cancelled() => MachineError::Cancelled,
        Ok(Some(status)) => MachineError::StartFailed {
            status: status_text(status),
            stderr: stderr_tail(folder),
        },
        Ok(None) => MachineError::StartFailed {
            status: "gave no sign of life on its sockets".to_owned(),
            stderr: stderr_tail(folder),
        },
        Err(error) => error.into(),
    }
}

fn stderr_tail(folder: &Path) -> Tail {
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
fn parse_forward(text: &str) -> Option<u16> {
    let line = text.lines().find(|line| line.contains("TCP[HOST_FORWARD]"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forwarded_port_is_read_from_the_monitor() {
        // As printed by qemu 7.2 and 10.0.
        let text = "Hub -1 (net0):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  \
                    TCP[HOST_FORWARD]  10       127.0.0.1 34429       10.0.2.15    22     0     0\r\n";
        assert_eq!(parse_forward(text), Some(34429));
        assert_eq!(parse_forward("Hub -1 (net0):\r\n"), None);
    }
}
