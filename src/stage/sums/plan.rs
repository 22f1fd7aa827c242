//! Plans the delivery of an image into the output folder. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};

use crate::digest::Algorithm;
use crate::lock::Lock;
use crate::manifest::model::{Image, Manifest};
use crate::places::Keep;
use crate::plan::graph::{Draft, Nodes};
use crate::plan::node::{Cost, Results, Stage};
use crate::stage::Work;
use crate::stage::part::{Part, Ready};

/// Puts an image into the output folder with its lines in the checksum files.
pub const STAGE: Stage = Stage {
    name: "sums",
    results: Results::Outside,
    inputs: &[],
};

/// Revision of what it makes; see [`Draft::revision`].
const REVISION: u32 = 1;

/// Work of [`STAGE`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SumsWork {
    /// Output folder.
    pub output: PathBuf,
    /// The image's files, the image first.
    pub parts: Vec<Part>,
    /// Checksum files to keep.
    pub algorithms: Vec<Algorithm>,
    /// The image's id.
    pub image: String,
    /// What is kept of earlier builds.
    pub versions: Option<Keep>,
    /// Of when its sources are, by the lock. No part of the key: the keys of what is built from them have their digests.
    pub sources: Option<Timestamp>,
}

/// What the key of a delivery is made of.
#[derive(Serialize)]
struct Inputs<'a> {
    package: &'a str,
    file: &'a Path,
    checksums: &'a [Algorithm],
    #[serde(flatten)]
    beside: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<&'a str>,
    /// Where versions are kept, the image is one; how many are kept is no part of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    versions: bool,
}

/// The node that makes an image appear in the output folder.
pub(in crate::stage) fn plan(
    nodes: &mut Nodes<Work>,
    manifest: &Manifest,
    image: &Image,
    ready: &Ready<'_>,
    lock: &Lock,
) -> NodeIndex {
    let keys = ready.keys(nodes);
    let draft = Draft {
        stage: STAGE,
        revision: REVISION,
        subject: &image.id,
        inputs: Inputs {
            package: &keys.package,
            file: &image.file,
            checksums: &manifest.publish.checksums,
            beside: &keys.beside,
            check: keys.check.as_deref(),
            versions: manifest.publish.versions.is_some(),
        },
        takes: ready.takes(),
        cost: Cost::default(),
    };
    let work = SumsWork {
        output: manifest.output.clone(),
        parts: ready.parts.clone(),
        algorithms: manifest.publish.checksums.clone(),
        image: image.id.clone(),
        versions: manifest.publish.versions,
        sources: lock.newest(&image.distro),
    };
    nodes.add(draft, work)
}
