//! The root partition and its file system: which one it is, whether it can take the room of a larger disk, and whether it
//! has taken it. What was asked for is compared with what is there; a tool's exit code says nothing of it.

use std::fs::File;
use std::path::Path;

use super::filesystem::{FileSystem, probe, size};
use super::inside::list;
use super::partition::{DOS_LIMIT, Partition, Table, TableKind};
use super::{DiskError, SECTOR};
use crate::host::cancel::Cancel;
use crate::size::{ByteSize, MIB};

/// Room at the end of a disk that may stay unused: alignment, and the backup copy of a GPT.
const SLACK: u64 = MIB + 33 * SECTOR;
/// Room behind the last partition that is left alone where nothing can grow into it.
const ROOM: u64 = 64 * MIB;
/// Room at the end of a partition that may stay unused: a last group that is too small for its own tables is left out.
const FILE_SYSTEM_SLACK: u64 = 8 * MIB;

/// The partition that begins where the guest says that its root is; without that, the last one, unless files show that
/// the system lies on another.
///
/// # Errors
/// [`DiskError::Layout`] when there is none, and those of reading.
pub fn root(raw: &Path, table: &Table, known: Option<u64>, cancel: &Cancel) -> Result<Partition, DiskError> {
    let last = table
        .last()
        .ok_or_else(|| layout(raw, "are none: the table is empty"))?;
    if let Some(start) = known {
        let found = table.partitions.iter().find(|part| part.start == start);
        return found.cloned().ok_or_else(|| {
            layout(
                raw,
                format!("have none at byte {start}, where the guest had its root"),
            )
        });
    }
    if has_system(raw, last, cancel)? {
        return Ok(last.clone());
    }
    for part in table.data() {
        if part.start != last.start && has_system(raw, part, cancel)? {
            return Ok(part.clone());
        }
    }
    Ok(last.clone())
}

/// Whether an ext file system holds an operating system. Other file systems cannot be looked into.
fn has_system(raw: &Path, part: &Partition, cancel: &Cancel) -> Result<bool, DiskError> {
    if probe(raw, part.start)? != FileSystem::Ext {
        return Ok(false);
    }
    for (folder, name) in [
        ("/etc", "fstab"),
        ("/etc", "os-release"),
        ("/usr/lib", "os-release"),
    ] {
        match list(raw, part.start, folder, cancel) {
            Ok(names) if names.iter().any(|found| found == name) => return Ok(true),
            // One that was not unmounted tells nothing.
            Ok(_) | Err(DiskError::FileSystem { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Whether the root partition is to grow on a disk of this size. It is not where there is no room to speak of: a disk that
/// keeps its size may have any layout.
///
/// # Errors
/// [`DiskError::Layout`] when there is room that root cannot take.
pub fn grows(raw: &Path, table: &Table, root: &Partition, wanted: ByteSize) -> Result<bool, DiskError> {
    let error = match must_be_growable(raw, table, root, wanted).and_then(|()| must_be_known(raw, root)) {
        Ok(()) => return Ok(true),
        Err(error) => error,
    };
    let end = table.last().map_or(0, Partition::end);
    if end + ROOM >= wanted.0 {
        Ok(false)
    } else {
        Err(error)
    }
}

fn must_be_known(raw: &Path, root: &Partition) -> Result<(), DiskError> {
    match probe(raw, root.start)? {
        FileSystem::Ext | FileSystem::Xfs | FileSystem::Btrfs => Ok(()),
        other => Err(layout(
            raw,
            format!(
                "have no root that can grow: partition {} holds {}; install root as ext4, xfs or btrfs, or ask for the \
                 disk's own size in `sizes`",
                root.number,
                other.name()
            ),
        )),
    }
}

/// Refuses a layout in which the root partition cannot grow to the end of a disk of this size.
///
/// # Errors
/// [`DiskError::Layout`] with what is in the way.
pub(super) fn must_be_growable(
    raw: &Path,
    table: &Table,
    root: &Partition,
    wanted: ByteSize,
) -> Result<(), DiskError> {
    if table.kind == TableKind::Dos && wanted.0 > DOS_LIMIT {
        return Err(layout(
            raw,
            format!(
                "are in a DOS table, which ends at {}, and {wanted} was asked for; use an image with a GPT, or smaller `sizes`",
                ByteSize(DOS_LIMIT)
            ),
        ));
    }
    let advice = "install with root as the last partition (and swap in a file), or ask for the disk's own size in `sizes`";
    let behind = table
        .data()
        .filter(|part| part.start > root.start)
        .max_by_key(|part| part.start);
    if let Some(behind) = behind {
        return Err(layout(
            raw,
            format!(
                "have no room for a larger root: partition {} ({}) lies behind partition {}, the root; {advice}",
                behind.number,
                name(raw, behind, table)?,
                root.number
            ),
        ));
    }
    if is_swap(raw, root, table)? {
        return Err(layout(
            raw,
            format!(
                "have no room for a larger root: partition {} (swap) is the last one; {advice}",
                root.number
            ),
        ));
    }
    Ok(())
}

fn is_swap(raw: &Path, part: &Partition, table: &Table) -> Result<bool, DiskError> {
    Ok(part.is_swap(table.kind) || probe(raw, part.start)? == FileSystem::Swap)
}

fn name(raw: &Path, part: &Partition, table: &Table) -> Result<&'static str, DiskError> {
    if is_swap(raw, part, table)? {
        return Ok("swap");
    }
    Ok(probe(raw, part.start)?.name())
}

/// Compares a grown disk with what was asked: its root partition ends where the disk does, and the file system fills it.
///
/// # Errors
/// [`DiskError::Layout`] and [`DiskError::FileSystem`] with what is missing.
pub fn must_fill(raw: &Path, root: &Partition) -> Result<(), DiskError> {
    let length = File::open(raw)
        .and_then(|file| file.metadata())
        .map_err(DiskError::file(raw))?
        .len();
    if root.end() + SLACK < length {
        return Err(layout(
            raw,
            format!(
                "came out wrong: partition {} ends at {} of {}; this is a bug in pipeline or in sfdisk",
                root.number,
                ByteSize(root.end()),
                ByteSize(length)
            ),
        ));
    }
    match size(raw, root.start)? {
        Some(found) if found + FILE_SYSTEM_SLACK < root.size => Err(DiskError::FileSystem {
            path: raw.to_owned(),
            offset: root.start,
            why: format!(
                "did not grow: it has {} of its partition's {}",
                ByteSize(found),
                ByteSize(root.size)
            ),
        }),
        _ => Ok(()),
    }
}

fn layout(raw: &Path, why: impl Into<String>) -> DiskError {
    DiskError::Layout {
        path: raw.to_owned(),
        why: why.into(),
    }
}
