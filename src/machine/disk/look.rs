//! What an image file is, by our own reading of its first bytes. Nothing of a foreign file is given to qemu before this:
//! qemu probes formats by content, and a header may name files of the host that qemu then opens.

use std::fs::File;
use std::path::Path;

use super::super::spec::DiskFormat;
use super::{DiskError, foreign, read_at};
use crate::size::ByteSize;

/// qcow2 header (QEMU, docs/interop/qcow2.txt): magic number and bytes of a version 2 header.
const QCOW_MAGIC: &[u8] = b"QFI\xfb";
const QCOW_V2_LENGTH: u64 = 72;
/// Incompatible feature of a version 3 header: guest data lies in an external file.
const QCOW_DATA_FILE: u64 = 1 << 2;
/// Header extension with the name of that file, and the longest name that is read.
const QCOW_DATA_FILE_NAME: u32 = 0x4441_5441;
const NAME: u32 = 4096;
/// Header extensions that are read: QEMU writes five kinds.
const EXTENSIONS: usize = 64;

/// A disk image that stands alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// Format of the file.
    pub format: DiskFormat,
    /// Size of the disk that a guest would see.
    pub virtual_size: ByteSize,
}

/// Reads what a file is that comes from outside. `name` is the path for messages, where `path` is an unpacked copy.
///
/// # Errors
/// [`DiskError::NamesFile`] for an image that needs other files, [`DiskError::NotADisk`] for everything that is neither
/// raw nor a plain qcow2, [`DiskError::File`].
pub fn look(path: &Path, name: &Path) -> Result<ImageInfo, DiskError> {
    let file = File::open(path).map_err(DiskError::file(path))?;
    let length = file.metadata().map_err(DiskError::file(path))?.len();
    if let Some(info) = qcow2(&file, path, name)? {
        return Ok(info);
    }
    if let Some(other) = foreign::recognise(&file, length, name).map_err(DiskError::file(path))? {
        return Err(other);
    }
    Ok(raw(length))
}

/// Reads a file whose format is known because this program wrote it. A guest may have written its content, so a raw disk
/// is never taken for anything else.
///
/// # Errors
/// As [`look`].
pub fn look_as(path: &Path, format: DiskFormat) -> Result<ImageInfo, DiskError> {
    let file = File::open(path).map_err(DiskError::file(path))?;
    match format {
        DiskFormat::Raw => Ok(raw(file.metadata().map_err(DiskError::file(path))?.len())),
        DiskFormat::Qcow2 => qcow2(&file, path, path)?.ok_or_else(|| DiskError::NotADisk {
            path: path.to_owned(),
            what: "not a qcow2 image".to_owned(),
            remedy: "build it again".to_owned(),
        }),
    }
}

fn raw(length: u64) -> ImageInfo {
    ImageInfo {
        format: DiskFormat::Raw,
        virtual_size: ByteSize(length),
    }
}

/// The file as a qcow2 that stands alone; none when it is no qcow2.
fn qcow2(file: &File, path: &Path, name: &Path) -> Result<Option<ImageInfo>, DiskError> {
    let at = |offset, count| read_at(file, offset, count).map_err(DiskError::file(path));
    let number = |offset, count: usize| -> Result<u64, DiskError> {
        let bytes = at(offset, count)?;
        Ok(bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    if at(0, QCOW_MAGIC.len())? != QCOW_MAGIC {
        return Ok(None);
    }
    let refuse = |what: &str, remedy: String| DiskError::NotADisk {
        path: name.to_owned(),
        what: what.to_owned(),
        remedy,
    };
    let version = number(4, 4)?;
    if !matches!(version, 2 | 3) {
        let remedy = format!(
            "convert it first: qemu-img convert -f qcow -O qcow2 {} image.qcow2",
            name.display()
        );
        return Err(refuse("an image of qcow's first version", remedy));
    }
    let text = |offset, length: u64| -> Result<String, DiskError> {
        let length = usize::try_from(length.min(u64::from(NAME))).unwrap_or_default();
        Ok(String::from_utf8_lossy(&at(offset, length)?).into_owned())
    };
    let backing = number(8, 8)?;
    if backing != 0 {
        return Err(DiskError::NamesFile {
            path: name.to_owned(),
            role: "backing file",
            file: text(backing, number(16, 4)?)?,
        });
    }
    let (features, header) = match version {
        2 => (0, QCOW_V2_LENGTH),
        _ => (number(72, 8)?, number(100, 4)?),
    };
    // The name alone is refused as well: no other image has one.
    let mut offset = header;
    let mut data_file =
        (features & QCOW_DATA_FILE != 0).then(|| "a name that is not in its header".to_owned());
    for _ in 0..EXTENSIONS {
        let (kind, length) = (number(offset, 4)?, number(offset + 4, 4)?);
        if kind == u64::from(QCOW_DATA_FILE_NAME) {
            data_file = Some(text(offset + 8, length)?);
        }
        if kind == 0 {
            break;
        }
        offset += 8 + length.next_multiple_of(8);
    }
    if let Some(file) = data_file {
        return Err(DiskError::NamesFile {
            path: name.to_owned(),
            role: "external data file",
            file,
        });
    }
    if number(32, 4)? != 0 {
        let remedy = format!(
            "write its passphrase to a file and decrypt it: qemu-img convert --object secret,id=key,file=passphrase.txt \
             --image-opts driver=qcow2,encrypt.key-secret=key,file.filename={} -O qcow2 image.qcow2",
            name.display()
        );
        return Err(refuse("an encrypted qcow2 image", remedy));
    }
    Ok(Some(ImageInfo {
        format: DiskFormat::Qcow2,
        virtual_size: ByteSize(number(24, 8)?),
    }))
}
