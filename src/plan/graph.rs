//! The plan as a graph: nodes, what each needs, what needs it. Which nodes there are is `stage::recipe`'s.

use std::path::PathBuf;
use std::time::Duration;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef as _;
use serde::Serialize;
use serde_json::{Map, Value};

use super::node::{Bond, Cost, Node, REVISION, Stage, Take};
use crate::digest::Algorithm;
use crate::key;
use crate::platform::Start;

/// A plan: nodes in a directed graph, edges from what is needed to what needs it.
#[derive(Clone, Debug)]
pub struct Plan<W> {
    /// Name of the pipeline.
    pub pipeline: String,
    /// What "last built" is remembered under.
    pub history: String,
    /// The selected images in manifest order.
    pub images: Vec<PlannedImage>,
    nodes: Nodes<W>,
}

/// An image that is wanted, and the nodes that it ends with.
#[derive(Clone, Debug)]
pub struct PlannedImage {
    pub id: String,
    pub distro: String,
    pub flavor: String,
    /// Installs its distro.
    pub install: NodeIndex,
    /// Runs its flavor's steps.
    pub provision: NodeIndex,
    /// Virtual size of its disk, in bytes.
    pub disk_bytes: u64,
    /// The ways in which firmware can start it.
    pub firmware: Vec<Start>,
    /// Its file in the output folder, as the user can type it.
    pub path: PathBuf,
    /// The algorithms of its checksums, in the manifest's order.
    pub checksums: Vec<Algorithm>,
    /// Puts it into the output folder.
    pub delivery: NodeIndex,
    /// Checks it; absent where nothing is to be checked.
    pub check: Option<NodeIndex>,
    /// Whether checks that the manifest wants of it were left out of the plan.
    pub unchecked: bool,
    /// End its publication, one for each place.
    pub published: Vec<NodeIndex>,
    /// Sign the files that list it.
    pub signed: Vec<NodeIndex>,
}

/// The nodes of a plan that is being made.
#[derive(Clone, Debug)]
pub struct Nodes<W> {
    graph: DiGraph<Node<W>, ()>,
    order: Vec<NodeIndex>,
}

/// A node before it has a key.
#[derive(Clone, Debug)]
pub struct Draft<'a, I> {
    /// Its stage, whose name is the first of its inputs.
    pub stage: Stage,
    /// The second: work whose code makes other bytes of equal inputs gets the next number, so that older results of it are
    /// built again.
    pub revision: u32,
    /// What it is done for.
    pub subject: &'a str,
    /// What else its result depends on, keys of the nodes that it takes results from included.
    pub inputs: I,
    /// The results that it takes.
    pub takes: Vec<Take>,
    /// What it costs.
    pub cost: Cost,
}

impl<W> Default for Nodes<W> {
    fn default() -> Self {
        Self {
            graph: DiGraph::new(),
            order: Vec::new(),
        }
    }
}

impl<W> Nodes<W> {
    /// Adds a node. Those that it takes results from are there already.
    pub fn add(&mut self, draft: Draft<'_, impl Serialize>, work: impl Into<W>) -> NodeIndex {
        let inputs = inputs(draft.stage, draft.revision, &draft.inputs);
        let node = Node {
            stage: draft.stage,
            subject: draft.subject.to_owned(),
            key: key::of(&inputs),
            inputs,
            takes: draft.takes,
            work: work.into(),
            cost: draft.cost,
            downloads: Vec::new(),
            term: None,
            alike: String::new(),
            max_age: None,
        };
        let needs: Vec<_> = node
            .takes
            .iter()
            .filter(|take| take.bond != Bond::IfThere)
            .map(|take| take.node)
            .collect();
        let index = self.graph.add_node(node);
        for need in needs {
            self.graph.add_edge(need, index, ());
        }
        self.order.push(index);
        index
    }

    /// How many there are so far.
    pub fn count(&self) -> usize {
        self.order.len()
    }

    /// Names what all nodes that were added since then have in common with their like.
    pub fn alike_since(&mut self, count: usize, alike: &str) {
        for index in self.order.get(count..).unwrap_or_default() {
            alike.clone_into(&mut self.graph[*index].alike);
        }
    }

    /// The same for a node that downloads.
    pub fn add_download(
        &mut self,
        draft: Draft<'_, impl Serialize>,
        work: impl Into<W>,
        urls: Vec<String>,
    ) -> NodeIndex {
        let index = self.add(draft, work);
        self.graph[index].downloads = urls;
        index
    }

