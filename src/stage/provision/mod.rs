//! Provision: runs a flavor's steps in the guest on a copy-on-write layer over the installed disk, seals it, and
//! leaves a disk of its own. Where root only grows mounted, sealing is left to the size stage, which has to enter it.

pub mod ansible;
mod layers;
mod plan;
mod step;
mod steps;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::layers::KeptLayers;
pub(super) use self::plan::plan;
pub use self::plan::{Action, PlannedStep, ProvisionWork, STAGE, TERM};
use crate::digest::sha256_hex;
use crate::emit::Emitter;
use crate::guest;
use crate::host::cancel::Cancel;
use crate::host::process::shell_quote;
use crate::machine::disk::{self, FileSystem, Image, Layer, Layers, Skeleton, Tree};
use crate::machine::spec::{Boot, DiskFormat};
use crate::machine::ssh::Key;
use crate::manifest::model::{Access, Secret};
use crate::packages::Inside;
use crate::plan::node::Role;
use crate::platform::Platform;
use crate::stage::Site;
use crate::stage::distro::GuestLogin;
use crate::stage::error::StageError;
use crate::stage::guest::{GuestDisk, Session, open_login, scaled};
use crate::stage::install::{self, Installed, KEY};
use crate::stage::layer::Checkpoint;
use crate::stage::result::{Given, Taken};
use crate::stage::task::{File, Finding, Made, Memo, Stored, Task};

/// Longest time for one question, under KVM.
const ROOT_LIMIT: Duration = Duration::from_secs(60);
/// Longest time to list the packages, under KVM.
const PACKAGES_LIMIT: Duration = Duration::from_secs(2 * 60);
/// Longest time for sealing, under KVM: most of it is `fstrim`.
const SEAL_LIMIT: Duration = Duration::from_secs(10 * 60);

/// What provisioning tells of its disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provisioned {
    /// The root partition, where the guest could say; none on LVM and the like.
    pub root: Option<Root>,
    /// Whether it is sealed. A root that only grows mounted is sealed by the size stage.
    pub sealed: bool,
}

impl Default for Provisioned {
    /// For results of versions that reported nothing.
    fn default() -> Self {
        Self {
            root: None,
            sealed: true,
        }
    }
}

/// Why a provisioned disk never leaves this host.
pub fn stays(facts: &serde_json::Value) -> Option<&'static str> {
    let facts = Provisioned::deserialize(facts).unwrap_or_default();
    (!facts.sealed).then_some("it is not sealed yet, and the key into it stays here")
}

/// Where root is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// First byte of its partition.
    pub start: u64,
    /// Kind of its file system, as the kernel names it.
    pub file_system: String,
}

/// The provisioned disk.
pub const DISK: &str = "disk";
/// Which parts of it growing reads; there is none where that boots the guest.
pub const SKELETON: &str = "skeleton";
/// What system it is, and its packages; results of older versions have none.
pub const PACKAGES: &str = "packages.json";
/// The installed disk that it is made from.
const BASE: Role = Role::new("base");

