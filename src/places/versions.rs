//! Versions of an image: the list that says which builds there are and which one is `latest`, and how a place keeps them.
//!
//! ```text
//! versions/IMAGE/20261129T164500Z/     the files of a build, and SHA256SUMS of them
//! versions/IMAGE/index.json            the list
//! ```
//!
//! Catalogs are made of the list: written after it, and before anything is removed. One of them is shared by all images.
//!
//! A place has neither links nor locks. What its readers find is decided by the list, one file that one write replaces: files
//! are there before the list names them, and are removed after it has stopped to. The list remembers what is being removed, so
//! that what a killed process left is removed by the next one.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::catalogs::{About, Catalog, simplestreams};
use super::deliver::read_all;
use super::{Around, Item, Metadata, Place, Target, UploadError};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::disk_format::Form;
use crate::host::fs::lock;

/// Folder of all versions, below an output folder or a place.
pub const FOLDER: &str = "versions";
/// Digests of the files of a version.
pub const SUMS: &str = "SHA256SUMS";
/// What is there, for programs.
pub const LIST: &str = "index.json";
/// Format revision of [`LIST`]; grows when a field changes its meaning or goes away.
const REVISION: u32 = 1;
/// Most bytes of a list that are read: a thousand versions of some formats.
const LARGEST: usize = 8 << 20;

/// Which versions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// How many versions of each image; what `latest` names is kept in any case.
    pub keep: usize,
    /// Whether a new version becomes `latest` only when it is promoted.
    pub hold: bool,
}

/// The versions of an image. The serialised form is an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    version: u32,
    pub image: String,
    /// The version that is used.
    pub latest: Option<String>,
    /// What catalogs say of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    about: Option<About>,
    /// The newest first.
    pub versions: Vec<Version>,
    /// Those whose files are being removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    removing: Vec<Version>,
}

/// A version of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    #[serde(rename = "version")]
    pub name: String,
    pub files: Vec<VersionFile>,
}

/// A file of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionFile {
    /// Path in the version's folder.
    #[serde(rename = "file")]
    pub path: PathBuf,
    pub bytes: u64,
    /// In hexadecimal.
    pub sha256: String,
    /// What it is, in lists at places with catalogs: of files that are not compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
    /// Of the file that describes an image to Incus: the SHA-256 of this file and the disk behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined: Option<String>,
}

/// There is no such version.
#[derive(Debug, thiserror::Error)]
pub enum NoVersion {
    #[error("there is no version {version} of {image}; {}", listed(.known))]
    Unknown {
        image: String,
        version: String,
        known: Vec<String>,
    },
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

/// Where a file of a version is, below an output folder or a place.
pub fn path(image: &str, version: &str, file: &Path) -> PathBuf {
    Path::new(FOLDER).join(image).join(version).join(file)
}

impl VersionFile {
    fn is_same(&self, other: &Self) -> bool {
        (&self.path, self.bytes, &self.sha256) == (&other.path, other.bytes, &other.sha256)
    }
}

impl Version {
    /// Whether it has these files.
    pub fn has(&self, files: &[VersionFile]) -> bool {
        self.files.len() == files.len()
            && self
                .files
                .iter()
                .zip(files)
                .all(|(own, other)| own.is_same(other))
    }

    /// Its [`SUMS`].
    pub fn sums(&self) -> String {
        let files = self.files.iter();
        let lines = files.map(|file| format!("{}  {}\n", file.sha256, file.path.display()));
        lines.collect()
    }
}

impl List {
    pub fn new(image: &str, latest: Option<String>, versions: Vec<Version>) -> Self {
        Self {
            version: REVISION,
            image: image.to_owned(),
            latest,
            about: None,
            versions,
            removing: Vec::new(),
        }
    }

