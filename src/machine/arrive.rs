//! Waiting for a guest until one can log in, the first time and after a reset; and saying how far it came when not.

use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::error::{MachineError, Reach};
use super::qemu::{Machine, POLL};
use super::ssh::{Key, Ssh, SshAddress, SshError};
use super::watch::IDLE;

/// A guest that lives on without letting us in is given up after this many times the allowed silence: its timers
/// touch the disk now and then for ever.
const LONGEST: u32 = 8;
/// How long a probe waits for sshd's greeting. qemu's network repeats an unanswered knock ever more slowly, so it is
/// better to knock again; but a slow sshd needs a patient one now and then.
const BRISK: Duration = Duration::from_secs(5);
const PATIENT: Duration = Duration::from_secs(25);
/// Every so many probes is a patient one.
const PATIENT_EVERY: u32 = 4;
/// How long a login may take once sshd has greeted: a key exchange and a PAM session under emulation.
const LOGIN: Duration = Duration::from_secs(90);
/// A guest whose console asks for a user has booted: when it has refused the key for so long since, or was asked to restart
/// and has been idle for so long, nothing more will come of it. Services that are slow to stop are named on the console
/// after 25 s (systemd(1), `systemd.show_status`).
const SETTLED: Duration = Duration::from_secs(30);
/// So many failures of our own client in a row end the wait: the guest has no part in them, so no waiting helps.
const OWN_FAILURES: u32 = 4;
/// Pause after a closed port.
const CLOSED_PAUSE: Duration = Duration::from_millis(500);
/// Pause after a failed login: cloud-init may not have put the key yet, and sshd penalises those who knock often.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

impl Machine {
    /// Waits until `user` can log in with `key`. The guest is given up when for `silence` it neither printed nor
    /// touched a disk; when it refused the key for that long; once its console has asked for a user, as it has booted
    /// then, when it has had nothing to do for twenty seconds, or refused the key for thirty; and in any case after
    /// eight times `silence`. The caller scales `silence` for emulation.
    ///
    /// # Errors
    /// [`MachineError::Unreachable`] with how far it came, and as [`Machine::poll`], within a second.
    pub fn wait_ssh(&mut self, key: &Key, user: &str, silence: Duration) -> Result<Ssh, MachineError> {
        self.begin_wait();
        let started = Instant::now();
        let mut refused_since = None;
        let mut own_failures = 0;
        let mut probes = 0;
        loop {
            probes += 1;
            let patience = if probes % PATIENT_EVERY == 0 {
                PATIENT
            } else {
                BRISK
            };
            let reach = match self.probe(patience, silence)? {
                Some(reach) => reach,
                None => match self.log_in(key, user)? {
                    Ok(ssh) => {
                        self.expected_resets = self.resets();
                        return Ok(ssh);
                    }
                    Err(reach) => reach,
                },
            };
            let refused = match &reach {
                Reach::Refused => *refused_since.get_or_insert_with(Instant::now),
                _ => {
                    refused_since = None;
                    Instant::now()
                }
            };
            own_failures = match &reach {
                Reach::Client(_) => own_failures + 1,
                _ => 0,
            };
            let prompted = self.prompted().map(|at| at.elapsed());
            let booted = prompted.is_some_and(|since| since >= SETTLED);
            let idle = prompted.map(|_| IDLE);
            let over = self.is_still(silence, idle)
                || refused.elapsed() >= if booted { silence.min(SETTLED) } else { silence }
                || own_failures >= OWN_FAILURES
                || started.elapsed() >= silence * LONGEST;
            if over {
                return Err(MachineError::Unreachable {
                    user: user.to_owned(),
                    reach,
                    waited: started.elapsed(),
                    console: self.last_words(),
                });
            }
            let pause = match reach {
                Reach::Nothing => Duration::ZERO,
                Reach::Closed => CLOSED_PAUSE,
                Reach::Refused | Reach::Client(_) | Reach::Failed(_) => REFUSED_PAUSE.min(silence / 4),
            };
            self.pause(pause)?;
        }
    }

    /// Waits until sshd greets, without logging in; at most `limit`, and as long as the guest shows signs of life every
    /// `silence`.
    ///
    /// # Errors
    /// As [`Machine::wait_ssh`].
    pub fn wait_sshd(&mut self, user: &str, silence: Duration, limit: Duration) -> Result<(), MachineError> {
        self.begin_wait();
        let started = Instant::now();
        while let Some(reach) = self.probe(BRISK, silence)? {
            if self.quiet_for() >= silence || started.elapsed() >= limit {
                return Err(MachineError::Unreachable {
                    user: user.to_owned(),
                    reach,
                    waited: started.elapsed(),
                    console: self.last_words(),
                });
            }
            self.pause(CLOSED_PAUSE)?;
        }
        Ok(())
    }

