//! An ext4 file system that is read where it lies in a disk of several layers: no mount, no root, no machine. All numbers in it
//! are those of a guest: none leads out of the disk, and none makes a reader loop (kernel documentation, ext4).

mod attributes;
mod blocks;

use std::collections::BTreeSet;

use super::layers::CLUSTER;
use super::{DiskError, Layers};
use crate::host::cancel::Cancel;

/// Where the superblock is, and how long it is.
const SUPER: (u64, usize) = (1024, 1024);
const MAGIC: u64 = 0xEF53;
/// Incompatible features that are read, or make no difference to a reader: types in folders, extents, numbers of 64 bits,
/// multiple mount protection, flexible groups, a seed of checksums, large folders, case folding.
const KNOWN: u64 = 0x2 | 0x40 | 0x80 | 0x100 | 0x200 | 0x2000 | 0x4000 | 0x2_0000;
const WIDE: u64 = 0x80;
/// The journal has to be replayed first.
const RECOVER: u64 = 0x4;
/// Number of the root folder.
const ROOT: u32 = 2;
/// Bytes of an inode that all have.
const INODE: usize = 128;
/// Bytes of a folder that are read at most.
const FOLDER: u64 = 1 << 30;

/// A file system.
pub struct Ext {
    reader: Reader,
    /// Bytes of a block.
    block: u64,
    blocks: u64,
    inode: usize,
    in_group: u32,
    inodes: u32,
    /// Where the inodes of each group begin, in blocks.
    tables: Vec<u64>,
}

/// A file of whatever kind.
#[derive(Clone, Debug)]
pub struct Inode {
    pub number: u32,
    /// Its type and permissions, as in `st_mode`.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub bytes: u64,
    /// When its content was changed, in seconds.
    pub modified: i64,
    /// How many names it has.
    pub links: u16,
    flags: u32,
    /// Its map of blocks, or a short link.
    map: [u8; 60],
    /// Block of attributes.
    attributes: u64,
    /// What is behind its fixed part.
    rest: Vec<u8>,
}

/// Kinds of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    File,
    Folder,
    Link,
    Character,
    Block,
    Pipe,
    Socket,
}

/// What is done with each file.
type Visit<'a, E> = dyn FnMut(&mut Ext, &[u8], &Inode) -> Result<(), E> + 'a;

impl Inode {
    /// None: it is no file.
    pub fn kind(&self) -> Option<Type> {
        Some(match self.mode >> 12 {
            0x1 => Type::Pipe,
            0x2 => Type::Character,
            0x4 => Type::Folder,
            0x6 => Type::Block,
            0x8 => Type::File,
            0xa => Type::Link,
            0xc => Type::Socket,
            _ => return None,
        })
    }

    /// Major and minor number of a device.
    pub fn device(&self) -> (u32, u32) {
        let (old, new) = (number(&self.map, 0, 4), number(&self.map, 4, 4));
        match old {
            0 => (part(new >> 8 & 0xfff), part(new & 0xff | new >> 12 & 0xfff00)),
            _ => (part(old >> 8 & 0xff), part(old & 0xff)),
        }
    }
}

