//! Cuts what must run into chains, each a job of its own on whatever host an engine chooses. Nodes that lead to the same
//! images make one chain: what only they take from each other then never travels. Pure.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::plan::assess::{Assessment, State};
use crate::plan::graph::Plan;
use crate::plan::node::{Cost, Node};

/// Seconds that a node of unknown duration counts for in a rank.
const UNKNOWN_SECONDS: f64 = 30.0;
/// Results are made more than once if all is over within this part of the time.
const WORTH: f64 = 0.97;

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
    /// In an order in which they could run. Those whose results stay where they are made can be in several chains.
    pub nodes: Vec<NodeIndex>,
    /// Those whose results are what it is for: others take them, or none does. Whoever builds these builds the chain.
    pub results: Vec<NodeIndex>,
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
    /// The key of its last node. Whoever has to run the same names it the same.
    pub fn key<'a, W>(&self, plan: &'a Plan<W>) -> &'a str {
        let last = self.nodes.last().copied();
        last.map_or("", |last| &plan.node(last).key)
    }
}

/// Cuts the nodes that must run, but for those that run here. Each chain comes after those that it depends on. With a number
/// of workers, what takes a result that stays where it is made is cut into as many chains as pays, each of which makes that
/// result itself: workers that would wait cost nothing.
pub fn cut<W>(
    plan: &Plan<W>,
    assessments: &BTreeMap<NodeIndex, Assessment>,
    reach: &dyn Fn(&Node<W>) -> Reach,
    workers: Option<NonZeroUsize>,
) -> Vec<Chain> {
    let parts = parts(plan, assessments, reach);
    let mut best = chains(plan, assessments, reach, &parts);
    let are_known = best.iter().all(|chain| chain.seconds.is_some());
    let Some(workers) = workers.filter(|_| are_known) else {
        return best;
    };
    let (mut end, mut finest) = (estimate(&best, workers), best.len());
    for pieces in 2..=workers.get() {
        let split = parts.iter().flat_map(|part| split(plan, reach, part, pieces));
        let finer = chains(plan, assessments, reach, &split.collect::<Vec<_>>());
        if finer.len() == finest {
            break;
        }
        finest = finer.len();
        let sooner = estimate(&finer, workers);
        if sooner < end * WORTH {
            (best, end) = (finer, sooner);
        }
    }
    best
}

/// Nodes that lead to the same images, in an order in which they could run.
fn parts<W>(
    plan: &Plan<W>,
    assessments: &BTreeMap<NodeIndex, Assessment>,
    reach: &dyn Fn(&Node<W>) -> Reach,
) -> Vec<Vec<NodeIndex>> {
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
    let parts = tarjan_scc(&groups).into_iter().rev();
    let nodes = |part: Vec<NodeIndex>| {
        let mut nodes: Vec<_> = part.iter().flat_map(|group| groups[*group].clone()).collect();
        nodes.sort_unstable();
        nodes
    };
    parts.map(nodes).collect()
}

/// Cuts a part into so many pieces, or fewer: what its kept results are made from, and the nodes that take them in even
/// shares, each with all kept results behind it.
fn split<W>(
    plan: &Plan<W>,
    reach: &dyn Fn(&Node<W>) -> Reach,
    part: &[NodeIndex],
    pieces: usize,
) -> Vec<Vec<NodeIndex>> {
    let is_kept = |index: &NodeIndex| reach(plan.node(*index)) == Reach::Kept;
    let inside = |index: NodeIndex| plan.needs(index).filter(|need| part.contains(need));
    let mut before = BTreeSet::new();
    // What a node takes is from here on in front of it.
    for index in part.iter().rev() {
        if is_kept(index) || before.contains(index) {
            before.extend(inside(*index).filter(|need| !is_kept(need)));
        }
    }
    let follows_kept = before
        .iter()
        .any(|index| inside(*index).any(|need| is_kept(&need)));
    let mut branches: Vec<BTreeSet<NodeIndex>> = Vec::new();
    for index in part
        .iter()
        .filter(|index| !is_kept(index) && !before.contains(index))
    {
        let needs: BTreeSet<_> = inside(*index).collect();
        let (own, others): (Vec<_>, _) = branches
            .into_iter()
            .partition(|branch| !branch.is_disjoint(&needs));
        branches = others;
        branches.push(own.into_iter().flatten().chain([*index]).collect());
    }
    branches.sort_unstable();
    let pieces = pieces.min(branches.len());
    if pieces < 2 || follows_kept || !part.iter().any(is_kept) {
        return vec![part.to_vec()];
    }
    let share = |piece: usize| {
        let own = &branches[branches.len() * piece / pieces..branches.len() * (piece + 1) / pieces];
        let mut nodes: BTreeSet<_> = own.iter().flatten().copied().collect();
        for index in part.iter().rev().filter(|index| is_kept(index)) {
            let mut takers = plan.dependents(*index);
            if takers.any(|taker| nodes.contains(&taker)) {
                nodes.insert(*index);
            }
        }
        nodes.into_iter().collect()
    };
    let before = Some(Vec::from_iter(before)).filter(|before| !before.is_empty());
    before.into_iter().chain((0..pieces).map(share)).collect()
}

