//! Plans the packaging of an image. Pure.

use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};

use super::SIZED;
use crate::manifest::model::{Compression, DiskFormat, Distro, Image, Publish};
use crate::plan::graph::{Draft, Nodes};
use crate::plan::node::{Cost, Results, Stage};
use crate::size::MIB;
use crate::stage::Work;
use crate::stage::distro::data_bound;
use crate::stage::size::BASE;

/// Compresses a disk and takes its digests.
pub const STAGE: Stage = Stage {
    name: "package",
    results: Results::Stored,
    inputs: &[],
};

/// Memory of a package node beyond what it maps: blocks in flight, in bytes.
const MEMORY: u64 = 256 * MIB;

/// Revision of what it makes; see [`Draft::revision`].
pub(super) const REVISION: u32 = 4;

/// Work of [`STAGE`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PackageWork {
    /// Format of the image in it.
    pub format: DiskFormat,
    pub compression: Compression,
    /// How hard.
    pub level: Option<u32>,
    /// The distro, whose packages have pieces in common.
    pub distro: String,
}

/// What the key of a packaged image is made of.
#[derive(Serialize)]
struct Inputs<'a> {
    size: &'a str,
    format: DiskFormat,
    compress: Compression,
    level: Option<u32>,
}

/// The node that packages an image.
pub(in crate::stage) fn plan(
    nodes: &mut Nodes<Work>,
    image: &Image,
    distro: &Distro,
    publish: &Publish,
    (size, provision): (NodeIndex, NodeIndex),
) -> NodeIndex {
    let work = PackageWork {
        format: publish.format,
        compression: publish.compress,
        level: publish.level,
        distro: distro.name.clone(),
    };
    let sized = nodes.key(size).to_owned();
    let draft = Draft {
        stage: STAGE,
        revision: REVISION,
        subject: &image.id,
        inputs: Inputs {
            size: &sized,
            format: publish.format,
            compress: publish.compress,
            level: publish.level,
        },
        takes: vec![SIZED.of(size), BASE.of(provision)],
        cost: Cost {
            scratch: data_bound(distro),
            cpus: 1,
            memory: MEMORY,
            ..Cost::default()
        },
    };
    nodes.add(draft, work)
}