impl Ext {
    /// Opens the file system that begins at this byte of the disk.
    ///
    /// # Errors
    /// [`DiskError::Unreadable`]: it is none, or one that only a machine can read.
    pub fn open(disk: Layers, offset: u64) -> Result<Self, DiskError> {
        let mut reader = Reader {
            disk,
            offset,
            cluster: None,
        };
        let found = reader.read(SUPER.0, SUPER.1)?;
        if number(&found, 0x38, 2) != MAGIC {
            return Err(unreadable("the root file system is not ext4"));
        }
        let features = number(&found, 0x60, 4);
        if features & RECOVER != 0 {
            return Err(unreadable("it was not unmounted: its journal is not replayed"));
        }
        if features & !KNOWN != 0 {
            let what = format!("its features {:#x} are not known", features & !KNOWN);
            return Err(unreadable(&what));
        }
        let shift = number(&found, 0x18, 4);
        if shift > 6 {
            return Err(damaged("the size of its blocks"));
        }
        let block = 1024 << shift;
        let high = if features & WIDE == 0 {
            0
        } else {
            number(&found, 0x150, 4)
        };
        let blocks = number(&found, 0x4, 4) | high << 32;
        let inode = if number(&found, 0x4c, 4) == 0 {
            128
        } else {
            number(&found, 0x58, 2)
        };
        let (in_group, inodes) = (number(&found, 0x28, 4), number(&found, 0, 4));
        if blocks.saturating_mul(block) > reader.disk.size()
            || !(INODE as u64..=block).contains(&inode)
            || in_group == 0
            || inodes.div_ceil(in_group) > blocks
        {
            return Err(damaged("its superblock"));
        }
        let descriptor = if features & WIDE == 0 {
            32
        } else {
            number(&found, 0xfe, 2)
        };
        if !(32..=1024).contains(&descriptor) || features & WIDE != 0 && descriptor < 64 {
            return Err(damaged("the size of its descriptors"));
        }
        let groups = inodes.div_ceil(in_group);
        let first = (number(&found, 0x14, 4) + 1) * block;
        let mut tables = Vec::new();
        for group in 0..groups {
            let bytes = reader.read(first + group * descriptor, usize_of(descriptor))?;
            let high = if descriptor < 64 {
                0
            } else {
                number(&bytes, 0x28, 4)
            };
            tables.push(number(&bytes, 0x8, 4) | high << 32);
        }
        Ok(Self {
            reader,
            block,
            blocks,
            inode: usize_of(inode),
            in_group: part(in_group),
            inodes: part(inodes),
            tables,
        })
    }

    /// Calls for each file but the root folder with its path, which begins with a slash: folders before what is in them, names
    /// in the order of their bytes.
    ///
    /// # Errors
    /// [`DiskError::Unreadable`], [`DiskError::Cancelled`], and those of `visit`.
    pub fn walk<E: From<DiskError>>(&mut self, cancel: &Cancel, visit: &mut Visit<'_, E>) -> Result<(), E> {
        let mut seen = BTreeSet::from([ROOT]);
        let root = self.root()?;
        let mut left: Vec<(Vec<u8>, u32)> = self.names(&root)?;
        left.iter_mut().for_each(|(name, _)| name.insert(0, b'/'));
        left.reverse();
        while let Some((path, number)) = left.pop() {
            if cancel.is_cancelled() {
                return Err(DiskError::Cancelled.into());
            }
            let inode = self.inode(number)?;
            visit(self, &path, &inode)?;
            if inode.kind() == Some(Type::Folder) {
                if !seen.insert(number) {
                    return Err(damaged("a folder that has two names").into());
                }
                let names = self.names(&inode)?.into_iter().rev();
                left.extend(names.map(|(name, number)| ([&path, b"/".as_slice(), &name].concat(), number)));
            }
        }
        Ok(())
    }

    /// The root folder.
    ///
    /// # Errors
    /// [`DiskError::Unreadable`].
    pub fn root(&mut self) -> Result<Inode, DiskError> {
        self.inode(ROOT)
    }

    /// What a link says.
    ///
    /// # Errors
    /// [`DiskError::Unreadable`].
    pub fn target(&mut self, link: &Inode) -> Result<Vec<u8>, DiskError> {
        let bytes = usize_of(link.bytes);
        if bytes < link.map.len() && link.flags & blocks::EXTENTS == 0 {
            return Ok(link.map[..bytes].to_vec());
        }
        if link.bytes > self.block {
            return Err(damaged("a link"));
        }
        let mut target = Vec::new();
        self.content(link, &mut |piece| {
            target.extend(piece);
            Ok::<_, DiskError>(())
        })?;
        Ok(target)
    }