    /// # Errors
    /// Why it is none.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let list: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if list.version == REVISION {
            Ok(list)
        } else {
            Err(format!("its version is {}, not {REVISION}", list.version))
        }
    }

    /// As it is written.
    pub fn text(&self) -> String {
        match serde_json::to_string_pretty(self) {
            Ok(text) => text + "\n",
            Err(error) => unreachable!("plain data always serialises: {error}"),
        }
    }

    /// The names of the versions, the newest first.
    pub fn names(&self) -> Vec<String> {
        self.versions.iter().map(|version| version.name.clone()).collect()
    }

    /// Makes a version `latest`; without a name, the newest one. Gives its name.
    ///
    /// # Errors
    /// [`NoVersion::Unknown`].
    pub fn promote(&mut self, version: Option<&str>) -> Result<String, NoVersion> {
        let newest = self.versions.first().map(|version| version.name.as_str());
        let wanted = version.or(newest).unwrap_or("latest");
        let known = self.versions.iter().find(|known| known.name == wanted);
        let found = known.ok_or_else(|| NoVersion::Unknown {
            image: self.image.clone(),
            version: wanted.to_owned(),
            known: self.names(),
        })?;
        let name = found.name.clone();
        self.latest = Some(name.clone());
        Ok(name)
    }

    /// Makes the version before `latest` the latest. Gives its name.
    ///
    /// # Errors
    /// [`NoVersion::First`].
    pub fn roll_back(&mut self) -> Result<String, NoVersion> {
        let latest = self.latest.clone().unwrap_or_default();
        let known = self.versions.iter().find(|known| known.name < latest);
        let before = known.ok_or_else(|| NoVersion::First {
            image: self.image.clone(),
            latest: latest.clone(),
            known: self.names(),
        })?;
        let name = before.name.clone();
        self.latest = Some(name.clone());
        Ok(name)
    }

    /// The versions that are too many: all but the newest and what `latest` names.
    pub fn old(&self, keep: usize) -> Vec<String> {
        let old = self.names().into_iter().skip(keep);
        old.filter(|name| Some(name) != self.latest.as_ref()).collect()
    }

    /// The name for a version with these files: another build of the same second has a number behind it.
    pub fn name_for(&self, wanted: &str, files: &[VersionFile]) -> String {
        let is_other = |name: &str| {
            let mut known = self.versions.iter();
            known.any(|known| known.name == name && !known.has(files))
        };
        let mut name = wanted.to_owned();
        for number in 2.. {
            if !is_other(&name) {
                break;
            }
            name = format!("{wanted}-{number}");
        }
        name
    }

    fn add(&mut self, version: Version, hold: bool) {
        if !hold {
            self.latest = Some(version.name.clone());
        }
        self.removing.retain(|going| going.name != version.name);
        self.versions.push(version);
        self.versions.sort_unstable_by(|a, b| b.name.cmp(&a.name));
    }

    /// No longer names what is too many, but remembers that its files must be removed.
    fn retire(&mut self, keep: usize) -> Vec<String> {
        let old = self.old(keep);
        let is_old = |version: &mut Version| old.contains(&version.name);
        self.removing.extend(self.versions.extract_if(.., is_old));
        old
    }
}

/// The versions of an image at a place.
pub struct AtPlace<'a> {
    place: Box<dyn Place>,
    catalogs: Vec<Catalog>,
    image: &'a str,
    /// Output folder: who writes what images share has a lock in it.
    output: &'a Path,
    around: &'a Around<'a>,
    /// Folder for what is sent.
    scratch: &'a Path,
}

impl<'a> AtPlace<'a> {
    /// # Errors
    /// What stands in the way of the place.
    pub fn open(
        target: &Target,
        image: &'a str,
        output: &'a Path,
        around: &'a Around<'a>,
        scratch: &'a Path,
    ) -> Result<Self, UploadError> {
        Ok(Self {
            place: target.to.open(target)?,
            catalogs: target.catalogs.clone(),
            image,
            output,
            around,
            scratch,
        })
    }

    /// Where the world reads the list.
    pub fn url(&self) -> String {
        self.public(Path::new(LIST))
    }

    fn public(&self, name: &Path) -> String {
        with(&path(self.image, "", name), |item| self.place.public(item))
    }

    /// What is there.
    ///
    /// # Errors
    /// [`UploadError`].
    pub fn read(&self) -> Result<List, UploadError> {
        let name = path(self.image, "", Path::new(LIST));
        let text = self.text(&name)?;
        if text.is_empty() {
            return Ok(List::new(self.image, None, Vec::new()));
        }
        List::parse(&text).map_err(self.not_a_list(&name))
    }

    fn not_a_list(&self, name: &Path) -> impl FnOnce(String) -> UploadError {
        let url = with(name, |item| self.place.address(item));
        move |detail| UploadError::NotAList { url, detail }
    }

    /// What is there under a name; nothing where there is none.
    fn text(&self, name: &Path) -> Result<Vec<u8>, UploadError> {
        let (emit, cancel) = (self.around.emit, self.around.cancel);
        with(name, |item| {
            self.around
                .policy
                .retry(emit, cancel, || match self.place.read(item, cancel) {
                    Err(error) if error.is_not_there() => Ok(Vec::new()),
                    read => read?.all(LARGEST, &self.place.address(item), cancel),
                })
        })
    }

