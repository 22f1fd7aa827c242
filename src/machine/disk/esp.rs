//! The EFI system partition of a raw disk: a FAT file system, filled from a folder. Written without root and without other
//! programs, the same bytes for the same files.

use std::fs::{self, File};
use std::io::{self, Cursor, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use fatfs::{Dir, FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};

use super::{DiskError, Partition, SECTOR};

/// Its label, padded as FAT wants it.
const LABEL: [u8; 11] = *b"ESP        ";
/// What is written at once, where it is not all zeros.
const CHUNK: usize = 64 << 10;

/// Makes the file system in `partition` with everything below `folder`. `id` is its volume number, by which the guest's
/// `/etc/fstab` names it.
///
/// # Errors
/// [`DiskError::File`].
pub fn make_esp(raw: &Path, partition: &Partition, id: u32, folder: &Path) -> Result<(), DiskError> {
    let bytes = file_system(partition.size, id, folder).map_err(DiskError::file(folder))?;
    let write = || -> io::Result<()> {
        let disk = File::options().write(true).open(raw)?;
        for (chunk, at) in bytes.chunks(CHUNK).zip((partition.start..).step_by(CHUNK)) {
            if chunk.iter().any(|byte| *byte != 0) {
                disk.write_all_at(chunk, at)?;
            }
        }
        Ok(())
    };
    write().map_err(DiskError::file(raw))
}

fn file_system(size: u64, id: u32, folder: &Path) -> io::Result<Vec<u8>> {
    let size = usize::try_from(size).map_err(io::Error::other)?;
    let mut disk = Cursor::new(vec![0; size]);
    // The one kind that every firmware must read (UEFI specification, 13.3), in its smallest clusters.
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(SECTOR as u32)
        .volume_label(LABEL)
        .volume_id(id);
    format_volume(&mut disk, options)?;
    {
        let volume = FileSystem::new(&mut disk, FsOptions::new())?;
        copy(folder, &volume.root_dir())?;
        volume.unmount()?;
    }
    Ok(disk.into_inner())
}

/// Copies what is in a folder, in the order of names.
fn copy<T: fatfs::ReadWriteSeek>(from: &Path, to: &Dir<'_, T>) -> io::Result<()> {
    let entries: io::Result<Vec<_>> = fs::read_dir(from)?.collect();
    let mut entries = entries?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let name = name
            .to_str()
            .ok_or_else(|| io::Error::other("a name is not UTF-8"))?;
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to.create_dir(name)?)?;
        } else {
            let mut file = to.create_file(name)?;
            file.truncate()?;
            file.write_all(&fs::read(entry.path())?)?;
            file.flush()?;
        }
    }
    Ok(())
}
