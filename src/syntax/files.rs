//! The files that a manifest names: found, read once however often they are named, and digested.
//! Knows nothing of what is in them. The only code of this layer that touches the disk, apart from the loader's one read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::{Algorithm, Hasher};

use super::suggest;

/// Marks a folder whose content can be made again (<https://bford.info/cachedir/>).
const CACHE_MARK: &str = "CACHEDIR.TAG";

/// Why a file is of no use.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FileError {
    /// Nothing of this name.
    #[error("there is no file `{path}`")]
    Missing {
        /// Where it was looked for.
        path: String,
        /// Files next to it that have a similar name.
        near: Vec<String>,
    },
    /// The system refuses.
    #[error("`{path}` cannot be read: {cause}")]
    Unreadable {
        path: String,
        /// What the system says.
        cause: String,
    },
    /// A folder where a file is wanted.
    #[error("`{0}` is a folder, not a file")]
    Folder(String),
    /// A socket, a pipe, a device.
    #[error("`{0}` is not a regular file")]
    Special(String),
    /// Bytes where text is wanted.
    #[error("`{0}` is not text (UTF-8)")]
    NotText(String),
}

/// What of a folder counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// Everything: it will be copied.
    Whole,
    /// What people write: not the output folder, caches and names with a leading dot.
    Sources,
}

/// What is made of a file while the manifest is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Nothing: it is a place to write to, or a secret, which only a run reads.
    Named,
    /// It must be there; what is in it matters to a run.
    Present,
    /// What people write in this folder is read.
    Sources,
    /// All of it is read.
    Whole,
}

/// How a manifest names a file or a folder of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// As it is written there.
    pub name: PathBuf,
    pub usage: Use,
}

/// Reads files relative to the manifest's folder.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    /// The folder as the user named it, for messages.
    shown: PathBuf,
    output: PathBuf,
    named: RefCell<BTreeMap<PathBuf, Named>>,
    texts: RefCell<BTreeMap<PathBuf, Result<Arc<str>, FileError>>>,
    digests: RefCell<BTreeMap<(PathBuf, Extent), Result<String, FileError>>>,
}

impl FileError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Missing { near, .. } if !near.is_empty() => {
                format!("did you mean `{}`?", near.join("` or `"))
            }
            Self::Missing { .. } => "names of files are relative to the manifest's folder".to_owned(),
            Self::Unreadable { .. } => "give this user the right to read it".to_owned(),
            Self::Folder(_) => "name a file in it".to_owned(),
            Self::Special(_) => "name a regular file".to_owned(),
            Self::NotText(_) => "convert it to UTF-8, or `copy` it into the guest instead".to_owned(),
        }
    }
}

