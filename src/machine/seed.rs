//! Seeds: small disks with a label from which a guest reads what to do, such as the NoCloud seed of cloud-init. Written
//! without root and without other programs, the same bytes for the same texts.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};

use crate::host::fs::write_private;
use crate::size::{KIB, MIB};

/// The label by which cloud-init knows the disk. Lower case is understood by all its versions.
const LABEL: &str = "cidata";
/// Room in addition to the texts: more than enough for the FAT and the folder, and qemu likes whole sectors.
const ROOM: u64 = 256 * KIB;

/// The texts of a seed.
#[derive(Clone, Debug, Default)]
pub struct Seed {
    /// `#cloud-config` or a script.
    pub user_data: String,
    /// YAML with `instance-id` and `local-hostname`.
    pub meta_data: String,
    /// Network configuration, version 1 or 2; without it cloud-init uses DHCP.
    pub network_config: Option<String>,
}

/// The seed could not be written.
#[derive(Debug, thiserror::Error)]
#[error("could not write the cloud-init seed `{path}`: {source}")]
pub struct SeedError {
    path: PathBuf,
    source: std::io::Error,
}

impl Seed {
    /// Writes the seed as a FAT12 disk image.
    ///
    /// # Errors
    /// [`SeedError`].
    pub fn write(&self, path: &Path) -> Result<(), SeedError> {
        let written = self.to_bytes().and_then(|bytes| write_private(path, &bytes));
        written.map_err(|source| SeedError {
            path: path.to_owned(),
            source,
        })
    }

    fn to_bytes(&self) -> std::io::Result<Vec<u8>> {
        let Self {
            user_data,
            meta_data,
            network_config,
        } = self;
        let mut files = vec![("user-data", user_data), ("meta-data", meta_data)];
        files.extend(network_config.iter().map(|text| ("network-config", text)));
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| (*name, text.as_bytes()))
            .collect();
        image(LABEL, &files)
    }
}

/// The bytes of a FAT12 disk with this label (at most eleven letters) and these files.
///
/// # Errors
/// Those of the file system: a name twice, a label too long.
pub fn image(label: &str, files: &[(&str, &[u8])]) -> std::io::Result<Vec<u8>> {
    let mut padded = [b' '; 11];
    let room = padded.get_mut(..label.len());
    let room = room.ok_or_else(|| std::io::Error::other("the label is longer than eleven letters"))?;
    room.copy_from_slice(label.as_bytes());
    // FAT wants a volume number; a fixed one keeps the bytes equal. It is the label's first letters.
    let number = u32::from_le_bytes([padded[0], padded[1], padded[2], padded[3]]);
    let content: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let size = (content + ROOM).next_multiple_of(MIB);
    let size = usize::try_from(size).map_err(std::io::Error::other)?;
    let mut disk = Cursor::new(vec![0; size]);
    let options = FormatVolumeOptions::new().volume_label(padded).volume_id(number);
    format_volume(&mut disk, options)?;
    {
        let volume = FileSystem::new(&mut disk, FsOptions::new())?;
        for (name, bytes) in files {
            let mut file = volume.root_dir().create_file(name)?;
            file.truncate()?;
            file.write_all(bytes)?;
            file.flush()?;
        }
        volume.unmount()?;
    }
    Ok(disk.into_inner())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_written_can_be_read_and_is_the_same_each_time() {
        let seed = Seed {
            user_data: format!("#cloud-config\n# {}\n", "x".repeat(3_000_000)),
            meta_data: "instance-id: one\n".to_owned(),
            network_config: Some("version: 2\n".to_owned()),
        };
        let bytes = seed.to_bytes().unwrap();
        assert_eq!(bytes, seed.to_bytes().unwrap());
        let volume = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
        assert_eq!(
            volume.read_volume_label_from_root_dir_as_bytes().unwrap(),
            Some(*b"cidata     ")
        );
        let mut text = String::new();
        volume
            .root_dir()
            .open_file("user-data")
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, seed.user_data);
        let names: Vec<_> = volume
            .root_dir()
            .iter()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["user-data", "meta-data", "network-config"]);
    }
}
