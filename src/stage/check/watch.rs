//! Watching a guest from outside until everything that was to be seen was seen: its console, its network, what it asks for
//! and what it answers. A guest that does not do what it should is no error here but something seen.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::boot::{BootSpec, Way};
use super::overlay;
use super::questions::answers;
use crate::checks::judge::{Cause, Owner, Seen};
use crate::checks::{Answers, SSH};
use crate::host::process::Output;
use crate::machine::door::{BOOT_SCRIPT, Posted, REPORTS, Visit};
use crate::machine::error::{MachineError, Reach};
use crate::machine::knock::Knock;
use crate::machine::qemu::{CONSOLE_LOG, Machine};
use crate::machine::ssh::Key;
use crate::size::show_duration;
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::guest::scaled;

/// What a console says that waits for a user.
const PROMPT: &str = "login:";
/// How long a knock waits for a greeting.
const BRISK: Duration = Duration::from_secs(3);
/// How long the network may take after the first sign of life, under KVM.
const NETWORK: Duration = Duration::from_secs(30);
/// How long the agent may take to ask: it is started every minute, and pauses first.
const MINUTE: Duration = Duration::from_secs(60);
/// What it may take longer, under KVM: to be started, to fetch.
const ASK: Duration = Duration::from_secs(20);
/// How long a login prompt may come behind everything else, under KVM, as long as the guest has work.
const LOGIN: Duration = Duration::from_secs(30);
/// How long a port may stay closed, under KVM; that of SSH, as long as the guest has work.
const PORT: Duration = Duration::from_secs(30);
/// Longest time for the jobs of the boot, as the script has it, in the guest's own seconds.
const SETTLE: Duration = Duration::from_secs(150);
/// Longest time from the script's end to its last word: the agent's end, and the next minute.
const AFTER: Duration = Duration::from_secs(30 + 60 + 12);
/// How often a waiting loop looks.
const POLL: Duration = Duration::from_millis(100);
/// Names of the two reports.
const ANSWERS: &str = "answers";
const LATER: &str = "after";

/// A machine being watched.
pub struct Watch<'a> {
    pub machine: Machine,
    site: &'a Site,
    visits: mpsc::Receiver<Visit>,
    started: Instant,
    seen: Seen,
}

impl<'a> Watch<'a> {
    /// Watches a machine that has just started.
    pub fn new(machine: Machine, visits: mpsc::Receiver<Visit>, site: &'a Site) -> Self {
        let nothing = || "nothing yet".to_owned();
        let seen = Seen {
            life: Err(nothing()),
            login: None,
            network: Err(nothing()),
            ports: BTreeMap::new(),
            fetched: 0,
            answers: Err(Cause {
                owner: Owner::WayIn,
                text: "nothing was asked in the guest".to_owned(),
            }),
            after: None,
        };
        Self {
            machine,
            site,
            visits,
            started: Instant::now(),
            seen,
        }
    }

