//! The files that an image consists of, when it is ready to appear: the packaged disk, and what other stages publish
//! with it. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};

use super::Work;
use super::error::StageError;
use super::result::{Artifact, Given, Taken};
use super::task::Fate;
use crate::plan::graph::Nodes;
use crate::plan::node::{Role, Take};

/// The packaged image, for the stages behind it.
pub const IMAGE: Role = Role::new("image");
/// A passed check, without which nothing appears.
pub const CHECK: Role = Role::new("check");

/// A file that is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// As what its result is taken.
    pub role: Role,
    /// Its name in that result.
    pub name: String,
    /// Its path below the output folder, and below every place.
    pub path: PathBuf,
}

impl Part {
    /// Whether it is the image itself.
    pub fn is_image(&self) -> bool {
        self.role == IMAGE
    }

    /// The file, in the result that was taken.
    ///
    /// # Errors
    /// [`StageError::NoResult`], [`StageError::NoFile`].
    pub fn artifact<'a>(&'a self, taken: &'a Taken) -> Result<Artifact<'a>, StageError> {
        taken.get(&self.role)?.artifact(&self.name)
    }

    /// The same, where the result is there.
    pub fn artifact_in<'a>(&'a self, given: &'a Given) -> Option<Artifact<'a>> {
        given.artifact(&self.name).ok()
    }
}

/// An image that is about to be ready to appear: the nodes whose files are published, and the check that they wait for.
#[derive(Clone, Debug)]
pub struct Ready<'a> {
    file: &'a Path,
    nodes: Vec<(Role, NodeIndex)>,
    check: Option<NodeIndex>,
    /// Its files, the image first.
    pub parts: Vec<Part>,
}

impl<'a> Ready<'a> {
    /// An image whose own file is packaged by this node, and is `file` below the output folder.
    pub fn new(file: &'a Path, package: NodeIndex, nodes: &Nodes<Work>) -> Self {
        let mut ready = Self {
            file,
            nodes: Vec::new(),
            check: None,
            parts: Vec::new(),
        };
        ready.add(IMAGE, package, nodes);
        ready
    }

    /// A node whose files are published with the image.
    pub fn add(&mut self, role: Role, node: NodeIndex, nodes: &Nodes<Work>) {
        for file in nodes.node(node).work.files() {
            if let Fate::Published(behind) = file.fate {
                let mut path = self.file.as_os_str().to_owned();
                path.push(behind);
                self.parts.push(Part {
                    role: role.clone(),
                    name: file.name.to_owned(),
                    path: path.into(),
                });
            }
        }
        self.nodes.push((role, node));
    }

    /// A node of which one file is published with the image, at a path of its own.
    pub fn add_at(&mut self, role: Role, node: NodeIndex, name: &str, path: &Path) {
        self.parts.push(Part {
            role: role.clone(),
            name: name.to_owned(),
            path: path.to_owned(),
        });
        self.nodes.push((role, node));
    }

    /// The check that must pass before anything appears.
    pub fn wait_for(&mut self, check: Option<NodeIndex>) {
        self.check = check;
    }

    /// The node that packages the image.
    pub fn package(&self) -> NodeIndex {
        self.nodes[0].1
    }

    /// The nodes whose files are published with the image.
    pub fn beside(&self) -> impl Iterator<Item = &(Role, NodeIndex)> {
        self.nodes.iter().skip(1)
    }

    /// What a node takes that makes the image appear somewhere. The files are needed for themselves, however long ago
    /// they were checked.
    pub fn takes(&self) -> Vec<Take> {
        let check = self.check.map(|check| CHECK.of(check));
        let files = self.nodes.iter().map(|(role, node)| role.bytes_of(*node));
        check.into_iter().chain(files).collect()
    }

    /// All nodes that must be done before it appears.
    pub fn all(&self) -> Vec<NodeIndex> {
        self.takes().into_iter().map(|take| take.node).collect()
    }

    /// The keys of the nodes that it consists of.
    pub(super) fn keys(&self, nodes: &Nodes<Work>) -> ReadyKeys {
        let key = |node: NodeIndex| nodes.key(node).to_owned();
        ReadyKeys {
            package: key(self.package()),
            beside: self
                .beside()
                .map(|(role, node)| (role.name().to_owned(), key(*node)))
                .collect(),
            check: self.check.map(key),
        }
    }
}

/// Keys of the nodes that an image consists of.
#[derive(Debug)]
pub(super) struct ReadyKeys {
    pub package: String,
    pub beside: BTreeMap<String, String>,
    pub check: Option<String>,
}
