//! Where images are that are verified: a folder, or what a server has below a URL.

use std::fmt::Display;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::digest::{Algorithm, Digest, Hasher};
use crate::host::cancel::Cancel;
use crate::host::fs::{FsError, hash_file, read_small};
use crate::host::http::{Client, Get, percent_encode_path, redact};

/// Most bytes read of what is kept in memory: lists, signatures, documents.
const LARGEST: usize = 256 << 20;

/// Where the files are.
pub(super) enum Place {
    Folder(PathBuf),
    /// Without its last slash.
    Url(String),
}

/// A file as it is.
#[derive(Clone)]
pub(super) struct Look {
    pub bytes: u64,
    pub digests: Vec<Digest>,
}

impl Look {
    /// Whether it has this digest.
    pub fn is(&self, algorithm: Algorithm, hex: &str) -> bool {
        let mut digests = self.digests.iter();
        digests.any(|digest| digest.algorithm == algorithm && digest.hex == hex)
    }
}

impl Place {
    pub fn of(place: &str) -> Result<Self, String> {
        if place.starts_with("http://") || place.starts_with("https://") {
            return Ok(Self::Url(place.trim_end_matches('/').to_owned()));
        }
        let folder = PathBuf::from(place);
        if folder.is_dir() {
            return Ok(Self::Folder(folder));
        }
        Err(format!(
            "{place} is no folder; name an output folder, or the URL of one"
        ))
    }

    /// All files of a folder, but hidden ones; a server does not tell them.
    pub fn files(&self) -> Result<Vec<PathBuf>, String> {
        let Self::Folder(top) = self else {
            return Ok(Vec::new());
        };
        let (mut files, mut folders) = (Vec::new(), vec![PathBuf::new()]);
        while let Some(folder) = folders.pop() {
            let path = top.join(&folder);
            let failed = |error: &dyn Display| format!("{} cannot be read: {error}", path.display());
            for entry in std::fs::read_dir(&path).map_err(|error| failed(&error))? {
                let entry = entry.map_err(|error| failed(&error))?;
                let name = entry.file_name();
                if name.as_encoded_bytes().starts_with(b".") {
                    continue;
                }
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let kind = if is_folder { &mut folders } else { &mut files };
                kind.push(folder.join(name));
            }
        }
        files.sort();
        Ok(files)
    }

    /// The bytes of a small file; none where there is no such file.
    pub fn read(&self, name: &Path, cancel: &Cancel) -> Result<Option<Vec<u8>>, String> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                there(read_small(&path, LARGEST as u64).map_err(FsError::at("read", &path)))
            }
            Self::Url(base) => {
                let mut all = Vec::new();
                let found = download(base, name, cancel, &mut |piece| {
                    all.extend_from_slice(piece);
                    all.len() <= LARGEST
                })?;
                Ok(found.then_some(all))
            }
        }
    }

    /// What tells a file of a folder from others: its device and inode. Versions are links to the files of the newest one.
    pub fn identity(&self, name: &Path) -> Option<(u64, u64)> {
        let Self::Folder(folder) = self else {
            return None;
        };
        let found = folder.join(name).metadata().ok()?;
        Some((found.dev(), found.ino()))
    }

    /// Size and digests of a file; none where there is no such file.
    pub fn look(&self, name: &Path, cancel: &Cancel) -> Result<Option<Look>, String> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                let look = || {
                    let digests = hash_file(&path, &Algorithm::ALL, cancel)?;
                    let found = path.metadata().map_err(FsError::at("read", &path))?;
                    let bytes = found.len();
                    Ok(Look { bytes, digests })
                };
                there(look())
            }
            Self::Url(base) => {
                let mut hashers = Algorithm::ALL.map(Hasher::new);
                let mut bytes = 0;
                let found = download(base, name, cancel, &mut |piece| {
                    hashers.iter_mut().for_each(|hasher| hasher.update(piece));
                    bytes += piece.len() as u64;
                    true
                })?;
                let digests = hashers.into_iter().map(Hasher::finish).collect();
                Ok(found.then_some(Look { bytes, digests }))
            }
        }
    }
}

fn there<T>(read: Result<T, FsError>) -> Result<Option<T>, String> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.is_not_found() => Ok(None),
        // The path goes on below something that is no folder.
        Err(FsError::Io { source, .. }) if source.kind() == ErrorKind::NotADirectory => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether there is such a file; its bytes, while they are taken.
fn download(
    base: &str,
    name: &Path,
    cancel: &Cancel,
    take: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<bool, String> {
    let url = format!("{base}/{}", percent_encode_path(&name.to_string_lossy()));
    let failed = |error: &dyn Display| format!("{} cannot be read: {error}", redact(&url));
    let (head, mut body) = Client::default()
        .get(&Get::new(&url), cancel)
        .map_err(|error| failed(&error))?;
    match head.status {
        200 => {}
        404 | 410 => return Ok(false),
        _ => return Err(failed(&head.error())),
    }
    while let Some(piece) = body.next(cancel).map_err(|error| failed(&error))? {
        if !take(&piece) {
            return Err(failed(&"it is too long"));
        }
    }
    Ok(true)
}
