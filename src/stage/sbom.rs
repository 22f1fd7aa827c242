//! Writes bills of materials of an image, to be published with it: from the packages that its guest reported when it was
//! provisioned, and the digests of the image's file.

use std::path::Path;

use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};

use super::error::StageError;
use super::part::{IMAGE, Ready};
use super::result::Taken;
use super::task::{File, Made, Stored, Task};
use super::{Site, Work, package, provision};
use crate::digest::{Algorithm, Digest};
use crate::manifest::model::{Image, Publish};
use crate::packages::{Bom, Subject, SubjectFile};
use crate::plan::graph::{Draft, Nodes};
use crate::plan::node::{Cost, Results, Role, Stage};

/// Lists what is inside an image.
const STAGE: Stage = Stage {
    name: "sbom",
    results: Results::Stored,
    inputs: &[],
};
/// Revision of what it makes; see [`Draft::revision`].
const REVISION: u32 = 1;
/// As what its files are taken.
const ROLE: Role = Role::new("sbom");
/// The system whose packages are listed.
const SYSTEM: Role = Role::new("system");

/// Its files.
const SPDX: File = File::published("spdx.json", ".spdx.json");
const CYCLONEDX: File = File::published("cdx.json", ".cdx.json");

/// Work of [`STAGE`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SbomWork {
    forms: Vec<Bom>,
    /// Id of the image.
    image: String,
    /// Name of its file.
    file: String,
}

/// What its key is made of.
#[derive(Serialize)]
struct Inputs<'a> {
    package: &'a str,
    forms: &'a [Bom],
    file: &'a Path,
}

/// Adds the node, where bills of materials are asked for.
pub(super) fn plan(
    nodes: &mut Nodes<Work>,
    image: &Image,
    publish: &Publish,
    provision: NodeIndex,
    ready: &mut Ready<'_>,
) {
    if publish.sbom.is_empty() {
        return;
    }
    let package = nodes.key(ready.package()).to_owned();
    let draft = Draft {
        stage: STAGE,
        revision: REVISION,
        subject: &image.id,
        inputs: Inputs {
            package: &package,
            forms: &publish.sbom,
            file: &image.file,
        },
        takes: vec![IMAGE.bytes_of(ready.package()), SYSTEM.bytes_of(provision)],
        cost: Cost::default(),
    };
    let name = image.file.file_name().unwrap_or_default();
    let work = SbomWork {
        forms: publish.sbom.clone(),
        image: image.id.clone(),
        file: name.to_string_lossy().into_owned(),
    };
    let node = nodes.add(draft, work);
    ready.add(ROLE, node, nodes);
}

/// Facts of its result.
#[derive(Serialize, Deserialize)]
struct Facts {
    /// The image that it is of.
    image: String,
}

impl Task for SbomWork {
    fn files(&self) -> &'static [File] {
        match self.forms.as_slice() {
            [Bom::Spdx] => const { &[SPDX] },
            [Bom::Cyclonedx] => const { &[CYCLONEDX] },
            _ => const { &[SPDX, CYCLONEDX] },
        }
    }

    /// The documents have the digest of the image, which may have been packaged again under the same key.
    fn stands(&self, stored: &Stored<'_>) -> Result<(), Option<String>> {
        let result = stored.result.as_ref().ok_or(None)?;
        let facts: Facts = result.facts().map_err(|error| Some(error.to_string()))?;
        package::stands(stored, |image| {
            image
                .digest(Algorithm::Sha256)
                .map_or(true, |digest| digest.hex == facts.image)
        })
    }

    fn run(&self, taken: &Taken, out: &Path, _site: &Site) -> Result<Made, StageError> {
        let system = taken.get(&SYSTEM)?;
        let inside = provision::inside(system).ok_or_else(|| StageError::NoFile {
            node: system.node.clone(),
            file: provision::PACKAGES.to_owned(),
        })?;
        let image = taken.get(&IMAGE)?.artifact(package::IMAGE)?;
        let Digest { hex, .. } = image.digest(Algorithm::Sha256)?;
        let subject = Subject {
            name: &self.image,
            key: hex,
            created: system.created,
            file: Some(SubjectFile {
                name: &self.file,
                digests: image.digests,
            }),
        };
        for form in &self.forms {
            let name = match form {
                Bom::Spdx => SPDX.name,
                Bom::Cyclonedx => CYCLONEDX.name,
            };
            let path = out.join(name);
            let text = format!("{:#}\n", form.document(&inside, subject));
            std::fs::write(&path, text).map_err(|error| StageError::file("write", &path, error))?;
        }
        Ok(Made::with(&Facts { image: hex.clone() }))
    }
}
