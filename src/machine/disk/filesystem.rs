//! File systems inside a raw disk, worked on where they lie: e2fsprogs takes `file?offset=N` in place of a device.
//! Magic bytes tell which file system it is.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::partition::Partition;
use super::{DiskError, neutral, read_at, tool};
use crate::host::cancel::Cancel;
use crate::host::process::{Cmd, ProcessError};
use crate::host::{namespace, tools};
use crate::size::KIB;

/// ext superblock: at byte 1024 (kernel documentation, ext4/super).
const EXT_SUPER: u64 = 1024;
/// In it: magic number, incompatible features.
const EXT_MAGIC: (u64, u16) = (0x38, 0xEF53);
const EXT_INCOMPAT: u64 = 0x60;
/// Low half of the number of blocks, logarithm of their KiB, high half of their number.
const EXT_BLOCKS: u64 = 0x4;
const EXT_BLOCK_SHIFT: u64 = 0x18;
const EXT_BLOCKS_HIGH: u64 = 0x150;
/// Incompatible feature: numbers of blocks have a high half.
const EXT_64BIT: u64 = 0x80;
/// Incompatible feature: the journal has to be replayed before anything else.
const EXT_RECOVER: u32 = 0x4;
/// Times, in seconds: last mounted, last written, last checked, each with the place of its high byte.
const EXT_TIMES: [(u64, u64); 3] = [(0x2c, 0x275), (0x30, 0x274), (0x40, 0x277)];
/// First block with data, blocks of a group, reserved blocks for descriptors of groups, bytes of such a descriptor.
const EXT_FIRST_BLOCK: u64 = 0x14;
const EXT_GROUP_BLOCKS: u64 = 0x20;
const EXT_RESERVED: u64 = 0xce;
const EXT_DESCRIPTOR: u64 = 0xfe;
/// Incompatible feature: descriptors of groups lie in their groups.
const EXT_META_BG: u64 = 0x10;
/// btrfs superblock: at byte 64 KiB.
const BTRFS_SUPER: u64 = 0x1_0000;

/// What is in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ext2, ext3, ext4: grows offline.
    Ext,
    /// XFS: grows only while mounted.
    Xfs,
    /// Btrfs: grows only while mounted.
    Btrfs,
    /// Swap space.
    Swap,
    /// Physical volume of LVM.
    Lvm,
    /// Something else, or nothing.
    Unknown,
}

impl FileSystem {
    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Swap => "swap",
            Self::Lvm => "LVM",
            Self::Unknown => "no known file system",
        }
    }
}

/// Tells a file system by its magic bytes. `offset` is where it begins.
///
/// # Errors
/// [`DiskError::File`].
pub fn probe(raw: &Path, offset: u64) -> Result<FileSystem, DiskError> {
    // Where each keeps its magic: kernel documentation of ext4, xfs_sb.h, btrfs' disk format, mkswap, lvm2's label.h.
    let signs: [(u64, &[u8], FileSystem); 5] = [
        (
            EXT_SUPER + EXT_MAGIC.0,
            &EXT_MAGIC.1.to_le_bytes(),
            FileSystem::Ext,
        ),
        (0, b"XFSB", FileSystem::Xfs),
        (BTRFS_SUPER + 0x40, b"_BHRfS_M", FileSystem::Btrfs),
        (4086, b"SWAPSPACE2", FileSystem::Swap),
        (512, b"LABELONE", FileSystem::Lvm),
    ];
    let file = File::open(raw).map_err(DiskError::file(raw))?;
    for (at, magic, kind) in signs {
        let found = read_at(&file, offset + at, magic.len()).map_err(DiskError::file(raw))?;
        if found == magic {
            return Ok(kind);
        }
    }
    Ok(FileSystem::Unknown)
}