/// Chains of these nodes, each after those that it takes results of.
fn chains<W>(
    plan: &Plan<W>,
    assessments: &BTreeMap<NodeIndex, Assessment>,
    reach: &dyn Fn(&Node<W>) -> Reach,
    parts: &[Vec<NodeIndex>],
) -> Vec<Chain> {
    let mut maker = BTreeMap::new();
    for (at, part) in parts.iter().enumerate() {
        maker.extend(part.iter().map(|index| (*index, at)));
    }
    let mut chains: Vec<Chain> = Vec::new();
    for part in parts {
        let needs = part.iter().flat_map(|index| plan.needs(*index));
        let needs = needs.filter(|need| !part.contains(need));
        let after: BTreeSet<_> = needs.filter_map(|need| maker.get(&need).copied()).collect();
        chains.push(chain(plan, assessments, reach, (part.clone(), after)));
    }
    for at in (0..chains.len()).rev() {
        for need in chains[at].after.clone() {
            let through = chains[at].rank + length(assessments, &chains[need].nodes);
            chains[need].rank = chains[need].rank.max(through);
        }
    }
    chains
}

/// When all chains are over, in seconds, if workers that are free take those with the largest rank first.
fn estimate(chains: &[Chain], workers: NonZeroUsize) -> f64 {
    let mut order: Vec<_> = (0..chains.len()).collect();
    order.sort_by(|a, b| chains[*b].rank.total_cmp(&chains[*a].rank));
    let (mut free, mut ends, mut now) = (
        vec![0.0_f64; workers.get()],
        vec![f64::INFINITY; chains.len()],
        0.0,
    );
    while !order.is_empty() {
        let start = |at: &usize| {
            chains[*at]
                .after
                .iter()
                .map(|need| ends[*need])
                .fold(0.0, f64::max)
        };
        let soonest = order.iter().map(start).fold(f64::INFINITY, f64::min);
        let worker = free.iter_mut().min_by(|a, b| a.total_cmp(b));
        let Some(worker) = worker else { break };
        now = soonest.max(*worker).max(now);
        let Some(next) = order.iter().position(|at| start(at) <= now) else {
            break;
        };
        let next = order.remove(next);
        ends[next] = now + chains[next].seconds.unwrap_or(UNKNOWN_SECONDS);
        *worker = ends[next];
    }
    ends.into_iter().fold(0.0, f64::max)
}

/// The nodes of all chains: what must run elsewhere, and results that stay where they are made, for those that take them. One
/// that none of these takes is made where it is wanted.
fn members<W>(
    plan: &Plan<W>,
    assessments: &BTreeMap<NodeIndex, Assessment>,
    reach: &dyn Fn(&Node<W>) -> Reach,
) -> BTreeSet<NodeIndex> {
    let nodes: Vec<_> = plan.nodes().collect();
    let mut members = BTreeSet::new();
    for (index, node) in nodes.into_iter().rev() {
        if assessments[&index].state == State::Todo && reach(node) == Reach::Shared {
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
    reach: &dyn Fn(&Node<W>) -> Reach,
    (nodes, after): (Vec<NodeIndex>, BTreeSet<usize>),
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
    let is_result = |index: &NodeIndex| {
        let mut takers = plan.dependents(*index).peekable();
        let is_last = takers.peek().is_none();
        // No other host takes what stays here, whoever else would.
        let travels = reach(plan.node(*index)) != Reach::Kept;
        is_last || travels && takers.any(|taker| !nodes.contains(&taker))
    };
    let seconds = |index: &NodeIndex| assessments[index].expected.map(|expected| expected.seconds);
    Chain {
        cost: nodes.iter().fold(Cost::default(), most),
        seconds: nodes.iter().map(seconds).sum(),
        rank: length(assessments, &nodes),
        results: nodes.iter().copied().filter(is_result).collect(),
        nodes,
        after: after.into_iter().collect(),
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
