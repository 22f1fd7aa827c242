//! Files added to an initial RAM disk: a second archive behind the first. Linux unpacks one after the other
//! (`Documentation/driver-api/early-userspace/buffer-format.rst` in its source), each compressed in its own way or not
//! at all, so the first need not be understood.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// An archive that is not compressed must begin at a multiple of this.
const ALIGNMENT: u64 = 4;

/// Appends files to an initial RAM disk. Names are relative to its root; folders in them must be there already.
///
/// # Errors
/// Those of writing.
pub fn append(initrd: &Path, files: &[(&str, &[u8])]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(initrd)?;
    // What is added may be answers with the hash of a password.
    file.set_permissions(Permissions::from_mode(0o600))?;
    let end = file.seek(SeekFrom::End(0))?;
    let padding = end.next_multiple_of(ALIGNMENT) - end;
    file.write_all(&[0; ALIGNMENT as usize][..usize::try_from(padding).unwrap_or(0)])?;
    file.write_all(&archive(files)?)?;
    file.sync_all()
}

/// An archive in the "new ASCII" form (cpio(5), `newc`): regular files of root's that only root can read.
fn archive(files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (number, (name, content)) in files.iter().enumerate() {
        entry(&mut bytes, number + 1, 0o100_600, name, content)?;
    }
    entry(&mut bytes, 0, 0, "TRAILER!!!", &[])?;
    Ok(bytes)
}

fn entry(bytes: &mut Vec<u8>, inode: usize, mode: u32, name: &str, content: &[u8]) -> io::Result<()> {
    let size = u32::try_from(content.len()).map_err(io::Error::other)?;
    let name_size = name.len() + 1;
    // Magic, inode, mode, uid, gid, links, mtime, size, device (2), device of a special file (2), name's size, check.
    let head = format!(
        "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}{name_size:08x}{0:08x}",
        0, 1
    );
    bytes.extend(head.as_bytes());
    bytes.extend(name.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_aligned_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let initrd = folder.path().join("initrd");
        std::fs::write(&initrd, b"first").unwrap();
        append(&initrd, &[("preseed.cfg", b"d-i"), ("ks.cfg", b"text")]).unwrap();
        let bytes = std::fs::read(&initrd).unwrap();
        assert_eq!(&bytes[..8], b"first\0\0\0");
        let archive = &bytes[8..];
        assert_eq!(&archive[..6], b"070701");
        assert_eq!(&archive[110..122], b"preseed.cfg\0");
        // 110 + 12 is no multiple of 4.
        assert_eq!(&archive[122..128], b"\0\0d-i\0");
        assert!(archive.windows(10).any(|w| w == b"TRAILER!!!"));
        assert_eq!(archive.len() % 4, 0);
    }
}
