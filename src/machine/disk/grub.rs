//! GRUB for BIOS machines, outside the file systems of a raw disk: its first code in the boot sector, its core in the
//! partition that a GPT has for it. The layout is that of GRUB's own installer (util/setup.c, boot.S, diskboot.S).

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::{DiskError, Partition, SECTOR, Table};

/// Bytes of the boot sector before the disk's signature and the partition table.
pub(super) const BOOT_CODE: usize = 440;
/// In the boot code: the sector of the core, 64 bits.
const CORE_SECTOR: usize = 0x5c;
/// In the boot code: a jump over a workaround for BIOSes that start a hard disk under another number. Without the jump the
/// workaround is on, as on every hard disk.
const DRIVE_CHECK: usize = 0x66;
const NO_JUMP: [u8; 2] = [0x90, 0x90];
/// In the core's first sector: where the rest begins (64 bits), how many sectors it has (16 bits).
const REST_START: usize = 0x1f4;
const REST_LENGTH: usize = 0x1fc;

/// Writes GRUB's boot code and core, as grub-mkimage made them, to a disk with a GPT.
///
/// # Errors
/// [`DiskError::Layout`] without a partition that has room for it, [`DiskError::File`].
pub fn write_grub(raw: &Path, table: &Table, boot: &Path, core: &Path) -> Result<(), DiskError> {
    let layout = |why: String| DiskError::Layout {
        path: raw.to_owned(),
        why,
    };
    let partition = table
        .bios_boot()
        .ok_or_else(|| layout("have none for GRUB's core".to_owned()))?;
    let read = |path: &Path| fs::read(path).map_err(DiskError::file(path));
    let (boot_bytes, core_bytes) = (read(boot)?, read(core)?);
    let (boot_bytes, core_bytes) = place(boot_bytes, core_bytes, partition).map_err(layout)?;
    let file = File::options().write(true).open(raw);
    let file = file.map_err(DiskError::file(raw))?;
    file.write_all_at(&boot_bytes, 0)
        .and_then(|()| file.write_all_at(&core_bytes, partition.start))
        .map_err(DiskError::file(raw))
}

/// The boot code and the core with their places in them.
fn place(mut boot: Vec<u8>, mut core: Vec<u8>, at: &Partition) -> Result<(Vec<u8>, Vec<u8>), String> {
    const SECTOR_SIZE: usize = SECTOR as usize;
    core.resize(core.len().next_multiple_of(SECTOR_SIZE), 0);
    let first = at.start / SECTOR;
    let rest = u16::try_from(core.len() / SECTOR_SIZE - 1).ok();
    let rest = rest.filter(|_| boot.len() == SECTOR_SIZE && core.len() as u64 <= at.size);
    let rest = rest.ok_or_else(|| {
        format!(
            "have no room for GRUB: its boot code has {} bytes, its core {}, and the partition for it {}",
            boot.len(),
            core.len(),
            at.size
        )
    })?;
    boot[CORE_SECTOR..CORE_SECTOR + 8].copy_from_slice(&first.to_le_bytes());
    boot[DRIVE_CHECK..DRIVE_CHECK + 2].copy_from_slice(&NO_JUMP);
    boot.truncate(BOOT_CODE);
    core[REST_START..REST_START + 8].copy_from_slice(&(first + 1).to_le_bytes());
    core[REST_LENGTH..REST_LENGTH + 2].copy_from_slice(&rest.to_le_bytes());
    Ok((boot, core))
}