/// Size of a file system by its own record, in bytes; none for kinds that do not grow.
///
/// # Errors
/// [`DiskError::File`].
pub fn size(raw: &Path, offset: u64) -> Result<Option<u64>, DiskError> {
    let kind = probe(raw, offset)?;
    let file = File::open(raw).map_err(DiskError::file(raw))?;
    let bytes = |at, count| read_at(&file, offset + at, count).map_err(DiskError::file(raw));
    let little = |at, count| -> Result<u64, DiskError> {
        Ok(bytes(at, count)?
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let big = |at, count| -> Result<u64, DiskError> {
        Ok(bytes(at, count)?
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    Ok(match kind {
        FileSystem::Ext => {
            let wide = little(EXT_SUPER + EXT_INCOMPAT, 4)? & EXT_64BIT != 0;
            let high = if wide {
                little(EXT_SUPER + EXT_BLOCKS_HIGH, 4)?
            } else {
                0
            };
            let blocks = high << 32 | little(EXT_SUPER + EXT_BLOCKS, 4)?;
            let shift = little(EXT_SUPER + EXT_BLOCK_SHIFT, 4)?.min(6);
            Some(blocks.saturating_mul(KIB << shift))
        }
        // xfs_sb.h: bytes of a block, blocks of data.
        FileSystem::Xfs => Some(big(4, 4)?.saturating_mul(big(8, 8)?)),
        // btrfs' disk format: bytes of all devices.
        FileSystem::Btrfs => Some(little(BTRFS_SUPER + 0x70, 8)?),
        FileSystem::Swap | FileSystem::Lvm | FileSystem::Unknown => None,
    })
}

/// The groups of blocks that an ext file system is made of.
struct Groups {
    /// Bytes of a block.
    block: u64,
    /// Blocks in a group, and the first block of the first one.
    length: u64,
    first: u64,
    count: u64,
    /// Blocks that hold their descriptors or are reserved for them.
    descriptors: u64,
}

/// None where descriptors are kept in another way.
fn groups(raw: &Path, offset: u64) -> Result<Option<Groups>, DiskError> {
    let file = File::open(raw).map_err(DiskError::file(raw))?;
    let number = |at, count| -> Result<u64, DiskError> {
        let bytes = read_at(&file, offset + EXT_SUPER + at, count).map_err(DiskError::file(raw))?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let incompatible = number(EXT_INCOMPAT, 4)?;
    let (length, first) = (number(EXT_GROUP_BLOCKS, 4)?, number(EXT_FIRST_BLOCK, 4)?);
    if incompatible & EXT_META_BG != 0 || length == 0 {
        return Ok(None);
    }
    let (high, descriptor) = if incompatible & EXT_64BIT == 0 {
        (0, 32)
    } else {
        (number(EXT_BLOCKS_HIGH, 4)?, number(EXT_DESCRIPTOR, 2)?.max(32))
    };
    let block = KIB << number(EXT_BLOCK_SHIFT, 4)?.min(6);
    let blocks = (high << 32 | number(EXT_BLOCKS, 4)?).saturating_sub(first);
    let count = blocks.div_ceil(length);
    Ok(Some(Groups {
        block,
        length,
        first,
        count,
        descriptors: (count * descriptor).div_ceil(block) + number(EXT_RESERVED, 2)?,
    }))
}

/// Blocks that hold the descriptors of an ext file system's groups or are reserved for them. As long as that number stays
/// the same, growing moves nothing (`blocks_to_move` in e2fsprogs' resize2fs.c). None where they are kept in another way.
///
/// # Errors
/// [`DiskError::File`].
pub fn descriptor_blocks(raw: &Path, offset: u64) -> Result<Option<u64>, DiskError> {
    Ok(groups(raw, offset)?.map(|groups| groups.descriptors))
}

/// Start and end of each copy of superblock and descriptors, in bytes of the disk.
pub(super) fn backups(raw: &Path, offset: u64) -> Result<Vec<(u64, u64)>, DiskError> {
    let file = File::open(raw).map_err(DiskError::file(raw))?;
    let mut backups = Vec::new();
    if let Some(groups) = groups(raw, offset)? {
        for group in 1..groups.count {
            let start = offset + (groups.first + group * groups.length) * groups.block;
            let magic = read_at(&file, start + EXT_MAGIC.0, 2).map_err(DiskError::file(raw))?;
            if magic == EXT_MAGIC.1.to_le_bytes() {
                backups.push((start, start + (1 + groups.descriptors) * groups.block));
            }
        }
    }
    Ok(backups)
}

/// Checks an ext file system thoroughly, repairs what is safe to repair, and turns every free block into a hole of the file:
/// what was deleted is not shipped.
///
/// # Errors
/// [`DiskError::FileSystem`] when it is none, was not unmounted, or needs a person; [`DiskError::Tool`].
pub fn punch_free_blocks(raw: &Path, offset: u64, cancel: &Cancel) -> Result<(), DiskError> {
    // e2fsck discards nothing in a run that changes anything, such as a folder that it gives an index.
    e2fsck(raw, offset, &["-f", "-p"], cancel)?;
    e2fsck(raw, offset, &["-f", "-p", "-E", "discard"], cancel)
}

/// Checks an ext file system without writing; anything to repair is an error.
///
/// # Errors
/// As [`punch_free_blocks`].
pub fn verify_ext(raw: &Path, offset: u64, cancel: &Cancel) -> Result<(), DiskError> {
    e2fsck(raw, offset, &["-f", "-n"], cancel)
}

/// Makes the ext file system as large as its partition. It must have been checked just before.
///
/// # Errors
/// As [`punch_free_blocks`].
pub fn grow_ext(raw: &Path, partition: &Partition, cancel: &Cancel) -> Result<(), DiskError> {
    must_be_clean_ext(raw, partition.start)?;
    let (folder, device) = device(raw, partition.start)?;
    let length = || {
        std::fs::metadata(raw)
            .map(|data| data.len())
            .map_err(DiskError::file(raw))
    };
    let before = length()?;
    // Without a size, resize2fs would take the whole file's, which is larger than the partition.
    let size = format!("{}K", partition.size / KIB);
    // When it is done, resize2fs truncates a regular file to the size of the file system and forgets the offset: the
    // last `offset` bytes would be lost (seen with 1.47.0). It does so only with a descriptor above 0
    // (`fd > 0` in its main.c), so it is started with standard input closed and opens the disk as descriptor 0.
    let cmd = at_its_time(neutral(Cmd::new("sh")), raw, partition.start)?
        .args(["-c", r#"exec "$@" <&-"#, "sh"])
        .folder(&folder);
    // Tables of inodes are left to the guest's kernel, whether or not the host's kernel could do that too.
    let cmd = cmd.env("RESIZE2FS_FORCE_LAZY_ITABLE_INIT", "1");
    let cmd = cmd.arg(tools::path("resize2fs")).arg(device).arg(size);
    cmd.read(cancel)
        .map_err(DiskError::tool("growing the file system in", raw))?;
    let after = length()?;
    if after == before {
        return Ok(());
    }
    Err(DiskError::FileSystem {
        path: raw.to_owned(),
        offset: partition.start,
        why: format!(
            "was damaged: this version of resize2fs cut the file from {before} to {after} bytes; \
             let the guest grow its file system itself"
        ),
    })
}

/// Features of ext4 that every kernel, boot loader and e2fsprogs since 2016 knows.
pub const FEATURES: [&str; 14] = [
    "sparse_super",
    "large_file",
    "filetype",
    "resize_inode",
    "dir_index",
    "ext_attr",
    "has_journal",
    "extent",
    "huge_file",
    "flex_bg",
    "metadata_csum",
    "64bit",
    "dir_nlink",
    "extra_isize",
];
/// In place of the host's mke2fs.conf, whose defaults change with its release: what a root disk gets, whatever its size.
/// Its features are replaced by an option. Unwritten inode tables are holes of the file, which the guest's kernel fills when it wants.
const MKE2FS_CONF: &str = "[defaults]
base_features = sparse_super
enable_periodic_fsck = 0
default_mntopts = acl,user_xattr
blocksize = 4096
inode_size = 256
inode_ratio = 16384
reserved_ratio = 5.0
lazy_itable_init = 1
hash_alg = half_md4
errors = continue
[fs_types]
ext4 = {
features = has_journal
}
";

/// A new ext4 file system, filled from a folder.
#[derive(Clone, Debug)]
pub struct Ext4 {
    /// Features; no others are set.
    pub features: Vec<String>,
    /// What goes into it, with owners and modes as they are.
    pub root: Option<PathBuf>,
    /// Label, at most 16 bytes.
    pub label: Option<String>,
    /// UUID; a random one without.
    pub uuid: Option<String>,
}

impl Default for Ext4 {
    fn default() -> Self {
        Self {
            features: FEATURES.map(str::to_owned).to_vec(),
            root: None,
            label: None,
            uuid: None,
        }
    }
}

/// Makes an ext4 in a partition of a raw disk, the same whatever the host's configuration.
///
/// # Errors
/// [`DiskError::Tool`], [`DiskError::File`].
pub fn make_ext4(
    raw: &Path,
    partition: &Partition,
    content: &Ext4,
    cancel: &Cancel,
) -> Result<(), DiskError> {
    let Ext4 {
        features,
        root,
        label,
        uuid,
    } = content;
    let conf = raw.with_extension("mke2fs.conf");
    std::fs::write(&conf, MKE2FS_CONF).map_err(DiskError::file(&conf))?;
    // The owners of a folder made in a namespace are only seen in one.
    let mut cmd = if root.is_some() {
        neutral(namespace::as_root("mke2fs"))
    } else {
        tool("mke2fs")
    };
    cmd = cmd
        .env("MKE2FS_CONFIG", &conf)
        .args(["-O", &format!("none,{}", features.join(","))]);
    cmd = cmd.args([
        "-q",
        "-F",
        "-t",
        "ext4",
        "-E",
        &format!("offset={}", partition.start),
    ]);
    for (option, value) in [("-L", label), ("-U", uuid)] {
        if let Some(value) = value {
            cmd = cmd.args([option, value]);
        }
    }
    if let Some(root) = root {
        cmd = cmd.arg("-d").arg(root);
    }
    // Without a size, mke2fs would take the whole file's.
    let size = format!("{}k", partition.size / KIB);
    cmd = cmd.arg("--").arg(raw).arg(size);
    let made = cmd.read(cancel).map(drop);
    std::fs::remove_file(&conf).map_err(DiskError::file(&conf))?;
    made.map_err(DiskError::tool("making the file system in", raw))
}

fn e2fsck(raw: &Path, offset: u64, options: &[&str], cancel: &Cancel) -> Result<(), DiskError> {
    must_be_clean_ext(raw, offset)?;
    let read_only = options.contains(&"-n");
    let (folder, device) = device(raw, offset)?;
    match at_its_time(tool("e2fsck"), raw, offset)?
        .folder(&folder)
        .args(options)
        .arg(device)
        .read(cancel)
    {
        Ok(_) => Ok(()),
        // 1: errors were found and repaired (e2fsck(8)).
        Err(ProcessError::Failed { code: Some(1), .. }) if !read_only => Ok(()),
        Err(ProcessError::Failed {
            code: Some(4), tail, ..
        }) => Err(DiskError::FileSystem {
            path: raw.to_owned(),
            offset,
            why: format!("has errors that need a person:\n  | {}", tail.join("\n  | ")),
        }),
        Err(error) => Err(DiskError::tool("checking the file system in", raw)(error)),
    }
}

/// A tool for which it is the time when the ext file system was last used, so that equal disks become equal disks: what is
/// written into it has no other time, and none that lies before an earlier one.
fn at_its_time(cmd: Cmd, raw: &Path, offset: u64) -> Result<Cmd, DiskError> {
    let file = File::open(raw).map_err(DiskError::file(raw))?;
    let bytes = |at, count| read_at(&file, offset + EXT_SUPER + at, count).map_err(DiskError::file(raw));
    let mut last = 1;
    for (low, high) in EXT_TIMES {
        let (low, high) = (bytes(low, 4)?, bytes(high, 1)?);
        let time = low
            .iter()
            .chain(&high)
            .rev()
            .fold(0_u64, |time, byte| time << 8 | u64::from(*byte));
        last = last.max(time);
    }
    // e2fsck has a variable of its own, and sets the library's clock by it (1.47).
    let time = last.to_string();
    Ok(cmd.env("E2FSPROGS_FAKE_TIME", &time).env("E2FSCK_TIME", &time))
}

/// At an offset, e2fsck cannot replay a journal ("Bad magic number"): say so beforehand, with the cause.
pub(super) fn must_be_clean_ext(raw: &Path, offset: u64) -> Result<(), DiskError> {
    let wrong = |why: String| DiskError::FileSystem {
        path: raw.to_owned(),
        offset,
        why,
    };
    match probe(raw, offset)? {
        FileSystem::Ext => {}
        other => return Err(wrong(format!("is not ext4 but {}", other.name()))),
    }
    let file = File::open(raw).map_err(DiskError::file(raw))?;
    let bytes = read_at(&file, offset + EXT_SUPER + EXT_INCOMPAT, 4).map_err(DiskError::file(raw))?;
    let features = bytes.try_into().map_or(0, u32::from_le_bytes);
    if features & EXT_RECOVER != 0 {
        let why = "was not unmounted; the guest must power off cleanly before its disk is worked on";
        return Err(wrong(why.to_owned()));
    }
    Ok(())
}

/// The folder to work in, and the name that e2fsprogs understands there.
pub(super) fn device(raw: &Path, offset: u64) -> Result<(PathBuf, String), DiskError> {
    let absolute = std::path::absolute(raw).map_err(DiskError::file(raw))?;
    let name = absolute
        .file_name()
        .and_then(|name| name.to_str())
        .filter(|name| !name.contains('?'));
    // From inside its folder only the file's own name has to be free of `?`.
    match (absolute.parent(), name) {
        (Some(folder), Some(name)) => Ok((folder.to_owned(), format!("./{name}?offset={offset}"))),
        _ => Err(DiskError::Layout {
            path: raw.to_owned(),
            why: "cannot be worked on: the file's name must be UTF-8 without a `?`".to_owned(),
        }),
    }
}
