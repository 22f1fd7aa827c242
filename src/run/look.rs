//! What is there already: answers the plan's questions from the store, by what each stage says of its results.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use petgraph::graph::NodeIndex;

use super::layers;

use crate::lock;
use crate::plan::assess::{LastBuild, LastFailure, Lookup};
use crate::plan::node::Role;
use crate::remote::Remote;
use crate::size::write_duration;
use crate::stage::result::{Given, GivenFile, Taken};
use crate::stage::task::{Memo, Stored};
use crate::stage::{Node, Plan, Work};
use crate::store::{Address, Attempt, Entry, Record, Store};
use crate::took::{Expected, Job, Times};

/// Looks into a store.
#[derive(Debug)]
pub struct Look<'a> {
    store: &'a Store,
    remote: Option<&'a Remote>,
    history: &'a str,
    memo: Memo,
    times: Times,
    attempts: Attempts,
}

/// The last attempt to build each key, and each subject of this pipeline.
#[derive(Debug, Default)]
struct Attempts {
    by_key: BTreeMap<(String, String), Attempt>,
    by_subject: BTreeMap<(String, String), Attempt>,
}

impl<'a> Look<'a> {
    /// Looks for a pipeline whose results are remembered under this name.
    pub fn new(store: &'a Store, remote: Option<&'a Remote>, pipeline: &str, history: &'a str) -> Self {
        let (mut times, mut attempts) = (Times::default(), Attempts::default());
        for attempt in store.attempts() {
            let job = Job {
                stage: &attempt.stage,
                subject: &attempt.subject,
                alike: &attempt.alike,
            };
            times.learn(job, attempt.seconds, attempt.failure.is_none());
            let key = (attempt.stage.clone(), attempt.key.clone());
            let subject = (attempt.stage.clone(), attempt.subject.clone());
            if attempt.pipeline == pipeline {
                attempts.by_subject.insert(subject, attempt.clone());
            }
            attempts.by_key.insert(key, attempt);
        }
        Self {
            store,
            remote,
            history,
            memo: Memo::default(),
            times,
            attempts,
        }
    }
}

impl Look<'_> {
    /// A node's result, where this host's store or the one that hosts share has it.
    fn given(&self, node: &Node) -> Option<Given> {
        given(self.store, node).or_else(|| {
            let record = self.remote?.known(&address(node))?;
            Some(of_record(&record, PathBuf::new(), node.id()))
        })
    }
}

impl Lookup<Work> for Look<'_> {
    fn has(&self, plan: &Plan, index: NodeIndex) -> Result<(), Option<String>> {
        let node = plan.node(index);
        let taken = |role: &Role| {
            let take = node.takes.iter().find(|take| take.role == *role)?;
            self.given(plan.node(take.node))
        };
        node.work.stands(&Stored {
            result: self.given(node),
            taken: &taken,
            memo: &self.memo,
        })
    }

    fn is_shared(&self, node: &Node) -> bool {
        self.store.lookup(node.stage.name, &node.key).is_none()
    }

    fn expired(&self, node: &Node) -> Option<String> {
        let max_age = node.max_age?;
        let built = self.given(node)?.created;
        let is_old = Timestamp::now().duration_since(built) > SignedDuration::try_from(max_age).ok()?;
        let (built, max_age) = (lock::day(built), write_duration(max_age));
        is_old.then(|| format!("built {built}, which is longer ago than its max_age of {max_age}"))
    }

    fn last(&self, node: &Node) -> Option<LastBuild> {
        let last = self.store.latest(self.history, node.stage.name, &node.subject)?;
        Some(LastBuild {
            key: last.key,
            inputs: last.inputs,
            seconds: last.seconds,
            bytes: last.bytes,
        })
    }

    fn expected(&self, node: &Node) -> Option<Expected> {
        self.times.expected(node.job())
    }

    fn layer(&self, plan: &Plan, index: NodeIndex) -> usize {
        let node = plan.node(index);
        let takes = node.takes.iter();
        let taken =
            takes.filter_map(|take| Some((take.role.clone(), given(self.store, plan.node(take.node))?)));
        let taken: Taken = taken.collect();
        layers::steps(&layers::find(self.store, node.work.checkpoints(), &taken))
    }

    fn failed(&self, node: &Node) -> Option<LastFailure> {
        let stage = node.stage.name.to_owned();
        let of_key = self.attempts.by_key.get(&(stage.clone(), node.key.clone()));
        let of_subject = || self.attempts.by_subject.get(&(stage, node.subject.clone()));
        let attempt = of_key.or_else(of_subject)?;
        Some(LastFailure {
            at: attempt.at,
            run: attempt.run.clone(),
            failure: attempt.failure.clone()?,
            changed_since: attempt.key != node.key,
        })
    }
}

/// A node's result, where the store has it.
pub fn given(store: &Store, node: &Node) -> Option<Given> {
    let entry = store.lookup(node.stage.name, &node.key)?;
    Some(as_given(&entry, node.id()))
}

/// Where a node's result is in a store.
pub fn address(node: &Node) -> Address {
    Address::new(node.stage.name, &node.key)
}

/// A result of the store as stages see it.
pub(super) fn as_given(entry: &Entry, node: String) -> Given {
    of_record(entry.record(), entry.folder().to_owned(), node)
}

/// The same of what is known of a result.
pub(super) fn of_record(record: &Record, folder: PathBuf, node: String) -> Given {
    let files = record.files.iter().map(|(name, file)| {
        let file = GivenFile {
            bytes: file.bytes,
            digests: file.digests.clone(),
        };
        (name.clone(), file)
    });
    Given {
        node,
        folder,
        created: record.created,
        files: files.collect(),
        facts: record.facts.clone(),
    }
}
