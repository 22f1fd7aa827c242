//! Size: derives a disk of another size from the provisioned one. Offline in a moment where the file system is ext4: the
//! result then is a layer over the provisioned disk, with the megabyte or two that differ ([`layer`]). By booting the guest
//! once where it is one that only grows mounted. Such a guest is not sealed before that: sealing takes out the key that lets
//! the build in.

mod layer;
mod plan;

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::layer::grow_layer;
pub(super) use self::plan::plan;
pub use self::plan::{SizeWork, TERM};

use serde::{Deserialize, Serialize};

use crate::digest::{Algorithm, Digest};
use crate::guest;
use crate::machine::disk::{self, FileSystem, Image, Layer, Layers, Partition};
use crate::machine::spec::{Boot, DiskFormat};
use crate::plan::node::Role;
use crate::platform::Platform;
use crate::size::ByteSize;
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::guest::{GuestDisk, Session, open_login, scaled};
use crate::stage::install::{ACCESS, KEY};
use crate::stage::provision::{self, Provisioned, seal};
use crate::stage::result::{Given, Taken};
use crate::stage::task::{File, Finding, Made, Memo, Stored, Task};

/// Longest time for growing from inside, under KVM.
const GROW_LIMIT: Duration = Duration::from_secs(10 * 60);

pub const DISK: &str = "disk";
/// The provisioned disk that it is made from.
const PROVISIONED: Role = Role::new("disk");
/// The same for those who take the disk of this size.
pub const BASE: Role = Role::new("base");

/// Facts of a disk.
#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    size: u64,
    /// SHA-256 of the provisioned disk that this is a layer over; none where it stands alone.
    base: Option<Digest>,
}

/// Why a disk of a size never leaves this host.
pub fn stays(facts: &serde_json::Value) -> Option<&'static str> {
    let is_layer = Facts::deserialize(facts).is_ok_and(|facts| facts.base.is_some());
    is_layer.then_some("it is a layer over another disk, and made again in less time than it is moved")
}

impl Task for SizeWork {
    fn programs(&self) -> Vec<&'static str> {
        let mut programs = vec!["qemu-img", "sfdisk", "e2fsck", "resize2fs"];
        if self.may_boot {
            programs.extend(self.machine.programs());
        }
        programs
    }

    fn preflight(&self, _memo: &Memo) -> Vec<Finding> {
        let boots = self.may_boot.then(|| self.machine.lacks());
        boots.flatten().into_iter().collect()
    }

    fn largest_file(&self) -> u64 {
        self.size
    }

    fn platform(&self) -> Option<Platform> {
        Some(self.machine.computer.platform)
    }

    fn is_isolated(&self) -> bool {
        true
    }

    fn files(&self) -> &'static [File] {
        const { &[File::internal(DISK)] }
    }

    /// A layer belongs to the very bytes of the disk below it.
    fn stands(&self, stored: &Stored<'_>) -> Result<(), Option<String>> {
        let result = stored.result.as_ref().ok_or(None)?;
        let facts: Facts = result.facts().map_err(|_| None)?;
        let provisioned = (stored.taken)(&PROVISIONED);
        match (facts.base, provisioned.as_ref().map(base_digest)) {
            (Some(base), Some(Ok(found))) if base != found => {
                Err(Some("the provisioned disk was built again since".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn run(&self, taken: &Taken, out: &Path, site: &Site) -> Result<Made, StageError> {
        let provisioned = taken.get(&PROVISIONED)?;
        let result = out.join(DISK);
        let is_layer = provisioned.has(provision::SKELETON) && grow_layer(self, provisioned, site, &result)?;
        let mut base = None;
        if is_layer {
            base = Some(base_digest(provisioned)?);
        } else {
            let reported: Provisioned = provisioned.facts().unwrap_or_default();
            // The plan does not wait for it, as only a guest that cannot grow offline needs it.
            let key = || taken.find(&ACCESS).ok_or(StageError::KeyGone)?.path(KEY);
            let disk = provisioned.path(provision::DISK)?;
            size(self, &disk, &reported, &key, site, &result)?;
        }
        let size = self.size;
        Ok(Made::with(&Facts { size, base }))
    }
}

fn base_digest(provisioned: &Given) -> Result<Digest, StageError> {
    let disk = provisioned.artifact(provision::DISK)?;
    disk.digest(Algorithm::Sha256).cloned()
}

/// The disk of a result of this stage, for whoever takes that and, as [`BASE`], the provisioned disk.
///
/// # Errors
/// [`StageError`], also where the disk below is not the one that it was made over.
pub fn layers(sized: &Given, provisioned: &Given) -> Result<Layers, StageError> {
    let facts: Facts = sized.facts()?;
    let mut layers = vec![Layer::qcow2(&sized.path(DISK)?)?];
    if let Some(base) = facts.base {
        if base_digest(provisioned)? != base {
            return Err(StageError::Record {
                node: sized.node.clone(),
                reason: format!("it is a layer over another build of {}", provisioned.node),
            });
        }
        layers.push(Layer::qcow2(&provisioned.path(provision::DISK)?)?);
    }
    Ok(Layers::new(layers))
}

/// Makes the disk of the wanted size at `result`, stand-alone. `facts` are what provisioning reported of the disk.
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
    must_not_shrink(work, info.virtual_size)?;
    let raw = site.scratch.join("disk.raw");
    site.emit.phase("writing the disk out as raw");
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
        if disk::probe(&raw, root.start)? == FileSystem::Ext {
            site.emit.phase("punching out free blocks");
            disk::punch_free_blocks(&raw, root.start, &site.cancel)?;
        }
        work_offline(work, &raw, &root, grows, site)?;
    }
    if grows {
        let table = disk::read_table(&raw, &site.cancel)?;
        disk::must_fill(&raw, &disk::root(&raw, &table, Some(root.start), &site.cancel)?)?;
    }
    site.emit.phase("writing the image");
    let layers = Layers::new(vec![Layer::raw(&raw, &site.cancel)?]);
    Image::whole(layers, DiskFormat::Qcow2).write(result, &site.cancel)?;
    Ok(disk::check_image(result, &site.cancel)?)
}

fn must_not_shrink(work: &SizeWork, have: ByteSize) -> Result<(), StageError> {
    if have.0 > work.size {
        let wanted = ByteSize(work.size);
        return Err(StageError::TooSmall { have, wanted });
    }
    Ok(())
}

/// Grows partition and ext file system where they lie, just after they were checked. No root, no mount, no boot. A root of
/// another kind is left as it is.
fn work_offline(
    work: &SizeWork,
    raw: &Path,
    root: &Partition,
    grows: bool,
    site: &Site,
) -> Result<(), StageError> {
    if grows {
        site.emit.phase("growing the file system");
        let grown = disk::grow_last_partition(raw, ByteSize(work.size), &site.cancel)?;
        disk::grow_ext(raw, &grown, &site.cancel)?;
    } else {
        disk::resize(raw, DiskFormat::Raw, ByteSize(work.size), &site.cancel)?;
    }
    if disk::probe(raw, root.start)? == FileSystem::Ext {
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
        seal(session, &key, None, site)?;
        session.stays_up()
    })
}
