//! A guest that is being worked on: boots a disk, logs in to it, runs scripts, powers off in order. Shared by the
//! stages that change a disk from inside; knows nothing of what the scripts do.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::digest::sha256_hex;
use crate::event::{Stream, What};
use crate::host::process::{Output, clean_line, keep_tail};
use crate::machine::error::MachineError;
use crate::machine::qemu::Machine;
use crate::machine::seed::Seed;
use crate::machine::spec::{Accel, Boot, Disk, DiskFormat, MachineSpec};
use crate::machine::ssh::{Key, Ssh, SshError};
use crate::manifest::model::{Access, SecretValue};
use crate::manifest::template;
use crate::stage::Site;
use crate::stage::aftermath::{self, OnError, Origin};
use crate::stage::distro::{GuestAccess, GuestLogin, MachineWish};
use crate::stage::down::Work;
use crate::stage::error::StageError;
use crate::stage::presence::Present;

/// How long a guest may show no sign of life (console, disk) before it counts as stuck, under KVM.
const SILENCE: Duration = Duration::from_secs(3 * 60);
/// Longest time for cloud-init's first boot, under KVM.
const SETTLE: Duration = Duration::from_secs(5 * 60);
/// Waits in the guest. `status --wait` returns at the first module that fails while others still run (cloud-init 22.4);
/// `result.json` is what the last stage writes at its end (cloudinit/cmd/main.py).
const SETTLED: &str = "code=0
cloud-init status --wait --long || code=$?
while [ -e /run/cloud-init/status.json ] && [ ! -e /run/cloud-init/result.json ] &&
    ! systemctl -q is-failed cloud-final.service; do
    sleep 1
done
exit $code
";
/// Longest time for the guest to write out what it has in memory, under KVM.
const SYNC: Duration = Duration::from_secs(60);
/// How often a machine that is held looks whether it may go.
const HELD_POLL: Duration = Duration::from_millis(100);
/// How much slower everything is without KVM.
pub const TCG_FACTOR: u32 = 4;
/// Longest time from the order to power off to the end of the VM, under KVM.
const POWER_OFF: Duration = Duration::from_secs(90);
/// Bytes of one step's output that are logged and reported, so that a guest cannot fill the disk.
const LOGGED: u64 = 256 << 20;
/// Lines of an answer, so that a guest cannot fill the memory.
const ANSWERS: usize = 100_000;
/// Shortest secret that is taken out of output: shorter ones would blank half of every line.
const MIN_SECRET: usize = 4;

/// A disk to boot.
#[derive(Clone, Debug)]
pub struct GuestDisk {
    /// Its file.
    pub path: PathBuf,
    pub format: DiskFormat,
    /// A NoCloud seed to attach.
    pub seed: Option<PathBuf>,
}

/// A booted guest.
#[derive(Debug)]
pub struct Session<'a> {
    present: Present,
    pub(super) machine: Machine,
    origin: Origin,
    key: Option<(Key, String)>,
    ssh: Option<Ssh>,
    pub(super) site: &'a Site,
    hidden: Vec<String>,
    pub(super) work: Work,
}

/// Deadlines are made for KVM; without it everything takes longer.
pub fn scaled(accel: Accel, limit: Duration) -> Duration {
    match accel {
        Accel::Kvm => limit,
        Accel::Tcg => limit * TCG_FACTOR,
    }
}

/// The key that logs in, and the seed that must be attached for it. `installed` is asked for the key of a guest that we
/// installed ourselves.
///
/// # Errors
/// [`StageError`].
pub fn open_login(
    access: &GuestAccess,
    installed: &dyn Fn() -> Result<PathBuf, StageError>,
    site: &Site,
) -> Result<(Key, Option<PathBuf>), StageError> {
    match &access.login {
        GuestLogin::Installed => Ok((Key::adopt(&installed()?, &site.scratch, &site.cancel)?, None)),
        GuestLogin::Given(Access::Key(path)) => Ok((Key::adopt(path, &site.scratch, &site.cancel)?, None)),
        GuestLogin::Given(Access::CloudInit) => {
            let key = Key::generate(&site.scratch, &site.cancel)?;
            let seed = seed(&access.user, key.public())?;
            let path = site.scratch.join("seed.img");
            seed.write(&path)?;
            Ok((key, Some(path)))
        }
    }
}

