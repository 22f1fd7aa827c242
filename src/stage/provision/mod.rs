//! Provision: runs a flavor's steps in the guest on a copy-on-write layer over the installed disk, seals it, and
//! leaves a disk of its own.

pub mod ansible;
mod steps;

use std::path::Path;
use std::time::Duration;

use crate::guest;
use crate::host::process::shell_quote;
use crate::machine::disk;
use crate::machine::spec::{Boot, DiskFormat};
use crate::machine::ssh::Key;
use crate::plan::node::ProvisionWork;
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::guest::{GuestDisk, Session, open_door, scaled};

/// Longest time for sealing, under KVM: most of it is `fstrim`.
const SEAL_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Makes the provisioned disk (qcow2, stand-alone) at `result` from the installed one.
///
/// # Errors
/// [`StageError`]; a failed step names itself and shows its last lines.
pub fn provision(
    work: &ProvisionWork,
    base: &Path,
    installed_key: &Path,
    site: &Site,
    result: &Path,
) -> Result<(), StageError> {
    let layer = site.scratch.join("layer.qcow2");
    disk::create_overlay(base, DiskFormat::Qcow2, &layer, None, &site.cancel)?;
    let (key, seed) = open_door(&work.guest, installed_key, site)?;
    let disk = GuestDisk {
        path: layer.clone(),
        format: DiskFormat::Qcow2,
        seed,
    };
    let session = Session::boot("provision", disk, Boot::Disk, work.machine, site)?;
    session.through(|session| {
        session.enter(&key, &work.guest.user)?;
        session.settle(&work.guest)?;
        steps::run_all(&work.steps, session, &key, site)?;
        seal(session, &key, site)?;
        // A guest that goes down by itself meanwhile may have kept what sealing took out.
        session.stays_up()
    })?;
    site.emit.phase("compacting the disk");
    disk::convert(&layer, DiskFormat::Qcow2, result, DiskFormat::Qcow2, &site.cancel)?;
    Ok(())
}

/// Takes out what clones must not share, and the build's own traces.
///
/// # Errors
/// [`StageError::Step`].
pub fn seal(session: &mut Session<'_>, key: &Key, site: &Site) -> Result<(), StageError> {
    site.emit.phase("sealing");
    let script = format!(
        "BUILD_KEY_PUBLIC={}\nexport BUILD_KEY_PUBLIC\n{}",
        shell_quote(key.public()),
        guest::SEAL
    );
    session.script("seal", &script, scaled(site.accel, SEAL_LIMIT))
}