    /// Looks at everything, in the order in which a boot shows it, and gives what was seen.
    ///
    /// # Errors
    /// When the host cannot run the machine, and when it is stopped.
    pub fn all(&mut self, boot: &BootSpec) -> Result<Seen, StageError> {
        match self.in_order(boot) {
            Ok(()) => {}
            // A machine that ended, or a guest that gave up, is something seen.
            Err(error @ (MachineError::Trouble { .. } | MachineError::Ended { .. })) => {
                self.seen.life = Err(error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(self.seen.clone())
    }

    fn in_order(&mut self, boot: &BootSpec) -> Result<(), MachineError> {
        if !self.life(boot)? {
            return Ok(());
        }
        let has_network = self.network()?;
        match &boot.way {
            Way::Agent { .. } if has_network => self.ask(boot)?,
            Way::Key {
                key,
                script,
                takes_unit,
            } if has_network => self.ask_by_key(boot, key, script, *takes_unit)?,
            Way::Agent { .. } | Way::Key { .. } => {
                let text = self.seen.network.clone().err().unwrap_or_default();
                let owner = Owner::Network;
                self.seen.answers = Err(Cause { owner, text });
            }
            Way::Unit => self.read_console(boot)?,
            Way::None => {}
        }
        if has_network {
            for port in &boot.ports {
                self.knock_at(*port)?;
            }
        }
        if boot.login {
            self.phase(boot, "waiting for a login prompt");
            let limit = scaled(self.site.accel, LOGIN);
            let shown = self
                .seen
                .answers
                .as_ref()
                .is_ok_and(|a| a.values().any(|a| a.output.contains(PROMPT)));
            self.until(if shown { Duration::ZERO } else { limit }, |watch| {
                watch.seen.login.is_some() || watch.is_at_rest()
            })?;
        }
        if let Way::Agent { agent, .. } = &boot.way
            && agent.reports_again
            && self.seen.answers.is_ok()
        {
            self.phase(boot, "waiting whether the agent stopped for good");
            let limit = AFTER + scaled(self.site.accel, ASK);
            self.until(limit, |watch| watch.seen.after.is_some())?;
        }
        Ok(())
    }

    fn phase(&self, boot: &BootSpec, doing: &str) {
        self.site.emit.phase(format!("{}: {doing}", boot.name));
    }

    /// Waits for the first sign of life. False: there was none.
    fn life(&mut self, boot: &BootSpec) -> Result<bool, MachineError> {
        let came = self.until(boot.limit, |watch| watch.seen.life.is_ok())?;
        if !came {
            let said = self.machine.console().last_lines(1).pop();
            let said = said.map_or("nothing on the console".to_owned(), |line| {
                format!("last on the console: {line}")
            });
            self.seen.life = Err(format!("none within {}; {said}", show_duration(boot.limit)));
        }
        if let (Some(on_life), Ok((after, _))) = (&boot.on_life, &self.seen.life) {
            // No second boot may be wanted.
            let _ = on_life.send(*after);
        }
        Ok(came)
    }

    /// Waits until the guest has answered anything. False: it never did.
    fn network(&mut self) -> Result<bool, MachineError> {
        let limit = scaled(self.site.accel, NETWORK);
        let came = self.until(limit, |watch| watch.seen.network.is_ok())?;
        if !came {
            let waited = show_duration(limit);
            self.seen.network = Err(format!(
                "no answer from the guest's network within {waited} of its boot"
            ));
        }
        Ok(came)
    }

    /// Waits for the agent to fetch the script, then for its answers.
    fn ask(&mut self, boot: &BootSpec) -> Result<(), MachineError> {
        self.phase(boot, "waiting for the agent to ask for its script");
        let limit = MINUTE + scaled(self.site.accel, ASK);
        let is_over = |watch: &mut Self| watch.seen.fetched > 0 || watch.seen.answers.is_ok();
        if !self.until(limit, is_over)? {
            let waited = show_duration(limit);
            self.unanswered(format!(
                "the agent did not ask for /{BOOT_SCRIPT} within {waited}"
            ));
            return Ok(());
        }
        self.phase(boot, "asking in the guest");
        let limit = SETTLE + scaled(self.site.accel, boot.questions);
        if !self.until(limit, |watch| watch.seen.answers.is_ok())? {
            let waited = show_duration(limit);
            self.unanswered(format!(
                "the agent fetched its script, which did not report within {waited}"
            ));
        }
        Ok(())
    }

    /// Logs in by the key that the guest was offered, and asks over that connection.
    fn ask_by_key(
        &mut self,
        boot: &BootSpec,
        key: &Key,
        script: &str,
        takes_unit: bool,
    ) -> Result<(), MachineError> {
        self.phase(boot, "asking in the guest over SSH");
        let ssh = match self
            .machine
            .wait_ssh(key, "root", scaled(self.site.accel, NETWORK))
        {
            Ok(ssh) => ssh,
            Err(MachineError::Unreachable { reach, .. }) => {
                let (owner, remedy) = match reach {
                    Reach::Refused if takes_unit => (Owner::Refused, ""),
                    Reach::Refused => (
                        Owner::WayIn,
                        "; on this file system the check has no other: let the flavor install the agent (vm-bootstrap), \
                         or sshd take root's keys from ~/.ssh/authorized_keys",
                    ),
                    _ => (Owner::WayIn, ""),
                };
                let text = format!("no way in by a credential for systemd: {reach}{remedy}");
                self.seen.answers = Err(Cause { owner, text });
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let limit = SETTLE + scaled(self.site.accel, boot.questions);
        let mut text = String::new();
        let input = script.as_bytes().to_vec();
        let ran = ssh.run(
            "/bin/sh -s",
            input,
            Some(limit),
            &self.site.cancel,
            &mut |output, line| {
                if output == Output::Stdout {
                    text.push_str(line);
                    text.push('\n');
                }
            },
        );
        let found = answers(&text).ok_or_else(|| match ran {
            Ok(code) => format!("the questions ended with code {code} and without all answers"),
            Err(error) => error.to_string(),
        });
        let owner = Owner::WayIn;
        self.seen.answers = found.map_err(|text| Cause { owner, text });
        Ok(())
    }

    /// Waits for what the unit prints on the console. The log has all of it; what is read live is cut into lines.
    fn read_console(&mut self, boot: &BootSpec) -> Result<(), MachineError> {
        self.phase(boot, "waiting for the unit that asks in the guest");
        let log = self.machine.folder().join(CONSOLE_LOG);
        let limit = SETTLE + scaled(self.site.accel, boot.questions);
        let read = |log: &Path| overlay::printed(&fs::read(log).unwrap_or_default());
        let mut found = None;
        let deadline = Instant::now() + limit;
        while found.is_none() && Instant::now() < deadline {
            self.until(POLL * 10, |_| false)?;
            found = read(&log);
        }
        let waited = show_duration(limit);
        let text = format!("the unit that asks in the guest was not heard on the console within {waited}");
        let owner = Owner::WayIn;
        self.seen.answers = found.and_then(|text| answers(&text)).ok_or(Cause { owner, text });
        Ok(())
    }

    fn unanswered(&mut self, text: String) {
        let owner = Owner::Agent;
        self.seen.answers = Err(Cause { owner, text });
    }

    /// Knocks until the port opens, or the time for that is over.
    fn knock_at(&mut self, port: u16) -> Result<(), MachineError> {
        self.site.emit.phase(format!("knocking at port {port}"));
        let limit = scaled(self.site.accel, PORT);
        let started = Instant::now();
        loop {
            let found = match self.machine.knock(port, BRISK)? {
                Knock::Greeted(text) if port == SSH && !text.starts_with("SSH-") => {
                    Err(format!("a greeting that is not of SSH: {text}"))
                }
                Knock::Greeted(text) => Ok(text),
                // sshd greets; others may wait for the first word.
                Knock::Open if port == SSH => Err("an open port without an SSH greeting".to_owned()),
                Knock::Open => Ok("open".to_owned()),
                Knock::Closed => Err("a closed port".to_owned()),
                Knock::Nothing => Err("no answer".to_owned()),
            };
            // What opens other ports may be configured to wait.
            let is_over = found.is_ok() || started.elapsed() > limit || port == SSH && self.is_at_rest();
            self.seen.ports.insert(port, found);
            if is_over {
                return Ok(());
            }
            self.until(POLL * 5, |_| false)?;
        }
    }

    /// Whether the guest has done all that belongs to its boot and has no work left. It answers when its jobs are done.
    fn is_at_rest(&mut self) -> bool {
        self.seen.answers.is_ok() && self.machine.is_idle()
    }

    /// Looks at everything again and again until something holds. False: the time is over.
    fn until(&mut self, limit: Duration, holds: impl Fn(&mut Self) -> bool) -> Result<bool, MachineError> {
        let deadline = Instant::now() + limit;
        let mut knocked = Instant::now();
        loop {
            self.look()?;
            if holds(self) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            if self.seen.network.is_err() && knocked.elapsed() >= BRISK {
                if let Ok(sign) = self.sign()? {
                    self.network_is_up(sign);
                }
                knocked = Instant::now();
            }
            if let Ok(visit) = self.visits.recv_timeout(POLL) {
                self.visit(&visit);
            } else if self.site.cancel.sleep(POLL) {
                return Err(MachineError::Cancelled);
            }
        }
    }

    /// Whether the guest's network answers a knock.
    fn sign(&mut self) -> Result<Result<&'static str, ()>, MachineError> {
        Ok(match self.machine.knock(SSH, BRISK)? {
            Knock::Greeted(_) => Ok("sshd greets"),
            Knock::Open => Ok("port 22 is open"),
            Knock::Closed => Ok("port 22 refuses"),
            Knock::Nothing => Err(()),
        })
    }

    fn look(&mut self) -> Result<(), MachineError> {
        self.machine.poll()?;
        while let Ok(visit) = self.visits.try_recv() {
            self.visit(&visit);
        }
        if self.seen.login.is_none() && self.machine.console().find(PROMPT).is_some() {
            let after = self.started.elapsed();
            self.seen.login = Some(after);
            self.lives("a login prompt");
        }
        Ok(())
    }

    fn visit(&mut self, visit: &Visit) {
        self.network_is_up("the guest asked for a file");
        if visit.method == "GET" && visit.path == BOOT_SCRIPT {
            self.seen.fetched += 1;
        }
        let Some(Posted::Report(body)) = &visit.posted else {
            return;
        };
        let found: Option<Answers> = answers(&String::from_utf8_lossy(body));
        match (visit.path.strip_prefix(REPORTS), found) {
            (Some(ANSWERS), Some(found)) => self.seen.answers = Ok(found),
            (Some(LATER), Some(found)) => self.seen.after = Some(found),
            _ => {}
        }
    }

    fn network_is_up(&mut self, sign: &'static str) {
        if self.seen.network.is_err() {
            self.seen.network = Ok(sign);
        }
        self.lives(sign);
    }

    fn lives(&mut self, sign: &'static str) {
        if self.seen.life.is_err() {
            self.seen.life = Ok((self.started.elapsed(), sign));
        }
    }
}
