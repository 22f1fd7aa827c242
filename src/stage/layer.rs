//! Layers: what a node's work came to at a checkpoint, kept in the store so that it is not done again. A layer is a disk
//! that has what differs from the layer below; the lowest lies over the results that the node takes.

use serde::{Deserialize, Serialize};

/// The one file of a layer: a qcow2 over the layer below.
pub const LAYER_DISK: &str = "disk";

/// A point in a node's work at which what is done can be kept. What is kept is a layer: a result with a key of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Hash of everything that the work up to there depends on.
    pub key: String,
    /// Steps that are done there.
    pub steps: usize,
    /// Whether it is kept however short the work was.
    pub always: bool,
    /// Whether other nodes begin with the same work, which is then done once.
    pub shared: bool,
}

/// What a layer tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerFacts {
    /// Steps that are done in it.
    pub steps: usize,
    /// The layers below, the lowest first.
    pub below: Vec<Below>,
    /// Digest over the files that the lowest lies over ([`super::result::Taken::fingerprint`]).
    pub over: String,
}

/// A layer below another, which belongs to its very bytes: equal keys need not give equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Below {
    pub key: String,
    /// SHA-256 of its disk.
    pub disk: String,
}
