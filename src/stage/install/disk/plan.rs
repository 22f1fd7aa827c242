//! Plans a distro whose disk exists already. Pure.

use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};

use crate::manifest::model::{Distro, Manifest, Media};
use crate::plan::graph::{Draft, Nodes};
use crate::plan::node::Cost;
use crate::platform::Platform;
use crate::stage::Work;
use crate::stage::distro::data_bound;
use crate::stage::fetch::{MediaAt, MediaInput, medium};
use crate::stage::install::{STAGE, largest};
use crate::stage::recipe::Inputs as Facts;

/// The disk image, in roles and in the lock.
pub const MEDIUM: &str = "medium";

/// Revision of what it makes; see [`Draft::revision`].
const REVISION: u32 = 2;

/// Work of [`STAGE`] for a disk source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiskWork {
    pub media: MediaAt,
    /// Grow the disk to at least this many bytes (0: leave it).
    pub disk: u64,
    /// Size of the largest image made of it, in bytes. No part of the key: a disk that is too large gives no result.
    pub largest: u64,
    /// What kinds of computer must be able to start it.
    pub platforms: Vec<Platform>,
}

/// What the key of such a disk is made of.
#[derive(Serialize)]
struct Inputs {
    source: &'static str,
    media: MediaInput,
    disk: u64,
    /// Absent for BIOS alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    platforms: Option<Vec<Platform>>,
}

/// The node that takes an existing disk, and the one that fetches it.
pub(in crate::stage) fn plan(
    nodes: &mut Nodes<Work>,
    distro: &Distro,
    media: &Media,
    manifest: &Manifest,
    facts: &Facts<'_>,
) -> NodeIndex {
    let mut takes = Vec::new();
    let (media, input) = medium(
        nodes,
        &distro.name,
        (&distro.name, media),
        MEDIUM,
        facts,
        &mut takes,
    );
    let platforms = distro.platforms();
    let draft = Draft {
        stage: STAGE,
        revision: REVISION,
        subject: &distro.name,
        inputs: Inputs {
            source: "disk",
            media: input,
            disk: distro.disk.0,
            platforms: (platforms != [Platform::default()]).then(|| platforms.clone()),
        },
        takes,
        cost: Cost {
            scratch: 2 * data_bound(distro),
            ..Cost::default()
        },
    };
    let work = DiskWork {
        media,
        disk: distro.disk.0,
        largest: largest(manifest, distro),
        platforms,
    };
    nodes.add(draft, work)
}
