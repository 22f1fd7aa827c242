//! Size: derives a disk of another size from the provisioned one. Offline in a moment where the file system is ext4;
//! by booting the guest once where it is one that only grows mounted. Such a guest is not sealed before that: sealing takes
//! out the key that lets the build in.

mod plan;

use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(test)]
pub use self::plan::STAGE;
pub(super) use self::plan::plan;
pub use self::plan::{SizeWork, TERM};

use serde::{Deserialize, Serialize};

use crate::guest;
use crate::machine::disk::{self, FileSystem, Partition};
use crate::machine::spec::{Boot, DiskFormat};
use crate::plan::node::Role;
use crate::size::ByteSize;
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::guest::{GuestDisk, Session, open_login, scaled};
use crate::stage::install::{ACCESS, KEY};
use crate::stage::provision::{self, Provisioned, seal};
use crate::stage::result::Taken;
use crate::stage::task::{File, Made, Task};

/// Longest time for growing from inside, under KVM.
const GROW_LIMIT: Duration = Duration::from_secs(10 * 60);

pub const DISK: &str = "disk";
/// The provisioned disk that it is made from.
const PROVISIONED: Role = Role::new("disk");

/// Facts of a disk.
#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    size: u64,
}

impl Task for SizeWork {
    fn programs(&self) -> Vec<&'static str> {
        let mut programs = vec!["qemu-img", "sfdisk", "e2fsck", "resize2fs"];
        if self.may_boot {
            programs.extend(self.machine.programs());
        }
        programs
    }

    fn is_isolated(&self) -> bool {
        true
    }

    fn files(&self) -> &'static [File] {
        const { &[File::internal(DISK)] }
    }

    fn run(&self, taken: &Taken, out: &Path, site: &Site) -> Result<Made, StageError> {
        let provisioned = taken.get(&PROVISIONED)?;
        let disk = provisioned.path(provision::DISK)?;
        let reported: Provisioned = provisioned.facts().unwrap_or_default();
        // The plan does not wait for it, as only a guest that cannot grow offline needs it.
        let key = || taken.find(&ACCESS).ok_or(StageError::KeyGone)?.path(KEY);
        size(self, &disk, &reported, &key, site, &out.join(DISK))?;
        Ok(Made::with(&Facts { size: self.size }))
    }
}

/// Makes the disk of the wanted size and format at `result`. `facts` are what provisioning reported of the disk.
///
/// # Errors
/// [`StageError`].
pub fn size(
    work: &SizeWork,
    provisioned: &Path,
    facts: &Provisioned,
    installed_key: &dyn Fn() -> Result<PathBuf, StageError>,
    site: &Site,
    result: &Path,
) -> Result<(), StageError> {
    let info = disk::look_as(provisioned, DiskFormat::Qcow2)?;
    if info.virtual_size.0 > work.size {
        return Err(StageError::TooSmall {
            have: info.virtual_size,
            wanted: ByteSize(work.size),
        });
    }
    let raw = site.scratch.join("disk.raw");
    site.emit.phase("unfolding the disk");
    disk::convert(
        provisioned,
        DiskFormat::Qcow2,
        &raw,
        DiskFormat::Raw,
        &site.cancel,
    )?;
    let table = disk::read_table(&raw, &site.cancel)?;
    let layout = disk::root(
        &raw,
        &table,
        facts.root.as_ref().map(|root| root.start),
        &site.cancel,
    );
    let (root, grows) = layout
        .and_then(|root| Ok((disk::grows(&raw, &table, &root, ByteSize(work.size))?, root)))
        .map(|(grows, root)| (root, grows))
        .map_err(|error| error.of(provisioned))?;
    if !facts.sealed || (grows && disk::probe(&raw, root.start)? != FileSystem::Ext) {
        work_inside(work, &raw, grows, installed_key, site)?;
    } else {
        work_offline(work, &raw, &root, grows, site)?;
    }
    if grows {
        let table = disk::read_table(&raw, &site.cancel)?;
        disk::must_fill(&raw, &disk::root(&raw, &table, Some(root.start), &site.cancel)?)?;
    }
    if work.format == DiskFormat::Raw {
        return std::fs::rename(&raw, result).map_err(|e| StageError::file("move the disk to", result, e));
    }
    site.emit.phase("writing the image");
    disk::convert(&raw, DiskFormat::Raw, result, DiskFormat::Qcow2, &site.cancel)?;
    Ok(disk::check_image(result, &site.cancel)?)
}

/// Grows partition and ext file system where they lie. No root, no mount, no boot. A root of another kind is left as it is.
fn work_offline(
    work: &SizeWork,
    raw: &Path,
    root: &Partition,
    grows: bool,
    site: &Site,
) -> Result<(), StageError> {
    let is_ext = disk::probe(raw, root.start)? == FileSystem::Ext;
    if is_ext {
        site.emit.phase("punching out free blocks");
        disk::punch_free_blocks(raw, root.start, &site.cancel)?;
    }
    if grows {
        site.emit.phase("growing the file system");
        let grown = disk::grow_last_partition(raw, ByteSize(work.size), &site.cancel)?;
        disk::grow_ext(raw, &grown, &site.cancel)?;
    } else {
        disk::resize(raw, DiskFormat::Raw, ByteSize(work.size), &site.cancel)?;
    }
    if is_ext {
        site.emit.phase("checking the file system");
        disk::verify_ext(raw, root.start, &site.cancel)?;
    }
    Ok(())
}

/// Lets the guest grow its own file system, and seals it (again: it has booted).
fn work_inside(
    work: &SizeWork,
    raw: &Path,
    grows: bool,
    installed_key: &dyn Fn() -> Result<PathBuf, StageError>,
    site: &Site,
) -> Result<(), StageError> {
    disk::resize(raw, DiskFormat::Raw, ByteSize(work.size), &site.cancel)?;
    let (key, seed) = open_login(&work.guest, installed_key, site)?;
    let disk = GuestDisk {
        path: raw.to_owned(),
        format: DiskFormat::Raw,
        seed,
    };
    let session = Session::boot("grow", disk, Boot::Disk, work.machine, site)?;
    session.through(|session| {
        session.enter(&key, &work.guest.user)?;
        session.settle(&work.guest)?;
        if grows {
            site.emit.phase("growing the file system from inside");
            session.script("grow-root", guest::GROW, scaled(site.accel, GROW_LIMIT))?;
        }
        seal(session, &key, site)?;
        session.stays_up()
    })
}
