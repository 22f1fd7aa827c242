//! Cuts what must run into chains, each a job of its own on whatever host an engine chooses. Nodes that lead to the same
//! images make one chain: what only they take from each other then never travels. Pure.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::plan::assess::{Assessment, State};
use crate::plan::graph::Plan;
use crate::plan::node::{Cost, Node};

/// Seconds that a node of unknown duration counts for in a rank.
const UNKNOWN_SECONDS: f64 = 30.0;

/// Where a node can run, and where its result can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It runs on any host, and any other host can take its result.
    Shared,
    /// It runs on any host, and its result stays there: whatever takes it runs in the same job.
    Kept,
    /// It runs where the plan is made.
    Here,
}

/// Nodes that one job runs.
#[derive(Clone, Debug)]
pub struct Chain {
    /// In an order in which they could run.
    pub nodes: Vec<NodeIndex>,
    /// Positions of the chains whose results it takes; all of them come before it.
    pub after: Vec<usize>,
    /// What the host must have: of each resource the most that a node takes.
    pub cost: Cost,
    /// How long it may take, one node after the other, where that is known of all of them.
    pub seconds: Option<f64>,
    /// Seconds from its start to the end of all that depends on it: the larger goes first.
    pub rank: f64,
}

impl Chain {
    /// The nodes whose results are what it is for, in the plan's order: those that others take, and those that none takes.
    /// Whoever builds these builds the chain.
    pub fn results<W>(&self, plan: &Plan<W>) -> Vec<NodeIndex> {
        let is_result = |index: &NodeIndex| {
            let mut takers = plan.dependents(*index).peekable();
            takers.peek().is_none() || takers.any(|taker| !self.nodes.contains(&taker))
        };
        self.nodes.iter().copied().filter(is_result).collect()
    }

    /// The key of its last node. Whoever has to run the same names it the same.
    pub fn key<'a, W>(&self, plan: &'a Plan<W>) -> &'a str {
        let last = self.nodes.last().copied();
        last.map_or("", |last| &plan.node(last).key)
    }
}

/// Cuts the nodes that must run, but for those that run here. Each chain comes after those that it depends on.
pub fn cut<W>(
    plan: &Plan<W>,
    assessments: &BTreeMap<NodeIndex, Assessment>,
    reach: &dyn Fn(&Node<W>) -> Reach,
) -> Vec<Chain> {
    let members = members(plan, assessments, reach);
    let homes = homes(plan, &members, reach);
    let mut groups: DiGraph<Vec<NodeIndex>, ()> = DiGraph::new();
    let mut group_of = BTreeMap::new();
    for index in &members {
        let group = *group_of
            .entry(&homes[index])
            .or_insert_with(|| groups.add_node(Vec::new()));
        groups[group].push(*index);
    }
    let needs = |index: &NodeIndex| {
        let index = *index;
        plan.needs(index)
            .map(move |need| (index, need))
            .collect::<Vec<_>>()
    };
    for (index, need) in members.iter().flat_map(needs) {
        if let Some(from) = homes.get(&need)
            && *from != homes[&index]
        {
            groups.update_edge(group_of[from], group_of[&homes[&index]], ());
        }
    }
    // Chains that need each other would never start: they are one. The order is from what is needed last to first.
    let mut parts = tarjan_scc(&groups);
    parts.reverse();
    let position = |group: NodeIndex| parts.iter().position(|part| part.contains(&group));
    let mut chains: Vec<Chain> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let mut nodes: Vec<_> = part.iter().flat_map(|group| groups[*group].clone()).collect();
        nodes.sort_unstable();
        let needs = part
            .iter()
            .flat_map(|group| groups.neighbors_directed(*group, petgraph::Direction::Incoming));
        let after: BTreeSet<_> = needs.filter_map(position).filter(|need| *need != at).collect();
        chains.push(chain(plan, assessments, nodes, after.into_iter().collect()));
    }
    for at in (0..chains.len()).rev() {
        for need in chains[at].after.clone() {
            let through = chains[at].rank + length(assessments, &chains[need].nodes);
            chains[need].rank = chains[need].rank.max(through);
        }
    }
    chains
}

/// The nodes of all chains: what must run elsewhere, and results that stay where they are made, for those that take them.
fn members<W>(
    plan: &Plan<W>,
    assessments: &BTreeMap<NodeIndex, Assessment>,
    reach: &dyn Fn(&Node<W>) -> Reach,
) -> BTreeSet<NodeIndex> {
    let nodes: Vec<_> = plan.nodes().collect();
    let mut members = BTreeSet::new();
    for (index, node) in nodes.into_iter().rev() {
        if assessments[&index].state == State::Todo && reach(node) != Reach::Here {
            members.insert(index);
        }
        if members.contains(&index) {
            let needs = plan.needs(index);
            members.extend(needs.filter(|need| reach(plan.node(*need)) == Reach::Kept));
        }
    }
    members
}

/// What the nodes of a chain have in common: the images that they lead to, by position; of those that take a result that
/// stays where it is made, the images that this one leads to.
fn homes<W>(
    plan: &Plan<W>,
    members: &BTreeSet<NodeIndex>,
    reach: &dyn Fn(&Node<W>) -> Reach,
) -> BTreeMap<NodeIndex, Vec<usize>> {
    let mut homes: BTreeMap<NodeIndex, Vec<usize>> = BTreeMap::new();
    for (position, image) in plan.images.iter().enumerate() {
        let way: BTreeSet<_> = plan.way_to(image).into_iter().chain(image.check).collect();
        for index in way.into_iter().filter(|index| members.contains(index)) {
            homes.entry(index).or_default().push(position);
        }
    }
    let mut bound = BTreeSet::new();
    for index in members {
        homes.entry(*index).or_default();
        let needs = plan.needs(*index);
        for keeper in needs.filter(|need| reach(plan.node(*need)) == Reach::Kept) {
            let (from, to) = (homes[index].clone(), homes[&keeper].clone());
            if bound.insert(*index) {
                homes.insert(*index, to);
            } else {
                for home in homes.values_mut().filter(|home| **home == from) {
                    home.clone_from(&to);
                }
            }
        }
    }
    homes
}

fn chain<W>(
    plan: &Plan<W>,
    assessments: &BTreeMap<NodeIndex, Assessment>,
    nodes: Vec<NodeIndex>,
    after: Vec<usize>,
) -> Chain {
    let most = |most: Cost, index: &NodeIndex| {
        let cost = plan.node(*index).cost;
        Cost {
            machines: most.machines.max(cost.machines),
            memory: most.memory.max(cost.memory),
            cpus: most.cpus.max(cost.cpus),
            scratch: most.scratch.max(cost.scratch),
        }
    };
    let seconds = |index: &NodeIndex| assessments[index].expected.map(|expected| expected.seconds);
    Chain {
        cost: nodes.iter().fold(Cost::default(), most),
        seconds: nodes.iter().map(seconds).sum(),
        rank: length(assessments, &nodes),
        nodes,
        after,
    }
}

/// Seconds that nodes take, one after the other, as far as that is known.
fn length(assessments: &BTreeMap<NodeIndex, Assessment>, nodes: &[NodeIndex]) -> f64 {
    let seconds = |index: &NodeIndex| assessments[index].expected.map(|expected| expected.seconds);
    nodes
        .iter()
        .map(|index| seconds(index).unwrap_or(UNKNOWN_SECONDS))
        .sum()
}