impl Task for ProvisionWork {
    fn programs(&self) -> Vec<&'static str> {
        let mut programs = self.machine.programs();
        programs.extend(["sfdisk", "e2fsck", "e2image"]);
        let mut steps = self.steps.iter();
        if steps.any(|step| matches!(step.action, Action::Ansible(_))) {
            programs.push("ansible-playbook");
        }
        programs
    }

    fn preflight(&self, _memo: &Memo) -> Vec<Finding> {
        let mut absent: Vec<_> = self.machine.lacks().into_iter().collect();
        for step in &self.steps {
            let Action::Run { secrets, .. } = &step.action else {
                continue;
            };
            for (variable, secret) in secrets {
                if let Err(source) = secret.read() {
                    let error = StageError::NoSecret {
                        step: step.label.clone(),
                        variable: variable.clone(),
                        source,
                    };
                    absent.push(Finding::Secret(error.to_string()));
                }
            }
        }
        absent
    }

    fn secrets(&self) -> Vec<&Secret> {
        let steps = self.steps.iter();
        let secrets = steps.flat_map(|step| match &step.action {
            Action::Run { secrets, .. } => secrets.values().collect(),
            _ => Vec::new(),
        });
        secrets.collect()
    }

    fn platform(&self) -> Option<Platform> {
        Some(self.machine.computer.platform)
    }

    fn is_isolated(&self) -> bool {
        true
    }

    fn files(&self) -> &'static [File] {
        const {
            &[
                File::internal(DISK),
                File::optional(SKELETON),
                File::optional(PACKAGES),
            ]
        }
    }

    /// An unsealed guest must be entered once more, by the key of its install node. One that is installed again has another.
    fn stands(&self, stored: &Stored<'_>) -> Result<(), Option<String>> {
        let result = stored.result.as_ref().ok_or(None)?;
        let facts: Provisioned = result.facts().unwrap_or_default();
        if !facts.sealed && self.guest.login == GuestLogin::Installed && (stored.taken)(&BASE).is_none() {
            let why = "the key that opens its guest has gone from the store with the installed disk";
            return Err(Some(why.to_owned()));
        }
        Ok(())
    }

    fn texts(&self) -> Vec<(String, &str)> {
        let scripts = self.steps.iter().filter_map(|step| match &step.action {
            Action::Run { script, .. } => Some((sha256_hex(script.as_bytes()), script.as_str())),
            _ => None,
        });
        scripts.collect()
    }

    fn checkpoints(&self) -> &[Checkpoint] {
        &self.checkpoints
    }

    fn logs(&self) -> &'static [(&'static str, &'static str)] {
        &[("ansible.log", "what ansible said")]
    }

    fn run(&self, taken: &Taken, out: &Path, site: &Site) -> Result<Made, StageError> {
        let base = taken.get(&BASE)?;
        let key = || base.path(KEY);
        let facts = provision(self, base, &key, site, &out.join(DISK))?;
        Ok(Made::with(&facts))
    }
}

/// Makes the provisioned disk (qcow2, stand-alone) at `result` from the installed one.
///
/// # Errors
/// [`StageError`]; a failed step names itself and shows its last lines.
pub fn provision(
    work: &ProvisionWork,
    base: &Given,
    installed_key: &dyn Fn() -> Result<PathBuf, StageError>,
    site: &Site,
    result: &Path,
) -> Result<Provisioned, StageError> {
    let mut layers = KeptLayers::begin(&work.checkpoints, base, site)?;
    let (key, seed) = open_login(&work.guest, installed_key, site)?;
    let disk = GuestDisk {
        path: layers.top(),
        format: DiskFormat::Qcow2,
        seed,
    };
    let session = Session::boot("provision", disk, Boot::Disk, work.machine, site)?;
    let session = session.over(&base.path(install::DISK)?);
    // Results of earlier versions do not say.
    let installed: Installed = base.facts().unwrap_or_default();
    let mut facts = Provisioned::default();
    session.through(|session| {
        session.enter(&key, &work.guest.user)?;
        session.settle(&work.guest)?;
        steps::run_all(&work.steps, &mut layers, session, &key, site)?;
        facts.root = root(session, site)?;
        record(session, site, &result.with_file_name(PACKAGES))?;
        // Cloud-init lets in each new seed, but would keep the key of this one.
        facts.sealed = work.guest.login == GuestLogin::Given(Access::CloudInit)
            || facts
                .root
                .as_ref()
                .is_none_or(|root| root.file_system.starts_with("ext"));
        if facts.sealed {
            seal(session, &key, installed.key_since, site)?;
        }
        // A guest that goes down by itself meanwhile may have kept what sealing took out.
        session.stays_up()
    })?;
    let raw = site.scratch.join("disk.raw");
    site.emit.phase("writing the disk out as raw");
    disk::convert(
        &layers.top(),
        DiskFormat::Qcow2,
        &raw,
        DiskFormat::Raw,
        &site.cancel,
    )?;
    layers.remove();
    flatten(&raw, &facts, result, &site.emit, &site.cancel)?;
    Ok(facts)
}

