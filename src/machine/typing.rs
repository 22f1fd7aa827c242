//! Presses keys of a machine's keyboard, at a pace that a busy guest can follow, and waits for its console in between.
//! Knows nothing of what the keys mean; see [`crate::boot_command`].

use std::time::{Duration, Instant};

use serde_json::json;

use super::error::MachineError;
use super::qemu::{ANSWER, Machine, POLL};
use crate::boot_command::Action;

/// How long a key stays down, and the pause before the next one. Firmware and boot loaders poll the keyboard and keep
/// few keys: Packer's experience is that less than this loses some on a loaded host.
const PACE: Duration = Duration::from_millis(50);

impl Machine {
    /// Types. A wait for a text on the console without a limit ends when the guest has been quiet for `silence`.
    ///
    /// # Errors
    /// [`MachineError::Qmp`], [`MachineError::Slow`] and as [`Machine::wait_console`].
    pub fn type_keys(&mut self, actions: &[Action], silence: Duration) -> Result<(), MachineError> {
        for action in actions {
            match action {
                Action::Key { qcode, down } => {
                    self.typed = true;
                    let key = json!({ "type": "qcode", "data": qcode });
                    let event = json!({ "type": "key", "data": { "down": down, "key": key } });
                    self.qmp()
                        .command("input-send-event", json!({ "events": [event] }), ANSWER)?;
                    if *down {
                        self.pause(PACE)?;
                    }
                }
                Action::Typed => self.pause(PACE)?,
                Action::Wait(time) => self.pause(*time)?,
                Action::WaitFor { text, limit: None } => {
                    self.wait_console(text, silence)?;
                }
                Action::WaitFor {
                    text,
                    limit: Some(limit),
                } => self.wait_console_for(text, *limit)?,
            }
        }
        Ok(())
    }

    fn wait_console_for(&mut self, text: &str, limit: Duration) -> Result<(), MachineError> {
        let deadline = Instant::now() + limit;
        while self.console.wait_for(text, POLL).is_none() {
            self.poll()?;
            if Instant::now() >= deadline {
                return Err(MachineError::Slow {
                    what: format!("`{text}` on the console"),
                    limit,
                    console: self.last_words(),
                });
            }
        }
        Ok(())
    }
}
