//! The partition table of a raw disk, by way of `sfdisk`: read, written for a new disk, and its last partition grown.

use std::fs::OpenOptions;
use std::path::Path;

use serde::Deserialize;

use super::root::must_be_growable;
use super::{DiskError, SECTOR, tool};
use crate::host::cancel::Cancel;
pub use crate::platform::TableKind;
use crate::size::{ByteSize, MIB};

/// GPT type "Linux filesystem data", as installers set it.
const GPT_LINUX: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
/// GPT type of the partition in which GRUB keeps its core on BIOS machines.
const GPT_BIOS_BOOT: &str = "21686148-6449-6E6F-744E-656564454649";
/// GPT type of the partition from which UEFI starts boot loaders.
const GPT_EFI: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
/// Size of such a partition on a new disk: boot loaders take 5 MiB, and FAT32 has no fewer than 65525 clusters.
const EFI_SIZE: u64 = 64 * MIB;
/// GPT type of swap.
const GPT_SWAP: &str = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F";
/// DOS types of an extended partition, which holds the logical ones; of swap.
const DOS_EXTENDED: [&str; 3] = ["5", "f", "85"];
const DOS_SWAP: &str = "82";
/// DOS type of the partition from which UEFI starts boot loaders.
const DOS_EFI: &str = "ef";
/// A DOS table counts sectors in 32 bits. What is larger is written modulo this, without an error.
pub(super) const DOS_LIMIT: u64 = (u32::MAX as u64) * SECTOR;

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub kind: TableKind,
    /// Partitions in the order of the table.
    pub partitions: Vec<Partition>,
}

/// A partition; start and size in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// Type: a hexadecimal number (dos) or a GUID (gpt), as sfdisk writes it.
    pub kind: String,
}

impl Partition {
    /// The first byte behind it.
    pub fn end(&self) -> u64 {
        self.start + self.size
    }

    pub(super) fn is_swap(&self, table: TableKind) -> bool {
        match table {
            TableKind::Dos => self.kind == DOS_SWAP,
            TableKind::Gpt => self.kind.eq_ignore_ascii_case(GPT_SWAP),
        }
    }

    fn is_extended(&self, table: TableKind) -> bool {
        table == TableKind::Dos && DOS_EXTENDED.contains(&self.kind.as_str())
    }
}

impl Table {
    /// The partition that ends last on the disk; one that only holds others does not count.
    pub fn last(&self) -> Option<&Partition> {
        self.data().max_by_key(|part| part.start)
    }

    /// The partition in which GRUB keeps its core on BIOS machines.
    pub fn bios_boot(&self) -> Option<&Partition> {
        self.gpt(GPT_BIOS_BOOT)
    }

    /// The partition from which UEFI starts boot loaders.
    pub fn efi(&self) -> Option<&Partition> {
        self.gpt(GPT_EFI).or_else(|| {
            let mut parts = self.partitions.iter();
            parts.find(|part| self.kind == TableKind::Dos && part.kind == DOS_EFI)
        })
    }

    fn gpt(&self, kind: &str) -> Option<&Partition> {
        let mut parts = self.partitions.iter();
        parts.find(|part| self.kind == TableKind::Gpt && part.kind.eq_ignore_ascii_case(kind))
    }

    /// All but those that only hold others.
    pub(super) fn data(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.iter().filter(|part| !part.is_extended(self.kind))
    }

    /// The extended partition around a logical one.
    fn container(&self, part: &Partition) -> Option<&Partition> {
        let mut around = self
            .partitions
            .iter()
            .filter(|other| other.is_extended(self.kind));
        around.find(|other| other.start < part.start && part.end() <= other.end())
    }
}

/// `sfdisk -J`.
#[derive(Deserialize)]
struct Dump {
    partitiontable: DumpTable,
}

#[derive(Deserialize)]
struct DumpTable {
    label: TableKind,
    sectorsize: Option<u64>,
    #[serde(default)]
    partitions: Vec<DumpPartition>,
}

#[derive(Deserialize)]
struct DumpPartition {
    node: String,
    start: u64,
    size: u64,
    #[serde(rename = "type")]
    kind: String,
}

/// Reads the table of a raw disk.
///
/// # Errors
/// [`DiskError::Tool`] when there is none, [`DiskError::Output`].
pub fn read_table(raw: &Path, cancel: &Cancel) -> Result<Table, DiskError> {
    let text = tool("sfdisk").args(["-J", "--"]).arg(raw).read(cancel);
    let text = text.map_err(DiskError::tool("reading the partitions of", raw))?;
    parse_table(&text, &raw.to_string_lossy()).map_err(|why| DiskError::Output {
        program: "sfdisk",
        path: raw.to_owned(),
        why,
    })
}

fn parse_table(json: &str, device: &str) -> Result<Table, String> {
    let Dump {
        partitiontable: table,
    } = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let sector = table.sectorsize.unwrap_or(SECTOR);
    let partition = |part: DumpPartition| {
        // sfdisk names partition 3 of `disk.raw` `disk.raw3`, and of `disk7` `disk7p3`.
        let suffix = part.node.strip_prefix(device).unwrap_or(&part.node);
        let number = suffix.trim_start_matches('p').parse();
        let number = number.map_err(|_| format!("no partition number in `{}`", part.node))?;
        Ok(Partition {
            number,
            start: part.start * sector,
            size: part.size * sector,
            kind: part.kind,
        })
    };
    Ok(Table {
        kind: table.label,
        partitions: table
            .partitions
            .into_iter()
            .map(partition)
            .collect::<Result<_, String>>()?,
    })
}

