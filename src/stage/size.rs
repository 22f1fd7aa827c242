//! Size: derives a disk of another size from the provisioned one. Offline in a moment where the file system is ext4;
//! by booting the guest once where it is one that only grows mounted.

use std::path::Path;
use std::time::Duration;

use crate::guest;
use crate::machine::disk::{self, FileSystem};
use crate::machine::spec::{Boot, DiskFormat};
use crate::plan::node::SizeWork;
use crate::size::ByteSize;
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::guest::{GuestDisk, Session, open_door, scaled};
use crate::stage::provision::seal;

/// Longest time for growing from inside, under KVM.
const GROW_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Makes the disk of the wanted size and format at `result`.
///
/// # Errors
/// [`StageError`].
pub fn size(
    work: &SizeWork,
    provisioned: &Path,
    installed_key: &Path,
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
    let root = disk::read_table(&raw, &site.cancel)?.last().cloned();
    let offset = root
        .ok_or_else(|| StageError::NoPartition {
            path: provisioned.to_owned(),
        })?
        .start;
    if disk::probe(&raw, offset)? == FileSystem::Ext {
        grow_offline(work, &raw, offset, site)?;
    } else {
        grow_inside(work, &raw, installed_key, site)?;
    }
    if work.format == DiskFormat::Raw {
        return std::fs::rename(&raw, result).map_err(|e| StageError::file("move the disk to", result, e));
    }
    site.emit.phase("writing the image");
    disk::convert(&raw, DiskFormat::Raw, result, DiskFormat::Qcow2, &site.cancel)?;
    Ok(disk::check_image(result, &site.cancel)?)
}

/// Grows partition and ext file system where they lie. No root, no mount, no boot.
fn grow_offline(work: &SizeWork, raw: &Path, offset: u64, site: &Site) -> Result<(), StageError> {
    site.emit.phase("punching out free blocks");
    disk::punch_free_blocks(raw, offset, &site.cancel)?;
    site.emit.phase("growing the file system");
    let grown = disk::grow_last_partition(raw, ByteSize(work.size), &site.cancel)?;
    disk::grow_ext(raw, &grown, &site.cancel)?;
    site.emit.phase("checking the file system");
    Ok(disk::verify_ext(raw, grown.start, &site.cancel)?)
}

/// Lets the guest grow its own file system, and seals it again: it has booted.
fn grow_inside(work: &SizeWork, raw: &Path, installed_key: &Path, site: &Site) -> Result<(), StageError> {
    disk::resize(raw, DiskFormat::Raw, ByteSize(work.size), &site.cancel)?;
    let (key, seed) = open_door(&work.guest, installed_key, site)?;
    let disk = GuestDisk {
        path: raw.to_owned(),
        format: DiskFormat::Raw,
        seed,
    };
    let session = Session::boot("grow", disk, Boot::Disk, work.machine, site)?;
    session.through(|session| {
        session.enter(&key, &work.guest.user)?;
        session.settle(&work.guest)?;
        site.emit.phase("growing the file system from inside");
        session.script("grow-root", guest::GROW, scaled(site.accel, GROW_LIMIT))?;
        seal(session, &key, site)
    })
}
