//! Plans uploads: one node for each image and place. Pure; no key and no input in here has a secret in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::listing::Listing;
use crate::manifest::model::{Distro, Image, Manifest};
use crate::manifest::{context, template};
use crate::places::{Metadata, Metadatum, Target};
use crate::plan::graph::{Draft, Nodes};
use crate::plan::node::{Cost, Results, Stage};
use crate::stage::Work;
use crate::stage::part::{Part, Ready};
use crate::stage::recipe::PlanError;

/// Publishes an image to one place and reads it back.
pub const STAGE: Stage = Stage {
    name: "upload",
    results: Results::Outside,
    inputs: &[],
};

/// Revision of what it makes; see [`Draft::revision`].
const REVISION: u32 = 1;

/// Work of [`STAGE`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UploadWork {
    pub target: Target,
    /// The image's files, the image first.
    pub parts: Vec<Part>,
    /// Describes it to the place, in order; empty for places that take no description.
    pub metadata: Metadata,
    /// The image's id.
    pub image: String,
    /// Output folder.
    pub output: PathBuf,
    /// What catalogs there say of it.
    pub listing: Option<Listing>,
}

/// What the key of an upload is made of.
#[derive(Serialize)]
struct Inputs<'a> {
    package: &'a str,
    target: Value,
    file: &'a Path,
    metadata: &'a Metadata,
    #[serde(flatten)]
    beside: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<&'a str>,
    /// As in a delivery into the output folder.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    versions: bool,
}

/// The node that publishes an image to a place.
pub(in crate::stage) fn plan(
    nodes: &mut Nodes<Work>,
    manifest: &Manifest,
    image: &Image,
    distro: &Distro,
    target: &Target,
    ready: &Ready<'_>,
) -> Result<NodeIndex, PlanError> {
    let metadata = metadata(manifest, image, distro, target)?;
    let keys = ready.keys(nodes);
    let draft = Draft {
        stage: STAGE,
        revision: REVISION,
        subject: &format!("{}@{}", image.id, target.name),
        inputs: Inputs {
            package: &keys.package,
            target: target.identity(),
            file: &image.file,
            metadata: &metadata,
            beside: &keys.beside,
            check: keys.check.as_deref(),
            versions: target.versions.is_some(),
        },
        takes: ready.takes(),
        cost: Cost::default(),
    };
    let work = UploadWork {
        target: target.clone(),
        parts: ready.parts.clone(),
        metadata: metadata.clone(),
        image: image.id.clone(),
        output: manifest.output.clone(),
        listing: Listing::of(target, image, distro, &manifest.publish, &ready.parts),
    };
    Ok(nodes.add(draft, work))
}

/// Describes an image to a place.
fn metadata(
    manifest: &Manifest,
    image: &Image,
    distro: &Distro,
    target: &Target,
) -> Result<Metadata, PlanError> {
    let wanted = target.to.metadata();
    if wanted.is_empty() {
        return Ok(Metadata::new());
    }
    let context = context::publish_context(distro, image, &manifest.publish);
    let mut rendered = Metadata::new();
    for (key, value) in wanted {
        let value = match value {
            Metadatum::Plain(value) => value.clone(),
            Metadatum::Template(text) => {
                template::render_value(key, text, &context).map_err(|error| PlanError::Metadata {
                    target: target.name.clone(),
                    key: key.clone(),
                    image: image.id.clone(),
                    reason: error.to_string(),
                })?
            }
        };
        rendered.insert(key.clone(), value);
    }
    Ok(rendered)
}