    /// Names the term that selects a node: `word=value`.
    pub fn known_as(&mut self, index: NodeIndex, word: &'static str, value: String) -> NodeIndex {
        self.graph[index].term = Some((word, value));
        index
    }

    /// Says from which age on its result is built again.
    pub fn renewed_after(&mut self, index: NodeIndex, max_age: Option<Duration>) {
        self.graph[index].max_age = max_age;
    }

    /// One of them.
    pub fn node(&self, index: NodeIndex) -> &Node<W> {
        &self.graph[index]
    }

    /// The key of one of them.
    pub fn key(&self, index: NodeIndex) -> &str {
        &self.graph[index].key
    }

    /// All that these nodes depend on, themselves included.
    pub fn behind(&self, nodes: impl IntoIterator<Item = NodeIndex>) -> Vec<NodeIndex> {
        let mut found: Vec<_> = nodes.into_iter().collect();
        let mut next = 0;
        while next < found.len() {
            let needs = self.graph.neighbors_directed(found[next], Direction::Incoming);
            let new: Vec<_> = needs.filter(|need| !found.contains(need)).collect();
            found.extend(new);
            next += 1;
        }
        found
    }

    /// The plan with these nodes.
    pub fn into_plan(self, pipeline: &str, history: String, images: Vec<PlannedImage>) -> Plan<W> {
        Plan {
            pipeline: pipeline.to_owned(),
            history,
            images,
            nodes: self,
        }
    }
}

/// All inputs of a node: its stage, the revision of its work, its own.
pub fn inputs(stage: Stage, revision: u32, own: &impl Serialize) -> Value {
    let own = match serde_json::to_value(own) {
        Ok(Value::Object(members)) => members,
        Ok(other) => unreachable!("the inputs of a node are a struct, not {other}"),
        Err(error) => unreachable!("plain data always serialises: {error}"),
    };
    let mut all = Map::new();
    all.insert("stage".to_owned(), stage.name.into());
    all.insert(REVISION.to_owned(), revision.into());
    all.extend(own);
    Value::Object(all)
}

impl<W> Plan<W> {
    /// Nodes in an order in which they could run, as in the manifest.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeIndex, &Node<W>)> {
        self.nodes
            .order
            .iter()
            .map(|&index| (index, &self.nodes.graph[index]))
    }

    pub fn node(&self, index: NodeIndex) -> &Node<W> {
        self.nodes.node(index)
    }

    /// What a node needs.
    pub fn needs(&self, index: NodeIndex) -> impl Iterator<Item = NodeIndex> + '_ {
        // petgraph lists edges in the reverse order of their making.
        let edges = self.nodes.graph.edges_directed(index, Direction::Incoming);
        let mut edges: Vec<_> = edges.collect();
        edges.sort_by_key(petgraph::visit::EdgeRef::id);
        edges.into_iter().map(|edge| edge.source())
    }

    /// What needs a node.
    pub fn dependents(&self, index: NodeIndex) -> impl Iterator<Item = NodeIndex> + '_ {
        self.nodes.graph.neighbors_directed(index, Direction::Outgoing)
    }

    /// All that a node depends on, nearest first, without itself.
    pub fn behind(&self, index: NodeIndex) -> Vec<NodeIndex> {
        self.nodes.behind([index]).split_off(1)
    }

    /// These nodes and all that they depend on.
    pub fn with_needs(&self, nodes: impl IntoIterator<Item = NodeIndex>) -> Vec<NodeIndex> {
        self.nodes.behind(nodes)
    }

    /// All nodes that lead to an image, its last ones included, in an order in which they can run.
    pub fn way_to(&self, image: &PlannedImage) -> Vec<NodeIndex> {
        let last = image
            .published
            .iter()
            .chain([&image.delivery])
            .chain(&image.signed);
        let mut way = self.nodes.behind(last.copied());
        // Nodes are added after those that they need.
        way.sort_unstable();
        way
    }

    /// Whether an input of a node is the key of another one, whose change has its own reason.
    pub fn is_key_of_another(&self, node: &Node<W>, input: &Value) -> bool {
        let mut takes = node.takes.iter();
        input
            .as_str()
            .is_some_and(|input| takes.any(|take| self.nodes.key(take.node) == input))
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.order.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.order.is_empty()
    }

    /// The graph, for those who draw it.
    pub fn graph(&self) -> &DiGraph<Node<W>, ()> {
        &self.nodes.graph
    }
}