    /// Lists a version whose files are there. It becomes `latest`, unless that is held; then what is too many is removed.
    /// False: it was listed already, and `latest` stays what it is.
    ///
    /// # Errors
    /// [`UploadError`]. That old versions could not be removed is a warning.
    pub fn add(&self, version: Version, about: Option<&About>, keep: Keep) -> Result<bool, UploadError> {
        let mut list = self.read()?;
        let before = list.clone();
        let known = list.versions.iter_mut().find(|known| known.name == version.name);
        let is_new = known.is_none();
        list.about = about.cloned();
        if let Some(known) = known {
            *known = version;
        } else {
            let sums = path(self.image, &version.name, Path::new(SUMS));
            self.write(&sums, &version.sums())?;
            list.add(version, keep.hold);
            list.retire(keep.keep);
        }
        if list != before {
            self.write_list(&list)?;
        }
        self.write_catalogs(&list)?;
        match self.remove_retired(list) {
            Err(error) if !error.is_cancelled() => {
                let warning = format!("old versions of {} were not removed: {error}", self.image);
                self.around.emit.warn(warning);
                Ok(is_new)
            }
            removed => removed.map(|()| is_new),
        }
    }

    /// Changes what `latest` names.
    ///
    /// # Errors
    /// [`UploadError`], and that of `change`.
    pub fn point<E: From<UploadError> + From<NoVersion>>(
        &self,
        change: impl FnOnce(&mut List) -> Result<String, NoVersion>,
    ) -> Result<String, E> {
        let mut list = self.read()?;
        let name = change(&mut list)?;
        self.write_list(&list)?;
        self.write_catalogs(&list)?;
        Ok(name)
    }

    /// Removes all but the newest `keep` and what `latest` names. Gives their names.
    ///
    /// # Errors
    /// [`UploadError`].
    pub fn prune(&self, keep: usize) -> Result<Vec<String>, UploadError> {
        let mut list = self.read()?;
        let old = list.retire(keep);
        if !old.is_empty() {
            self.write_list(&list)?;
        }
        self.write_catalogs(&list)?;
        self.remove_retired(list)?;
        Ok(old)
    }

    fn remove_retired(&self, mut list: List) -> Result<(), UploadError> {
        if list.removing.is_empty() {
            return Ok(());
        }
        for version in &list.removing {
            let files = version.files.iter().map(|file| file.path.as_path());
            for file in files.chain([Path::new(SUMS)]) {
                with(&path(self.image, &version.name, file), |item| {
                    self.place.remove(item, self.around)
                })?;
            }
        }
        list.removing.clear();
        self.write_list(&list)
    }

    fn write_list(&self, list: &List) -> Result<(), UploadError> {
        self.write(&path(self.image, "", Path::new(LIST)), &list.text())
    }

    /// Brings the catalogs up to date: an image's own first, then the index that leads to it.
    fn write_catalogs(&self, list: &List) -> Result<(), UploadError> {
        // What was published before there were catalogs is in none.
        let Some(about) = &list.about else {
            return Ok(());
        };
        for catalog in &self.catalogs {
            let url = |version: &Version, number: usize| {
                self.public(&Path::new(&version.name).join(&version.files[number].path))
            };
            let text = catalog.text(list, about, &url);
            self.replace(&catalog.path(self.image), &text)?;
            if *catalog == Catalog::Simplestreams {
                let lock_file = self.output.join(FOLDER).join(".lock");
                let _lock = lock(&lock_file, self.around.cancel, &mut || {})?;
                let name = Path::new(simplestreams::INDEX);
                let index = simplestreams::indexed(&self.text(name)?, list);
                self.replace(name, &index.map_err(self.not_a_list(name))?)?;
            }
        }
        Ok(())
    }

    fn replace(&self, name: &Path, text: &str) -> Result<(), UploadError> {
        if self.text(name)? == text.as_bytes() {
            return Ok(());
        }
        self.write(name, text)
    }

    /// Writes a text, and reads it back.
    fn write(&self, name: &Path, text: &str) -> Result<(), UploadError> {
        let file = self.scratch.join("version");
        std::fs::write(&file, text).map_err(UploadError::at("write", &file))?;
        let mut digest = Hasher::new(Algorithm::Sha512);
        digest.update(text.as_bytes());
        let (digest, metadata) = (digest.finish(), Metadata::new());
        let item = Item {
            path: &file,
            name,
            bytes: text.len() as u64,
            sha512: &digest,
            metadata: &metadata,
            listed: false,
        };
        self.place.send(&item, self.around)?;
        read_all(self.place.as_ref(), &item, self.around)
    }
}

/// Does something with what is there under a name.
fn with<T>(name: &Path, act: impl FnOnce(&Item<'_>) -> T) -> T {
    let nothing = Digest {
        algorithm: Algorithm::Sha512,
        hex: String::new(),
    };
    act(&Item {
        path: Path::new(""),
        name,
        bytes: 0,
        sha512: &nothing,
        metadata: &Metadata::new(),
        listed: false,
    })
}

impl UploadError {
    /// Whether it only says that there is nothing.
    fn is_not_there(&self) -> bool {
        match self {
            Self::Refused { head, .. } => matches!(head.status, 404 | 410),
            Self::File(error) => error.is_not_found(),
            _ => false,
        }
    }
}
