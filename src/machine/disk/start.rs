//! Whether firmware finds on a disk what it starts, by partition table and boot sector.

use std::fs::File;
use std::path::Path;

use super::grub::BOOT_CODE;
use super::{DiskError, Table, read_at};
use crate::platform::Platform;

/// Refuses a disk that a platform's firmware cannot start.
///
/// # Errors
/// [`DiskError::Layout`] with what is not there, [`DiskError::File`].
pub fn must_start(raw: &Path, table: &Table, platforms: &[Platform]) -> Result<(), DiskError> {
    let layout = |why: &str| DiskError::Layout {
        path: raw.to_owned(),
        why: why.to_owned(),
    };
    for platform in platforms {
        let by_uefi = platform.hardware().emulator.uefi.is_some();
        if by_uefi && table.efi().is_none() {
            return Err(layout(
                "have no EFI system partition, so UEFI cannot start the disk; leave `firmware` of the distro out",
            ));
        }
        // Without an EFI system partition there is nothing else to take it for.
        if !by_uefi && table.efi().is_some() {
            let file = File::open(raw).map_err(DiskError::file(raw))?;
            let code = read_at(&file, 0, BOOT_CODE).map_err(DiskError::file(raw))?;
            if code.iter().all(|byte| *byte == 0) {
                return Err(layout(
                    "are for UEFI, and there is no boot code for BIOS; set `firmware = \"uefi\"` of the distro",
                ));
            }
        }
    }
    Ok(())
}
