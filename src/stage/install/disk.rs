//! An existing disk image becomes a distro's disk: unpacked, turned into qcow2, grown where asked. No VM.

mod plan;

use std::fs;
use std::path::{Path, PathBuf};

pub(super) use self::plan::plan;
pub use self::plan::{DiskWork, MEDIUM};
use super::{DISK, FILES};
use crate::host::fs::hash_file;
use crate::machine::disk;
use crate::machine::spec::DiskFormat;
use crate::manifest::model::Compression;
use crate::size::{ByteSize, GIB};
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::fetch::{MEDIA, MediaAt};
use crate::stage::package::{detect, unpack_at_most};
use crate::stage::result::Taken;
use crate::stage::task::{File, Finding, Made, Memo, Task};

impl Task for DiskWork {
    fn programs(&self) -> Vec<&'static str> {
        vec!["qemu-img"]
    }

    /// What a local file says of itself: it is there, so nothing has to be built to find it out.
    fn preflight(&self, _memo: &Memo) -> Vec<Finding> {
        let MediaAt::Local { path, .. } = &self.media else {
            return Vec::new();
        };
        let found = detect(path).map_err(StageError::from).and_then(|compression| {
            if compression != Compression::None {
                return Ok(());
            }
            let info = disk::look(path, path)?;
            if info.virtual_size.0 > self.largest {
                return Err(too_small(info.virtual_size, self));
            }
            match info.format {
                DiskFormat::Raw => Ok(disk::must_be_whole(path, path)?),
                DiskFormat::Qcow2 => Ok(()),
            }
        });
        found
            .err()
            .map(|error| Finding::Medium(error.to_string()))
            .into_iter()
            .collect()
    }

    fn is_isolated(&self) -> bool {
        true
    }

    fn files(&self) -> &'static [File] {
        FILES
    }

    fn run(&self, taken: &Taken, out: &Path, site: &Site) -> Result<Made, StageError> {
        disk(self, &media_at(&self.media, taken)?, site, &out.join(DISK))?;
        Ok(Made::built())
    }
}

fn too_small(have: ByteSize, work: &DiskWork) -> StageError {
    StageError::LargerThanImages {
        path: work.media.name(),
        have,
        largest: ByteSize(work.largest),
    }
}

/// Where a medium is.
pub(super) fn media_at(media: &MediaAt, taken: &Taken) -> Result<PathBuf, StageError> {
    match media {
        MediaAt::Local { path, .. } => Ok(path.clone()),
        MediaAt::Fetched { role, .. } => taken.path(role, MEDIA),
    }
}

/// Makes the disk (qcow2) at `result` from `media`.
///
/// # Errors
/// [`StageError`]; a local file that is not what the manifest says names both digests.
pub fn disk(work: &DiskWork, media: &Path, site: &Site, result: &Path) -> Result<(), StageError> {
    check_digest(media, &work.media, site)?;
    site.emit.phase("unpacking");
    let plain = site.scratch.join("media");
    let emit = site.emit.clone();
    // A qcow2 file may be larger than its disk by its tables and snapshots.
    let most = work.largest.saturating_mul(2).saturating_add(GIB);
    unpack_at_most(media, &plain, most, &site.cancel, &mut |done, total| {
        emit.bytes(done, total);
    })?;
    let name = &work.media.name();
    let info = disk::look(&plain, name)?;
    // Before the disk is written out: a small file may stand for any size.
    if info.virtual_size.0 > work.largest {
        return Err(too_small(info.virtual_size, work));
    }
    let raw = match info.format {
        DiskFormat::Raw => plain,
        DiskFormat::Qcow2 => {
            let raw = site.scratch.join("media.raw");
            site.emit.phase("writing the disk out as raw");
            disk::convert(&plain, info.format, &raw, DiskFormat::Raw, &site.cancel)?;
            fs::remove_file(&plain).map_err(|e| StageError::file("remove", &plain, e))?;
            raw
        }
    };
    disk::must_be_whole(&raw, name)?;
    let table = disk::read_table(&raw, &site.cancel)?;
    disk::must_start(&raw, &table, &work.platforms).map_err(|error| error.of(name))?;
    must_grow_to(&raw, name, ByteSize(work.largest.max(work.disk)), site)?;
    site.emit.phase("turning it into qcow2");
    disk::convert(&raw, DiskFormat::Raw, result, DiskFormat::Qcow2, &site.cancel)?;
    if work.disk > info.virtual_size.0 {
        disk::resize(result, DiskFormat::Qcow2, ByteSize(work.disk), &site.cancel)?;
    }
    fs::remove_file(&raw).map_err(|e| StageError::file("remove", &raw, e))
}

/// Refuses a disk that cannot grow to the size of the largest image, as far as its table and its file systems tell: the
/// size stage would find it out after all steps.
///
/// # Errors
/// [`StageError::Disk`] with what is in the way.
pub(super) fn must_grow_to(raw: &Path, name: &Path, wanted: ByteSize, site: &Site) -> Result<(), StageError> {
    let table = disk::read_table(raw, &site.cancel)?;
    let grows =
        disk::root(raw, &table, None, &site.cancel).and_then(|root| disk::grows(raw, &table, &root, wanted));
    grows.map(drop).map_err(|error| error.of(name).into())
}

/// Compares a local file with the digest that the manifest has for it, or that it had when the run was planned.
///
/// # Errors
/// [`StageError::WrongMedia`] with both digests, [`StageError::ChangedMedia`], and those of reading.
pub fn check_digest(media: &Path, at: &MediaAt, site: &Site) -> Result<(), StageError> {
    let Some((wanted, declared)) = at.wanted() else {
        return Ok(());
    };
    site.emit.phase("checking the digest");
    let found = hash_file(media, &[wanted.algorithm], &site.cancel)?;
    match found.into_iter().next() {
        Some(found) if found == *wanted => Ok(()),
        Some(_) if !declared => Err(StageError::ChangedMedia {
            path: media.to_owned(),
        }),
        Some(found) => Err(StageError::WrongMedia {
            path: media.to_owned(),
            wanted: wanted.clone(),
            found,
        }),
        None => Err(StageError::Cancelled),
    }
}
