//! An existing disk image becomes a distro's disk: unpacked, turned into qcow2, grown where asked. No VM.

use std::fs;
use std::path::Path;

use crate::digest::Digest;
use crate::host::fs::hash_file;
use crate::machine::disk;
use crate::machine::spec::DiskFormat;
use crate::plan::node::DiskWork;
use crate::size::ByteSize;
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::package::unpack;

/// Makes the disk (qcow2) at `result` from `media`.
///
/// # Errors
/// [`StageError`]; a local file that is not what the manifest says names both digests.
pub fn disk(work: &DiskWork, media: &Path, site: &Site, result: &Path) -> Result<(), StageError> {
    check_digest(media, work.media.digest(), site)?;
    site.emit.phase("unpacking");
    let plain = site.scratch.join("media");
    let emit = site.emit.clone();
    unpack(media, &plain, &site.cancel, &mut |done, total| {
        emit.bytes(done, total);
    })?;
    let info = disk::image_info(&plain, None, &site.cancel)?;
    if let Some(backing) = info.backing {
        return Err(StageError::Backing {
            path: media.to_owned(),
            backing,
        });
    }
    let format = match info.format.as_str() {
        "qcow2" => DiskFormat::Qcow2,
        "raw" => DiskFormat::Raw,
        _ => {
            return Err(StageError::ForeignFormat {
                path: media.to_owned(),
                format: info.format,
            });
        }
    };
    site.emit.phase("turning it into qcow2");
    disk::convert(&plain, format, result, DiskFormat::Qcow2, &site.cancel)?;
    if work.disk > info.virtual_size.0 {
        disk::resize(result, DiskFormat::Qcow2, ByteSize(work.disk), &site.cancel)?;
    }
    fs::remove_file(&plain).map_err(|e| StageError::file("remove", &plain, e))
}

/// Compares a local file with the digest that the manifest has for it, if any.
///
/// # Errors
/// [`StageError::WrongMedia`] with both digests, and those of reading.
pub fn check_digest(media: &Path, wanted: Option<&Digest>, site: &Site) -> Result<(), StageError> {
    let Some(wanted) = wanted else { return Ok(()) };
    site.emit.phase("checking the digest");
    let found = hash_file(media, &[wanted.algorithm], &site.cancel)?;
    match found.into_iter().next() {
        Some(found) if found == *wanted => Ok(()),
        Some(found) => Err(StageError::WrongMedia {
            path: media.to_owned(),
            wanted: wanted.clone(),
            found,
        }),
        None => Err(StageError::Cancelled),
    }
}
