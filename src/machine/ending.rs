//! How a machine ends: by its guest, by us in order, or by force.

use std::time::{Duration, Instant};

use serde_json::json;

use super::error::MachineError;
use super::qemu::{ANSWER, Machine, POLL, SCREEN_FILE};

/// How long qemu may take to end after `quit`.
const QUIT: Duration = Duration::from_secs(10);

/// How long a machine that is being given up may take to hand over a picture of its screen.
const LAST_LOOK: Duration = Duration::from_secs(3);

/// How a guest went down by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// It was reset.
    Restarted,
    /// It switched itself off.
    PoweredOff,
}

/// What made a machine stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It was off already.
    Already,
    /// The guest followed the power button.
    PowerButton,
    /// qemu was stopped by `quit`; the guest lost what it had not written.
    Quit,
    /// qemu had to be killed.
    Killed,
}

impl Machine {
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

    /// Looks once: true when the guest has switched itself off in order (or has reset itself and was not to start again).
    ///
    /// # Errors
    /// As [`Machine::poll`]; [`MachineError::Ended`] when qemu ended in another way.
    pub fn is_done(&mut self) -> Result<bool, MachineError> {
        match self.poll() {
            Ok(()) => Ok(false),
            Err(error @ MachineError::Ended { .. }) => {
                let clean = self.running.try_wait()?.is_some_and(|status| status.success());
                if clean { Ok(true) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the guest restarted or switched itself off since the last login. Nothing that we ordered counts.
    pub fn went_down(&mut self) -> Option<Down> {
        if self.resets() > self.expected_resets {
            Some(Down::Restarted)
        } else if self.powered_off {
            Some(Down::PoweredOff)
        } else {
            None
        }
    }

    /// As [`Machine::went_down`], for a guest whose connection broke, which is a while before it is down: it is waited for
    /// at most `limit`, and not when it has nothing to do.
    ///
    /// # Errors
    /// [`MachineError::Cancelled`].
    pub fn wait_down(&mut self, limit: Duration) -> Result<Option<Down>, MachineError> {
        self.begin_wait();
        let deadline = Instant::now() + limit;
        loop {
            let polled = self.poll();
            let down = self.went_down();
            match polled {
                Err(MachineError::Cancelled) => return Err(MachineError::Cancelled),
                Ok(()) if down.is_none() && Instant::now() < deadline && !self.is_idle() => {}
                _ if down.is_some() => return Ok(down),
                _ => {
                    // qemu's last event may come a moment after its end is seen.
                    std::thread::sleep(POLL);
                    return Ok(self.went_down());
                }
            }
            self.console.wait_closed(POLL);
            if self.console.is_closed() && self.cancel().sleep(POLL) {
                return Err(MachineError::Cancelled);
            }
        }
    }

    fn wait_end(
        &mut self,
        on_time: &mut dyn FnMut(&mut Self) -> Result<(), MachineError>,
    ) -> Result<(), MachineError> {
        self.begin_wait();
        loop {
            if self.is_done()? {
                return Ok(());
            }
            on_time(self)?;
            // The end of the console is the first sign of the end.
            self.console.wait_closed(POLL);
            if self.console.is_closed() && self.cancel().sleep(POLL / 10) {
                return Err(MachineError::Cancelled);
            }
        }
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

    /// A machine that is dropped while it runs belongs to work that failed: its screen may say why.
    fn keep_screen(&mut self) {
        if !self.cancel().is_cancelled() && !self.is_off() {
            let path = self.folder().join(SCREEN_FILE);
            let arguments = json!({ "filename": path, "format": "png" });
            // Whether or not there is a picture, the failure has its own words.
            let _ = self.qmp.command("screendump", arguments, LAST_LOOK);
        }
    }

    /// Whether qemu has ended.
    pub fn is_off(&mut self) -> bool {
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
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.keep_screen();
    }
}
