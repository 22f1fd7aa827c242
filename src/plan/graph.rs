//! The plan as a graph: nodes, what each needs, what needs it. How they came about is `build`'s.

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef as _;

use super::node::Node;

/// A plan: nodes in a directed graph, edges from what is needed to what needs it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the pipeline: what "last built" is remembered under.
    pub pipeline: String,
    pub(super) graph: DiGraph<Node, ()>,
    pub(super) order: Vec<NodeIndex>,
    pub(super) images: Vec<(String, NodeIndex)>,
    pub(super) unchecked: Vec<String>,
    pub(super) published: Vec<(String, NodeIndex)>,
}

impl Plan {
    /// Nodes in an order in which they could run, as in the manifest.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeIndex, &Node)> {
        self.order.iter().map(|&index| (index, &self.graph[index]))
    }

    /// One node.
    pub fn node(&self, index: NodeIndex) -> &Node {
        &self.graph[index]
    }

    /// What a node needs.
    pub fn needs(&self, index: NodeIndex) -> impl Iterator<Item = NodeIndex> + '_ {
        // petgraph lists edges in the reverse order of their making.
        let mut edges: Vec<_> = self.graph.edges_directed(index, Direction::Incoming).collect();
        edges.sort_by_key(petgraph::visit::EdgeRef::id);
        edges.into_iter().map(|edge| edge.source())
    }

    /// What needs a node.
    pub fn dependents(&self, index: NodeIndex) -> impl Iterator<Item = NodeIndex> + '_ {
        self.graph.neighbors_directed(index, Direction::Outgoing)
    }

    /// The nodes that an image's publication ends with, one a target; none where nothing is published.
    pub fn published<'a>(&'a self, image: &'a str) -> impl Iterator<Item = NodeIndex> + 'a {
        let of_image = self.published.iter().filter(move |(id, _)| id == image);
        of_image.map(|(_, index)| *index)
    }

    /// The selected images in manifest order, each with the node that puts it into the output folder.
    pub fn images(&self) -> &[(String, NodeIndex)] {
        &self.images
    }

    /// Whether checks that the manifest wants of this image were left out of the plan.
    pub fn is_unchecked(&self, image: &str) -> bool {
        self.unchecked.iter().any(|id| id == image)
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The graph, for those who draw it.
    pub fn graph(&self) -> &DiGraph<Node, ()> {
        &self.graph
    }
}
