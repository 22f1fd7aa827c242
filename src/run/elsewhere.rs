//! Nodes of a run that other hosts work on. The run waits for them and reports how they ended; all in between is reported by
//! those who know.

use std::fmt;

use petgraph::graph::NodeIndex;

use super::error::NodeError;
use super::execute::Done;

/// Who has other hosts work on nodes.
pub trait Elsewhere: fmt::Debug + Sync {
    /// Whether a node is theirs.
    fn has(&self, node: NodeIndex) -> bool;

    /// The host that works on a node, or did so last.
    fn host(&self, node: NodeIndex) -> Option<String>;

    /// Waits until a node of theirs has ended; how, and the seconds that it took there. Errors are [`NodeError::Elsewhere`], and
    /// [`NodeError::Store`] when asked to stop.
    fn wait(&self, node: NodeIndex) -> (Result<Done, NodeError>, f64);
}
