//! The qcow2 format (docs/interop/qcow2.txt of QEMU), as far as disks here need it: version 3, clusters of 64 KiB, no
//! compression, no encryption, no snapshots. All tables come first and the clusters behind them in the order of the disk,
//! so that two disks with equal parts have equal parts in their files.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::DiskError;
use super::CLUSTER;

const MAGIC: u32 = 0x5146_49fb;
const VERSION: u32 = 3;
const HEADER: u32 = 104;
/// Logarithms: bytes of a cluster, bits of a reference count.
const CLUSTER_BITS: u32 = 16;
const REFCOUNT_ORDER: u32 = 4;
/// Entries of a level 2 table, and reference counts in one of their blocks.
const L2_ENTRIES: u64 = CLUSTER / 8;
const COUNTS: u64 = CLUSTER / 2;
/// Type of the header extension that names the base's format.
const BASE_FORMAT: u32 = 0xe279_2aca;
/// Entries: this table or cluster has one reference; the cluster is zeros; it is compressed; where it lies.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Bytes of level 1 tables that are read: of a disk of 64 TiB.
const MOST_L1: u64 = 1 << 20;

/// Clusters of a disk by their number: where each lies in its file, or that it is zeros.
pub(super) type Clusters = BTreeMap<u64, Option<u64>>;

