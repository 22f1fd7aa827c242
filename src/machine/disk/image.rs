//! Image files by way of `qemu-img`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::super::spec::DiskFormat;
use super::{DiskError, tool};
use crate::disk_format::Form;
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

/// A disk in a file, or in a part of one.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    pub path: &'a Path,
    pub form: Form,
    /// At which byte of the file it begins, and how many it has; absent: it is the whole file.
    pub part: Option<(u64, u64)>,
}

impl Held<'_> {
    /// Bytes of the disk.
    fn size(&self, cancel: &Cancel) -> Result<u64, DiskError> {
        let cmd = tool("qemu-img").args(["info", "--output=json", "--image-opts", "--"]);
        let info = cmd.arg(self.options()).read(cancel);
        let info = info.map_err(DiskError::tool("reading", self.path))?;
        let info: serde_json::Value = serde_json::from_str(&info).unwrap_or_default();
        info["virtual-size"].as_u64().ok_or_else(|| DiskError::Output {
            program: "qemu-img",
            path: self.path.to_owned(),
            why: "it names no virtual size".to_owned(),
        })
    }

    /// As `--image-opts` takes it.
    fn options(&self) -> OsString {
        let (driver, _) = spelled(self.form);
        let mut options = OsString::from(format!("driver={driver},"));
        match self.part {
            Some((at, bytes)) => options.push(format!(
                "file.driver=raw,file.offset={at},file.size={bytes},file.file.driver=file,file.file.filename="
            )),
            None => options.push("file.driver=file,file.filename="),
        }
        for byte in self.path.as_os_str().as_bytes() {
            options.push(OsStr::from_bytes(if *byte == b',' {
                b",,"
            } else {
                std::slice::from_ref(byte)
            }));
        }
        options
    }
}

/// How `qemu-img` spells a format of a disk, and the options that make it.
fn spelled(form: Form) -> (&'static str, &'static [&'static str]) {
    match form {
        Form::RootTar => unreachable!("an archive of files is no disk"),
        Form::Qcow2 => ("qcow2", &[]),
        Form::Qcow2Zlib | Form::ContainerDisk | Form::VagrantLibvirt => ("qcow2", &["-c"]),
        Form::Qcow2Zstd => ("qcow2", &["-c", "-o", "compression_type=zstd"]),
        Form::Raw => ("raw", &[]),
        Form::Vmdk | Form::Ova => ("vmdk", &["-o", "subformat=streamOptimized,adapter_type=lsilogic"]),
        Form::Vhdx => ("vhdx", &[]),
        // Without the second option the size is rounded to cylinders of old disks.
        Form::Vhd => ("vpc", &["-o", "subformat=fixed,force_size=on"]),
        Form::Vdi => ("vdi", &[]),
    }
}

/// Writes the disk to a new file in another format.
///
/// # Errors
/// [`DiskError::Tool`].
pub fn convert_to(
    from: &Path,
    from_format: DiskFormat,
    to: &Path,
    form: Form,
    cancel: &Cancel,
) -> Result<(), DiskError> {
    let (name, options) = spelled(form);
    let cmd = tool("qemu-img").args(["convert", "-q", "-f", from_format.name(), "-O", name]);
    let done = cmd.args(options).arg("--").arg(from).arg(to).read(cancel);
    done.map(drop).map_err(DiskError::tool("converting", from))
}

/// Compares what a guest sees of two disks: their sizes, and all bytes.
///
/// # Errors
/// [`DiskError::Tool`] when they differ, [`DiskError::OtherSize`] when one is larger.
pub fn must_equal(
    disk: &Path,
    format: DiskFormat,
    other: &Held<'_>,
    cancel: &Cancel,
) -> Result<(), DiskError> {
    let form = match format {
        DiskFormat::Raw => Form::Raw,
        DiskFormat::Qcow2 => Form::Qcow2,
    };
    let disk = Held {
        path: disk,
        form,
        part: None,
    };
    let (wanted, found) = (disk.size(cancel)?, other.size(cancel)?);
    if wanted != found {
        return Err(DiskError::OtherSize {
            path: other.path.to_owned(),
            found,
            wanted,
        });
    }
    let cmd = tool("qemu-img").args(["compare", "-q", "--image-opts", "--"]);
    let done = cmd.arg(disk.options()).arg(other.options()).read(cancel);
    done.map(drop).map_err(DiskError::tool("comparing", other.path))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// Every format holds the disk that it was made of; another byte, or another size, is found.
    #[test]
    fn a_converted_disk_that_differs_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let cancel = Cancel::default();
        let disk = at("a, disk");
        create_raw(&disk, ByteSize(4 << 20)).unwrap();
        let file = File::options().write(true).open(&disk).unwrap();
        file.write_all_at(b"the first sector", 0).unwrap();
        let all = [
            Form::Qcow2,
            Form::Qcow2Zlib,
            Form::Qcow2Zstd,
            Form::Raw,
            Form::Vmdk,
            Form::Vhdx,
            Form::Vhd,
            Form::Vdi,
        ];
        let same = |form: Form, part| {
            let path = at(form.name());
            let other = Held {
                path: &path,
                form,
                part,
            };
            must_equal(&disk, DiskFormat::Raw, &other, &cancel)
        };
        for form in all {
            convert_to(&disk, DiskFormat::Raw, &at(form.name()), form, &cancel).unwrap();
            same(form, None).unwrap();
        }
        let short = same(Form::Raw, Some((0, 1 << 20))).unwrap_err();
        assert!(
            matches!(
                short,
                DiskError::OtherSize {
                    found: 0x10_0000,
                    wanted: 0x40_0000,
                    ..
                }
            ),
            "{short}"
        );
        file.write_all_at(b"another text here", 3 << 20).unwrap();
        for form in all {
            let other = same(form, None).unwrap_err();
            assert!(
                matches!(
                    other,
                    DiskError::Tool {
                        doing: "comparing",
                        ..
                    }
                ),
                "{form:?}: {other}"
            );
        }
    }
}