/// The cloud-init seed that lets a key in for a user.
///
/// # Errors
/// [`StageError::Template`].
pub fn seed(user: &str, public_key: &str) -> Result<Seed, StageError> {
    // The seed's identity follows from the key, so that cloud-init takes each new seed for a new start.
    let hostname = format!("build-{}", &sha256_hex(public_key.as_bytes())[..12]);
    let context = [("user", user), ("build_key", public_key), ("hostname", &hostname)];
    let context = context
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.into()))
        .collect();
    let render = |name: &'static str| {
        template::render_builtin(name, &context).map_err(|e| StageError::Template {
            name,
            reason: e.to_string(),
        })
    };
    Ok(Seed {
        user_data: render("cloud-init-user-data.yaml.j2")?,
        meta_data: render("cloud-init-meta-data.yaml.j2")?,
        network_config: None,
    })
}

impl<'a> Session<'a> {
    /// Starts the VM; its console goes to the node's logs and becomes events.
    ///
    /// # Errors
    /// [`StageError::Machine`].
    pub fn boot(
        name: &str,
        disk: GuestDisk,
        boot: Boot,
        wish: MachineWish,
        site: &'a Site,
    ) -> Result<Self, StageError> {
        site.emit.phase("booting");
        let (memory, cpus) = site.grant(wish);
        let origin = Origin {
            disk: disk.clone(),
            boot: boot.clone(),
            base: None,
            wish,
        };
        let mut spec = MachineSpec::with_disk(
            name,
            wish.computer,
            site.accel,
            memory,
            Disk::new(&disk.path, disk.format),
        );
        spec.cpus = cpus;
        spec.boot = boot;
        spec.seed = disk.seed;
        spec.ssh = true;
        let machine = Machine::start(
            &spec,
            &site.logs.join(name.replace(' ', "-")),
            &site.emit,
            &site.cancel,
        )?;
        Ok(Self {
            present: Present::tell(name, &machine, site),
            machine,
            origin,
            key: None,
            ssh: None,
            site,
            hidden: Vec::new(),
            work: Work::default(),
        })
    }

    /// The disk is the uppermost of several layers over this one.
    #[must_use]
    pub fn over(mut self, base: &Path) -> Self {
        self.origin.base = Some(base.to_owned());
        self
    }

