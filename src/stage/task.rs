//! What every stage says of its work: the programs it needs, what can be found wrong before anything starts, the files
//! that it leaves, when its result is outdated, and how it runs. Whoever plans and whoever runs know stages by this alone.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Site;
use super::error::StageError;
use super::layer::Checkpoint;
use super::result::{Given, Taken};
use crate::digest::Digest;
use crate::event::{Outcome, What};
use crate::host::cancel::Cancel;
use crate::host::fs::FsError;
use crate::manifest::model::Secret;
use crate::plan::node::Role;
use crate::platform::Platform;

/// The work of one node.
pub trait Task: fmt::Debug {
    /// Host programs that it starts.
    fn programs(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// What can be found out before anything starts. It is asked of each node that is to run: what concerns several of
    /// them is found once and noted in the memo.
    fn preflight(&self, _memo: &Memo) -> Vec<Finding> {
        Vec::new()
    }

    /// What [`Task::probe`] asks, so that nodes that ask the same ask once; none: nothing.
    fn asks(&self) -> Option<String> {
        None
    }

    /// What servers say before anything starts, in seconds.
    fn probe(&self, _cancel: &Cancel) -> Vec<Finding> {
        Vec::new()
    }

    /// Size of the largest file that it makes while it works, in bytes.
    fn largest_file(&self) -> u64 {
        0
    }

    /// Secrets that it needs while it runs.
    fn secrets(&self) -> Vec<&Secret> {
        Vec::new()
    }

    /// What kind of computer its machines are, if it starts any.
    fn platform(&self) -> Option<Platform> {
        None
    }

    /// Whether it runs in a process of its own, so that a crash costs its node alone: what starts machines or long programs,
    /// or reads what others made.
    fn is_isolated(&self) -> bool {
        false
    }

    /// Whether it runs two machines at once where there is room for both.
    fn doubles(&self) -> bool {
        false
    }

    /// The files of its result.
    fn files(&self) -> &'static [File];

    /// Whether its result still stands; if not, why, where there is more to say than that it is not there. A result that is
    /// there and does not stand needs words: it is made again.
    ///
    /// # Errors
    /// That it does not.
    fn stands(&self, stored: &Stored<'_>) -> Result<(), Option<String>> {
        stored.result.as_ref().map(drop).ok_or(None)
    }

    /// Whether anything is reported again of a result that an earlier run made …
    fn recalls(&self) -> bool {
        false
    }

    fn recalled(&self, _result: &Given) -> Vec<What> {
        Vec::new()
    }

    /// Texts that its key has by digest only, with those digests.
    fn texts(&self) -> Vec<(String, &str)> {
        Vec::new()
    }

    /// What a system is configured with, for the stages that install one.
    fn answers(&self) -> Option<&str> {
        None
    }

    /// Whether it publishes what is built, and builds nothing itself.
    fn publishes(&self) -> bool {
        false
    }

    /// Logs that it leaves, by their file names, with what they are.
    fn logs(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// What one node at a time is at, in words ("packaging of debian12"); the others wait for it to end.
    fn turn(&self) -> Option<String> {
        None
    }

    /// Whether it goes faster with what the same stage made before: see [`Site::earlier`].
    fn looks_back(&self) -> bool {
        false
    }

    /// The points on its way at which its work can be kept, so that it, or other work with the same beginning, goes on from
    /// there. In order.
    fn checkpoints(&self) -> &[Checkpoint] {
        &[]
    }

    /// Why a machine of it that failed cannot be kept or entered, whatever the user asked for.
    fn unkept(&self) -> Option<&'static str> {
        None
    }

    /// Does the work: leaves its files in the folder `out`.
    ///
    /// # Errors
    /// [`StageError`].
    fn run(&self, taken: &Taken, out: &Path, site: &Site) -> Result<Made, StageError>;
}

/// A file of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name in the result.
    pub name: &'static str,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a file of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Later stages take it; it never leaves the store.
    Internal,
    /// The same, and there may be none.
    Optional,
    /// It is published with the image, under the name of the image's file with this behind it (nothing: it is the image).
    Published(&'static str),
}

impl File {
    /// A file for later stages.
    pub const fn internal(name: &'static str) -> Self {
        let fate = Fate::Internal;
        Self { name, fate }
    }

    /// A file for later stages, which not every result has.
    pub const fn optional(name: &'static str) -> Self {
        let fate = Fate::Optional;
        Self { name, fate }
    }

    /// A file that is published.
    pub const fn published(name: &'static str, behind: &'static str) -> Self {
        let fate = Fate::Published(behind);
        Self { name, fate }
    }
}

/// What a stage's work came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Made {
    /// What it tells later stages, and itself in later runs.
    pub facts: Value,
    /// Whether something was done.
    pub outcome: Outcome,
    /// For people: where it was published.
    pub message: Option<String>,
    /// Digests of its files that were made on the way, so that they need not be read again.
    pub digests: BTreeMap<String, Vec<Digest>>,
}

impl Made {
    /// Something was made; there is nothing to tell.
    pub fn built() -> Self {
        Self {
            facts: Value::Object(serde_json::Map::new()),
            outcome: Outcome::Built,
            message: None,
            digests: BTreeMap::new(),
        }
    }

    /// Something was made, and these are its facts.
    pub fn with(facts: &impl Serialize) -> Self {
        let facts = match serde_json::to_value(facts) {
            Ok(facts) => facts,
            Err(error) => unreachable!("plain data always serialises: {error}"),
        };
        Self {
            facts,
            ..Self::built()
        }
    }
}

/// What was found out before a run.
#[derive(Debug)]
pub enum Finding {
    /// A secret is not there.
    Secret(String),
    /// A place to publish to cannot be used.
    Target(String),
    /// The output folder cannot be written to.
    Output(FsError),
    /// The host lacks something, in words.
    Missing(String),
    /// A medium is not what it must be.
    Medium(String),
    /// A server does not have what is wanted of it.
    Absent(String),
    /// A server cannot be asked now; it may answer when it is the node's turn.
    Unreachable(String),
    /// It stops nothing.
    Warning(String),
}

/// What a stage is shown of a node to say whether its result stands.
pub struct Stored<'a> {
    /// The result under the node's key, where there is one.
    pub result: Option<Given>,
    /// The results that it takes, as they are now.
    pub taken: &'a dyn Fn(&Role) -> Option<Given>,
    /// For what is read once for many nodes.
    pub memo: &'a Memo,
}

impl fmt::Debug for Stored<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("result", &self.result)
            .finish_non_exhaustive()
    }
}

/// What stages note while they look at many nodes, by its type.
#[derive(Debug, Default)]
pub struct Memo(RefCell<BTreeMap<TypeId, Rc<dyn Any>>>);

impl Memo {
    /// The note of this type; an empty one at first.
    pub fn note<T: Default + 'static>(&self) -> Rc<RefCell<T>> {
        let mut notes = self.0.borrow_mut();
        let note = notes
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Rc::new(RefCell::new(T::default())));
        match Rc::clone(note).downcast() {
            Ok(note) => note,
            Err(_) => unreachable!("a note is found by its type"),
        }
    }
}
