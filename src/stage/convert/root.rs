//! The files of a root file system in a tar archive (POSIX.1-2001): owners as numbers, hard links, devices, extended
//! attributes. The same file system gives the same bytes.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use super::tar::{self, Member};
use crate::host::cancel::Cancel;
use crate::machine::disk::{Ext, Inode, Type};
use crate::stage::error::StageError;

/// Writes the archive to `to`, which is at `path`.
pub(super) fn write(
    system: &mut Ext,
    to: &mut impl Write,
    path: &Path,
    cancel: &Cancel,
) -> Result<(), StageError> {
    let mut archive = Archive {
        to,
        path,
        named: BTreeMap::new(),
    };
    let root = system.root()?;
    archive.add(system, b"", &root)?;
    system.walk(cancel, &mut |system, name, inode| {
        archive.add(system, name, inode)
    })?;
    let ended = tar::end(archive.to);
    ended.map_err(|e| StageError::file("write", path, e))
}

/// An archive in the making.
struct Archive<'a, W> {
    to: &'a mut W,
    path: &'a Path,
    /// Names of files that have several.
    named: BTreeMap<u32, Vec<u8>>,
}

impl<W: Write> Archive<'_, W> {
    /// Adds a file, whose path begins with a slash; that of the root folder is empty.
    fn add(&mut self, system: &mut Ext, path: &[u8], inode: &Inode) -> Result<(), StageError> {
        let Some((kind, end)) = kind_of(inode) else {
            return Ok(());
        };
        let name = [b".", path, end].concat();
        let first = self.named.get(&inode.number).cloned();
        let is_again = first.is_some();
        if inode.links > 1 && kind != tar::FOLDER && !is_again {
            self.named.insert(inode.number, name.clone());
        }
        let link = match first {
            Some(first) => first,
            None if kind == tar::LINK => system.target(inode)?,
            None => Vec::new(),
        };
        let member = Member {
            name: &name,
            kind: if is_again { tar::HARD_LINK } else { kind },
            mode: u32::from(inode.mode & 0o7777),
            uid: inode.uid,
            gid: inode.gid,
            modified: inode.modified,
            link: &link,
            device: inode.device(),
            bytes: if kind == tar::FILE && !is_again {
                inode.bytes
            } else {
                0
            },
        };
        let attributes = if is_again {
            Vec::new()
        } else {
            system.attributes(inode)?
        };
        let written = self.head(&member, &attributes);
        let at = self.path;
        let failed = |e| StageError::file("write", at, e);
        written.map_err(failed)?;
        if member.bytes > 0 {
            system.content(inode, &mut |piece| self.to.write_all(piece).map_err(failed))?;
            tar::zeros(self.to, member.padding()).map_err(failed)?;
        }
        Ok(())
    }

    /// Writes a header, and before it the records that it has no room for.
    fn head(&mut self, member: &Member<'_>, attributes: &[(Vec<u8>, Vec<u8>)]) -> std::io::Result<()> {
        let mut records = Vec::new();
        if member.name.len() > tar::NAME {
            record(&mut records, b"path", member.name);
        }
        if member.link.len() > tar::NAME {
            record(&mut records, b"linkpath", member.link);
        }
        for (key, id) in [("uid", member.uid), ("gid", member.gid)] {
            if id > tar::MOST_ID {
                record(&mut records, key.as_bytes(), id.to_string().as_bytes());
            }
        }
        if !(0..=tar::MOST_OCTAL as i64).contains(&member.modified) {
            record(&mut records, b"mtime", member.modified.to_string().as_bytes());
        }
        for (name, value) in attributes {
            record(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
        if !records.is_empty() {
            let before = Member {
                kind: tar::RECORDS,
                ..Member::file("./PaxHeaders", records.len() as u64)
            };
            tar::write(self.to, &before, &records)?;
        }
        self.to.write_all(&member.header())
    }
}

/// As what a file is archived, and what its name ends in. A socket is nothing without who listens.
fn kind_of(inode: &Inode) -> Option<(u8, &'static [u8])> {
    Some(match inode.kind()? {
        Type::File => (tar::FILE, b""),
        Type::Folder => (tar::FOLDER, b"/"),
        Type::Link => (tar::LINK, b""),
        Type::Character => (tar::CHARACTER, b""),
        Type::Block => (tar::BLOCK_DEVICE, b""),
        Type::Pipe => (tar::PIPE, b""),
        Type::Socket => return None,
    })
}

/// Adds a record: its own length in digits, a key, a value.
fn record(to: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    to.extend(format!("{length} ").bytes());
    to.extend([key, b"=", value, b"\n"].concat());
}
