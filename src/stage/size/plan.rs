//! Plans a size: what its result depends on. Pure.

use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};

use super::PROVISIONED;
use crate::manifest::model::{Distro, Image, Source};
use crate::plan::graph::{Draft, Nodes};
use crate::plan::node::{Cost, Input, Results, Stage};
use crate::size::MIB;
use crate::stage::Work;
use crate::stage::distro::{GuestAccess, MachineWish, access, data_bound, wish};
use crate::stage::install::ACCESS;

/// Derives a disk of another size.
pub const STAGE: Stage = Stage {
    name: "size",
    results: Results::Stored,
    inputs: &[("size", Input::Size)],
};
/// What `--rebuild` selects nodes of it by.
pub const TERM: &str = "size";

/// Revision of what it makes; see [`Draft::revision`].
const REVISION: u32 = 2;

/// Work of [`STAGE`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SizeWork {
    /// Virtual size of the result in bytes.
    pub size: u64,
    /// How to get in where the file system can only grow from inside.
    pub guest: GuestAccess,
    /// The VM for that.
    pub machine: MachineWish,
    /// Whether it may be needed: what we partition ourselves has a root that grows without one.
    pub may_boot: bool,
}

/// What the key of a size is made of.
#[derive(Serialize)]
struct Inputs<'a> {
    provision: &'a str,
    size: u64,
}

/// The node that makes an image's disk from the provisioned one. `install` made the key that lets the build in.
pub(in crate::stage) fn plan(
    nodes: &mut Nodes<Work>,
    image: &Image,
    distro: &Distro,
    provision: NodeIndex,
    install: NodeIndex,
) -> NodeIndex {
    let may_boot = !matches!(distro.source, Source::Bootstrap(_));
    let work = SizeWork {
        size: image.size.0,
        guest: access(distro),
        machine: wish(distro),
        may_boot,
    };
    let provisioned = nodes.key(provision).to_owned();
    let draft = Draft {
        stage: STAGE,
        revision: REVISION,
        subject: &image.id,
        inputs: Inputs {
            provision: &provisioned,
            size: image.size.0,
        },
        takes: vec![PROVISIONED.bytes_of(provision), ACCESS.if_there(install)],
        cost: Cost {
            scratch: 2 * data_bound(distro),
            cpus: if may_boot { distro.cpus } else { 1 },
            memory: if may_boot { distro.memory.0 } else { 64 * MIB },
            ..Cost::default()
        },
    };
    let node = nodes.add(draft, work);
    nodes.known_as(node, TERM, image.size.0.to_string())
}
