//! Image files by way of `qemu-img`.

use std::fs::File;
use std::path::Path;

use super::super::spec::DiskFormat;
use super::{DiskError, tool};
use crate::host::cancel::Cancel;
use crate::size::ByteSize;

/// Makes an empty raw disk: a hole of the given size. The file must not be there yet.
///
/// # Errors
/// [`DiskError::File`].
pub fn create_raw(path: &Path, size: ByteSize) -> Result<(), DiskError> {
    let file = File::create_new(path).map_err(DiskError::file(path))?;
    file.set_len(size.0).map_err(DiskError::file(path))
}

/// Makes a qcow2 that holds only what differs from `base`; `size` may make the disk larger than the base is.
///
/// # Errors
/// [`DiskError::Tool`].
pub fn create_overlay(
    base: &Path,
    base_format: DiskFormat,
    path: &Path,
    size: Option<ByteSize>,
    cancel: &Cancel,
) -> Result<(), DiskError> {
    // Absolute, because qemu looks for a relative base next to the overlay.
    let base = std::path::absolute(base).map_err(DiskError::file(base))?;
    let mut cmd = tool("qemu-img").args(["create", "-q", "-f", "qcow2", "-F", base_format.name(), "-b"]);
    cmd = cmd.arg(base).arg("--").arg(path);
    if let Some(size) = size {
        cmd = cmd.arg(size.0.to_string());
    }
    cmd.read(cancel)
        .map(drop)
        .map_err(DiskError::tool("making the overlay", path))
}

/// Makes a qcow2 over another one of this name in the same folder. It names that by its name alone: the two stay together when
/// they are linked into another folder.
///
/// # Errors
/// [`DiskError::Tool`].
pub fn create_layer(below: &str, path: &Path, cancel: &Cancel) -> Result<(), DiskError> {
    let format = DiskFormat::Qcow2.name();
    let cmd = tool("qemu-img").args(["create", "-q", "-f", format, "-F", format, "-b", below, "--"]);
    let done = cmd.arg(path).read(cancel);
    done.map(drop).map_err(DiskError::tool("making the layer", path))
}

/// Takes into a qcow2 what the layers between it and `base` have, so that it lies over that alone.
///
/// # Errors
/// [`DiskError::Tool`].
pub fn rebase(path: &Path, base: &Path, cancel: &Cancel) -> Result<(), DiskError> {
    let format = DiskFormat::Qcow2.name();
    let cmd = tool("qemu-img").args(["rebase", "-q", "-f", format, "-F", format, "-b"]);
    let done = cmd.arg(base).arg("--").arg(path).read(cancel);
    done.map(drop)
        .map_err(DiskError::tool("joining the layers of", path))
}

/// Writes the disk to another file: without a base, and without what is zero.
///
/// # Errors
/// [`DiskError::Tool`].
pub fn convert(
    from: &Path,
    from_format: DiskFormat,
    to: &Path,
    to_format: DiskFormat,
    cancel: &Cancel,
) -> Result<(), DiskError> {
    let cmd = tool("qemu-img").args(["convert", "-q", "-f", from_format.name(), "-O", to_format.name()]);
    let done = cmd.arg("--").arg(from).arg(to).read(cancel);
    done.map(drop).map_err(DiskError::tool("converting", from))
}

/// Makes the disk in an image file larger; what is in it stays as it is.
///
/// # Errors
/// [`DiskError::Tool`], also when the disk would become smaller.
pub fn resize(path: &Path, format: DiskFormat, size: ByteSize, cancel: &Cancel) -> Result<(), DiskError> {
    let cmd = tool("qemu-img")
        .args(["resize", "-q", "-f", format.name(), "--"])
        .arg(path);
    let done = cmd.arg(size.0.to_string()).read(cancel);
    done.map(drop).map_err(DiskError::tool("growing", path))
}

/// Checks the qcow2's own structure (`qemu-img check`); errors and leaks both count.
///
/// # Errors
/// [`DiskError::Tool`].
pub fn check_image(path: &Path, cancel: &Cancel) -> Result<(), DiskError> {
    let cmd = tool("qemu-img").args(["check", "-q", "-f", DiskFormat::Qcow2.name(), "--"]);
    cmd.arg(path)
        .read(cancel)
        .map(drop)
        .map_err(DiskError::tool("checking", path))
}