    /// Has the guest write out what it has in memory.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn sync(&mut self) -> Result<(), StageError> {
        let limit = Some(scaled(self.site.accel, SYNC));
        let ran = self
            .ssh()?
            .run("sync", Vec::new(), limit, &self.site.cancel, &mut |_, _| {});
        ran.map(drop).map_err(|error| self.explain(error))
    }

    /// From now on the guest writes to this file, a layer over the one that it wrote to until now.
    ///
    /// # Errors
    /// [`StageError::Machine`].
    pub fn continue_on(&mut self, layer: &Path) -> Result<(), StageError> {
        self.machine.continue_on(layer)?;
        layer.clone_into(&mut self.origin.disk.path);
        Ok(())
    }

    /// Waits until the guest lets us in.
    ///
    /// # Errors
    /// [`StageError::Machine`] with a verdict.
    pub fn enter(&mut self, key: &Key, user: &str) -> Result<(), StageError> {
        self.site.emit.phase("waiting for ssh");
        let silence = scaled(self.site.accel, SILENCE);
        self.key = Some((key.clone(), user.to_owned()));
        self.present.login(&self.machine, key, user, self.site);
        let ssh = self.machine.wait_ssh(key, user, silence)?;
        self.ssh = Some(if user == "root" { ssh } else { ssh.with_sudo() });
        Ok(())
    }

    /// Waits until cloud-init, where it let us in, has done what it does at a first boot: it would change packages, users
    /// and its own memory under the steps' feet. That it is not content with something is a warning, not a failure.
    ///
    /// # Errors
    /// [`StageError`] when it does not end, and those of the connection.
    pub fn settle(&mut self, access: &GuestAccess) -> Result<(), StageError> {
        if access.login != GuestLogin::Given(Access::CloudInit) {
            return Ok(());
        }
        self.site.emit.phase("waiting for cloud-init");
        let limit = scaled(self.site.accel, SETTLE);
        let ran = self.run("cloud-init", "/bin/sh -s", SETTLED.as_bytes().to_vec(), limit)?;
        if ran.code != 0 {
            self.site.emit.warn(format!(
                "cloud-init in the guest ended with code {} ({}); the steps run all the same",
                ran.code,
                ran.log.display()
            ));
        }
        Ok(())
    }

    /// The connection.
    ///
    /// # Errors
    /// [`StageError::Machine`] before the first login.
    pub fn ssh(&self) -> Result<&Ssh, StageError> {
        self.ssh.as_ref().ok_or(StageError::NotEntered)
    }

    /// A step begins; messages name it.
    pub fn begin_step(&mut self, label: &str) {
        self.begin(label);
        self.work.has_steps = true;
    }

    fn begin(&mut self, label: &str) {
        if self.work.label != label {
            let before = std::mem::replace(&mut self.work.label, label.to_owned());
            self.work.after = self.work.has_steps.then_some(before);
        }
    }

    /// Runs one of our own scripts by `/bin/sh` as root; anything but code 0 is an error.
    ///
    /// # Errors
    /// [`StageError::Step`] and those of the connection.
    pub fn script(&mut self, label: &str, script: &str, limit: Duration) -> Result<(), StageError> {
        let ran = self.run(label, "/bin/sh -s", script.as_bytes().to_vec(), limit)?;
        if ran.code == 0 {
            Ok(())
        } else {
            Err(ran.failed(label))
        }
    }

    /// Runs a command as root with these bytes as its input, its output going to events and to a log of its own.
    ///
    /// # Errors
    /// [`StageError::Step`] when it takes longer than `limit`, and those of the connection.
    pub fn run(
        &mut self,
        label: &str,
        command: &str,
        stdin: Vec<u8>,
        limit: Duration,
    ) -> Result<Ran, StageError> {
        self.begin(label);
        let (log, mut file) = self.open_log(label)?;
        let (mut tail, mut logged) = (Vec::new(), 0);
        let (emit, hidden) = (self.site.emit.clone(), self.hidden.clone());
        let mut on_line = |_: Output, line: &str| {
            // A full disk must not hide what the step says: the event carries it too.
            let line = without_secrets(&hidden, line);
            logged += line.len() as u64 + 1;
            if logged <= LOGGED {
                let _ = writeln!(file, "{line}");
            }
            if !line.trim().is_empty() {
                if logged <= LOGGED {
                    emit.line(Stream::Step, line.clone());
                }
                keep_tail(&mut tail, line);
            }
        };
        let code = self
            .ssh()?
            .run(command, stdin, Some(limit), &self.site.cancel, &mut on_line);
        match code {
            Ok(code) => Ok(Ran { code, tail, log }),
            Err(SshError::TimedOut { limit, .. }) => Err(StageError::Step {
                step: label.to_owned(),
                why: format!("did not end within {}", crate::size::show_duration(limit)),
                tail,
                log,
            }),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Asks the guest something by a script of ours, and gives the lines of its answer; none where it fails.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn ask(&mut self, script: &str, limit: Duration) -> Result<Vec<String>, StageError> {
        let mut lines = Vec::new();
        let mut on_line = |output: Output, line: &str| {
            if output == Output::Stdout && lines.len() < ANSWERS {
                lines.push(line.to_owned());
            }
        };
        let script = script.as_bytes().to_vec();
        let ran = self
            .ssh()?
            .run("/bin/sh -s", script, Some(limit), &self.site.cancel, &mut on_line);
        match ran {
            Ok(0) => Ok(lines),
            Ok(_) => Ok(Vec::new()),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Why the way into the guest broke: when the machine itself is gone or in trouble, that is the better answer; likewise
    /// when the guest goes down.
    pub fn explain(&mut self, error: SshError) -> StageError {
        if matches!(error, SshError::Lost { .. })
            && let Some(error) = self.lost_by_going_down()
        {
            return error;
        }
        match self.machine.poll() {
            Ok(()) => error.into(),
            Err(cause) => cause.into(),
        }
    }

    /// Values that must not be shown from now on: whatever a step prints, they come out as `***`.
    pub fn hide(&mut self, values: &[SecretValue]) {
        self.hidden = hidden(values);
    }

    /// Where a step's output is kept, behind that of its earlier attempts.
    ///
    /// # Errors
    /// [`StageError::File`].
    pub fn open_log(&self, label: &str) -> Result<(PathBuf, fs::File), StageError> {
        let plain: String = label
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '.' {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        let log = self.site.logs.join(format!("{plain}.log"));
        let file = fs::OpenOptions::new().create(true).append(true).open(&log);
        Ok((log.clone(), file.map_err(|e| StageError::file("write", &log, e))?))
    }

    /// Restarts the guest and waits until it lets us in again.
    ///
    /// # Errors
    /// [`StageError`].
    pub fn reboot(&mut self, key: &Key) -> Result<(), StageError> {
        self.site.emit.phase("rebooting");
        let silence = scaled(self.site.accel, SILENCE);
        let ssh = self.ssh.take().ok_or(StageError::NotEntered)?;
        self.ssh = Some(self.machine.reboot(ssh, key, silence)?);
        Ok(())
    }

    /// Does the work that the guest was booted for, and powers it off: the disk is then as the guest wants it to be. What
    /// becomes of the machine when the work fails is as the user wants it.
    ///
    /// # Errors
    /// Those of the work, and [`StageError::Machine`] when the guest does not power off.
    pub fn through(
        mut self,
        work: impl FnOnce(&mut Self) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        let Err(error) = work(&mut self) else {
            return self.power_off();
        };
        let error = self.blame(error);
        // After a breakdown of qemu the work is retried, and the machine is not to blame.
        if !error.is_cancelled() && !error.is_breakdown() {
            self.fail(&error);
        }
        Err(error)
    }

    /// A step may fail because its guest is in trouble, as when the guest's kernel kills it for lack of memory: that is the
    /// better answer.
    fn blame(&mut self, error: StageError) -> StageError {
        if !matches!(error, StageError::Step { .. }) {
            return error;
        }
        match self.machine.poll() {
            Err(MachineError::Trouble { trouble, .. }) => StageError::StepInTrouble {
                trouble,
                step: Box::new(error),
            },
            _ => error,
        }
    }

    /// What the user wants of a machine whose work failed.
    fn fail(mut self, error: &StageError) {
        let site = self.site;
        match site.on_error {
            OnError::Abort => {}
            OnError::Hold if self.ssh.is_some() && !self.machine.is_off() => {
                site.emit.phase("failed; the machine is held");
                site.emit.emit(What::MachineHeld {
                    machine: self.present.presence().name.clone(),
                    error: error.to_string(),
                });
                while !site.cancel.is_cancelled() && !site.released.sleep(HELD_POLL) {}
            }
            OnError::Hold => site.emit.warn("no shell: SSH never came up"),
            OnError::Keep => {
                let key = self.key.as_ref().map(|(key, user)| (key, user.as_str()));
                drop(self.present);
                let kept = aftermath::keep(self.machine, self.ssh, &self.origin, key, error, site);
                if let Err(error) = kept {
                    site.emit.warn(format!("the machine could not be kept: {error}"));
                }
            }
        }
    }

    fn power_off(mut self) -> Result<(), StageError> {
        self.site.emit.phase("powering off");
        let limit = scaled(self.site.accel, POWER_OFF);
        let order = "PATH=$PATH:/usr/sbin:/sbin; poweroff";
        let limit_of_order = Some(Duration::from_secs(30));
        // The connection breaks while the command runs; a guest that did not take the order at all hears the power
        // button. Either way what counts is that the VM ends.
        let said = self.ssh.take().map(|ssh| {
            ssh.run(
                order,
                Vec::new(),
                limit_of_order,
                &self.site.cancel,
                &mut |_, _| {},
            )
        });
        if !matches!(said, Some(Ok(0) | Err(SshError::Lost { .. }))) && self.machine.poll().is_ok() {
            self.machine.power_off()?;
        }
        self.machine.wait_off(limit)?;
        Ok(())
    }
}

/// What is looked for in output to hide these values: their lines, as output comes by the line, cleaned as that is; the longest
/// first, as one may begin with another.
fn hidden(values: &[SecretValue]) -> Vec<String> {
    let lines = values.iter().flat_map(|value| value.expose().lines());
    let mut hidden: Vec<_> = lines
        .map(|line| clean_line(line).trim().to_owned())
        .filter(|line| line.len() >= MIN_SECRET)
        .collect();
    hidden.sort_by_key(|line| std::cmp::Reverse(line.len()));
    hidden
}

fn without_secrets(hidden: &[String], line: &str) -> String {
    hidden
        .iter()
        .fold(line.to_owned(), |line, value| line.replace(value, "***"))
}

/// A command that ended in the guest.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    pub tail: Vec<String>,
    pub log: PathBuf,
}

impl Ran {
    pub fn failed(self, step: &str) -> StageError {
        let why = format!("exited with code {}", self.code);
        StageError::Step {
            step: step.to_owned(),
            why,
            tail: self.tail,
            log: self.log,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_a_secret_is_hidden_and_one_that_begins_with_another_wholly() {
        let key = "-----BEGIN KEY-----\n\tb3BlbnNza\r\nabc\n-----END KEY-----\n";
        let values = [key, "token", "token-of-the-other"].map(|text| SecretValue::from(text.to_owned()));
        let hidden = hidden(&values);
        for (said, shown) in [
            ("+ KEY='-----BEGIN KEY-----", "+ KEY='***"),
            (" b3BlbnNza", " ***"),
            ("abc", "abc"),
            ("token-of-the-other, token", "***, ***"),
        ] {
            assert_eq!(without_secrets(&hidden, said), shown);
        }
    }
}
