//! Nodes of the plan: one stage for one subject, with the results that it takes from others. What a node does is the
//! type parameter: the plan never looks into it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};

use crate::took::Job;

/// A kind of work, as plans and stores know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// As in node ids and folders: `size`.
    pub name: &'static str,
    /// Where its results are.
    pub results: Results,
    /// Which inputs of its keys people are shown in a way of their own, by name.
    pub inputs: &'static [(&'static str, Input)],
}

/// How people are shown an input of a key, or a member of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A size in bytes.
    Size,
    /// What was written in a file of its own.
    Content,
    /// What the answer template gave, and how a change is reported.
    Answers(&'static str),
    /// Built into this program, and how a change is reported.
    BuiltIn(&'static str),
    /// What stands for a secret, and how a change is reported.
    Secret(&'static str),
    /// States of package archives: date and digest by suite.
    Archives,
    /// Variables by name.
    Variables,
    /// A list of things that have names.
    Named(Named),
}

/// A list of things that have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// What one is called, and the member that has its name.
    pub noun: &'static str,
    /// Which other members are shown in a way of their own.
    pub members: &'static [(&'static str, Input)],
}

/// The number of the work that made a result, among the inputs of every key.
pub const REVISION: &str = "revision";
/// How its change is reported.
const OTHER_REVISION: Input = Input::BuiltIn("this version of pipeline does it differently");

impl Stage {
    /// How people are shown an input.
    pub fn input(&self, name: &str) -> Option<Input> {
        find(self.inputs, name)
    }
}

impl Named {
    /// How people are shown a member.
    pub fn member(&self, name: &str) -> Option<Input> {
        find(self.members, name)
    }
}

fn find(inputs: &[(&str, Input)], name: &str) -> Option<Input> {
    if name == REVISION {
        return Some(OTHER_REVISION);
    }
    let found = inputs.iter().find(|(known, _)| *known == name);
    found.map(|(_, input)| *input)
}

/// Where the results of a stage are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Results {
    /// In the store, under their keys.
    Stored,
    /// Outside, where others may change them: they are looked at in each run, and wanted for their own sake.
    Outside,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// What a result is to the node that takes it: `image`, `base`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Role(Cow<'static, str>);

impl Role {
    /// A role of this name.
    pub const fn new(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// A role of a name that is made while planning.
    pub fn named(name: String) -> Self {
        Self(Cow::Owned(name))
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    /// A node takes this result in this role, and its own result stands for the other's key.
    pub fn of(&self, node: NodeIndex) -> Take {
        self.bound(node, Bond::Key)
    }

    /// The same, but its result is one of those very bytes: see [`Bond::Bytes`].
    pub fn bytes_of(&self, node: NodeIndex) -> Take {
        self.bound(node, Bond::Bytes)
    }

    /// A node takes this result where it is there, and does without where it is not.
    pub fn if_there(&self, node: NodeIndex) -> Take {
        self.bound(node, Bond::IfThere)
    }

    fn bound(&self, node: NodeIndex, bond: Bond) -> Take {
        let role = self.clone();
        Take { role, node, bond }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A result that a node takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// As what.
    pub role: Role,
    /// Whose result.
    pub node: NodeIndex,
    /// How it depends on it.
    pub bond: Bond,
}

/// How a node depends on a result that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bond {
    /// It needs a result of that key.
    Key,
    /// It needs it, and its own result belongs to the other's very bytes. Equal inputs need not give equal bytes: when the
    /// other is built again under the same key, this one is outdated.
    Bytes,
    /// It takes it where the store has it. Nothing is built for its sake.
    IfThere,
}

/// What a node takes of the host while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Virtual machines it boots, one after the other unless there is room for two.
    pub machines: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Scratch space in bytes, at most.
    pub scratch: u64,
}

/// One stage for one subject.
#[derive(Clone, Debug)]
pub struct Node<W> {
    pub stage: Stage,
    /// What it is done for: a distro, `distro-flavor`, an image id, `image@target`.
    pub subject: String,
    /// Hash of `inputs`.
    pub key: String,
    /// Everything the result depends on.
    pub inputs: serde_json::Value,
    /// The results that it takes.
    pub takes: Vec<Take>,
    pub work: W,
    /// What it costs.
    pub cost: Cost,
    /// URLs that it downloads from, in order of preference.
    pub downloads: Vec<String>,
    /// A term that selects it, as in `distro=debian12`.
    pub term: Option<(&'static str, String)>,
    /// What it has in common with nodes of its stage that take about as long: distro and flavor of an image; empty where
    /// nothing is known.
    pub alike: String,
    /// Age from which on its result is built again. No part of the key: the result stays what it is.
    pub max_age: Option<Duration>,
}

impl<W> Node<W> {
    /// `stage/subject`, unique in a plan.
    pub fn id(&self) -> String {
        format!("{}/{}", self.stage, self.subject)
    }

    /// As the estimates of times know it.
    pub fn job(&self) -> Job<'_> {
        Job {
            stage: self.stage.name,
            subject: &self.subject,
            alike: &self.alike,
        }
    }

    /// The server that it downloads from first; none for a file of this host.
    pub fn download_host(&self) -> Option<&str> {
        let (_, rest) = self.downloads.first()?.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let host = authority.rsplit('@').next()?;
        Some(host).filter(|host| !host.is_empty())
    }
}
