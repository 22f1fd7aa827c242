//! A disk by the distro's own installer, unattended: its kernel started directly (or its boot loader typed to), the
//! answers handed over, its console understood. It ends when the guest switches itself off or resets itself.

mod answers;
mod follow;
mod heard;
mod media;
mod password;
mod plan;
#[cfg(test)]
mod replays;

use std::fs;
use std::path::Path;

use self::answers::Answers;
use self::follow::Follow;
use self::media::Found;
pub(super) use self::plan::{INITRD, ISO, KERNEL, plan};
pub use self::plan::{InstallerBoot, InstallerWork};
use super::{DISK, FILES, KEY};
use crate::boot_command;
use crate::host::syslog::Syslog;
use crate::machine::disk;
use crate::machine::media::iso::Iso;
use crate::machine::qemu::Machine;
use crate::machine::spec::{Boot, Disk, DiskFormat, MachineSpec};
use crate::machine::ssh::Key;
use crate::manifest::model::Secret;
use crate::platform::Platform;
use crate::size::ByteSize;
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::fetch::MediaAt;
use crate::stage::install::disk::must_grow_to;
use crate::stage::presence::Present;
use crate::stage::result::Taken;
use crate::stage::task::{File, Finding, Made, Memo, Task};

pub use self::follow::InstallerFailure;

impl Task for InstallerWork {
    fn programs(&self) -> Vec<&'static str> {
        self.machine.programs()
    }

    fn preflight(&self, _memo: &Memo) -> Vec<Finding> {
        let password = self.password.as_ref().map(Secret::read).and_then(Result::err);
        let password = password.map(|source| Finding::Secret(StageError::NoPassword { source }.to_string()));
        let silent = (!plan::reports(&self.answers)).then(|| {
            Finding::Warning(format!(
                "the answers `{}` do not report that the installation is done, so a failed one may pass for a good one: run \
                 {{{{ report_installed }}}} as their last command",
                self.file
            ))
        });
        let unfit = self.boot.local_iso().and_then(|path| Iso::open(path, path).err());
        let unfit = unfit.map(|error| Finding::Medium(error.to_string()));
        password.into_iter().chain(silent).chain(unfit).collect()
    }

    fn largest_file(&self) -> u64 {
        self.disk
    }

    fn secrets(&self) -> Vec<&Secret> {
        self.password.iter().collect()
    }

    fn platform(&self) -> Option<Platform> {
        Some(self.machine.computer.platform)
    }

    fn is_isolated(&self) -> bool {
        true
    }

    fn files(&self) -> &'static [File] {
        FILES
    }

    fn answers(&self) -> Option<&str> {
        Some(&self.answers)
    }

    fn logs(&self) -> &'static [(&'static str, &'static str)] {
        &[("syslog.log", "what the guest sent by syslog")]
    }

    fn unkept(&self) -> Option<&'static str> {
        Some("an installer's machine takes no logins; what it showed is in the logs of this node")
    }

    fn run(&self, taken: &Taken, out: &Path, site: &Site) -> Result<Made, StageError> {
        installer(self, taken, site, &out.join(DISK), &out.join(KEY))?;
        Ok(Made::built())
    }
}

/// Makes the disk (qcow2) at `result`, and the private half of the key that lets the build in at `key_file`.
///
/// # Errors
/// [`StageError`]; [`StageError::Installer`] when the installer is stuck.
pub fn installer(
    work: &InstallerWork,
    taken: &Taken,
    site: &Site,
    result: &Path,
    key_file: &Path,
) -> Result<(), StageError> {
    let at = |medium: &MediaAt| media::at(medium, taken, site);
    let found = media::find(work, &at, site)?;
    let key = Key::generate(&site.scratch, &site.cancel)?;
    let syslog = Syslog::listen().map_err(|e| StageError::port("syslog", e))?;
    let answers = Answers::prepare(work, key.public(), syslog.port(), site)?;
    let raw = site.scratch.join("disk.raw");
    disk::create_raw(&raw, ByteSize(work.disk))?;

    let (memory, cpus) = site.grant(work.machine);
    let mut spec = MachineSpec::with_disk(
        "installer",
        work.machine.computer,
        site.accel,
        memory,
        Disk::new(&raw, DiskFormat::Raw),
    );
    spec.cpus = cpus;
    spec.ssh = false;
    // The installed system starts in a machine of its own.
    spec.no_reboot = true;
    spec.seed = answers.seed().map(Path::to_owned);
    let mut typed = Vec::new();
    match found {
        Found::Kernel { kernel, initrd, iso } => {
            answers.inject(work, &initrd)?;
            spec.boot = Boot::Kernel {
                kernel,
                initrd: Some(initrd),
                cmdline: answers.fill(&work.command_line),
            };
            spec.cdroms.extend(iso);
        }
        Found::Typed { iso, keys } => {
            let keys = answers.fill(&keys);
            let tokens = boot_command::parse(&keys).map_err(|errors| StageError::BootCommand {
                reasons: errors.iter().map(ToString::to_string).collect(),
            })?;
            typed = boot_command::actions(&tokens);
            spec.boot = Boot::Cdrom;
            spec.cdroms.push(iso);
        }
    }
    site.emit.phase("starting the installer");
    let mut machine = Machine::start(&spec, &site.logs.join("installer"), &site.emit, &site.cancel)?;
    let present = Present::tell("installer", &machine, site);
    let mut follow = Follow::new(work, &answers, &syslog, site)?;
    if !typed.is_empty() {
        site.emit.phase("typing the boot command");
        machine.type_keys(&typed, follow.silence())?;
    }
    follow.run(&mut machine)?;
    drop(present);
    drop(machine);
    drop(answers);
    // What the installer left may be no whole disk; its first boot says more of that.
    if disk::must_be_whole(&raw, &raw).is_ok() {
        must_grow_to(&raw, result, ByteSize(work.largest), site)?;
    }
    site.emit.phase("compacting the disk");
    disk::convert(&raw, DiskFormat::Raw, result, DiskFormat::Qcow2, &site.cancel)?;
    // Only for the nodes after this one: sealing takes the key out of the guest, and nothing of it is published.
    fs::copy(key.path(), key_file).map_err(|e| StageError::file("copy the build key to", key_file, e))?;
    Ok(())
}