    fn inode(&mut self, wanted: u32) -> Result<Inode, DiskError> {
        if wanted == 0 || wanted > self.inodes {
            return Err(damaged("the number of a file"));
        }
        let (group, at) = ((wanted - 1) / self.in_group, (wanted - 1) % self.in_group);
        let table = self.tables.get(group as usize).copied().unwrap_or_default();
        let table = self.place(table)?;
        let bytes = self
            .reader
            .read(table + u64::from(at) * self.inode as u64, self.inode)?;
        let number = |at, count| number(&bytes, at, count);
        let wide = |low, high| part(number(low, 2) | number(high, 2) << 16);
        let mut map = [0; 60];
        map.copy_from_slice(&bytes[0x28..0x64]);
        let rest = bytes[INODE..].to_vec();
        // Two bits of the part behind count turns of 2^32 seconds.
        let turns = if rest.len() >= 12 && number(0x80, 2) >= 12 {
            number(0x88, 4) & 3
        } else {
            0
        };
        let seconds = number(0x10, 4) as u32 as i32;
        Ok(Inode {
            number: wanted,
            mode: number(0, 2) as u16,
            uid: wide(0x2, 0x78),
            gid: wide(0x18, 0x7a),
            bytes: number(0x4, 4) | number(0x6c, 4) << 32,
            modified: i64::from(seconds) + ((turns as i64) << 32),
            links: number(0x1a, 2) as u16,
            flags: part(number(0x20, 4)),
            map,
            attributes: number(0x68, 4) | number(0x76, 2) << 32,
            rest,
        })
    }

    /// The names in a folder, in the order of their bytes.
    fn names(&mut self, folder: &Inode) -> Result<Vec<(Vec<u8>, u32)>, DiskError> {
        if folder.bytes > FOLDER {
            return Err(damaged("the size of a folder"));
        }
        let mut names = Vec::new();
        let block = usize_of(self.block);
        self.content(folder, &mut |piece| {
            for piece in piece.chunks(block) {
                let mut at = 0;
                while at + 8 <= piece.len() {
                    let (inode, length) = (number(piece, at, 4), usize_of(number(piece, at + 4, 2)));
                    // 65536 does not fit.
                    let length = if length < 8 { piece.len() - at } else { length };
                    let end = at + 8 + usize::from(piece[at + 6]);
                    if at + length > piece.len() || end > at + length {
                        return Err(damaged("a folder"));
                    }
                    let name = &piece[at + 8..end];
                    if name.contains(&b'/') || name.contains(&0) {
                        return Err(damaged("a name in a folder"));
                    }
                    if inode != 0 && !matches!(name, b"" | b"." | b"..") {
                        names.push((name.to_vec(), part(inode)));
                    }
                    at += length;
                }
            }
            Ok(())
        })?;
        names.sort_unstable();
        Ok(names)
    }

    /// Where a block is.
    fn place(&self, block: u64) -> Result<u64, DiskError> {
        if block == 0 || block >= self.blocks {
            return Err(damaged("the number of a block"));
        }
        Ok(block * self.block)
    }
}

/// A file system in a disk, with the cluster that was read last.
struct Reader {
    disk: Layers,
    offset: u64,
    cluster: Option<(u64, Vec<u8>)>,
}

impl Reader {
    fn read(&mut self, at: u64, count: usize) -> Result<Vec<u8>, DiskError> {
        let (mut at, mut bytes) = (self.offset.saturating_add(at), Vec::with_capacity(count));
        while bytes.len() < count {
            let skip = usize_of(at % CLUSTER);
            let cluster = self.cluster(at / CLUSTER)?;
            let more = (count - bytes.len()).min(cluster.len() - skip);
            bytes.extend_from_slice(&cluster[skip..skip + more]);
            at = at.saturating_add(more as u64);
        }
        Ok(bytes)
    }

    /// A cluster of the disk; zeros where nothing was written.
    fn cluster(&mut self, number: u64) -> Result<&[u8], DiskError> {
        let known = self.cluster.take().filter(|(known, _)| *known == number);
        let bytes = match known {
            Some((_, bytes)) => bytes,
            None => {
                let mut bytes = Vec::new();
                self.disk.append(number, &mut bytes)?;
                bytes.resize(usize_of(CLUSTER), 0);
                bytes
            }
        };
        Ok(&self.cluster.insert((number, bytes)).1)
    }
}

/// A number of so many bytes, the low one first; what is missing is 0.
fn number(bytes: &[u8], at: usize, count: usize) -> u64 {
    let bytes = bytes.iter().skip(at).take(count).rev();
    bytes.fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// A number that has 32 bits.
fn part(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn damaged(what: &str) -> DiskError {
    unreadable(&format!(
        "{what} cannot be right; `e2fsck` in the guest says more"
    ))
}

fn unreadable(why: &str) -> DiskError {
    DiskError::Unreadable { why: why.to_owned() }
}
