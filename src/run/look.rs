//! What is there already: answers the plan's questions from the store, by what each stage says of its results.

use petgraph::graph::NodeIndex;

use crate::plan::assess::{LastBuild, Lookup};
use crate::plan::node::Role;
use crate::stage::result::{Given, GivenFile};
use crate::stage::task::{Memo, Stored};
use crate::stage::{Node, Plan, Work};
use crate::store::{Entry, Store};

/// Looks into a store.
#[derive(Debug)]
pub struct Look<'a> {
    store: &'a Store,
    pipeline: &'a str,
    memo: Memo,
}

impl<'a> Look<'a> {
    /// Looks for this pipeline.
    pub fn new(store: &'a Store, pipeline: &'a str) -> Self {
        Self {
            store,
            pipeline,
            memo: Memo::default(),
        }
    }
}

impl Lookup<Work> for Look<'_> {
    fn has(&self, plan: &Plan, index: NodeIndex) -> Result<(), Option<String>> {
        let node = plan.node(index);
        let taken = |role: &Role| {
            let take = node.takes.iter().find(|take| take.role == *role)?;
            given(self.store, plan.node(take.node))
        };
        node.work.stands(&Stored {
            result: given(self.store, node),
            taken: &taken,
            memo: &self.memo,
        })
    }

    fn last(&self, node: &Node) -> Option<LastBuild> {
        let last = self.store.latest(self.pipeline, node.stage.name, &node.subject)?;
        Some(LastBuild {
            key: last.key,
            inputs: last.inputs,
            seconds: last.seconds,
            bytes: last.bytes,
        })
    }
}

/// A node's result, where the store has it.
pub fn given(store: &Store, node: &Node) -> Option<Given> {
    let entry = store.lookup(node.stage.name, &node.key)?;
    Some(as_given(entry, node.id()))
}

/// A result of the store as stages see it.
pub(super) fn as_given(entry: Entry, node: String) -> Given {
    let folder = entry.folder().to_owned();
    let created = entry.created();
    let (files, facts) = entry.into_parts();
    let files = files.into_iter().map(|(name, file)| {
        let file = GivenFile {
            bytes: file.bytes,
            digests: file.digests,
        };
        (name, file)
    });
    Given {
        node,
        folder,
        created,
        files: files.collect(),
        facts,
    }
}
