//! Versions of an image in the output folder: each build in a folder of its own, and `latest`, a symbolic link to one of
//! them. Whenever a process of ours is killed, a version is whole or absent, and `latest` names one that is there: a
//! version appears and disappears by one rename, and so does what `latest` names.
//!
//! ```text
//! versions/IMAGE/20261129T164500Z/     its files, and SHA256SUMS of them
//! versions/IMAGE/latest                -> 20261129T164500Z
//! versions/IMAGE/index.json            what is there, written after each change
//! ```

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::error::StageError;
use super::part::Part;
use super::result::Taken;
use crate::digest::Algorithm;
use crate::host::cancel::Cancel;
use crate::host::fs::{FileLock, FsError, exchange_folder, lock, sync_folder, write_atomic};
use crate::places::UploadError;
use crate::places::versions::{FOLDER, Keep, LIST, List, NoVersion, SUMS, Version, VersionFile};

/// The link to the version that is used.
pub const LATEST: &str = "latest";

/// The versions of one image.
#[derive(Clone, Debug)]
pub struct Versions {
    image: String,
    folder: PathBuf,
}

/// Why versions could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    #[error(transparent)]
    Fs(#[from] FsError),
    #[error(transparent)]
    None(#[from] NoVersion),
    /// Those at a place.
    #[error(transparent)]
    Place(#[from] UploadError),
}

/// The version that an image's files are, the image first. Names sort by the time at which it was packaged.
///
/// # Errors
/// [`StageError::NoResult`], [`StageError::NoFile`].
pub fn of(parts: &[Part], taken: &Taken) -> Result<Version, StageError> {
    // Below the version's own folder, the image's has no meaning.
    let own = parts[0].path.parent().unwrap_or(Path::new(""));
    let mut files = Vec::new();
    for part in parts {
        let artifact = part.artifact(taken)?;
        files.push(VersionFile {
            path: part.path.strip_prefix(own).unwrap_or(&part.path).to_owned(),
            bytes: artifact.bytes,
            sha256: artifact.digest(Algorithm::Sha256)?.hex.clone(),
            form: None,
            combined: None,
        });
    }
    let packaged = taken.get(&parts[0].role)?.created;
    let name = packaged.strftime("%Y%m%dT%H%M%SZ").to_string();
    Ok(Version { name, files })
}

impl Versions {
    /// Those of an image, in an output folder.
    pub fn of(output: &Path, image: &str) -> Self {
        Self {
            image: image.to_owned(),
            folder: output.join(FOLDER).join(image),
        }
    }

    /// The versions that are there.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn list(&self) -> Result<List, FsError> {
        let versions = self.names()?.into_iter().map(|name| {
            let folder = self.folder.join(&name);
            let sums = fs::read_to_string(folder.join(SUMS)).unwrap_or_default();
            let files = sums.lines().filter_map(|line| {
                let (sha256, path) = line.split_once("  ")?;
                Some(VersionFile {
                    path: path.into(),
                    bytes: fs::metadata(folder.join(path)).ok()?.len(),
                    sha256: sha256.to_owned(),
                    form: None,
                    combined: None,
                })
            });
            let files = files.collect();
            Version { name, files }
        });
        let versions = versions.collect();
        Ok(List::new(&self.image, self.latest(), versions))
    }

    /// The names of all versions, the newest first.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn names(&self) -> Result<Vec<String>, FsError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(FsError::at("read", &self.folder))?,
        };
        let folders = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    }

    /// The version that `latest` names.
    fn latest(&self) -> Option<String> {
        let target = fs::read_link(self.folder.join(LATEST)).ok()?;
        target.into_os_string().into_string().ok()
    }

    /// Adds a version, or replaces the one of this name: `put` puts each file where it is asked to. It becomes `latest`,
    /// unless that is held; then all but the newest and what `latest` names are removed.
    ///
    /// # Errors
    /// Those of `place`, and [`FsError`].
    pub fn add<E: From<FsError>>(
        &self,
        version: &Version,
        keep: Keep,
        put: &mut dyn FnMut(usize, &Path) -> Result<(), E>,
        cancel: &Cancel,
    ) -> Result<(), E> {
        let _lock = self.lock(cancel)?;
        let draft = self.cleared(".draft")?;
        fs::create_dir(&draft).map_err(FsError::at("make the folder", &draft))?;
        for (number, file) in version.files.iter().enumerate() {
            put(number, &draft.join(&file.path))?;
        }
        write_atomic(&draft.join(SUMS), version.sums().as_bytes())?;
        sync_folder(&draft)?;
        exchange_folder(&draft, &self.folder.join(&version.name))?;
        sync_folder(&self.folder)?;
        self.cleared(".draft")?;
        if !keep.hold {
            self.point_to(&version.name)?;
        }
        self.remove_old(keep.keep)?;
        Ok(self.write_list()?)
    }

    /// Changes what `latest` names: `change` says to which version, which it finds in the list.
    ///
    /// # Errors
    /// [`FsError`], and that of `change`.
    pub fn point(
        &self,
        change: impl FnOnce(&mut List) -> Result<String, NoVersion>,
        cancel: &Cancel,
    ) -> Result<String, VersionError> {
        let _lock = self.lock(cancel)?;
        let name = change(&mut self.list()?)?;
        self.point_to(&name)?;
        self.write_list()?;
        Ok(name)
    }

    /// Removes all but the newest `keep` and what `latest` names. Gives their names.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn prune(&self, keep: usize, cancel: &Cancel) -> Result<Vec<String>, FsError> {
        let _lock = self.lock(cancel)?;
        let removed = self.remove_old(keep)?;
        self.write_list()?;
        Ok(removed)
    }

    fn remove_old(&self, keep: usize) -> Result<Vec<String>, FsError> {
        let old = self.list()?.old(keep);
        for name in &old {
            let gone = self.cleared(".gone")?;
            let folder = self.folder.join(name);
            fs::rename(&folder, &gone).map_err(FsError::at("remove", &folder))?;
        }
        self.cleared(".gone")?;
        Ok(old)
    }

    fn point_to(&self, version: &str) -> Result<(), FsError> {
        let (link, latest) = (self.cleared(".latest")?, self.folder.join(LATEST));
        symlink(version, &link).map_err(FsError::at("make the link", &link))?;
        fs::rename(&link, &latest).map_err(FsError::at("replace", &latest))?;
        sync_folder(&self.folder)
    }

    fn write_list(&self) -> Result<(), FsError> {
        write_atomic(&self.folder.join(LIST), self.list()?.text().as_bytes())
    }

    /// One writer at a time, here and at places that are written to from here: what a killed one left under a hidden name is
    /// the next one's to remove.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn lock(&self, cancel: &Cancel) -> Result<FileLock, FsError> {
        fs::create_dir_all(&self.folder).map_err(FsError::at("make the folder", &self.folder))?;
        lock(&self.folder.join(".lock"), cancel, &mut || {})
    }

    /// A hidden path with nothing at it.
    fn cleared(&self, name: &str) -> Result<PathBuf, FsError> {
        let path = self.folder.join(name);
        let removed = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        removed.map_err(FsError::at("remove", &path))?;
        Ok(path)
    }
}