impl Files {
    /// Files relative to `folder` (absolute), which messages call `shown`; `output` is never part of the sources.
    pub fn new(folder: &Path, shown: &Path, output: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            shown: shown.to_owned(),
            output: output.to_owned(),
            named: RefCell::default(),
            texts: RefCell::default(),
            digests: RefCell::default(),
        }
    }

    /// Where a name leads.
    pub fn path(&self, name: &str) -> PathBuf {
        // Components, so that `./a` and `a` are one file in messages and caches.
        let path: PathBuf = self.folder.join(name).components().collect();
        self.note(&path, || name.into(), Use::Named);
        path
    }

    /// A regular file's path.
    pub fn file(&self, name: &str) -> Result<PathBuf, FileError> {
        let path = self.regular(name)?;
        self.note(&path, || name.into(), Use::Present);
        Ok(path)
    }

    /// The same of a file that only a run reads.
    pub fn regular(&self, name: &str) -> Result<PathBuf, FileError> {
        let path = self.path(name);
        let found = fs::metadata(&path).map_err(|e| self.failed(&path, &e))?;
        if found.is_dir() {
            Err(FileError::Folder(self.show(&path)))
        } else if !found.is_file() {
            Err(FileError::Special(self.show(&path)))
        } else {
            Ok(path)
        }
    }

    /// A file's text.
    pub fn text(&self, name: &str) -> Result<Arc<str>, FileError> {
        let path = self.path(name);
        if let Some(known) = self.texts.borrow().get(&path) {
            return known.clone();
        }
        let text = self.file(name).and_then(|path| {
            let bytes = fs::read(&path).map_err(|e| self.failed(&path, &e))?;
            let text = String::from_utf8(bytes);
            text.map(Arc::from)
                .map_err(|_| FileError::NotText(self.show(&path)))
        });
        if text.is_ok() {
            self.note(&path, || name.into(), Use::Whole);
        }
        self.texts.borrow_mut().insert(path, text.clone());
        text
    }

    /// All files and folders that were named, and what was made of them.
    pub fn named(&self) -> BTreeMap<PathBuf, Named> {
        self.named.borrow().clone()
    }

    fn note(&self, path: &Path, name: impl FnOnce() -> PathBuf, usage: Use) {
        let mut named = self.named.borrow_mut();
        let known = named
            .entry(path.to_owned())
            .or_insert_with(|| Named { name: name(), usage });
        known.usage = known.usage.max(usage);
    }

    /// The name of a folder that a file was named in.
    fn name_of_folder(&self, path: &Path) -> PathBuf {
        let named = self.named.borrow();
        let mut inside = named.iter().filter(|(file, _)| file.parent() == Some(path));
        let name = inside.find_map(|(_, named)| named.name.parent().map(Path::to_owned));
        name.unwrap_or_else(|| path.to_owned())
    }

    /// SHA-256 over the sorted relative names, the kinds, the execute bits, link targets and contents of a file or a
    /// folder. Links inside a folder are not followed. Memory does not grow with the size of the files.
    pub fn digest(&self, path: &Path, extent: Extent) -> Result<String, FileError> {
        let key = (path.to_owned(), extent);
        if let Some(known) = self.digests.borrow().get(&key) {
            return known.clone();
        }
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let digest = match fs::metadata(path) {
            Err(error) => Err(self.failed(path, &error)),
            Ok(found) if found.is_dir() => self.add_folder(&mut hasher, path, b"", extent),
            Ok(found) => self.add_file(&mut hasher, path, b"", &found),
        };
        let digest = digest.map(|()| hasher.finish().hex);
        if digest.is_ok() {
            let usage = match extent {
                Extent::Whole => Use::Whole,
                Extent::Sources => Use::Sources,
            };
            let name = self.name_of_folder(path);
            self.note(path, || name, usage);
        }
        self.digests.borrow_mut().insert(key, digest.clone());
        digest
    }

    fn add_folder(
        &self,
        hasher: &mut Hasher,
        folder: &Path,
        name: &[u8],
        extent: Extent,
    ) -> Result<(), FileError> {
        add_head(hasher, b'd', name, 0);
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = entries.map_err(|e| self.failed(folder, &e))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            if extent == Extent::Sources && is_no_source(&path, &self.output) {
                continue;
            }
            let mut inner = name.to_owned();
            inner.push(b'/');
            inner.extend_from_slice(entry.file_name().as_bytes());
            let found = fs::symlink_metadata(&path).map_err(|e| self.failed(&path, &e))?;
            if found.is_dir() {
                self.add_folder(hasher, &path, &inner, extent)?;
            } else if found.is_symlink() {
                let target = fs::read_link(&path).map_err(|e| self.failed(&path, &e))?;
                let target = target.as_os_str().as_bytes();
                add_head(hasher, b'l', &inner, target.len() as u64);
                hasher.update(target);
            } else {
                self.add_file(hasher, &path, &inner, &found)?;
            }
        }
        Ok(())
    }

    fn add_file(
        &self,
        hasher: &mut Hasher,
        path: &Path,
        name: &[u8],
        found: &fs::Metadata,
    ) -> Result<(), FileError> {
        if !found.is_file() {
            return Err(FileError::Special(self.show(path)));
        }
        let runs = found.permissions().mode() & 0o111 != 0;
        let file = fs::File::open(path).map_err(|e| self.failed(path, &e))?;
        add_head(hasher, if runs { b'x' } else { b'f' }, name, found.len());
        // Not beyond the length that was hashed: a file that grows meanwhile must not swallow its neighbours.
        let mut file = file.take(found.len());
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(path, &error)),
            }
        }
    }

    fn show(&self, path: &Path) -> String {
        let shown = path.strip_prefix(&self.folder).map(|rest| self.shown.join(rest));
        shown.as_deref().unwrap_or(path).display().to_string()
    }

    fn failed(&self, path: &Path, error: &io::Error) -> FileError {
        failed(path, self.show(path), error)
    }
}

