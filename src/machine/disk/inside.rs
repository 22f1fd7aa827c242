//! Files inside an ext file system of a raw disk, looked at and written where they lie, by e2fsprogs' `debugfs`: no
//! mount, no root. Only for disks that no machine has open.

use std::path::Path;

use super::{DiskError, device, must_be_clean_ext, tool};
use crate::host::cancel::Cancel;
use crate::host::process::Output;

/// What debugfs says when a path leads nowhere.
const NOT_FOUND: &str = "File not found";

/// Names in a folder; none when it is not there. A link as the last part of the path is not followed.
///
/// # Errors
/// [`DiskError::FileSystem`] when it is not ext or was not unmounted; [`DiskError::Tool`].
pub fn list(raw: &Path, offset: u64, folder: &str, cancel: &Cancel) -> Result<Vec<String>, DiskError> {
    let (text, complaints) = debugfs(raw, offset, false, &format!("ls -p {folder}\n"), cancel)?;
    if complaints.iter().any(|line| line.contains(NOT_FOUND)) {
        return Ok(Vec::new());
    }
    // As in `/12/100644/0/0/name/4096/`.
    let names = text
        .iter()
        .filter_map(|line| line.strip_prefix('/')?.split('/').nth(4));
    Ok(names
        .filter(|name| !matches!(*name, "" | "." | ".."))
        .map(str::to_owned)
        .collect())
}

/// A file to put into a file system.
#[derive(Clone, Debug)]
pub enum Put<'a> {
    /// A folder, where there is none.
    Folder(&'a str),
    /// A file: its path, and the host's file that has its bytes.
    File(&'a str, &'a Path),
    /// A link: its path, and what it says.
    Link(&'a str, &'a str),
}

/// Puts files in, owned by root. None of them may be there already.
///
/// # Errors
/// As [`list`], and [`DiskError::FileSystem`] when debugfs complains.
pub fn put(raw: &Path, offset: u64, puts: &[Put<'_>], cancel: &Cancel) -> Result<(), DiskError> {
    let mut requests = String::new();
    for put in puts {
        requests += &match put {
            Put::Folder(path) => format!("mkdir {path}\n"),
            Put::File(path, from) => format!("write {} {path}\n", quoted(from)),
            Put::Link(path, to) => format!("symlink {path} {to}\n"),
        };
    }
    let (_, complaints) = debugfs(raw, offset, true, &requests, cancel)?;
    // A folder that is there already is as good; debugfs says so for `mkdir` alone, whatever is there.
    let is_there = |line: &str| {
        let mut of_folders = ["mkdir: ", "ext2fs_mkdir: "].iter();
        of_folders.any(|start| line.starts_with(start)) && line.contains("already exists")
    };
    let real = complaints.iter().find(|line| !is_there(line));
    match real {
        None => Ok(()),
        Some(line) => Err(DiskError::FileSystem {
            path: raw.to_owned(),
            offset,
            why: format!("could not be written to: {line}"),
        }),
    }
}

/// A path as debugfs reads words.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

/// What debugfs printed, and what it complained about. It exits with 0 either way.
fn debugfs(
    raw: &Path,
    offset: u64,
    write: bool,
    requests: &str,
    cancel: &Cancel,
) -> Result<(Vec<String>, Vec<String>), DiskError> {
    must_be_clean_ext(raw, offset)?;
    let (folder, device) = device(raw, offset)?;
    let mut cmd = tool("debugfs").folder(&folder);
    if write {
        cmd = cmd.arg("-w");
    }
    let (mut text, mut complaints) = (Vec::new(), Vec::new());
    let cmd = cmd.args(["-f", "-"]).arg(device).stdin(requests);
    let ran = cmd.run(cancel, None, &mut |output, line| match output {
        // Requests are repeated with a prompt in front.
        Output::Stdout if !line.starts_with("debugfs: ") => text.push(line.to_owned()),
        Output::Stdout => {}
        // Its own version goes there too.
        Output::Stderr if line.starts_with("debugfs ") => {}
        Output::Stderr => complaints.push(line.to_owned()),
    });
    ran.map_err(DiskError::tool("looking into", raw))?;
    Ok((text, complaints))
}
