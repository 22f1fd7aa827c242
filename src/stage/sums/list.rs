//! Publishes into the output folder: images put in their place whole, and next to them the files that list checksums,
//! in the form that `sha512sum -c` and `md5sum -c` read. A run that builds some images leaves the lines of the others.
//! Knows nothing of how images are made, and never opens one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::ops::Bound;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use crate::checksum_list;
use crate::digest::{Algorithm, Digest};
use crate::host::cancel::Cancel;
use crate::host::fs as host;
use crate::host::fs::{FsError, Share, Stamp};
use crate::manifest::model::Compression;

/// Held while the lists of an output folder are read and replaced, so that two runs do not lose each other's lines.
pub(in crate::stage) const LOCK: &str = ".pipeline.lock";

#[derive(Debug, thiserror::Error)]
pub enum SumsError {
    /// A file or folder gave trouble.
    #[error(transparent)]
    File(#[from] FsError),
    /// The image was packaged without this digest.
    #[error("{} has no {algorithm} digest to list in {}; package it again with that checksum",
        path.display(), file_name(*algorithm))]
    NoDigest {
        /// The image file, below the output folder.
        path: PathBuf,
        /// The digest that is missing.
        algorithm: Algorithm,
    },
}

/// Name of the list of this algorithm's checksums. Other machines look for these names.
pub fn file_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Md5 => "MD5SUM.txt",
        Algorithm::Sha256 => "SHA256SUMS",
        Algorithm::Sha512 => "SHA512SUM.txt",
    }
}

/// Brings the list of one algorithm up to date and tells whether it changed. Paths are relative to `folder`.
///
/// `order` are the image files of the whole manifest, `new` digests of those that are published now (others than of
/// `algorithm` are passed over, so the same slice serves every list). The list then has: the manifest's images in
/// manifest order, with their new or their old line, each followed by those of the files that are named after it; then, in
/// their old order, lines of other files that still exist, and lines in no form that we know. What others wrote with a byte order mark, in UTF-16 or with CRLF becomes what
/// `sha512sum -c` reads.
///
/// # Errors
/// [`SumsError::NoDigest`], [`SumsError::File`].
pub fn merge(
    folder: &Path,
    algorithm: Algorithm,
    order: &[PathBuf],
    new: &[(PathBuf, Digest)],
    cancel: &Cancel,
) -> Result<bool, SumsError> {
    fs::create_dir_all(folder).map_err(FsError::at("make the folder", folder))?;
    let _lock = host::lock(&folder.join(LOCK), cancel, &mut || {})?;
    let path = folder.join(file_name(algorithm));
    let old = read_list(&path)?;
    let merged = merged(&old, algorithm, order, new, &|name| is_there(folder, name))?;
    if merged == old {
        return Ok(false);
    }
    host::write_atomic(&path, &merged)?;
    Ok(true)
}

/// Puts a finished file of the store into the output folder, replacing what is there by renaming, and tells how to
/// recognise it later.
///
/// A compressed file may be one file with the store's (a hard link), and is made read-only for that reason. A disk that
/// can be booted as it is gets bytes of its own, for its guest would write into the store.
///
/// # Errors
/// [`FsError`].
pub fn deliver(store_file: &Path, out_file: &Path, cancel: &Cancel) -> Result<Stamp, FsError> {
    if let Some(parent) = out_file.parent() {
        fs::create_dir_all(parent).map_err(FsError::at("make the folder", parent))?;
    }
    let name = out_file.as_os_str().as_bytes();
    let compressed = [Compression::Gzip, Compression::Zstd, Compression::Xz];
    let share = if compressed.iter().any(|c| name.ends_with(c.suffix().as_bytes())) {
        // The store's files may be closed to others; what is published is for all to read.
        let read_only = fs::Permissions::from_mode(0o444);
        // Not ours to change: then it is not ours to link either, and a copy is made.
        fs::set_permissions(store_file, read_only).map_or(Share::Own, |()| Share::Link)
    } else {
        Share::Own
    };
    host::place_as(store_file, out_file, share, cancel)?;
    Stamp::of(out_file)
}

