//! Disks broken on purpose, while they are off: raw ones with an ext4 root in their last partition.

use std::path::Path;

use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::machine::disk::{Put, put, read_table};

use super::{Bench, tool};

/// Offset of the root partition, in bytes.
pub fn partition(disk: &Path) -> u64 {
    let table = read_table(disk, &Cancel::default()).unwrap();
    table.last().unwrap().start
}

/// Files, folders and links into its file system.
pub fn write(disk: &Path, puts: &[Put<'_>]) {
    put(disk, partition(disk), puts, &Cancel::default()).unwrap();
}

/// Takes a file out, by e2fsprogs alone. The disk lies in the folder itself.
pub fn remove(disk: &Path, path: &str, bench: &Bench) {
    debugfs(disk, &format!("rm {path}"), bench);
}

/// What a file has.
pub fn read(disk: &Path, path: &str, bench: &Bench) -> String {
    debugfs(disk, &format!("cat {path}"), bench)
}

/// Another content for a file, with the owner and the mode that it had.
pub fn replace(disk: &Path, path: &str, text: &str, bench: &Bench) {
    let stat = debugfs(disk, &format!("stat {path}"), bench);
    let (_, mode) = stat.split_once("Mode:").unwrap();
    let mode = mode.split_whitespace().next().unwrap();
    remove(disk, path, bench);
    let file = bench.write("content", text);
    write(disk, &[Put::File(path, &file)]);
    let mode = &mode[mode.len() - 3..];
    debugfs(disk, &format!("set_inode_field {path} mode 0100{mode}"), bench);
}

fn debugfs(disk: &Path, request: &str, bench: &Bench) -> String {
    let name = disk.file_name().unwrap().to_string_lossy();
    let device = format!("{name}?offset={}", partition(disk));
    tool("debugfs", &["-w", "-R", request, &device], &bench.path(""))
}
