//! All files of an ext file system, read where they lie in a disk of several layers: no mount, no root, no machine.

use std::collections::BTreeMap;

use ext4_view::{Ext4, Ext4Error, Ext4Read, FileType, Path, PathBuf};
use serde::Serialize;

use super::layers::CLUSTER;
use super::{DiskError, Layers};
use crate::digest::{Algorithm, Hasher, sha256_hex};
use crate::host::cancel::Cancel;
use crate::host::fs::FsError;

/// Bytes of a file that are read at once.
const BUFFER: usize = 256 << 10;

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
    let reader = Reader {
        disk,
        offset,
        cluster: None,
    };
    let unreadable = |error: Ext4Error| DiskError::Unreadable {
        why: error.to_string(),
    };
    let system = Ext4::load(Box::new(reader)).map_err(unreadable)?;
    let mut tree = Tree::new();
    let mut folders = vec![PathBuf::new("/")];
    let mut buffer = vec![0; BUFFER];
    while let Some(folder) = folders.pop() {
        if cancel.is_cancelled() {
            return Err(DiskError::Cancelled);
        }
        for entry in system.read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            if matches!(name.as_ref(), b"." | b"..") {
                continue;
            }
            let path = entry.path();
            let seen = look(&system, path.as_path(), &mut buffer).map_err(unreadable)?;
            if seen.kind == Kind::Folder {
                folders.push(path.clone());
            }
            tree.insert(path.display().to_string(), seen);
        }
    }
    Ok(tree)
}

fn look(system: &Ext4, path: Path<'_>, buffer: &mut [u8]) -> Result<Entry, Ext4Error> {
    let metadata = system.symlink_metadata(path)?;
    let (kind, content, bytes) = match metadata.file_type() {
        FileType::Directory => (Kind::Folder, String::new(), 0),
        FileType::Symlink => {
            let target = system.read_link(path)?;
            (Kind::Link, sha256_hex(target.display().to_string().as_bytes()), 0)
        }
        FileType::Regular => {
            let mut file = system.open(path)?;
            let mut digest = Hasher::new(Algorithm::Sha256);
            loop {
                match file.read_bytes(buffer)? {
                    0 => break,
                    count => digest.update(&buffer[..count]),
                }
            }
            (Kind::File, digest.finish().hex, metadata.len())
        }
        _ => (Kind::Special, String::new(), 0),
    };
    Ok(Entry {
        kind,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        bytes,
        content,
    })
}

/// A file system in a disk, with the cluster that was read last.
struct Reader {
    disk: Layers,
    offset: u64,
    cluster: Option<(u64, Vec<u8>)>,
}

impl Reader {
    /// A cluster of the disk; zeros where nothing was written.
    fn cluster(&mut self, number: u64) -> Result<&[u8], FsError> {
        let known = self.cluster.take().filter(|(known, _)| *known == number);
        let bytes = match known {
            Some((_, bytes)) => bytes,
            None => {
                let mut bytes = Vec::new();
                self.disk.append(number, &mut bytes)?;
                bytes.resize(usize::try_from(CLUSTER).unwrap_or_default(), 0);
                bytes
            }
        };
        Ok(&self.cluster.insert((number, bytes)).1)
    }
}

impl Ext4Read for Reader {
    fn read(
        &mut self,
        start: u64,
        mut out: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        let mut at = self.offset + start;
        while !out.is_empty() {
            let skip = usize::try_from(at % CLUSTER)?;
            let cluster = self.cluster(at / CLUSTER)?;
            let count = out.len().min(cluster.len() - skip);
            let (now, rest) = out.split_at_mut(count);
            now.copy_from_slice(&cluster[skip..skip + count]);
            out = rest;
            at += count as u64;
        }
        Ok(())
    }
}
