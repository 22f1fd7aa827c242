//! How publishing to one place is a stage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use serde::{Deserialize, Serialize};

use super::UploadWork;
use crate::digest::{Algorithm, Digest};
use crate::emit::Emitter;
use crate::event::Outcome;
use crate::host::cancel::Cancel;
use crate::host::fs::hash_file;
use crate::places::retry::Policy;
use crate::places::versions::{self as versions_at, AtPlace, List, Version};
use crate::places::{Around, Item, Metadata, Receipt, Target, upload};
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::result::Taken;
use crate::stage::task::{File, Finding, Made, Memo, Stored, Task};
use crate::stage::versions::{self, Versions};

/// Proof of the upload of all files of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipts {
    /// Of the image itself.
    #[serde(flatten)]
    pub image: Receipt,
    /// Of the files published with it, by their paths.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beside: BTreeMap<PathBuf, Receipt>,
    /// Where a place keeps versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<AtVersion>,
}

/// As which version of an image its files are at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtVersion {
    pub name: String,
    /// URL of the list of versions.
    pub list: String,
}

impl Receipts {
    /// That of one file of the image.
    pub fn of(&self, path: &Path, is_image: bool) -> Option<&Receipt> {
        if is_image {
            Some(&self.image)
        } else {
            self.beside.get(path)
        }
    }
}

/// Places that were looked at.
#[derive(Debug, Default)]
struct Checked(Vec<Target>);

impl Task for UploadWork {
    fn preflight(&self, memo: &Memo) -> Vec<Finding> {
        let checked = memo.note::<Checked>();
        let mut checked = checked.borrow_mut();
        if checked.0.contains(&self.target) {
            return Vec::new();
        }
        checked.0.push(self.target.clone());
        match self.target.to.check(&self.target) {
            Ok(warnings) => warnings.into_iter().map(Finding::Warning).collect(),
            Err(error) => vec![Finding::Target(error.to_string())],
        }
    }

    fn asks(&self) -> Option<String> {
        Some(format!("publish.{} {}", self.target.name, self.target.identity()))
    }

    /// Whether the place answers, and knows us: by the question that the upload itself begins with.
    fn probe(&self, cancel: &Cancel) -> Vec<Finding> {
        let Some((part, place)) = self.parts.first().zip(self.target.to.open(&self.target).ok()) else {
            return Vec::new();
        };
        let nothing = Digest {
            algorithm: Algorithm::Sha512,
            hex: "0".repeat(128),
        };
        let item = Item {
            path: Path::new(""),
            name: &part.path,
            bytes: 0,
            sha512: &nothing,
            metadata: &Metadata::new(),
            listed: false,
        };
        let around = Around {
            cancel,
            emit: &Emitter::new(mpsc::channel().0),
            state: Path::new(""),
            policy: Policy::default(),
        };
        match place.look(&item, &around) {
            Err(error) if error.is_cancelled() => Vec::new(),
            Err(error) => {
                let text = format!("`publish.{}`: {error}", self.target.name);
                vec![if error.is_transient() {
                    Finding::Unreachable(text)
                } else {
                    Finding::Target(text)
                }]
            }
            Ok(_) => Vec::new(),
        }
    }

