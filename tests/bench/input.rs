//! The input: what a Linux disk holds, made of this host's own files. Each file starts at a 4 KiB boundary and is filled up
//! with zeros, as on a file system, and so as in the clusters of a compact qcow2; file names in sorted order.

use std::fs;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::Plan;

/// Where files are taken from, in turn, until there are enough.
const ROOTS: [&str; 4] = ["/usr/bin", "/usr/lib", "/usr/share", "/usr/sbin"];
const PAGE: u64 = 4096;
/// Bytes of a cluster of qcow2.
const CLUSTER: usize = 64 << 10;

/// Name of the input in the folder of the measurements.
pub const NAME: &str = "disk";

/// Makes the input where it is not there yet, and tells what it is made of.
pub fn made(folder: &Path, plan: &Plan) -> String {
    let (path, note) = (folder.join(NAME), folder.join("disk.digests"));
    if !note.exists() {
        eprintln!("making the input");
        fs::write(&note, make(&path, plan.mib << 20)).unwrap();
    }
    fs::read_to_string(note).unwrap()
}

/// Makes a disk that differs from the input as one of another size does: a cluster more in front, and one of so many has
/// other bytes.
pub fn differing(folder: &Path, name: &str, every: u64) {
    let mut disk = vec![1; CLUSTER];
    disk.extend(fs::read(folder.join(NAME)).unwrap());
    for (number, cluster) in disk.chunks_mut(CLUSTER).enumerate() {
        if number as u64 % every == every / 2 {
            cluster[100..108].copy_from_slice(&(number as u64 ^ every).to_le_bytes());
        }
    }
    fs::write(folder.join(name), disk).unwrap();
}

/// Writes the input, and tells what it is made of.
fn make(path: &Path, bytes: u64) -> String {
    let mut writer = BufWriter::new(File::create(path).unwrap());
    let (mut left, mut files) = (bytes, 0);
    let mut roots = Vec::new();
    // The largest libraries of a development machine would make up all of it: no file gives more than this.
    let most = bytes / 64;
    while left > 0 {
        let before = left;
        for root in ROOTS {
            if left > 0 {
                roots.push(root);
                add(Path::new(root), most, &mut writer, &mut left, &mut files);
            }
        }
        assert!(left < before, "this host has no readable files below {ROOTS:?}");
    }
    writer.into_inner().unwrap().sync_all().unwrap();
    roots.dedup();
    format!(
        "{} MiB of this host's files ({files} of {}), each on 4 KiB boundaries",
        bytes >> 20,
        roots.join(", ")
    )
}

fn add(folder: &Path, most: u64, writer: &mut impl Write, left: &mut u64, files: &mut u64) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if *left == 0 {
            return;
        }
        if metadata.is_dir() {
            add(&path, most, writer, left, files);
        } else if metadata.is_file() && metadata.len() > 0 {
            // A file that cannot be read, or that changes meanwhile, is not needed.
            let Ok(mut bytes) = fs::read(&path) else { continue };
            bytes.truncate(usize::try_from(most.max(PAGE)).unwrap());
            bytes.resize(bytes.len().next_multiple_of(usize::try_from(PAGE).unwrap()), 0);
            bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            writer.write_all(&bytes).unwrap();
            *left -= bytes.len() as u64;
            *files += 1;
        }
    }
}