/// Virtual size and clusters of an image. What it says of a base is passed over: whoever opens it knows the base.
pub(super) fn read(file: &File, path: &Path) -> Result<(u64, Clusters), DiskError> {
    let wrong = |why: &str| DiskError::Image {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    let bytes = |at: u64, count: u64| -> Result<Vec<u8>, DiskError> {
        let count = usize::try_from(count).map_err(|_| wrong("has a table that is too large"))?;
        let mut bytes = vec![0; count];
        file.read_exact_at(&mut bytes, at)
            .map_err(DiskError::file(path))?;
        Ok(bytes)
    };
    let header = bytes(0, u64::from(HEADER))?;
    let word = |at: usize| u32::from_be_bytes(fixed(&header[at..at + 4]));
    let long = |at: usize| u64::from_be_bytes(fixed(&header[at..at + 8]));
    let (size, l1_entries, l1_offset) = (long(24), u64::from(word(36)), long(40));
    if word(0) != MAGIC || word(4) != VERSION {
        return Err(wrong("is no qcow2 image of version 3"));
    }
    if word(20) != CLUSTER_BITS || word(32) != 0 || long(72) != 0 {
        return Err(wrong("has features that no image of ours has"));
    }
    if l1_entries * 8 > MOST_L1 {
        return Err(wrong("has a table that is too large"));
    }
    let mut clusters = Clusters::new();
    for (number, l1) in (0..).zip(longs(&bytes(l1_offset, l1_entries * 8)?)) {
        if l1 & OFFSET == 0 {
            continue;
        }
        for (index, entry) in (0..).zip(longs(&bytes(l1 & OFFSET, CLUSTER)?)) {
            let cluster = number * L2_ENTRIES + index;
            if entry & COMPRESSED != 0 {
                return Err(wrong("has compressed clusters, which no image of ours has"));
            }
            match (entry & ZERO != 0, entry & OFFSET) {
                (true, _) => drop(clusters.insert(cluster, None)),
                (false, 0) => {}
                (false, offset) => drop(clusters.insert(cluster, Some(offset))),
            }
        }
    }
    Ok((size, clusters))
}

/// All that stands before the clusters of an image: those with true have bytes, which follow in this order, the others are
/// zeros where the base is not.
pub(super) fn head(size: u64, clusters: &[(u64, bool)], base: Option<&str>) -> Vec<u8> {
    let l1_entries = size.div_ceil(CLUSTER * L2_ENTRIES).max(1);
    let l1 = (l1_entries * 8).div_ceil(CLUSTER);
    let mut l2_numbers: Vec<u64> = clusters.iter().map(|(cluster, _)| cluster / L2_ENTRIES).collect();
    l2_numbers.dedup();
    let l2 = l2_numbers.len() as u64;
    let data = clusters.iter().filter(|(_, has_bytes)| *has_bytes).count() as u64;
    // Header, tables of reference counts, level 1, level 2. The counts count themselves.
    let (mut blocks, mut table) = (1, 1);
    let tables = |blocks, table| 1 + table + blocks + l1 + l2;
    while blocks * COUNTS < tables(blocks, table) + data || table * L2_ENTRIES < blocks {
        blocks = (tables(blocks, table) + data).div_ceil(COUNTS).max(blocks);
        table = blocks.div_ceil(L2_ENTRIES);
    }
    let blocks_at = 1 + table;
    let l1_at = blocks_at + blocks;
    let l2_at = l1_at + l1;
    let data_at = l2_at + l2;

    let mut bytes = header(size, base, l1_entries, l1_at * CLUSTER, table);
    for block in 0..blocks {
        bytes.extend(((blocks_at + block) * CLUSTER).to_be_bytes());
    }
    fill(&mut bytes, blocks_at);
    for _ in 0..data_at + data {
        bytes.extend(1_u16.to_be_bytes());
    }
    fill(&mut bytes, l1_at);
    let mut next = 0;
    for entry in 0..l1_entries {
        let has = l2_numbers.get(next).is_some_and(|number| *number == entry);
        let at = (l2_at + next as u64) * CLUSTER;
        next += usize::from(has);
        bytes.extend(if has { at | COPIED } else { 0 }.to_be_bytes());
    }
    fill(&mut bytes, l2_at);
    let mut place = data_at * CLUSTER;
    let mut rest = clusters.iter().peekable();
    for number in l2_numbers {
        for index in 0..L2_ENTRIES {
            let found = rest.next_if(|(cluster, _)| *cluster == number * L2_ENTRIES + index);
            let entry = match found {
                Some((_, true)) => place | COPIED,
                Some((_, false)) => ZERO,
                None => 0,
            };
            place += if entry & COPIED == 0 { 0 } else { CLUSTER };
            bytes.extend(entry.to_be_bytes());
        }
    }
    bytes
}

fn header(size: u64, base: Option<&str>, l1_entries: u64, l1_offset: u64, table_clusters: u64) -> Vec<u8> {
    let words = |words: &[u32]| {
        words
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect::<Vec<_>>()
    };
    let longs = |longs: &[u64]| {
        longs
            .iter()
            .flat_map(|long| long.to_be_bytes())
            .collect::<Vec<_>>()
    };
    let small = |number: u64| u32::try_from(number).expect("tables of a disk");
    let mut extensions = Vec::new();
    if base.is_some() {
        extensions.extend(words(&[BASE_FORMAT, 5]));
        extensions.extend(b"qcow2\0\0\0");
    }
    extensions.extend([0; 8]);
    let name_at = base.map_or(0, |_| u64::from(HEADER) + extensions.len() as u64);
    let name_bytes = base.map_or(0, str::len) as u64;
    let mut header = words(&[MAGIC, VERSION]);
    header.extend(longs(&[name_at]));
    header.extend(words(&[small(name_bytes), CLUSTER_BITS]));
    header.extend(longs(&[size]));
    header.extend(words(&[0, small(l1_entries)]));
    header.extend(longs(&[l1_offset, CLUSTER]));
    header.extend(words(&[small(table_clusters), 0]));
    // No snapshots; no incompatible, compatible or automatically cleared features.
    header.extend(longs(&[0, 0, 0, 0]));
    header.extend(words(&[REFCOUNT_ORDER, HEADER]));
    header.extend(extensions);
    header.extend(base.unwrap_or_default().bytes());
    fill(&mut header, 1);
    header
}

/// Zeros up to the start of a cluster.
fn fill(bytes: &mut Vec<u8>, cluster: u64) {
    let end = usize::try_from(cluster * CLUSTER).expect("tables of a disk");
    bytes.resize(end, 0);
}

fn longs(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(8).map(|long| u64::from_be_bytes(fixed(long)))
}

fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("cut to this length")
}
