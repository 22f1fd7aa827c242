//! The folders behind the door: a guest's path leads to a file inside one, or nowhere. Knows no HTTP but its statuses.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;

use super::form::Form;

/// Bytes that a guest may write in all.
pub(super) const ALLOWANCE: u64 = 256 << 20;
/// What a new file costs of the allowance in addition to its bytes, so that a guest cannot make files without end.
const FILE_COST: u64 = 4096;
/// Longest path.
const PATH: usize = 1024;

/// A guest's path below a folder: plain names only.
pub(super) fn inside(path: &str) -> Option<PathBuf> {
    let sound = !path.is_empty() && path.len() <= PATH && !path.contains('\0') && !path.ends_with('/');
    let plain = Path::new(path)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    (sound && plain).then(|| PathBuf::from(path))
}

/// Opens a regular file below the folder for reading. Links may lead to other places inside, not out.
pub(super) fn open(folder: &Path, path: &str) -> Option<(File, u64)> {
    let folder = folder.canonicalize().ok()?;
    let place = folder.join(inside(path)?).canonicalize().ok()?;
    // Looked at before it is opened: opening a named pipe would wait for its writer.
    if !place.starts_with(&folder) || !place.metadata().ok()?.is_file() {
        return None;
    }
    let file = File::open(&place).ok()?;
    let length = file.metadata().ok()?.len();
    Some((file, length))
}

/// Writes a form's content to its file below the folder, and gives the file's path. The error is the status to answer
/// with.
pub(super) fn write(folder: &Path, form: &Form, allowance: &AtomicU64) -> Result<PathBuf, u16> {
    let relative = inside(form.path.trim_start_matches('/')).ok_or(403_u16)?;
    let cost = form.content.len() as u64 + FILE_COST;
    let spend = |left: u64| left.checked_sub(cost);
    allowance
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend)
        .map_err(|_| 507_u16)?;
    let status = |error: io::Error| -> u16 {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => 507,
            // The path leads through a file, to a folder, or through a link.
            _ => 409,
        }
    };
    let place = folder.join(&relative);
    let parent = place.parent().unwrap_or(folder);
    fs::create_dir_all(parent).map_err(status)?;
    let (root, parent) = (
        folder.canonicalize().map_err(status)?,
        parent.canonicalize().map_err(status)?,
    );
    if !parent.starts_with(&root) {
        return Err(403);
    }
    let mut options = OpenOptions::new();
    options
        .create(true)
        .append(!form.clear)
        .write(true)
        .truncate(form.clear);
    let no_links = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.custom_flags(no_links.bits().cast_signed());
    let mut file = options.open(&place).map_err(status)?;
    file.write_all(&form.content).map_err(status)?;
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(path: &str, content: &str, clear: bool) -> Form {
        Form {
            path: path.to_owned(),
            content: content.into(),
            clear,
        }
    }

    #[test]
    fn a_path_never_leads_out() {
        for path in [
            "",
            "..",
            "../x",
            "a/../../x",
            "/etc/passwd",
            "a/..",
            "a/",
            "x\0y",
            "./a",
        ] {
            assert_eq!(inside(path), None, "{path:?}");
        }
        assert_eq!(inside("a/b..c/.d"), Some(PathBuf::from("a/b..c/.d")));

        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("out")).unwrap();
        fs::write(folder.path().join("real"), "yes").unwrap();
        std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
        assert!(open(folder.path(), "out/secret").is_none());
        assert_eq!(open(folder.path(), "link").unwrap().1, 3);
        assert!(open(folder.path(), ".").is_none());
        let allowance = AtomicU64::new(ALLOWANCE);
        assert_eq!(
            write(folder.path(), &form("out/new", "x", false), &allowance),
            Err(403)
        );
        assert_eq!(
            write(folder.path(), &form("link", "x", false), &allowance),
            Err(409)
        );
        assert!(!outside.path().join("new").exists());
    }

    #[test]
    fn forms_append_unless_they_clear_and_end_with_the_allowance() {
        let folder = tempfile::tempdir().unwrap();
        let allowance = AtomicU64::new(3 * (FILE_COST + 4));
        for (content, clear) in [("one\n", false), ("two\n", false)] {
            write(folder.path(), &form("/deep/log", content, clear), &allowance).unwrap();
        }
        let file = folder.path().join("deep/log");
        assert_eq!(fs::read_to_string(&file).unwrap(), "one\ntwo\n");
        assert_eq!(
            write(folder.path(), &form("deep/log", "new\n", true), &allowance),
            Ok(file.clone())
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), "new\n");
        assert_eq!(
            write(folder.path(), &form("deep/log", "", false), &allowance),
            Err(507)
        );
    }
}