    fn files(&self) -> &'static [File] {
        &[]
    }

    /// What the network says is asked when it is the node's turn, not for a plan.
    fn stands(&self, _stored: &Stored<'_>) -> Result<(), Option<String>> {
        Err(Some("the target is asked each time".to_owned()))
    }

    fn publishes(&self) -> bool {
        true
    }

    fn run(&self, taken: &Taken, _out: &Path, site: &Site) -> Result<Made, StageError> {
        let last: Option<Receipts> = site.before.as_ref().and_then(|before| before.facts().ok());
        let none = Metadata::new();
        let around = Around {
            cancel: &site.cancel,
            emit: &site.emit,
            state: Path::new(""),
            policy: Policy::default(),
        };
        let mut version = None;
        if let Some(keep) = self.target.versions {
            let there = AtPlace::open(&self.target, &self.image, &self.output, &around, &site.scratch)?;
            let this = self.version(&there.read()?, taken, site)?;
            version = Some((there, this, keep));
        }
        let mut beside = BTreeMap::new();
        let mut sent_some = false;
        let mut of_image = None;
        // An image that is there has all that belongs to it.
        for (number, part) in self.parts.iter().enumerate().rev() {
            let artifact = part.artifact(taken)?;
            let is_image = part.is_image();
            let name = match &version {
                Some((_, version, _)) => {
                    versions_at::path(&self.image, &version.name, &version.files[number].path)
                }
                None => part.path.clone(),
            };
            let item = Item {
                path: &artifact.path,
                name: &name,
                bytes: artifact.bytes,
                sha512: artifact.digest(Algorithm::Sha512)?,
                // What selects the image must not find a file that is published with it.
                metadata: if is_image { &self.metadata } else { &none },
                listed: is_image,
            };
            // Kept between runs, so that a killed upload goes on where it was.
            let state = match number {
                0 => format!("upload-{}.json", site.key),
                number => format!("upload-{}-{number}.json", site.key),
            };
            let around = Around {
                state: &site.lasting.join(state),
                ..around.clone()
            };
            let last = last.as_ref().and_then(|last| last.of(&part.path, is_image));
            let uploaded = upload(&self.target, &item, last, &around)?;
            sent_some |= uploaded.sent;
            if is_image {
                of_image = Some(uploaded.receipt);
            } else {
                beside.insert(part.path.clone(), uploaded.receipt);
            }
        }
        if let Some((_, version, _)) = &version {
            sent_some |= self.send_metadata(version, site, &around)?;
        }
        let Some(image) = of_image else {
            unreachable!("an image is one of its own files");
        };
        let mut at_version = None;
        if let Some((there, version, keep)) = version {
            let _lock = Versions::of(&self.output, &self.image).lock(&site.cancel)?;
            site.emit.phase("listing the version");
            at_version = Some(AtVersion {
                name: version.name.clone(),
                list: there.url(),
            });
            let about = self.listing.as_ref().map(|listing| &listing.about);
            sent_some |= there.add(version, about, keep)?;
        }
        let (outcome, message) = if sent_some {
            (Outcome::Built, image.url.clone())
        } else {
            (Outcome::Present, format!("{}, nothing was sent", image.url))
        };
        Ok(Made {
            outcome,
            message: Some(message),
            ..Made::with(&Receipts {
                image,
                beside,
                version: at_version,
            })
        })
    }
}

impl UploadWork {
    /// The version that the place is to have.
    fn version(&self, there: &List, taken: &Taken, site: &Site) -> Result<Version, StageError> {
        let mut version = versions::of(&self.parts, taken)?;
        let packaged = taken.get(&self.parts[0].role)?.created;
        let metadata = match &self.listing {
            Some(listing) => listing.describe(&mut version, packaged, &site.scratch)?,
            None => None,
        };
        version.name = there.name_for(&version.name, &version.files);
        if let Some((listing, metadata)) = self.listing.as_ref().zip(metadata) {
            let disk = |number: usize| Ok(self.parts[number].artifact(taken)?.path);
            listing.combine(&mut version, there, (&metadata, &disk), &site.cancel)?;
        }
        Ok(version)
    }

    /// Sends the file that describes the disk to LXD and Incus, where there is one. True: it was not there.
    fn send_metadata(&self, version: &Version, site: &Site, around: &Around<'_>) -> Result<bool, StageError> {
        let Some(file) = version.files.last().filter(|file| file.combined.is_some()) else {
            return Ok(false);
        };
        let path = site.scratch.join(&file.path);
        let digests = hash_file(&path, &[Algorithm::Sha512], &site.cancel)?;
        let item = Item {
            path: &path,
            name: &versions_at::path(&self.image, &version.name, &file.path),
            bytes: file.bytes,
            sha512: &digests[0],
            metadata: &Metadata::new(),
            listed: false,
        };
        let state = site.lasting.join(format!("upload-{}-metadata.json", site.key));
        let around = Around {
            state: &state,
            ..around.clone()
        };
        Ok(upload(&self.target, &item, None, &around)?.sent)
    }
}
