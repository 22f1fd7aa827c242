//! Puts an image's files into the output folder, then their lines into the files that list checksums.

mod list;
mod plan;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(super) use self::list::LOCK;
pub use self::list::{SumsError, deliver, file_name, listed, merge};
pub(super) use self::plan::plan;
pub use self::plan::{STAGE, SumsWork};
use super::error::StageError;
use super::part::Part;
use super::result::{Given, Taken};
use super::task::{File, Finding, Made, Memo, Stored, Task};
use super::versions::{self, Versions};
use super::{Site, package};
use crate::digest::{Algorithm, Digest};
use crate::host::fs::{self as host_fs, FsError, Stamp};

/// Facts of a delivery: the image's own file, and those published with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// The file as it was put there.
    pub stamp: Stamp,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its digests, as in the checksum files.
    pub digests: BTreeMap<Algorithm, Digest>,
    /// When it was packaged; absent in those of a version that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packaged: Option<Timestamp>,
    /// Of when the newest of its package archives, or its medium, was in the lock that it was built by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Timestamp>,
    /// Files published with it, by their paths below the output folder.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beside: BTreeMap<PathBuf, Delivered>,
}

/// A file that was put next to an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivered {
    /// The file as it was put there.
    pub stamp: Stamp,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its digests, as in the checksum files.
    pub digests: BTreeMap<Algorithm, Digest>,
}

/// Checksum files that were read, by their folder.
#[derive(Debug, Default)]
struct Lists(BTreeMap<(PathBuf, Algorithm), BTreeMap<PathBuf, String>>);

impl Delivery {
    /// The digests of the image's own file by these algorithms, in this order.
    pub fn listed(&self, algorithms: &[Algorithm]) -> Vec<Digest> {
        let digests = algorithms
            .iter()
            .filter_map(|algorithm| self.digests.get(algorithm));
        digests.cloned().collect()
    }

    /// A file of the image, as it was delivered.
    fn of(&self, part: &Part) -> Option<Delivered> {
        if !part.is_image() {
            return self.beside.get(&part.path).cloned();
        }
        Some(Delivered {
            stamp: self.stamp,
            bytes: self.bytes,
            digests: self.digests.clone(),
        })
    }
}

impl Task for SumsWork {
    fn preflight(&self, _memo: &Memo) -> Vec<Finding> {
        let folders = self.parts.iter().filter_map(|part| {
            let path = self.output.join(&part.path);
            if path.is_dir() {
                return Some(FsError::at("put an image in the place of", &path)(
                    ErrorKind::IsADirectory.into(),
                ));
            }
            host_fs::can_fill(path.parent().unwrap_or(&self.output)).err()
        });
        folders.map(Finding::Output).collect()
    }

    fn files(&self) -> &'static [File] {
        &[]
    }

    /// Whether the output folder holds what was put there: the record says what that was.
    fn stands(&self, stored: &Stored<'_>) -> Result<(), Option<String>> {
        let Some(result) = &stored.result else {
            let path = self.path();
            return Err((!path.exists()).then(|| format!("{} is not there yet", path.display())));
        };
        let record: Delivery = result.facts().map_err(|error| Some(error.to_string()))?;
        for part in &self.parts {
            self.part_stands(part, &record, stored).map_err(Some)?;
        }
        Ok(())
    }

    fn run(&self, taken: &Taken, _out: &Path, site: &Site) -> Result<Made, StageError> {
        // An image that is there has all that belongs to it.
        let mut delivered = BTreeMap::new();
        let mut lines = Vec::new();
        for part in self.parts.iter().rev() {
            let artifact = part.artifact(taken)?;
            let path = self.output.join(&part.path);
            let stamp = deliver(&artifact.path, &path, &site.cancel)?;
            let mut digests = BTreeMap::new();
            for algorithm in &self.algorithms {
                let digest = artifact.digest(*algorithm)?;
                lines.push((part.path.clone(), digest.clone()));
                digests.insert(*algorithm, digest.clone());
            }
            let bytes = artifact.bytes;
            let done = Delivered {
                stamp,
                bytes,
                digests,
            };
            delivered.insert(part.path.clone(), done);
        }
        for algorithm in &self.algorithms {
            merge(&self.output, *algorithm, &site.order.files, &lines, &site.cancel)?;
        }
        self.add_version(taken, site)?;
        let image = self.image_part();
        let of_image = delivered.remove(&image.path);
        let Some(Delivered {
            stamp,
            bytes,
            digests,
        }) = of_image
        else {
            unreachable!("every file was delivered, the image among them");
        };
        Ok(Made::with(&Delivery {
            stamp,
            bytes,
            digests,
            packaged: Some(taken.get(&image.role)?.created),
            sources: self.sources,
            beside: delivered,
        }))
    }
}

impl SumsWork {
    /// The image's own file.
    fn image_part(&self) -> &Part {
        &self.parts[0]
    }

    /// Its place, as the user can type it.
    pub fn path(&self) -> PathBuf {
        self.output.join(&self.image_part().path)
    }

    /// Keeps what was delivered as a version, where versions are kept.
    fn add_version(&self, taken: &Taken, site: &Site) -> Result<(), StageError> {
        let Some(keep) = self.versions else {
            return Ok(());
        };
        let version = versions::of(&self.parts, taken)?;
        let mut put = |number: usize, to: &Path| -> Result<(), StageError> {
            let artifact = self.parts[number].artifact(taken)?;
            deliver(&artifact.path, to, &site.cancel)?;
            Ok(())
        };
        Versions::of(&self.output, &self.image).add(&version, keep, &mut put, &site.cancel)
    }

    fn part_stands(&self, part: &Part, record: &Delivery, stored: &Stored<'_>) -> Result<(), String> {
        let path = self.output.join(&part.path);
        let record = record
            .of(part)
            .ok_or_else(|| format!("{} is not there yet", path.display()))?;
        let given = (stored.taken)(&part.role);
        let made = given.as_ref().and_then(|given| part.artifact_in(given));
        if made.is_some_and(|made| !made.has_digests(record.digests.values())) {
            return Err(package::AGAIN.to_owned());
        }
        match Stamp::of(&path) {
            Ok(stamp) if stamp == record.stamp => {}
            Ok(_) => return Err(format!("{} is not the file that was put there", path.display())),
            Err(_) => return Err(format!("{} is missing", path.display())),
        }
        for algorithm in &self.algorithms {
            let wanted = record.digests.get(algorithm).map(|digest| digest.hex.as_str());
            if wanted.is_none() || self.listed(&part.path, *algorithm, stored).as_deref() != wanted {
                let list = self.output.join(file_name(*algorithm));
                return Err(format!("its line in {} is missing", list.display()));
            }
        }
        Ok(())
    }

    /// The digest that a checksum file has for a file.
    fn listed(&self, path: &Path, algorithm: Algorithm, stored: &Stored<'_>) -> Option<String> {
        let lists = stored.memo.note::<Lists>();
        let mut lists = lists.borrow_mut();
        let list = lists
            .0
            .entry((self.output.clone(), algorithm))
            .or_insert_with(|| {
                // A list that cannot be read is to be written again: that will say why it cannot.
                listed(&self.output, algorithm).unwrap_or_default()
            });
        list.get(path).cloned()
    }
}

/// What was delivered, where a result tells.
pub fn delivery(result: &Given) -> Option<Delivery> {
    result.facts().ok()
}
