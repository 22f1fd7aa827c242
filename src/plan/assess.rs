//! Which nodes of a plan must run, and why. Asks what is there through [`Lookup`]; decides nothing by itself about files.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use petgraph::graph::NodeIndex;
use serde::Serialize;

use super::graph::Plan;
use super::node::{Bond, Node, Results};
use super::reason::differences;
use crate::event::FailureInfo;
use crate::took::{By, Expected};

/// Picks nodes.
pub type Pick<'a, W> = &'a dyn Fn(&Node<W>) -> bool;

/// What the plan wants to know about results.
pub trait Lookup<W> {
    /// Whether the result of a node is there and still stands. If not, with words ("out/x.gz is missing") where there is one:
    /// it is then made again.
    fn has(&self, plan: &Plan<W>, index: NodeIndex) -> Result<(), Option<String>>;
    /// Whether its result is in a store that hosts share, and not in this host's own.
    fn is_shared(&self, _node: &Node<W>) -> bool {
        false
    }
    /// That its result, if it is there, is older than it may be, in words.
    fn expired(&self, node: &Node<W>) -> Option<String>;
    /// What was last built for this subject: inputs, seconds, bytes.
    fn last(&self, node: &Node<W>) -> Option<LastBuild>;
    /// How long it may take.
    fn expected(&self, node: &Node<W>) -> Option<Expected>;
    /// After how many steps a layer is there that its work can go on from; 0: it begins at its beginning.
    fn layer(&self, plan: &Plan<W>, index: NodeIndex) -> usize;
    /// Why the last attempt to build it failed, if it did.
    fn failed(&self, node: &Node<W>) -> Option<LastFailure>;
}

/// What is remembered of the last build of a subject.
#[derive(Clone, Debug)]
pub struct LastBuild {
    pub key: String,
    /// What the key was made of.
    pub inputs: serde_json::Value,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How large its result was, in bytes.
    pub bytes: u64,
}

/// The last attempt to build a node, which failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LastFailure {
    pub at: Timestamp,
    /// The run that tried.
    pub run: String,
    #[serde(flatten)]
    pub failure: FailureInfo,
    /// Whether something that its result depends on has changed since.
    pub changed_since: bool,
}

impl LastFailure {
    /// `no such package: Unable to locate package sudoo`.
    pub fn why(&self) -> String {
        format!("{}: {}", self.failure.verdict, self.failure.cause)
    }
}

/// State of a node before a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its result is there.
    Cached,
    /// It must run.
    Todo,
    /// Its result is not there, but nothing that must run needs it.
    Unneeded,
}

/// A node's state with the reason and what to expect.
#[derive(Clone, Debug)]
pub struct Assessment {
    pub state: State,
    /// Whether it must be made although the store has its result: asked for, outdated, or made of what is made again.
    pub rebuild: bool,
    /// Whether its result is in the store that hosts share alone: it is taken from there when a node needs it.
    pub remote: bool,
    /// In words; empty for a cached node.
    pub reason: String,
    /// How long it may take, where earlier runs tell.
    pub expected: Option<Expected>,
    /// Steps that are done in the layer that it goes on from; 0: it begins at its beginning.
    pub layer: usize,
    /// Why the last attempt failed; only of a node that must run.
    pub failed: Option<LastFailure>,
    /// Bytes that an earlier build wrote.
    pub bytes: Option<u64>,
}

