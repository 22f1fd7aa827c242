//! Disk, partition and root file system are as large as the image.

use super::judge::Fault::Fails;
use super::judge::{Answer, Case, Finding, Look, brief};
use super::{Kind, Needs, one_key};
use crate::size::{ByteSize, MIB};

/// Room at a disk's end that belongs to no partition, at most: the second copy of a GUID table, and alignment.
const TAIL: u64 = 2 * MIB;
/// What a file system may keep of its partition for itself, in hundredths: inode tables and the journal.
const OWN_HUNDREDTHS: u64 = 10;

one_key! { RootSize = "root_size", "disk, last partition and root file system are as large as the image" }

impl Kind for RootSize {
    fn needs(&self) -> Needs {
        Needs::fact("root_size")
    }

    fn expected(&self, case: &Case<'_>) -> String {
        format!("a root file system that fills a disk of {}", ByteSize(case.size))
    }

    fn find(&self, look: &Look<'_>) -> Finding {
        compare(look.answer()?, look.case.size)
    }
}

/// A value of `a*b`, in bytes.
fn product(answer: &Answer, name: &str) -> Option<u64> {
    let (_, value) = answer.values().find(|(key, _)| *key == name)?;
    let (a, b) = value.split_once('*')?;
    a.trim().parse::<u64>().ok()?.checked_mul(b.trim().parse().ok()?)
}

/// Disk, partition and file system against the size of the image in bytes.
fn compare(answer: &Answer, size: u64) -> Finding {
    let value = |name| product(answer, name);
    let (Some(filesystem), Some(device)) = (value("filesystem"), value("device")) else {
        return Err(Fails(format!(
            "sizes that make no sense: {}",
            brief(&answer.output)
        )));
    };
    if let Some(disk) = value("disk").filter(|disk| *disk != size) {
        return Err(Fails(format!("a disk of {}", ByteSize(disk))));
    }
    let end = value("start").map(|start| start.saturating_add(device));
    if let Some(end) = end.filter(|end| end.saturating_add(TAIL) < size) {
        return Err(Fails(format!(
            "a root partition that ends at {} of {}",
            ByteSize(end),
            ByteSize(size)
        )));
    }
    if filesystem < device / 100 * (100 - OWN_HUNDREDTHS) {
        let (have, room) = (ByteSize(filesystem), ByteSize(device));
        return Err(Fails(format!("a root file system of {have} on {room}")));
    }
    Ok(format!("{} for files", ByteSize(filesystem)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::judge::testing::said;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_root_that_was_not_grown_is_seen_by_its_disk_its_partition_or_its_file_system() {
        let root = |fs: u64, device: u64, start: u64, disk: u64| {
            let text = format!("filesystem={fs}*1\ndevice={device}*1\nstart={start}*1\ndisk={disk}*1");
            said(compare(&Answer::saying(&text), 3 * GIB))
        };
        let whole = 3 * GIB - MIB;
        assert!(root(whole / 100 * 95, whole, MIB, 3 * GIB).0);
        assert_eq!(
            root(whole, whole, MIB, 2 * GIB),
            (false, "a disk of 2 GiB".to_owned())
        );
        let (_, seen) = root(2 * GIB, 2 * GIB - MIB, MIB, 3 * GIB);
        assert_eq!(seen, "a root partition that ends at 2 GiB of 3 GiB");
        let (_, seen) = root(2 * GIB, whole, MIB, 3 * GIB);
        assert!(seen.starts_with("a root file system of 2 GiB on "), "{seen}");
        assert!(compare(&Answer::saying("df: what?"), GIB).is_err());
    }
}
