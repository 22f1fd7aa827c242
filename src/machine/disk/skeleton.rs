//! The few megabytes of a disk that its growth reads and writes: everything around the root partition, and what the ext4 in
//! it has in addition to files' contents. Growing them in a file that has holes for the rest costs nothing of what a copy of
//! the whole disk costs. What came of it is held against the disk, so that nothing of a file can have been passed over.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::filesystem::backups;
use super::layers::{CLUSTER, Layers};
use super::{DiskError, Partition, tool};
use crate::host::cancel::Cancel;
use crate::host::fs::data_extents;

/// What is taken and compared as a whole: the smallest hole of a file.
const PAGE: u64 = 4096;

/// Where the parts lie on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skeleton {
    /// First byte of the root partition.
    pub root: u64,
    /// Start and end, whole pages, in order.
    parts: Vec<(u64, u64)>,
}

impl Skeleton {
    /// Finds the parts of a raw disk whose root partition holds an ext4 that is clean. It takes a file of its own
    /// next to the disk for that.
    ///
    /// # Errors
    /// [`DiskError::Tool`], [`DiskError::Fs`], [`DiskError::File`].
    pub fn of(raw: &Path, root: &Partition, cancel: &Cancel) -> Result<Self, DiskError> {
        let image = raw.with_extension("metadata");
        let cmd = tool("e2image").args(["-r", "-o", &root.start.to_string()]);
        let made = cmd.arg(raw).arg(&image).read(cancel);
        made.map_err(DiskError::tool("reading the file system in", raw))?;
        let within = extents(&image)?;
        std::fs::remove_file(&image).map_err(DiskError::file(&image))?;
        let mut parts: Vec<_> = within
            .iter()
            .map(|(start, end)| (root.start + start, root.start + end))
            .collect();
        // e2image leaves these out.
        parts.extend(backups(raw, root.start)?);
        for (start, end) in extents(raw)? {
            parts.extend([(start, end.min(root.start)), (start.max(root.end()), end)]);
        }
        Ok(Self {
            root: root.start,
            parts: merged(parts),
        })
    }

    /// Makes a raw file of the disk's size that has nothing but these parts.
    ///
    /// # Errors
    /// [`DiskError::Fs`], [`DiskError::File`].
    pub fn copy(&self, disk: &Layers, raw: &Path) -> Result<(), DiskError> {
        let file = File::create_new(raw).map_err(DiskError::file(raw))?;
        file.set_len(disk.size()).map_err(DiskError::file(raw))?;
        let mut bytes = Vec::new();
        let mut at = None;
        for (start, end) in &self.parts {
            for cluster in start / CLUSTER..end.div_ceil(CLUSTER) {
                if at != Some(cluster) {
                    at = Some(cluster);
                    bytes.clear();
                    disk.append(cluster, &mut bytes)?;
                }
                let base = cluster * CLUSTER;
                let (from, to) = (base.max(*start) - base, (base + CLUSTER).min(*end) - base);
                // One of zeros was not read.
                if let Some(part) = bytes.get(within(from)..within(to)) {
                    file.write_all_at(part, base + from)
                        .map_err(DiskError::file(raw))?;
                }
            }
        }
        Ok(())
    }

    /// The clusters in which a raw file that began as [`Skeleton::copy`] differs from the disk now. It gets what the others
    /// bytes of these clusters are. None: something was written where the disk has bytes that were not copied, so a whole
    /// copy is needed.
    ///
    /// # Errors
    /// [`DiskError::Fs`], [`DiskError::File`].
    pub fn changed(&self, disk: &Layers, raw: &Path) -> Result<Option<Vec<u64>>, DiskError> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(raw)
            .map_err(DiskError::file(raw))?;
        let length = file.metadata().map_err(DiskError::file(raw))?.len();
        let written = merged(extents(raw)?);
        let touched = self.parts.iter().chain(&written);
        let touched: BTreeSet<u64> = touched
            .flat_map(|(start, end)| start / CLUSTER..end.div_ceil(CLUSTER))
            .collect();
        let mut changed = Vec::new();
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for cluster in touched {
            let base = cluster * CLUSTER;
            old.clear();
            disk.append(cluster, &mut old)?;
            old.resize(within(CLUSTER), 0);
            new.clear();
            new.resize(within((length - base).min(CLUSTER)), 0);
            file.read_exact_at(&mut new, base).map_err(DiskError::file(raw))?;
            new.resize(within(CLUSTER), 0);
            let mut differs = false;
            let mut missing = Vec::new();
            for page in (0..CLUSTER).step_by(within(PAGE)) {
                let here = within(page)..within(page + PAGE);
                let same = old[here.clone()] == new[here.clone()];
                let is_empty = old[here.clone()].iter().all(|byte| *byte == 0);
                if same || covers(&self.parts, base + page) {
                    differs |= !same;
                } else if covers(&written, base + page) {
                    if !is_empty {
                        return Ok(None);
                    }
                    differs = true;
                } else {
                    missing.push(here);
                }
            }
            if differs {
                for here in missing {
                    let at = base + here.start as u64;
                    file.write_all_at(&old[here], at).map_err(DiskError::file(raw))?;
                }
                changed.push(cluster);
            }
        }
        Ok(Some(changed))
    }
}

fn extents(path: &Path) -> Result<Vec<(u64, u64)>, DiskError> {
    let file = File::open(path).map_err(DiskError::file(path))?;
    data_extents(&file).map_err(DiskError::file(path))
}

/// Extents grown to whole pages, in order, none touching the next.
fn merged(mut extents: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    extents.retain(|(start, end)| start < end);
    extents.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (start, end) in extents {
        let (start, end) = (start / PAGE * PAGE, end.next_multiple_of(PAGE));
        match merged.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}

fn covers(extents: &[(u64, u64)], at: u64) -> bool {
    let behind = extents.partition_point(|(start, _)| *start <= at);
    behind > 0 && at < extents[behind - 1].1
}

fn within(bytes: u64) -> usize {
    usize::try_from(bytes).expect("within a cluster")
}
