//! The disk to boot: the image file itself, unpacked where it is compressed, under a layer that takes what the guest
//! writes. The file that was given stays as it is, unless the user asked for the opposite.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use crate::host::cancel::Cancel;
use crate::machine::disk::{self, DiskError};
use crate::machine::spec::{Disk, DiskFormat};
use crate::manifest::model::Compression;
use crate::size::ByteSize;
use crate::stage::error::StageError;
use crate::stage::package::{detect, unpack};

/// What becomes of what the guest writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// It is thrown away with the machine.
    Dropped,
    /// It goes into the image file.
    Kept,
}

/// A disk that is ready to boot.
#[derive(Clone, Debug)]
pub struct Bootable {
    /// For the machine.
    pub disk: Disk,
    /// Size of the disk that the guest sees.
    pub size: ByteSize,
}

/// Why an image cannot be booted.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Changes cannot be kept in it.
    #[error("{} is compressed, so nothing can be kept in it; unpack it first, and boot the unpacked file with --write", path.display())]
    Compressed { path: PathBuf },
    /// It may not be written.
    #[error("{} cannot be written: {source}; give yourself the right to write it, or leave --write out", path.display())]
    ReadOnly { path: PathBuf, source: std::io::Error },
    /// It cannot be read, or is no disk image that is known here.
    #[error(transparent)]
    Stage(#[from] StageError),
}

impl From<DiskError> for ImageError {
    fn from(error: DiskError) -> Self {
        Self::Stage(error.into())
    }
}

impl ImageError {
    /// Whether it is only that we were asked to stop.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Stage(error) if error.is_cancelled())
    }
}

/// Makes an image ready; `scratch` is a private folder that goes with the machine. `progress` is called with bytes done
/// and their total while a compressed image is unpacked.
///
/// # Errors
/// Every [`ImageError`].
pub fn prepare(
    image: &Path,
    writes: Writes,
    scratch: &Path,
    cancel: &Cancel,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Bootable, ImageError> {
    let compressed = detect(image).map_err(StageError::from)? != Compression::None;
    if writes == Writes::Kept {
        if compressed {
            let path = image.to_owned();
            return Err(ImageError::Compressed { path });
        }
        let opened = OpenOptions::new().write(true).open(image);
        opened.map_err(|source| ImageError::ReadOnly {
            path: image.to_owned(),
            source,
        })?;
    }
    let plain = if compressed {
        let plain = scratch.join("image");
        unpack(image, &plain, cancel, progress).map_err(StageError::from)?;
        plain
    } else {
        image.to_owned()
    };
    // Also before it is a layer's base: what it names would be opened.
    let info = disk::look(&plain, image)?;
    let format = info.format;
    // What was unpacked is a copy already.
    let disk = if compressed || writes == Writes::Kept {
        Disk::new(plain, format)
    } else {
        let layer = scratch.join("layer.qcow2");
        disk::create_overlay(&plain, format, &layer, None, cancel)?;
        Disk::new(layer, DiskFormat::Qcow2)
    };
    let size = info.virtual_size;
    Ok(Bootable { disk, size })
}
