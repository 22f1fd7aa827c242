//! The screen of a machine by VNC: its address on loopback, and a password for this one run. Others on the host can
//! reach a loopback port too; without a password they would sit at the guest's keyboard.

use serde_json::json;

use super::error::MachineError;
use super::qemu::{ANSWER, Machine};
use super::qmp::QmpError;
use crate::host::random;

/// Letters of a password; VNC's own scheme takes no more than eight (RFC 6143 §7.2.2).
const LETTERS: usize = 8;
/// Letters that cannot be taken for each other, 32 of them: five bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// How to see a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// What the viewer asks for.
    pub password: String,
}

impl Machine {
    /// Lets a viewer in: sets a new password and tells the address. For machines with `vnc` in their spec.
    ///
    /// # Errors
    /// [`MachineError::Qmp`].
    pub fn open_screen(&mut self) -> Result<Screen, MachineError> {
        let random = random::bytes::<LETTERS>()
            .map_err(|error| self.no_screen(&format!("no random numbers: {error}")))?;
        let letter = |byte: &u8| char::from(ALPHABET[usize::from(byte & 31)]);
        let password: String = random.iter().map(letter).collect();
        // Through the protocol: an argument could be read by everybody on the host.
        let arguments = json!({ "protocol": "vnc", "password": password });
        self.qmp.command("set_password", arguments, ANSWER)?;
        let answer = self.qmp.command("query-vnc", json!({}), ANSWER)?;
        let port = answer["service"].as_str().and_then(|port| port.parse().ok());
        let port = port.ok_or_else(|| self.no_screen(&format!("no port in its answer: {answer}")))?;
        Ok(Screen { port, password })
    }

    fn no_screen(&self, reason: &str) -> MachineError {
        let command = "query-vnc".to_owned();
        let reason = reason.to_owned();
        QmpError::Refused { command, reason }.into()
    }
}
