//! Watching a machine while something is waited for: signs of life, of trouble, of the end.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde_json::json;

use super::console::Trouble;
use super::error::{MachineError, Tail};
use super::qemu::{ANSWER, LAST_WORDS, Machine, POLL, SHOWN, stderr_tail};
use crate::host::facts::{self, OomKill, OomWatch};
use crate::host::process::status_text;

/// Counters are read no more often than this.
const SIGNS_POLL: Duration = Duration::from_secs(1);
/// A guest whose machine uses more than this share of a processor has work to do; what it takes to wait is much less, also
/// without KVM.
const AT_WORK: f64 = 0.25;
/// A boot loader that asks for commands is busy for ever, so it counts by what it shows, once it has shown nothing else for so
/// long. Where its menu was left on purpose, a machine's keys were used (see [`super::typing`]).
const AT_PROMPT: Duration = Duration::from_secs(30);
/// GRUB's prompt, when it found no menu; "grub rescue>" is [`Trouble`] at once.
const BOOT_LOADER: &str = "grub>";
/// A guest that has booted and then was idle for so long without an sshd is not about to start one: a service that was still to
/// come would give it work.
pub(super) const IDLE: Duration = Duration::from_secs(20);

/// What counters of the machine say about life in the guest.
#[derive(Debug)]
pub(super) struct Signs {
    /// Of the disks.
    operations: u64,
    /// Of qemu.
    processor: Duration,
    asked: Instant,
    /// When a disk was last seen to be touched.
    touched: Instant,
    /// When the guest was last seen to be at work.
    worked: Instant,
}

impl Signs {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            operations: 0,
            processor: Duration::ZERO,
            asked: now,
            touched: now,
            worked: now,
        }
    }
}

/// Whether a process that ended so was killed by the kernel for lack of memory.
pub(super) fn out_of_memory(status: ExitStatus, memory: OomWatch, process: u32) -> Option<OomKill> {
    let killed = status.signal() == Some(rustix::process::Signal::KILL.as_raw());
    killed.then(|| memory.killed(process)).flatten()
}

impl Machine {
    /// How often the guest was reset since it was started.
    pub fn resets(&mut self) -> u64 {
        self.take_events();
        self.resets
    }

    /// Looks once at everything that can end a wait.
    ///
    /// # Errors
    /// [`MachineError::Cancelled`], [`MachineError::Trouble`], [`MachineError::Full`], [`MachineError::Ended`],
    /// [`MachineError::BrokeDown`], [`MachineError::HostMemory`], [`MachineError::Tpm`].
    pub fn poll(&mut self) -> Result<(), MachineError> {
        if self.cancel().is_cancelled() {
            return Err(MachineError::Cancelled);
        }
        let mut ended = self.running.try_wait()?;
        let lost = if ended.is_none() {
            self.own.poll().err()
        } else {
            None
        };
        if lost.is_some() {
            // The TPM of a machine that ends is ended by it, and may be gone first.
            let deadline = Instant::now() + LAST_WORDS;
            while ended.is_none() && Instant::now() < deadline {
                std::thread::sleep(POLL);
                ended = self.running.try_wait()?;
            }
        }
        if ended.is_some() {
            self.console.wait_closed(LAST_WORDS);
        }
        self.trouble()?;
        if self.full {
            return Err(MachineError::Full {
                console: self.last_words(),
            });
        }
        match (ended, lost) {
            (Some(status), _) => Err(self.ended(status)),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(()),
        }
    }

    /// How long the guest has neither printed nor touched a disk; counted from zero when a wait begins.
    pub fn quiet_for(&mut self) -> Duration {
        self.read_signs();
        self.signs.touched.max(self.console.last_activity()).elapsed()
    }

    /// How long the guest has neither printed nor touched a disk nor had work to do. One that makes keys may be quiet for a
    /// minute; one that hangs in a loop is never idle.
    fn idle_for(&mut self) -> Duration {
        self.quiet_for().min(self.signs.worked.elapsed())
    }

    /// Whether one that has booted is not going to do more by itself: it has had nothing to do for twenty seconds.
    pub fn is_idle(&mut self) -> bool {
        self.idle_for() >= IDLE
    }