/// What a GPT has in front of root for firmware to start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartsBy {
    /// GRUB's own partition.
    pub bios: bool,
    /// An EFI system partition.
    pub efi: bool,
}

impl StartsBy {
    pub const BIOS: Self = Self {
        bios: true,
        efi: false,
    };
    pub const BOTH: Self = Self {
        bios: true,
        efi: true,
    };
}

/// Writes a table for a new disk with one root file system, the last one, that takes all of it but for what firmware starts
/// from on a GPT.
///
/// # Errors
/// [`DiskError::Tool`], [`DiskError::Output`].
pub fn write_root_table(
    raw: &Path,
    kind: TableKind,
    starts: StartsBy,
    cancel: &Cancel,
) -> Result<Table, DiskError> {
    let first = MIB / SECTOR;
    let bios = format!("size={first}, type={GPT_BIOS_BOOT}\n");
    let efi = format!("size={}, type={GPT_EFI}, name=esp\n", EFI_SIZE / SECTOR);
    let script = match kind {
        TableKind::Dos => format!("label: dos\nstart={first}, type=83, bootable\n"),
        TableKind::Gpt => {
            let boot = [(starts.bios, bios), (starts.efi, efi)];
            let boot = boot
                .into_iter()
                .filter_map(|(is_there, line)| is_there.then_some(line));
            // sfdisk begins at the first megabyte.
            format!("label: gpt\n{}type={GPT_LINUX}\n", boot.collect::<String>())
        }
    };
    let cmd = tool("sfdisk").args(["--quiet", "--"]).arg(raw).stdin(script);
    cmd.read(cancel).map_err(DiskError::tool("partitioning", raw))?;
    read_table(raw, cancel)
}

/// Makes a raw disk larger and lets its last partition take the new room; gives that partition as it is now.
///
/// # Errors
/// [`DiskError::Layout`] when the disk is larger already or has no partition, [`DiskError::Tool`],
/// [`DiskError::File`], [`DiskError::Output`].
pub fn grow_last_partition(raw: &Path, size: ByteSize, cancel: &Cancel) -> Result<Partition, DiskError> {
    let table = read_table(raw, cancel)?;
    let before = last_partition(&table, raw)?;
    let file = OpenOptions::new()
        .write(true)
        .open(raw)
        .map_err(DiskError::file(raw))?;
    let old = ByteSize(file.metadata().map_err(DiskError::file(raw))?.len());
    if size < old {
        return Err(DiskError::Layout {
            path: raw.to_owned(),
            why: format!("cannot shrink: the disk has {old} and should get {size}; ask for at least {old}"),
        });
    }
    must_be_growable(raw, &table, &before, size)?;
    file.set_len(size.0).map_err(DiskError::file(raw))?;
    drop(file);
    if table.kind == TableKind::Gpt {
        // The second copy of the table has to be at the end of the disk.
        let cmd = tool("sfdisk")
            .args(["--quiet", "--relocate", "gpt-bak-std", "--"])
            .arg(raw);
        cmd.read(cancel)
            .map_err(DiskError::tool("moving the backup partition table of", raw))?;
    }
    let around = table.container(&before);
    for number in around.into_iter().chain([&before]).map(|part| part.number) {
        let cmd = tool("sfdisk").args(["--quiet", "--no-reread", "-N", &number.to_string(), "--"]);
        let cmd = cmd.arg(raw).stdin(", +\n");
        cmd.read(cancel)
            .map_err(DiskError::tool("growing the last partition of", raw))?;
    }
    let after = last_partition(&read_table(raw, cancel)?, raw)?;
    if after.start != before.start || after.size < before.size {
        return Err(DiskError::Layout {
            path: raw.to_owned(),
            why: format!(
                "came out wrong: partition {} was {before:?} and is {after:?}",
                after.number
            ),
        });
    }
    Ok(after)
}

/// The partition that ends last on the disk.
///
/// # Errors
/// [`DiskError::Layout`].
pub fn last_partition(table: &Table, raw: &Path) -> Result<Partition, DiskError> {
    table.last().cloned().ok_or_else(|| DiskError::Layout {
        path: raw.to_owned(),
        why: "are none: the table is empty".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_partition_is_the_one_that_lies_last_and_holds_data() {
        // As sfdisk 2.38 prints it: a root, and a swap inside an extended partition, in table order.
        let json = r#"{ "partitiontable": { "label": "dos", "id": "0x1", "device": "d7", "unit": "sectors", "sectorsize": 512,
            "partitions": [
                { "node": "d7p1", "start": 2048, "size": 4096, "type": "83", "bootable": true },
                { "node": "d7p2", "start": 8190, "size": 8194, "type": "5" },
                { "node": "d7p5", "start": 8192, "size": 8192, "type": "82" } ] } }"#;
        let table = parse_table(json, "d7").unwrap();
        let last = table.last().unwrap();
        assert_eq!(
            (last.number, last.start, last.size),
            (5, 8192 * SECTOR, 8192 * SECTOR)
        );
        assert_eq!(table.container(last).unwrap().number, 2);
        assert_eq!(table.container(&table.partitions[0]), None);
    }
}