    /// Waits for the guest's next reset after `count` of them (see [`Machine::resets`]). It is given up when for `silence`
    /// it neither printed nor touched a disk; after half a minute in which it had no work either, when its console has
    /// asked for a user: one with a console says there what it waits for while it goes down.
    ///
    /// # Errors
    /// As [`Machine::poll`], and [`MachineError::NoReboot`].
    pub fn wait_reset(&mut self, count: u64, silence: Duration) -> Result<(), MachineError> {
        self.begin_wait();
        while self.resets() <= count {
            self.poll()?;
            let idle = self.prompted().map(|_| SETTLED);
            if self.is_still(silence, idle) {
                return Err(MachineError::NoReboot {
                    silence: self.quiet_for(),
                    console: self.last_words(),
                });
            }
            self.pause(POLL)?;
        }
        Ok(())
    }

    /// Restarts the guest from inside, and waits until one can log in to the *new* system: the old one's sshd may
    /// answer for a while.
    ///
    /// # Errors
    /// As [`Machine::wait_reset`] and [`Machine::wait_ssh`]; [`MachineError::Ssh`] when the guest has no `reboot`.
    pub fn reboot(&mut self, ssh: Ssh, key: &Key, silence: Duration) -> Result<Ssh, MachineError> {
        let before = self.resets();
        let user = ssh.target().user.clone();
        // A moment later and in a session of its own: so the answer is not cut off with the connection, and a sudo that
        // runs commands in a terminal of its own does not take it along.
        let command = "PATH=$PATH:/usr/sbin:/sbin; command -v reboot >/dev/null || exit 127\n\
                       setsid sh -c 'sleep 1; reboot' >/dev/null 2>&1 </dev/null &";
        match ssh.read(command, self.cancel()) {
            Ok(_) | Err(SshError::Lost { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let role = ssh.role();
        drop(ssh);
        self.wait_reset(before, silence)?;
        Ok(self.wait_ssh(key, &user, silence)?.with_role(role))
    }

    /// Knocks at the guest's port 22. None: sshd greeted.
    fn probe(&mut self, patience: Duration, silence: Duration) -> Result<Option<Reach>, MachineError> {
        self.poll()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ssh_port().unwrap_or_default()));
        let Ok(mut stream) = TcpStream::connect_timeout(&address, BRISK) else {
            return Ok(Some(Reach::Closed));
        };
        let started = Instant::now();
        let mut greeting = [0; 4];
        let mut have = 0;
        if stream.set_read_timeout(Some(POLL)).is_err() {
            return Ok(Some(Reach::Closed));
        }
        while have < greeting.len() {
            match stream.read(&mut greeting[have..]) {
                // qemu's network closes our end when the guest refuses.
                Ok(0) => return Ok(Some(Reach::Closed)),
                Ok(count) => have += count,
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(_) => return Ok(Some(Reach::Closed)),
            }
            self.poll()?;
            if started.elapsed() > patience || self.quiet_for() >= silence {
                return Ok(Some(Reach::Nothing));
            }
        }
        Ok(None)
    }

    fn log_in(&mut self, key: &Key, user: &str) -> Result<Result<Ssh, Reach>, MachineError> {
        let target = SshAddress {
            host: Ipv4Addr::LOCALHOST.to_string(),
            port: self.ssh_port().unwrap_or_default(),
            user: user.to_owned(),
        };
        let mut trouble = None;
        let connected = Ssh::connect(&target, key, LOGIN, &mut || {
            trouble = self.poll().err();
            trouble.is_none()
        });
        if let Some(error) = trouble {
            return Err(error);
        }
        match connected {
            Ok(ssh) => Ok(Ok(ssh)),
            Err(SshError::Refused { .. }) => Ok(Err(Reach::Refused)),
            Err(SshError::Connect {
                talk, is_own: true, ..
            }) => Ok(Err(Reach::Client(talk))),
            Err(SshError::Connect { talk, .. }) => Ok(Err(Reach::Failed(talk))),
            Err(error) => Err(error.into()),
        }
    }

    /// Time passes; the machine is looked after meanwhile.
    pub(super) fn pause(&mut self, pause: Duration) -> Result<(), MachineError> {
        let until = Instant::now() + pause;
        while Instant::now() < until {
            self.poll()?;
            if self.cancel().sleep(POLL.min(pause)) {
                return Err(MachineError::Cancelled);
            }
        }
        Ok(())
    }
}