/// The files that a list names, with their digests in hexadecimal.
///
/// # Errors
/// [`FsError`]; a list that is not there names nothing.
pub fn listed(folder: &Path, algorithm: Algorithm) -> Result<BTreeMap<PathBuf, String>, FsError> {
    let list = read_list(&folder.join(file_name(algorithm)))?;
    Ok(checksum_list::lines(&checksum_list::text(&list))
        .filter_map(|line| parse(line, algorithm))
        .collect())
}

fn read_list(path: &Path) -> Result<Vec<u8>, FsError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(FsError::at("read", path)),
    }
}

/// False only for a file that surely is not there.
fn is_there(folder: &Path, name: &Path) -> bool {
    let found = fs::symlink_metadata(folder.join(name));
    !matches!(found, Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
}

/// The new content of a list.
fn merged(
    old: &[u8],
    algorithm: Algorithm,
    order: &[PathBuf],
    new: &[(PathBuf, Digest)],
    is_there: &dyn Fn(&Path) -> bool,
) -> Result<Vec<u8>, SumsError> {
    let known: BTreeSet<&Path> = order
        .iter()
        .chain(new.iter().map(|(path, _)| path))
        .map(PathBuf::as_path)
        .collect();
    // Of two lines of one file the last counts: tools that append leave it so.
    let mut digests: BTreeMap<PathBuf, String> = BTreeMap::new();
    let mut others = Vec::new();
    let old = checksum_list::text(old);
    for line in checksum_list::lines(&old).filter(|line| !line.is_empty()) {
        match parse(line, algorithm) {
            Some((path, hex)) => {
                let first = digests.insert(path.clone(), hex).is_none();
                if known.contains(path.as_path()) {
                    continue;
                }
                if !is_there(&path) {
                    digests.remove(&path);
                } else if first && !is_beside(&path, &known) {
                    others.push(Err(path));
                }
            }
            None => others.push(Ok(line)),
        }
    }
    let named: BTreeSet<&Path> = new.iter().map(|(path, _)| path.as_path()).collect();
    for path in named {
        let mut of_path = new.iter().filter(|(p, _)| p == path);
        let Some((_, digest)) = of_path.find(|(_, digest)| digest.algorithm == algorithm) else {
            let path = path.to_owned();
            return Err(SumsError::NoDigest { path, algorithm });
        };
        digests.insert(path.to_owned(), digest.hex.clone());
    }
    let mut text = Vec::new();
    let mut written = BTreeSet::new();
    for path in order.iter().chain(new.iter().map(|(path, _)| path)) {
        let beside = digests.range::<Path, _>((Bound::Excluded(path.as_path()), Bound::Unbounded));
        let beside = beside.take_while(|(name, _)| is_named_after(name, path));
        let own = digests.get_key_value(path).into_iter();
        for (name, hex) in own.chain(beside).filter(|(name, _)| written.insert(*name)) {
            text.extend(line(hex, name));
        }
    }
    for other in others {
        match other {
            Ok(verbatim) => {
                text.extend(verbatim);
                text.push(b'\n');
            }
            Err(path) => text.extend(line(&digests[&path], &path)),
        }
    }
    Ok(text)
}

/// Whether a file belongs to one of these: its name is that of one with an ending more.
fn is_beside(path: &Path, known: &BTreeSet<&Path>) -> bool {
    let mut shorter = path.to_owned();
    while shorter.extension().is_some() {
        shorter.set_extension("");
        if known.contains(shorter.as_path()) {
            return true;
        }
    }
    false
}

/// Whether a name is another one with something behind it.
fn is_named_after(name: &Path, other: &Path) -> bool {
    let name = name.as_os_str().as_bytes();
    name.starts_with(other.as_os_str().as_bytes())
}

/// A line as `sha512sum` writes it. A name with a backslash, a newline or a carriage return is escaped, and a backslash
/// before the digest says so (coreutils manual, "md5sum invocation").
fn line(hex: &str, path: &Path) -> Vec<u8> {
    let name = path.as_os_str().as_bytes();
    let mut text = Vec::with_capacity(hex.len() + name.len() + 3);
    if name.iter().any(|byte| b"\\\n\r".contains(byte)) {
        text.push(b'\\');
    }
    text.extend(hex.as_bytes());
    text.extend(b"  ");
    for byte in name {
        match byte {
            b'\\' => text.extend(br"\\"),
            b'\n' => text.extend(br"\n"),
            b'\r' => text.extend(br"\r"),
            byte => text.push(*byte),
        }
    }
    text.push(b'\n');
    text
}

/// Path and digest of a line, in any form that tools write.
fn parse(line: &[u8], algorithm: Algorithm) -> Option<(PathBuf, String)> {
    let line = checksum_list::parse(line).filter(|line| line.digest.algorithm == algorithm)?;
    // `sha512sum ./x/y` writes its argument; it is the same file as x/y.
    let path = PathBuf::from(OsString::from_vec(line.name));
    let path: PathBuf = path
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    (!path.as_os_str().is_empty()).then_some((path, line.digest.hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(fill: char) -> Digest {
        let hex = fill.to_string().repeat(32);
        let algorithm = Algorithm::Md5;
        Digest { algorithm, hex }
    }

    /// Merges MD5 lines; files named `gone…` do not exist. Digests are one letter here.
    fn merged_text(old: &str, order: &[&str], new: &[(&str, char)]) -> String {
        let spread = |text: &str| {
            let long = |line: &str| match line.split_once("  ") {
                Some((hex, name)) if hex.len() == 1 => format!("{}  {name}\n", hex.repeat(32)),
                _ => format!("{line}\n"),
            };
            text.lines().map(long).collect::<String>()
        };
        let order: Vec<_> = order.iter().map(PathBuf::from).collect();
        let new: Vec<_> = new
            .iter()
            .map(|(path, fill)| (PathBuf::from(path), digest(*fill)))
            .collect();
        let there = |name: &Path| !name.to_string_lossy().starts_with("gone");
        let text = merged(spread(old).as_bytes(), Algorithm::Md5, &order, &new, &there).unwrap();
        let again = merged(&text, Algorithm::Md5, &order, &new, &there).unwrap();
        assert!(text == again, "merging twice is merging once");
        let text = String::from_utf8(text).unwrap();
        let short = |line: &str| match line.split_once("  ") {
            Some((hex, name)) if hex.len() == 32 => format!("{}  {name}\n", &hex[..1]),
            _ => format!("{line}\n"),
        };
        text.lines().map(short).collect()
    }

    #[test]
    fn a_run_of_one_image_keeps_the_lines_of_the_others_in_manifest_order() {
        let order = ["a/25.gz", "a/50.gz", "b/25.gz"];
        let first = merged_text("", &order, &[("b/25.gz", 'b'), ("a/25.gz", 'a')]);
        assert_eq!(first, "a  a/25.gz\nb  b/25.gz\n");
        let second = merged_text(&first, &order, &[("a/50.gz", 'c')]);
        assert_eq!(second, "a  a/25.gz\nc  a/50.gz\nb  b/25.gz\n");
        let rebuilt = merged_text(&second, &order, &[("a/25.gz", 'd')]);
        assert_eq!(rebuilt, "d  a/25.gz\nc  a/50.gz\nb  b/25.gz\n");
    }

    #[test]
    fn what_belongs_to_an_image_stands_behind_it_whoever_writes() {
        let order = ["a.gz", "b.gz"];
        let first = merged_text(
            "",
            &order,
            &[("a.gz.sig", '5'), ("a.gz", 'a'), ("a.gz.list", '1')],
        );
        assert_eq!(first, "a  a.gz\n1  a.gz.list\n5  a.gz.sig\n");
        let second = merged_text(&first, &order, &[("b.gz", 'b'), ("b.gz.sig", '7')]);
        assert_eq!(
            second,
            "a  a.gz\n1  a.gz.list\n5  a.gz.sig\nb  b.gz\n7  b.gz.sig\n"
        );
        let gone = merged_text(
            &second.replace("a.gz.sig", "gone.gz.sig"),
            &["gone.gz", "b.gz"],
            &[],
        );
        assert_eq!(gone, "b  b.gz\n7  b.gz.sig\na  a.gz\n1  a.gz.list\n");
    }

    #[test]
    fn lines_of_strangers_stay_behind_ours_while_their_files_do() {
        let old = "1  other/z.gz\n2  gone.gz\n# made by hand\n3  ./a.gz\n4  other/y.gz\n5  other/z.gz\n";
        let text = merged_text(old, &["a.gz", "b.gz"], &[("b.gz", 'b')]);
        assert_eq!(
            text,
            "3  a.gz\nb  b.gz\n5  other/z.gz\n# made by hand\n4  other/y.gz\n"
        );
    }

    #[test]
    fn lines_that_windows_tools_wrote_are_kept_while_their_files_are_there() {
        let line = |fill: &str, name: &str| format!("{}  {name}", fill.repeat(32));
        let windows = format!(
            "\u{feff}{}\r\n# by hand\r\n{}\r\n{}\r\nMD5(other/y)= {}\r\n",
            line("1", "other/z.gz"),
            line("2", "gone.gz"),
            line("3", "a.gz"),
            "4".repeat(32)
        );
        let utf16 = windows.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let wanted = ["3  a.gz", "1  other/z.gz", "# by hand", "4  other/y"].map(|wanted| {
            let (fill, name) = wanted.split_once("  ").unwrap_or(("", wanted));
            if fill.is_empty() {
                name.to_owned()
            } else {
                line(fill, name)
            }
        });
        for old in [windows.clone().into_bytes(), utf16] {
            let there = |name: &Path| !name.starts_with("gone.gz");
            let text = merged(&old, Algorithm::Md5, &[PathBuf::from("a.gz")], &[], &there).unwrap();
            assert_eq!(String::from_utf8(text).unwrap(), wanted.join("\n") + "\n");
        }
    }

    #[test]
    fn odd_names_survive_writing_and_reading() {
        for name in [
            "plain.gz",
            "two  blanks.gz",
            " *star",
            "back\\slash",
            "new\nline",
            "re\rturn",
            "\\n",
        ] {
            let written = line(&"e".repeat(32), Path::new(name));
            let lines: Vec<_> = written.split(|byte| *byte == b'\n').collect();
            assert_eq!(lines.len(), 2, "{name:?}");
            let read = parse(lines[0], Algorithm::Md5).unwrap();
            assert_eq!(read, (PathBuf::from(name), "e".repeat(32)));
        }
        let odd = PathBuf::from(OsString::from_vec(b"\xff.gz".to_vec()));
        assert_eq!(
            parse(line(&"e".repeat(32), &odd).trim_ascii_end(), Algorithm::Md5)
                .unwrap()
                .0,
            odd
        );
        for bad in ["", "\\", "xyz  name", "e  name"] {
            assert_eq!(parse(bad.as_bytes(), Algorithm::Md5), None, "{bad:?}");
        }
    }

    #[test]
    fn an_image_without_the_listed_digest_is_an_error_and_not_a_stale_line() {
        let new = [(PathBuf::from("a.gz"), digest('a'))];
        let error = merged(b"", Algorithm::Sha512, &[], &new, &|_| true).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("a.gz has no sha512 digest to list in SHA512SUM.txt"),
            "{message}"
        );
    }
}
