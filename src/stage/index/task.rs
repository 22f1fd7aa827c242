//! How listing a published image is a stage.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::catalog::{Listed, ListedFile, Place};
use super::list::UrlLine;
use super::{IndexWork, UPLOAD, add};
use crate::digest::Algorithm;
use crate::event::Outcome;
use crate::host::fs as host_fs;
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::part::Part;
use crate::stage::result::Taken;
use crate::stage::task::{File, Finding, Made, Memo, Stored, Task};
use crate::stage::upload::Receipts;

/// Facts of a listing.
#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    url: String,
}

impl Task for IndexWork {
    fn preflight(&self, _memo: &Memo) -> Vec<Finding> {
        let unfit = host_fs::can_fill(&self.output).err();
        unfit.into_iter().map(Finding::Output).collect()
    }

    fn files(&self) -> &'static [File] {
        &[]
    }

    fn stands(&self, _stored: &Stored<'_>) -> Result<(), Option<String>> {
        Err(Some("follows what is published".to_owned()))
    }

    fn publishes(&self) -> bool {
        true
    }

    fn run(&self, taken: &Taken, _out: &Path, site: &Site) -> Result<Made, StageError> {
        let receipts: Receipts = taken.get(&UPLOAD)?.facts()?;
        let image = self.file(&self.parts[0], &receipts, taken)?;
        let url = image.place.url.clone();
        let mut beside = Vec::new();
        for part in &self.parts[1..] {
            beside.push(self.file(part, &receipts, taken)?);
        }
        let lines = [&image].into_iter().chain(&beside).map(ListedFile::line);
        let lines: Vec<UrlLine> = lines.flatten().filter(|_| self.lists_url).collect();
        let listed = Listed {
            image: self.facts.clone(),
            created: taken.get(&self.parts[0].role)?.created,
            target: self.target.name.clone(),
            file: image,
            beside,
        };
        let changed = add(&self.output, &site.order, &listed, &lines, &site.cancel)?;
        Ok(Made {
            outcome: if changed { Outcome::Built } else { Outcome::Present },
            ..Made::with(&Facts { url })
        })
    }
}

impl IndexWork {
    /// A file of the image, and where it was uploaded to.
    fn file(&self, part: &Part, receipts: &Receipts, taken: &Taken) -> Result<ListedFile, StageError> {
        let artifact = part.artifact(taken)?;
        // An upload of other bytes than these is an upload of something else.
        let receipt = receipts.of(&part.path, part.is_image());
        let receipt = receipt.filter(|receipt| {
            artifact
                .digest(Algorithm::Sha512)
                .is_ok_and(|d| *d == receipt.sha512)
        });
        let receipt = receipt.ok_or_else(|| StageError::OtherUpload {
            target: self.target.name.clone(),
            file: part.path.clone(),
        })?;
        Ok(ListedFile {
            path: part.path.clone(),
            bytes: artifact.bytes,
            digests: artifact.digests.to_vec(),
            place: Place {
                kind: self.target.to.word().to_owned(),
                url: receipt.url.clone(),
                verified: receipt.verified,
                version: receipts.version.as_ref().map(|version| version.name.clone()),
                versions: receipts.version.as_ref().map(|version| version.list.clone()),
            },
        })
    }
}
