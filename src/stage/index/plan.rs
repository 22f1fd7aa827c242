//! Plans the listing of a published image: what is said of it, and where it is. Pure.

use std::path::PathBuf;

use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::UPLOAD;
use super::catalog::ImageFacts;
use crate::host::http::redact;
use crate::manifest::model::{Distro, Flavor, Image, InstallMedia, Manifest, Media, Proof, Source};
use crate::places::Target;
use crate::plan::graph::{Draft, Nodes};
use crate::plan::node::{Bond, Cost, Results, Stage};
use crate::stage::Work;
use crate::stage::part::{Part, Ready};

/// Lists an image among what is published.
pub const STAGE: Stage = Stage {
    name: "index",
    results: Results::Outside,
    inputs: &[],
};

/// Revision of what it makes; see [`Draft::revision`].
const REVISION: u32 = 1;

/// Work of [`STAGE`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IndexWork {
    /// Output folder.
    pub output: PathBuf,
    /// The target that has the image.
    pub target: Target,
    /// Whether it gets a line in `URL.txt`.
    pub lists_url: bool,
    /// The image's files, the image first.
    pub parts: Vec<Part>,
    /// What the image is.
    pub facts: ImageFacts,
}

/// What the key of a listing is made of.
#[derive(Serialize)]
struct Inputs<'a> {
    upload: &'a str,
    facts: &'a ImageFacts,
}

/// What an image is made of.
#[derive(Serialize)]
struct BuiltFrom<'a> {
    source: SourceFacts<'a>,
    steps: Vec<&'a str>,
    keys: Map<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum SourceFacts<'a> {
    Bootstrap {
        suite: &'a str,
    },
    Disk(MediumFacts<'a>),
    Iso(MediumFacts<'a>),
    Netboot {
        kernel: MediumFacts<'a>,
        initrd: MediumFacts<'a>,
    },
}

/// What a medium is known by.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum MediumFacts<'a> {
    Digest(Option<String>),
    Checksums(String),
    Release(&'a str),
}

impl<'a> From<&'a Media> for MediumFacts<'a> {
    fn from(media: &'a Media) -> Self {
        match media {
            Media::Path { digest, .. } => Self::Digest(digest.as_ref().map(ToString::to_string)),
            Media::Urls { proof, .. } => match proof {
                Proof::Digest(digest) => Self::Digest(Some(digest.to_string())),
                Proof::List(list) => Self::Checksums(redact(&list.url)),
                Proof::Latest(latest) => Self::Release(&latest.release),
            },
        }
    }
}

impl<'a> From<&'a Source> for SourceFacts<'a> {
    fn from(source: &'a Source) -> Self {
        match source {
            Source::Bootstrap(source) => Self::Bootstrap { suite: &source.suite },
            Source::Disk(source) => Self::Disk((&source.media).into()),
            Source::Installer(source) => match &source.media {
                InstallMedia::Iso(media) => Self::Iso(media.into()),
                InstallMedia::Netboot { kernel, initrd } => Self::Netboot {
                    kernel: kernel.into(),
                    initrd: initrd.into(),
                },
            },
        }
    }
}

/// The node that lists an image once it is uploaded.
pub(in crate::stage) fn plan(
    nodes: &mut Nodes<Work>,
    manifest: &Manifest,
    image: &Image,
    (distro, flavor): (&Distro, &Flavor),
    target: &Target,
    ready: &Ready<'_>,
    upload: NodeIndex,
) -> NodeIndex {
    let facts = facts(nodes, manifest, image, (distro, flavor), ready);
    let uploaded = nodes.key(upload).to_owned();
    let mut listed = manifest
        .publish
        .targets
        .iter()
        .filter(|target| target.to.lists_urls());
    let mut takes = vec![UPLOAD.of(upload)];
    takes.extend(ready.takes().into_iter().filter(|take| take.bond == Bond::Bytes));
    let draft = Draft {
        stage: STAGE,
        revision: REVISION,
        subject: &format!("{}@{}", image.id, target.name),
        inputs: Inputs {
            upload: &uploaded,
            facts: &facts,
        },
        takes,
        cost: Cost::default(),
    };
    let work = IndexWork {
        output: manifest.output.clone(),
        lists_url: listed.next().is_some_and(|first| first.name == target.name),
        target: target.clone(),
        parts: ready.parts.clone(),
        facts: facts.clone(),
    };
    nodes.add(draft, work)
}

/// What an image is.
pub(in crate::stage) fn facts(
    nodes: &Nodes<Work>,
    manifest: &Manifest,
    image: &Image,
    (distro, flavor): (&Distro, &Flavor),
    ready: &Ready<'_>,
) -> ImageFacts {
    ImageFacts {
        id: image.id.clone(),
        file: image.file.display().to_string(),
        distro: distro.name.clone(),
        family: distro.family.name.clone(),
        version: distro.version.clone(),
        flavor: flavor.name.clone(),
        size: image.size_label.clone(),
        disk_bytes: image.size.0,
        format: manifest.publish.format.name().to_owned(),
        compression: manifest.publish.compress.name().to_owned(),
        built_from: built_from(nodes, distro, flavor, ready),
    }
}

/// The manifest's words, and the keys of all that the image depends on.
fn built_from(nodes: &Nodes<Work>, distro: &Distro, flavor: &Flavor, ready: &Ready<'_>) -> Value {
    let mut keys = Map::new();
    let mut next = ready.all();
    while let Some(index) = next.pop() {
        let node = nodes.node(index);
        keys.insert(node.id(), node.key.clone().into());
        let needs = node.takes.iter().filter(|take| take.bond != Bond::IfThere);
        next.extend(needs.rev().map(|take| take.node));
    }
    let built = BuiltFrom {
        source: (&distro.source).into(),
        steps: flavor.steps.iter().map(|step| step.label.as_str()).collect(),
        keys,
    };
    match serde_json::to_value(built) {
        Ok(built) => built,
        Err(error) => unreachable!("plain data always serialises: {error}"),
    }
}