/// Assesses every node. `rebuild` names nodes that must run whatever the store has, `until` those to stop at, where there are
/// any.
pub fn assess<W>(
    plan: &Plan<W>,
    lookup: &dyn Lookup<W>,
    rebuild: Pick<'_, W>,
    until: Option<Pick<'_, W>>,
) -> BTreeMap<NodeIndex, Assessment> {
    let goals = Goals::new(plan, until);
    let mut present: BTreeMap<NodeIndex, Result<(), Option<String>>> = BTreeMap::new();
    let mut forced: BTreeMap<NodeIndex, bool> = BTreeMap::new();
    let mut expired: BTreeMap<NodeIndex, String> = BTreeMap::new();
    for (index, node) in plan.nodes() {
        present.insert(index, lookup.has(plan, index));
        expired.extend(lookup.expired(node).map(|why| (index, why)));
        // What depends on a forced node is forced too: its key does not change, but its input does.
        let force = rebuild(node) || expired.contains_key(&index);
        forced.insert(index, force || plan.needs(index).any(|need| forced[&need]));
    }
    let mut outdated: BTreeSet<NodeIndex> = BTreeSet::new();
    let todo = loop {
        let todo = todo(plan, &goals, &present, &forced);
        let stale: Vec<_> = plan
            .nodes()
            .filter(|(index, node)| {
                let mut takes = node.takes.iter();
                present[index].is_ok() && takes.any(|take| take.bond == Bond::Bytes && todo[&take.node])
            })
            .map(|(index, _)| index)
            .collect();
        if stale.is_empty() {
            break todo;
        }
        for index in stale {
            present.insert(index, Err(None));
            outdated.insert(index);
        }
    };
    let mut assessments = BTreeMap::new();
    for (index, node) in plan.nodes() {
        let last = lookup.last(node);
        let state = match (todo[&index], &present[&index]) {
            (true, _) => State::Todo,
            (false, Ok(())) => State::Cached,
            (false, Err(_)) => State::Unneeded,
        };
        let reason = match state {
            State::Cached => String::new(),
            State::Unneeded => "not in the store, and nothing needs it".to_owned(),
            State::Todo if rebuild(node) => "asked for by --rebuild".to_owned(),
            State::Todo if expired.contains_key(&index) => expired[&index].clone(),
            State::Todo => {
                let why_absent = present[&index].as_ref().err().cloned().flatten();
                reason(plan, index, last.as_ref(), why_absent, &todo)
            }
        };
        let took = last.as_ref().map(|last| Expected {
            seconds: last.seconds,
            by: By::Subject,
        });
        assessments.insert(
            index,
            Assessment {
                state,
                rebuild: forced[&index]
                    || outdated.contains(&index)
                    || matches!(present[&index], Err(Some(_))),
                remote: state == State::Cached && lookup.is_shared(node),
                reason,
                layer: match state {
                    State::Todo if !forced[&index] => lookup.layer(plan, index),
                    _ => 0,
                },
                expected: lookup.expected(node).or(took),
                failed: (state == State::Todo).then(|| lookup.failed(node)).flatten(),
                bytes: last.map(|last| last.bytes),
            },
        );
    }
    assessments
}

/// What is wanted for its own sake.
struct Goals {
    wanted: BTreeSet<NodeIndex>,
    /// The wanted nodes and all that they depend on.
    within: BTreeSet<NodeIndex>,
}

impl Goals {
    /// The nodes to stop at; without any, all whose results lie outside the store, and whatever is forced.
    fn new<W>(plan: &Plan<W>, until: Option<Pick<'_, W>>) -> Self {
        let is_wanted = |node: &Node<W>| match until {
            Some(until) => until(node),
            None => node.stage.results == Results::Outside,
        };
        let wanted: BTreeSet<_> = plan
            .nodes()
            .filter(|(_, node)| is_wanted(node))
            .map(|(index, _)| index)
            .collect();
        let within = match until {
            Some(_) => plan.with_needs(wanted.iter().copied()).into_iter().collect(),
            None => plan.nodes().map(|(index, _)| index).collect(),
        };
        Self { wanted, within }
    }
}

/// Which nodes must run: what is wanted and not there, and what is forced.
fn todo<W>(
    plan: &Plan<W>,
    goals: &Goals,
    present: &BTreeMap<NodeIndex, Result<(), Option<String>>>,
    forced: &BTreeMap<NodeIndex, bool>,
) -> BTreeMap<NodeIndex, bool> {
    let mut todo: BTreeMap<NodeIndex, bool> = BTreeMap::new();
    let order: Vec<_> = plan.nodes().map(|(index, _)| index).collect();
    for &index in order.iter().rev() {
        let forced = forced[&index] && goals.within.contains(&index);
        let wanted = goals.wanted.contains(&index) || plan.dependents(index).any(|d| todo[&d]) || forced;
        todo.insert(index, wanted && (present[&index].is_err() || forced));
    }
    todo
}

fn reason<W>(
    plan: &Plan<W>,
    index: NodeIndex,
    last: Option<&LastBuild>,
    why_absent: Option<String>,
    todo: &BTreeMap<NodeIndex, bool>,
) -> String {
    let node = plan.node(index);
    let upstream = plan
        .needs(index)
        .find(|need| todo[need])
        .map(|need| plan.node(need).id());
    let Some(last) = last else {
        return why_absent.unwrap_or_else(|| "never built".to_owned());
    };
    if last.key != node.key {
        let mut phrases = differences(node.stage, &last.inputs, &node.inputs, &|input| {
            plan.is_key_of_another(node, input)
        });
        if phrases.is_empty() {
            phrases.push(match upstream {
                Some(id) => format!("{id} is rebuilt"),
                None => "what it is made from changed".to_owned(),
            });
        }
        return phrases.join("; ");
    }
    match (why_absent, upstream) {
        (Some(why), _) => why,
        (None, Some(id)) => format!("{id} is rebuilt"),
        (None, None) => "no longer in the store".to_owned(),
    }
}