/// Makes the result of a raw disk. What each of its sizes would have to do is done here once: the file system is checked,
/// what is free in it is no part of the result, and what growing reads of it is noted next to it.
///
/// # Errors
/// [`StageError::Disk`], [`StageError::File`].
pub fn flatten(
    raw: &Path,
    facts: &Provisioned,
    result: &Path,
    emit: &Emitter,
    cancel: &Cancel,
) -> Result<(), StageError> {
    // Whether there is a layout that can grow, and what is in the way of it, is found by the size stage.
    let root = disk::read_table(raw, cancel).and_then(|table| {
        let start = facts.root.as_ref().map(|root| root.start);
        disk::root(raw, &table, start, cancel)
    });
    if facts.sealed
        && let Ok(root) = root
        && disk::probe(raw, root.start)? == FileSystem::Ext
    {
        emit.phase("punching out free blocks");
        disk::punch_free_blocks(raw, root.start, cancel)?;
        let skeleton = Skeleton::of(raw, &root, cancel)?;
        let path = result.with_file_name(SKELETON);
        let text = serde_json::to_vec(&skeleton).map_err(|e| StageError::file("write", &path, e.into()))?;
        std::fs::write(&path, text).map_err(|e| StageError::file("write", &path, e))?;
    }
    emit.phase("compacting the disk");
    let layer = Layer::raw(raw, cancel)?;
    let image = Image::whole(Layers::new(vec![layer]), DiskFormat::Qcow2);
    Ok(image.write(result, cancel)?)
}

/// Asks the guest where its root is.
///
/// # Errors
/// [`StageError::Step`] and those of the connection.
fn root(session: &mut Session<'_>, site: &Site) -> Result<Option<Root>, StageError> {
    let script = guest::ROOT.as_bytes().to_vec();
    let ran = session.run("root", "/bin/sh -s", script, scaled(site.accel, ROOT_LIMIT))?;
    if ran.code != 0 {
        return Err(ran.failed("root"));
    }
    Ok(ran.tail.iter().find_map(|line| told_root(line)))
}

/// Writes down what system the guest is and which packages it has. One that does not say is a warning.
///
/// # Errors
/// [`StageError::File`] and those of the connection.
fn record(session: &mut Session<'_>, site: &Site, path: &Path) -> Result<(), StageError> {
    site.emit.phase("recording the packages");
    let lines = session.ask(guest::PACKAGES, scaled(site.accel, PACKAGES_LIMIT))?;
    let inside = Inside::read(lines.iter().map(String::as_str));
    if inside.manager.is_none() {
        site.emit
            .warn("the guest has no database of dpkg, rpm or apk: its packages are not recorded");
    }
    let text = serde_json::to_vec(&inside).map_err(|e| StageError::file("write", path, e.into()))?;
    std::fs::write(path, text).map_err(|e| StageError::file("write", path, e))
}

/// What was recorded of a provisioned system; none in results of older versions.
pub fn inside(provisioned: &Given) -> Option<Inside> {
    let path = provisioned.path(PACKAGES).ok()?;
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// All files of a provisioned system.
///
/// # Errors
/// [`StageError::Disk`]: the root file system is none that is read without a machine.
pub fn files(provisioned: &Given, cancel: &Cancel) -> Result<Tree, StageError> {
    let facts: Provisioned = provisioned.facts()?;
    let layer = Layer::qcow2(&provisioned.path(DISK)?)?;
    let start = facts.root.map_or(0, |root| root.start);
    Ok(disk::tree(Layers::new(vec![layer]), start, cancel)?)
}

/// As in `root-partition 1048576 ext4`.
fn told_root(line: &str) -> Option<Root> {
    let mut words = line.strip_prefix("root-partition ")?.split(' ');
    Some(Root {
        start: words.next()?.parse().ok()?,
        file_system: words.next()?.to_owned(),
    })
}

/// Takes out what clones must not share, and the build's own traces. `key_since`: as in [`Installed`].
///
/// # Errors
/// [`StageError::Step`].
pub fn seal(
    session: &mut Session<'_>,
    key: &Key,
    key_since: Option<Timestamp>,
    site: &Site,
) -> Result<(), StageError> {
    site.emit.phase("sealing");
    let script = format!(
        "BUILD_KEY_PUBLIC={}\nexport BUILD_KEY_PUBLIC\nSEAL_SINCE={}\n{}",
        shell_quote(key.public()),
        key_since.map_or_else(String::new, |since| since.as_second().to_string()),
        guest::SEAL
    );
    session.script("seal", &script, scaled(site.accel, SEAL_LIMIT))
}
