//! Knocking at a port of the guest's, as from outside: through the NAT of qemu's user network.

use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::error::MachineError;
use super::qemu::{ANSWER, Machine, POLL};
use crate::host::process::clean_line;

/// Bytes of a greeting that are read: an SSH identification is at most 255 long (RFC 4253 §4.2).
const GREETING: usize = 255;

/// What a knock brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Knock {
    /// The guest's first line.
    Greeted(String),
    /// A connection on which the guest says nothing first.
    Open,
    /// The guest's network answered; nothing listens at that port.
    Closed,
    /// Nothing answered: the guest has no network, or drops what comes.
    Nothing,
}

impl Machine {
    /// Knocks at a port that is among the machine's forwards, and waits at most `patience` for a greeting.
    ///
    /// # Errors
    /// As [`Machine::poll`].
    pub fn knock(&mut self, port: u16, patience: Duration) -> Result<Knock, MachineError> {
        self.poll()?;
        let forward = self.forwards().iter().find(|forward| forward.guest == port);
        let Some(host) = forward.map(|forward| forward.host) else {
            return Ok(Knock::Nothing);
        };
        // qemu takes every connection; only then does it turn to the guest.
        let Ok(mut stream) =
            TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, host)), patience)
        else {
            return Ok(Knock::Nothing);
        };
        if stream.set_read_timeout(Some(POLL)).is_err() {
            return Ok(Knock::Nothing);
        }
        let started = Instant::now();
        let mut greeting = Vec::new();
        let mut buffer = [0; GREETING];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) if greeting.is_empty() => return Ok(Knock::Closed),
                Ok(0) => break,
                Ok(count) => greeting.extend(&buffer[..count]),
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(_) if greeting.is_empty() => return Ok(Knock::Closed),
                Err(_) => break,
            }
            if greeting.contains(&b'\n') || greeting.len() >= GREETING || started.elapsed() > patience {
                break;
            }
            self.poll()?;
        }
        if !greeting.is_empty() {
            let text = String::from_utf8_lossy(&greeting).into_owned();
            return Ok(Knock::Greeted(clean_line(
                text.lines().next().unwrap_or_default(),
            )));
        }
        let listed = self
            .qmp()
            .human_monitor("info usernet", ANSWER)
            .unwrap_or_default();
        Ok(if is_established(&listed, port) {
            Knock::Open
        } else {
            Knock::Nothing
        })
    }
}

/// Whether the guest has accepted a connection to this port, as `info usernet` lists it:
/// `TCP[ESTABLISHED]  14  127.0.0.1 34429  10.0.2.15  22  0  0`.
fn is_established(listed: &str, port: u16) -> bool {
    let port = port.to_string();
    listed
        .lines()
        .filter(|line| line.contains("TCP[ESTABLISHED]"))
        .any(|line| line.split_whitespace().nth(5) == Some(port.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_the_guest_accepted_is_told_from_one_that_waits() {
        // As printed by qemu 7.2.
        let listed = "  TCP[SYN_SENT]     14       127.0.0.1 34429       10.0.2.15    22     0     0\r\n  \
                      TCP[ESTABLISHED]  15       127.0.0.1 34430       10.0.2.15    80     0     0\r\n";
        assert!(is_established(listed, 80) && !is_established(listed, 22));
    }
}
