//! All files of an ext file system, read where they lie in a disk of several layers: no mount, no root, no machine.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ext::{Ext, Inode, Type};
use super::{DiskError, Layers};
use crate::digest::{Algorithm, Hasher, sha256_hex};
use crate::host::cancel::Cancel;

/// Files by path.
pub type Tree = BTreeMap<String, Entry>;

/// A file of whatever kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub kind: Kind,
    /// Permission bits.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    /// Bytes of a file; 0 of all else.
    pub bytes: u64,
    /// SHA-256 of a file's content, or of what a link says; empty of all else.
    pub content: String,
}

/// Kinds of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    File,
    Folder,
    Link,
    /// A device, a pipe, a socket.
    Special,
}

/// Reads the file system that begins at this byte of the disk. Names that are no text have a sign in place of what is none.
///
/// # Errors
/// [`DiskError::Unreadable`], [`DiskError::Cancelled`].
pub fn tree(disk: Layers, offset: u64, cancel: &Cancel) -> Result<Tree, DiskError> {
    let mut tree = Tree::new();
    Ext::open(disk, offset)?.walk(cancel, &mut |system, path, inode| {
        tree.insert(String::from_utf8_lossy(path).into_owned(), look(system, inode)?);
        Ok::<_, DiskError>(())
    })?;
    Ok(tree)
}

fn look(system: &mut Ext, inode: &Inode) -> Result<Entry, DiskError> {
    let (kind, content, bytes) = match inode.kind() {
        Some(Type::Folder) => (Kind::Folder, String::new(), 0),
        Some(Type::Link) => (Kind::Link, sha256_hex(&system.target(inode)?), 0),
        Some(Type::File) => {
            let mut digest = Hasher::new(Algorithm::Sha256);
            system.content(inode, &mut |piece| {
                digest.update(piece);
                Ok::<_, DiskError>(())
            })?;
            (Kind::File, digest.finish().hex, inode.bytes)
        }
        _ => (Kind::Special, String::new(), 0),
    };
    Ok(Entry {
        kind,
        mode: inode.mode & 0o7777,
        uid: inode.uid,
        gid: inode.gid,
        bytes,
        content,
    })
}