/// Whether a file or a folder is none of what people write in a folder: the output, a cache, a name with a leading dot.
pub fn is_no_source(path: &Path, output: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|n| n.as_bytes().starts_with(b"."));
    hidden || path == output || path.join(CACHE_MARK).is_file()
}

/// Lengths come before bytes, so that no two different trees feed the same bytes.
fn add_head(hasher: &mut Hasher, kind: u8, name: &[u8], length: u64) {
    hasher.update(&[kind]);
    hasher.update(&(name.len() as u64).to_le_bytes());
    hasher.update(name);
    hasher.update(&length.to_le_bytes());
}

fn failed(path: &Path, shown: String, error: &io::Error) -> FileError {
    if error.kind() != io::ErrorKind::NotFound {
        let cause = error.to_string();
        return FileError::Unreadable { path: shown, cause };
    }
    let beside = path.parent().and_then(|folder| fs::read_dir(folder).ok());
    let names: Vec<_> = beside
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let wanted = path.file_name().unwrap_or_default().to_string_lossy();
    let near = suggest::near(&wanted, names.iter().map(String::as_str));
    let near = near.into_iter().map(str::to_owned).collect();
    FileError::Missing { path: shown, near }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(folder: &Path, extent: Extent) -> String {
        Files::new(folder, folder, &folder.join("out"))
            .digest(folder, extent)
            .unwrap()
    }

    #[test]
    fn a_digest_sees_names_bits_links_and_contents_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("sub")).unwrap();
        fs::write(path("sub/a"), "one").unwrap();
        std::os::unix::fs::symlink("sub/a", path("link")).unwrap();
        let mut seen = vec![digest(folder.path(), Extent::Whole)];
        let mut changed = |what: &str| {
            let now = digest(folder.path(), Extent::Whole);
            assert!(!seen.contains(&now), "{what} was not seen");
            seen.push(now);
        };
        fs::write(path("sub/a"), "two").unwrap();
        changed("a content");
        fs::rename(path("sub/a"), path("sub/b")).unwrap();
        changed("a name");
        fs::set_permissions(path("sub/b"), fs::Permissions::from_mode(0o755)).unwrap();
        changed("the execute bit");
        fs::remove_file(path("link")).unwrap();
        std::os::unix::fs::symlink("sub/b", path("link")).unwrap();
        changed("a link's target");
        fs::create_dir(path("empty")).unwrap();
        changed("an empty folder");

        let before = digest(folder.path(), Extent::Whole);
        fs::set_permissions(path("sub/b"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::File::open(path("sub/b"))
            .unwrap()
            .set_modified(std::time::UNIX_EPOCH)
            .unwrap();
        assert_eq!(
            digest(folder.path(), Extent::Whole),
            before,
            "times and other bits do not count"
        );
    }

    #[test]
    fn output_and_caches_are_no_sources() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        };
        write("site.yml");
        let (whole, sources) = (
            digest(folder.path(), Extent::Whole),
            digest(folder.path(), Extent::Sources),
        );
        for name in ["out/image.gz", ".git/index", "store/CACHEDIR.TAG"] {
            write(name);
        }
        assert_ne!(digest(folder.path(), Extent::Whole), whole);
        assert_eq!(digest(folder.path(), Extent::Sources), sources);
    }
}