    /// Whether nothing more is to be expected: quiet for `silence`, or idle for `idle`, where that counts. Each alone would
    /// wait without end: for one that hangs in a loop, or for one whose timers touch the disk.
    pub(super) fn is_still(&mut self, silence: Duration, idle: Option<Duration>) -> bool {
        self.quiet_for() >= silence || idle.is_some_and(|idle| self.idle_for() >= idle)
    }

    /// A wait begins: what was quiet before it does not count.
    pub(super) fn begin_wait(&mut self) {
        self.signs.touched = Instant::now();
    }

    fn read_signs(&mut self) {
        let since = self.signs.asked.elapsed();
        if since < SIGNS_POLL {
            return;
        }
        // No answer means no sign of life, and a dead qemu is reported by `poll`.
        let operations = self.disk_operations().unwrap_or(self.signs.operations);
        let processor = facts::processor_time(self.id()).unwrap_or(self.signs.processor);
        let used = processor.saturating_sub(self.signs.processor);
        let now = Instant::now();
        if operations != self.signs.operations {
            self.signs.touched = now;
        }
        if used > since.mul_f64(AT_WORK) {
            self.signs.worked = now;
        }
        self.signs.operations = operations;
        self.signs.processor = processor;
        self.signs.asked = now;
    }

    /// Waits for a line with `text` on the console, as long as the guest shows signs of life every `silence`.
    ///
    /// # Errors
    /// As [`Machine::poll`], and [`MachineError::Silent`].
    pub fn wait_console(&mut self, text: &str, silence: Duration) -> Result<String, MachineError> {
        self.begin_wait();
        loop {
            if let Some(line) = self.console.wait_for(text, POLL) {
                return Ok(line);
            }
            if let Err(error) = self.poll() {
                // It may be the last thing that was said before a machine ended.
                return self.console.find(text).ok_or(error);
            }
            self.check_silence(&format!("`{text}` on the console"), silence)?;
        }
    }

    /// Whether the guest's console has asked for a user since its last reset: it has booted then.
    pub(super) fn prompted(&mut self) -> Option<Instant> {
        self.take_events();
        self.console.prompted().filter(|at| *at >= self.reset)
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
        if let Some(prompt) = self.boot_loader_asks() {
            return Err(MachineError::Trouble {
                trouble: Trouble::NotBootable(format!("the boot loader asks for commands ({prompt})")),
                console: self.last_words(),
            });
        }
        if self.console.trouble().is_none() && !self.panicked {
            return Ok(());
        }
        // A moment, so that the message has the whole line, and those that follow, such as the call trace.
        self.console.wait_closed(POLL * 2);
        let reported = || Trouble::KernelPanic("it reported that to the machine".to_owned());
        let trouble = self.console.trouble().unwrap_or_else(reported);
        Err(MachineError::Trouble {
            trouble,
            console: self.last_words(),
        })
    }

    fn boot_loader_asks(&self) -> Option<String> {
        let waits = !self.typed && self.console.last_activity().elapsed() >= AT_PROMPT;
        waits
            .then(|| self.console.unfinished())
            .filter(|line| line.starts_with(BOOT_LOADER))
    }

    fn ended(&self, status: ExitStatus) -> MachineError {
        if let Some(kill) = out_of_memory(status, self.memory, self.id()) {
            let console = self.last_words();
            return MachineError::HostMemory { kill, console };
        }
        let (stderr, console) = (stderr_tail(self.folder()), self.last_words());
        let broke_down = status.signal() == Some(rustix::process::Signal::ABORT.as_raw());
        let status = status_text(status);
        if broke_down {
            return MachineError::BrokeDown {
                status,
                stderr,
                console,
            };
        }
        MachineError::Ended {
            status,
            stderr,
            console,
        }
    }

    fn take_events(&mut self) {
        for event in self.events.try_iter() {
            match event.name.as_str() {
                "RESET" => {
                    self.resets += 1;
                    self.reset = Instant::now();
                }
                "SHUTDOWN" => self.powered_off |= event.data["reason"].as_str() == Some("guest-shutdown"),
                // qemu stops a guest whose write found no room (`werror=enospc`, its default): nothing will move again.
                "BLOCK_IO_ERROR" => self.full |= event.data["nospace"].as_bool() == Some(true),
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
}
