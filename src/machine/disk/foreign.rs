//! Files that are offered as disk images and are something else: known by their first bytes, each with the command that
//! makes a disk image of it.

use std::fs::File;
use std::io;
use std::path::Path;

use super::{DiskError, read_at};
use crate::host::process::shell_quote;

/// Bytes at a place, what a file is that has them there, and the remedy; `{}` stands for the file.
struct Sign {
    at: u64,
    magic: &'static [u8],
    what: &'static str,
    remedy: &'static str,
}

const UNPACK_TWICE: &str = "it is compressed more than once; decompress it once more and use the result";

/// Magic numbers as in the sources of QEMU's block drivers and in file(1)'s table.
const SIGNS: [Sign; 30] = [
    sign(
        0,
        b"KDMV",
        "a vmdk image",
        "convert it first: qemu-img convert -f vmdk -O qcow2 {} image.qcow2",
    ),
    sign(
        0,
        b"COWD",
        "a vmdk image",
        "convert it first: qemu-img convert -f vmdk -O qcow2 {} image.qcow2",
    ),
    sign(
        0,
        b"# Disk DescriptorFile",
        "the description of a vmdk image, which names other files",
        "where you trust it, convert it next to these files: qemu-img convert -f vmdk -O qcow2 {} image.qcow2",
    ),
    sign(
        64,
        b"\x7f\x10\xda\xbe",
        "a vdi image",
        "convert it first: qemu-img convert -f vdi -O qcow2 {} image.qcow2",
    ),
    sign(
        0,
        b"vhdxfile",
        "a vhdx image",
        "convert it first: qemu-img convert -f vhdx -O qcow2 {} image.qcow2",
    ),
    sign(
        0,
        b"conectix",
        "a vpc image",
        "convert it first: qemu-img convert -f vpc -O qcow2 {} image.qcow2",
    ),
    sign(
        0,
        b"QED\0",
        "a qed image",
        "convert it first: qemu-img convert -f qed -O qcow2 {} image.qcow2",
    ),
    sign(
        0,
        b"WithoutFreeSpace",
        "a parallels image",
        "convert it first: qemu-img convert -f parallels -O qcow2 {} image.qcow2",
    ),
    sign(
        0,
        b"WithouFreSpacExt",
        "a parallels image",
        "convert it first: qemu-img convert -f parallels -O qcow2 {} image.qcow2",
    ),
    sign(
        0,
        b"Bochs Virtual HD Image",
        "a bochs image",
        "convert it first: qemu-img convert -f bochs -O qcow2 {} image.qcow2",
    ),
    sign(
        0,
        b"LUKS\xba\xbe",
        "a LUKS container",
        "write its passphrase to a file and decrypt it: qemu-img convert --object secret,id=key,file=passphrase.txt \
         --image-opts driver=luks,key-secret=key,file.filename={} -O qcow2 image.qcow2",
    ),
    sign(0, b"\x1f\x8b", "a gzip file inside another one", UNPACK_TWICE),
    sign(0, b"\xfd7zXZ\0", "an xz file inside another one", UNPACK_TWICE),
    sign(
        0,
        b"\x28\xb5\x2f\xfd",
        "a zstd file inside another one",
        UNPACK_TWICE,
    ),
    sign(0, b"BZh", "a bzip2 file", "decompress it: bzip2 -dk {}"),
    sign(
        0,
        b"\x04\x22\x4d\x18",
        "an lz4 file",
        "decompress it: lz4 -d {} image.raw",
    ),
    sign(0, b"LZIP", "an lzip file", "decompress it: lzip -dk {}"),
    sign(
        0,
        b"\x5d\0\0",
        "an lzma file",
        "decompress it: xz --format=lzma -dk {}",
    ),
    sign(0, b"\x1f\x9d", "a file of compress", "decompress it: gzip -dk {}"),
    sign(0, b"PK\x03\x04", "a zip archive", "unpack it: unzip {}"),
    sign(0, b"PK\x05\x06", "an empty zip archive", "get the file again"),
    sign(0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it: 7z x {}"),
    sign(0, b"Rar!\x1a\x07", "a rar archive", "unpack it: unrar x {}"),
    sign(0, b"!<arch>\n", "an ar archive", "unpack it: ar x {}"),
    sign(0, b"MSWIM\0\0\0", "a wim image", "use an image of a whole disk"),
    sign(0, b"070701", "a cpio archive", "use an image of a whole disk"),
    sign(257, b"ustar", "a tar archive", "unpack it: tar -xf {}"),
    sign(0, b"\x7fELF", "a program", "use an image of a whole disk"),
    sign(
        0,
        b"hsqs",
        "a squashfs file system",
        "use an image of a whole disk",
    ),
    sign(
        0,
        b"version https://git-lfs",
        "a pointer of Git LFS",
        "get the file itself: git lfs pull",
    ),
];

const fn sign(at: u64, magic: &'static [u8], what: &'static str, remedy: &'static str) -> Sign {
    Sign {
        at,
        magic,
        what,
        remedy,
    }
}

/// Bytes from the start that are looked at for text.
const START: usize = 512;
/// Characters of a text that an error shows.
const SHOWN: usize = 60;

/// The refusal of a file that is no raw disk; none when it may be one.
///
/// # Errors
/// Those of reading.
pub(super) fn recognise(file: &File, length: u64, name: &Path) -> io::Result<Option<DiskError>> {
    let quoted = shell_quote(&name.to_string_lossy());
    let refuse = |what: String, remedy: String| {
        Some(DiskError::NotADisk {
            path: name.to_owned(),
            what,
            remedy,
        })
    };
    if length == 0 {
        return Ok(refuse("empty".to_owned(), "get the file again".to_owned()));
    }
    for sign in &SIGNS {
        if read_at(file, sign.at, sign.magic.len())? == sign.magic {
            let mut remedy = sign.remedy.replace("{}", &quoted);
            if sign.magic == b"ustar" {
                // The first member's name stands at the very start.
                let first = read_at(file, 0, 100)?;
                let first = first.split(|byte| *byte == 0).next().unwrap_or_default();
                remedy += &format!(", and use the disk image in it (it begins with {})", shown(first));
            }
            return Ok(refuse(sign.what.to_owned(), remedy));
        }
    }
    let start = read_at(file, 0, START.min(usize::try_from(length).unwrap_or(START)))?;
    if let Some(what) = text(&start) {
        let remedy = "the address may lead to a page in place of the file; get the file itself".to_owned();
        return Ok(refuse(what, remedy));
    }
    Ok(None)
}

/// What a file is called that begins like a text; none for other files.
///
/// # Errors
/// Those of reading.
pub fn text_in(file: &File) -> io::Result<Option<String>> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(START);
    Ok(text(&read_at(file, 0, START.min(length))?))
}

/// What a text is called; none for bytes that are no text.
fn text(start: &[u8]) -> Option<String> {
    // The end may be in the middle of a character.
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let is_text = |c: char| !c.is_control() || c.is_ascii_whitespace();
    if text.trim().is_empty() || !text.chars().all(is_text) {
        return None;
    }
    let lower = text.trim_start().to_ascii_lowercase();
    let kind = match lower {
        lower if lower.starts_with("<!doctype html") || lower.starts_with("<html") => "an HTML page",
        lower if lower.starts_with('<') => "an XML or HTML text",
        _ => "a text",
    };
    Some(format!("{kind} ({})", shown(start)))
}

/// The beginning of some bytes, for a message.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let short: String = clean.take(SHOWN).collect();
    format!("`{}`", short.trim())
}
