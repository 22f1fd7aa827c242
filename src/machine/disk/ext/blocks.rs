//! The blocks of a file: extents, or the older map of single blocks.

use super::{DiskError, Ext, Inode, damaged, number, unreadable, usize_of};

/// Flag of an inode: its map is one of extents; its content is in it.
pub(super) const EXTENTS: u32 = 0x8_0000;
const INLINE: u32 = 0x1000_0000;
/// Flag of an inode: its content is encrypted.
const ENCRYPTED: u32 = 0x800;
const EXTENT_MAGIC: u64 = 0xF30A;
/// Levels of a tree of extents.
const DEPTH: u64 = 5;
/// Length from which on an extent is one of zeros.
const UNWRITTEN: u64 = 1 << 15;
/// Bytes that are handed on at once.
const PIECE: u64 = 256 << 10;

/// Blocks of a file that follow each other: the first of them in the file and on the disk (none: zeros), and their number.
type Run = (u64, Option<u64>, u64);

impl Ext {
    /// Hands on the content of a file, in pieces that begin at blocks.
    ///
    /// # Errors
    /// [`DiskError::Unreadable`], and those of `each`.
    pub fn content<E: From<DiskError>>(
        &mut self,
        inode: &Inode,
        each: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if inode.bytes > self.blocks * self.block {
            return Err(unreadable("a file in it is larger than the file system").into());
        }
        let runs = self.runs(inode)?;
        let mut at = 0;
        for (first, place, count) in runs.into_iter().chain([(u64::MAX, None, 0)]) {
            let begins = first.saturating_mul(self.block).min(inode.bytes);
            if begins < at {
                return Err(damaged("the map of a file").into());
            }
            self.pieces(begins - at, None, each)?;
            let ends = first
                .saturating_add(count)
                .saturating_mul(self.block)
                .min(inode.bytes);
            self.pieces(ends - begins, place, each)?;
            at = ends;
        }
        Ok(())
    }

    fn pieces<E: From<DiskError>>(
        &mut self,
        bytes: u64,
        from: Option<u64>,
        each: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut done = 0;
        while done < bytes {
            let count = usize_of(PIECE.min(bytes - done));
            match from {
                Some(from) => {
                    let piece = self.reader.read(from + done, count)?;
                    each(&piece)?;
                }
                None => each(&vec![0; count])?,
            }
            done += count as u64;
        }
        Ok(())
    }

    /// The runs of a file in their order, with places in bytes. What is between them is zeros.
    fn runs(&mut self, inode: &Inode) -> Result<Vec<Run>, DiskError> {
        if inode.flags & (INLINE | ENCRYPTED) != 0 {
            return Err(unreadable(
                "a file in it is encrypted, or has its content in its inode",
            ));
        }
        let mut runs = Vec::new();
        if inode.flags & EXTENTS != 0 {
            // A tree has no more nodes than the file system has blocks.
            let mut left = self.blocks;
            self.extents(&inode.map, DEPTH + 1, inode, &mut left, &mut runs)?;
        } else {
            let mut at = 0;
            for (slot, level) in [0; 12].into_iter().chain([1, 2, 3]).enumerate() {
                let block = number(&inode.map, slot * 4, 4);
                self.mapped(block, level, &mut at, inode, &mut runs)?;
            }
        }
        Ok(runs)
    }

    /// Runs of a node of a tree of extents, which lies `below` levels above nothing.
    fn extents(
        &mut self,
        node: &[u8],
        below: u64,
        inode: &Inode,
        left: &mut u64,
        runs: &mut Vec<Run>,
    ) -> Result<(), DiskError> {
        let (count, depth) = (usize_of(number(node, 2, 2)), number(node, 6, 2));
        if number(node, 0, 2) != EXTENT_MAGIC || depth >= below || count > (node.len() - 12) / 12 {
            return Err(damaged("a tree of extents"));
        }
        for entry in node[12..].chunks_exact(12).take(count) {
            if depth > 0 {
                *left = left.checked_sub(1).ok_or_else(|| damaged("a tree of extents"))?;
                let place = self.place(number(entry, 4, 4) | number(entry, 8, 2) << 32)?;
                let node = self.reader.read(place, usize_of(self.block))?;
                self.extents(&node, depth, inode, left, runs)?;
                continue;
            }
            let length = number(entry, 4, 2);
            let place = number(entry, 8, 4) | number(entry, 6, 2) << 32;
            let (written, count) = match length {
                ..=UNWRITTEN => (true, length),
                _ => (false, length - UNWRITTEN),
            };
            self.push((number(entry, 0, 4), place, count), written, inode, runs)?;
        }
        Ok(())
    }

    /// Runs of a block of the older map: one of data, or of numbers of blocks at so many levels.
    fn mapped(
        &mut self,
        block: u64,
        level: u32,
        at: &mut u64,
        inode: &Inode,
        runs: &mut Vec<Run>,
    ) -> Result<(), DiskError> {
        let numbers = self.block / 4;
        if block == 0 || *at * self.block >= inode.bytes {
            *at += numbers.pow(level);
            return Ok(());
        }
        if level == 0 {
            self.push((*at, block, 1), true, inode, runs)?;
            *at += 1;
            return Ok(());
        }
        let place = self.place(block)?;
        let below = self.reader.read(place, usize_of(self.block))?;
        for entry in below.chunks_exact(4) {
            self.mapped(number(entry, 0, 4), level - 1, at, inode, runs)?;
        }
        Ok(())
    }

    /// Adds a run, which must be behind those before it and in the file system.
    fn push(
        &mut self,
        (first, block, count): (u64, u64, u64),
        written: bool,
        inode: &Inode,
        runs: &mut Vec<Run>,
    ) -> Result<(), DiskError> {
        let last = runs.last().map_or(0, |(first, _, count)| first + count);
        if first < last || count == 0 {
            return Err(damaged("the map of a file"));
        }
        // A file may have blocks behind its end.
        if first * self.block >= inode.bytes {
            return Ok(());
        }
        let place = self.place(block)?;
        self.place(block.saturating_add(count - 1))?;
        runs.push((first, written.then_some(place), count));
        Ok(())
    }
}
