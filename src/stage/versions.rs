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

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::host::cancel::Cancel;
use crate::host::fs::{FileLock, FsError, exchange_folder, lock, sync_folder, write_atomic};

/// Folder of all versions, below the output folder.
pub const FOLDER: &str = "versions";
/// The link to the version that is used.
const LATEST: &str = "latest";
/// Digests of the files of a version.
const SUMS: &str = "SHA256SUMS";
/// What is there, for programs.
const INDEX: &str = "index.json";
/// Format revision of [`INDEX`]; grows when a field changes its meaning or goes away.
const INDEX_VERSION: u32 = 1;

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
    /// It is not there.
    #[error("there is no version {version} of {image}; {}", listed(.known))]
    Unknown {
        image: String,
        version: String,
        known: Vec<String>,
    },
    /// Nothing to go back to.
    #[error("{image} has no version before {latest}; {}", listed(.known))]
    First {
        image: String,
        latest: String,
        known: Vec<String>,
    },
}

fn listed(versions: &[String]) -> String {
    match versions {
        [] => "none was published yet; `pipeline run` publishes one".to_owned(),
        some => format!("there is {}", some.join(", ")),
    }
}

/// A file of a version.
#[derive(Clone, Debug)]
pub struct VersionFile {
    /// Path in the version's folder.
    pub path: PathBuf,
    /// In hexadecimal.
    pub sha256: String,
}

/// The name of the version that was packaged at this time; names sort by time.
pub fn name(packaged: Timestamp) -> String {
    packaged.strftime("%Y%m%dT%H%M%SZ").to_string()
}

impl Versions {
    /// Those of an image, in an output folder.
    pub fn of(output: &Path, image: &str) -> Self {
        Self {
            image: image.to_owned(),
            folder: output.join(FOLDER).join(image),
        }
    }

    /// The names of all versions, the newest first.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn list(&self) -> Result<Vec<String>, FsError> {
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
    pub fn latest(&self) -> Option<String> {
        let target = fs::read_link(self.folder.join(LATEST)).ok()?;
        target.into_os_string().into_string().ok()
    }

    /// Adds a version, or replaces the one of this name: `place` puts each file where it is asked to. It becomes `latest`,
    /// unless that is held; then all but the newest `keep` and what `latest` names are removed.
    ///
    /// # Errors
    /// Those of `place`, and [`FsError`].
    pub fn add<E: From<FsError>>(
        &self,
        version: &str,
        files: &[VersionFile],
        (keep, hold): (usize, bool),
        place: &mut dyn FnMut(usize, &Path) -> Result<(), E>,
        cancel: &Cancel,
    ) -> Result<(), E> {
        let _lock = self.lock(cancel)?;
        let draft = self.cleared(".draft")?;
        fs::create_dir(&draft).map_err(FsError::at("make the folder", &draft))?;
        let mut sums = String::new();
        for (number, file) in files.iter().enumerate() {
            place(number, &draft.join(&file.path))?;
            sums += &format!("{}  {}\n", file.sha256, file.path.display());
        }
        write_atomic(&draft.join(SUMS), sums.as_bytes())?;
        sync_folder(&draft)?;
        exchange_folder(&draft, &self.folder.join(version))?;
        sync_folder(&self.folder)?;
        self.cleared(".draft")?;
        if !hold {
            self.point_to(version)?;
        }
        self.remove_old(keep)?;
        Ok(self.write_index()?)
    }

    /// Makes a version `latest`; without a name, the newest one. Tells which it is.
    ///
    /// # Errors
    /// [`VersionError`].
    pub fn promote(&self, version: Option<&str>, cancel: &Cancel) -> Result<String, VersionError> {
        let _lock = self.lock(cancel)?;
        let known = self.list()?;
        let wanted = version.or(known.first().map(String::as_str)).unwrap_or(LATEST);
        if !known.iter().any(|known| known == wanted) {
            return Err(VersionError::Unknown {
                image: self.image.clone(),
                version: wanted.to_owned(),
                known,
            });
        }
        self.point_to(wanted)?;
        self.write_index()?;
        Ok(wanted.to_owned())
    }

    /// Makes the version before `latest` the latest. Tells which it is.
    ///
    /// # Errors
    /// [`VersionError`].
    pub fn roll_back(&self, cancel: &Cancel) -> Result<String, VersionError> {
        let _lock = self.lock(cancel)?;
        let known = self.list()?;
        let latest = self.latest().unwrap_or_default();
        let Some(before) = known.iter().find(|known| **known < latest) else {
            return Err(VersionError::First {
                image: self.image.clone(),
                latest,
                known,
            });
        };
        self.point_to(before)?;
        self.write_index()?;
        Ok(before.clone())
    }

    /// Removes all but the newest `keep` and what `latest` names. Tells which.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn prune(&self, keep: usize, cancel: &Cancel) -> Result<Vec<String>, FsError> {
        let _lock = self.lock(cancel)?;
        let removed = self.remove_old(keep)?;
        self.write_index()?;
        Ok(removed)
    }

    /// The versions that [`Versions::prune`] would remove.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn old(&self, keep: usize) -> Result<Vec<String>, FsError> {
        let latest = self.latest();
        let old = self.list()?.into_iter().skip(keep);
        Ok(old.filter(|name| Some(name) != latest.as_ref()).collect())
    }

    fn remove_old(&self, keep: usize) -> Result<Vec<String>, FsError> {
        let old = self.old(keep)?;
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

    /// What others read: the versions with their files, and which one is `latest`.
    fn write_index(&self) -> Result<(), FsError> {
        let versions = self.list()?.into_iter().map(|name| {
            let folder = self.folder.join(&name);
            let sums = fs::read_to_string(folder.join(SUMS)).unwrap_or_default();
            let files = sums.lines().filter_map(|line| {
                let (sha256, path) = line.split_once("  ")?;
                let bytes = fs::metadata(folder.join(path)).ok()?.len();
                Some(json!({ "file": path, "bytes": bytes, "sha256": sha256 }))
            });
            json!({ "version": name, "files": files.collect::<Vec<_>>() })
        });
        let versions: Vec<Value> = versions.collect();
        let index = json!({
            "version": INDEX_VERSION,
            "image": self.image,
            "latest": self.latest(),
            "versions": versions,
        });
        write_atomic(&self.folder.join(INDEX), format!("{index:#}\n").as_bytes())
    }

    /// One writer at a time: what a killed one left under a hidden name is the next one's to remove.
    fn lock(&self, cancel: &Cancel) -> Result<FileLock, FsError> {
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
