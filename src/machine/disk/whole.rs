//! Whether a raw disk is a whole one: with a partition table that a machine can start from. By our own reading of its
//! first sectors; sfdisk would take a boot sector's garbage, or the table that only guards a GPT, for partitions.

use std::fs::File;
use std::path::Path;

use super::filesystem::{FileSystem, probe};
use super::{DiskError, SECTOR, read_at};

/// Magic number at the start of a GPT.
const GPT: &[u8] = b"EFI PART";
/// Where it lies on a disk with large sectors.
const GPT_4K: u64 = 4096;
/// In the first sector: four entries of a DOS table, and the mark behind them.
const ENTRIES: usize = 446;
const ENTRY: usize = 16;
const MARK: &[u8] = &[0x55, 0xaa];
/// DOS type of the entry that guards a GPT against programs that do not know it.
const GUARD: u8 = 0xee;
/// Magic number of an ISO 9660 image, and where it lies.
const ISO: (u64, &[u8]) = (0x8001, b"CD001");

/// Refuses a raw disk without a partition table. `name` is the path for messages.
///
/// # Errors
/// [`DiskError::NotADisk`] with what it is, [`DiskError::File`].
pub fn must_be_whole(raw: &Path, name: &Path) -> Result<(), DiskError> {
    let file = File::open(raw).map_err(DiskError::file(raw))?;
    let length = file.metadata().map_err(DiskError::file(raw))?.len();
    let has = |at: u64, magic: &[u8]| -> Result<bool, DiskError> {
        let found = read_at(&file, at, magic.len()).map_err(DiskError::file(raw))?;
        Ok(found == magic)
    };
    let refuse = |what: &str, remedy: &str| {
        Err(DiskError::NotADisk {
            path: name.to_owned(),
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        })
    };
    // Such an image has a partition table too, for USB sticks.
    if has(ISO.0, ISO.1)? {
        return refuse(
            "an ISO image",
            "to install from it, give the distro `source = { installer = { iso = … } }`",
        );
    }
    let start =
        read_at(&file, 0, usize::try_from(SECTOR).unwrap_or_default()).map_err(DiskError::file(raw))?;
    let table = dos_types(&start);
    let guards = table
        .as_deref()
        .is_some_and(|types| types.iter().all(|kind| *kind == GUARD));
    if has(SECTOR, GPT)? || (table.is_some() && !guards) {
        return Ok(());
    }
    if has(GPT_4K, GPT)? {
        return refuse(
            "a disk with sectors of 4096 bytes",
            "machines here have sectors of 512 bytes; use the image that is made for those",
        );
    }
    // sfdisk restores the first copy from the last.
    if guards && has(length.saturating_sub(SECTOR), GPT)? {
        return Ok(());
    }
    if guards {
        return refuse("a disk whose GPT is missing or cut off", "get the file again");
    }
    let remedy = "use an image of a whole disk, with a partition table";
    match probe(raw, 0)? {
        FileSystem::Unknown => refuse("a file without a partition table", remedy),
        found => refuse(&format!("{} without a partition table", found.name()), remedy),
    }
}

/// Types of the used entries of a DOS table; none when the sector holds no such table.
fn dos_types(sector: &[u8]) -> Option<Vec<u8>> {
    let entries = sector.get(ENTRIES..ENTRIES + 4 * ENTRY)?;
    if sector.get(ENTRIES + 4 * ENTRY..)? != MARK {
        return None;
    }
    let mut types = Vec::new();
    for entry in entries.chunks_exact(ENTRY) {
        // The boot sector of a file system has code or text there.
        if entry[0] & 0x7f != 0 {
            return None;
        }
        let (kind, sectors) = (entry[4], &entry[12..]);
        if kind != 0 && sectors.iter().any(|byte| *byte != 0) {
            types.push(kind);
        }
    }
    (!types.is_empty()).then_some(types)
}
