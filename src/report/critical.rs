//! The critical path of a run: of all chains in which each node needs the one before, the one that took longest. However many
//! nodes run at once, the run takes at least that long. Pure.

use std::collections::BTreeMap;

use crate::report::recorded::{Recorded, Spans};

/// The nodes of the path by their places in the summary, the first one first. Empty where the journal does not say what nodes
/// need, as those of older versions do not.
pub fn path(run: &Recorded) -> Vec<usize> {
    let nodes = &run.summary.nodes;
    if nodes.iter().all(|node| node.info.needs.is_empty()) {
        return Vec::new();
    }
    let mut place: BTreeMap<&str, usize> = BTreeMap::new();
    // The longest chain that ends with each node, and the node before it. Nodes come in an order in which they could run.
    let mut ways: Vec<(u64, Option<usize>)> = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let needs = node.info.needs.iter().filter_map(|id| place.get(id.as_str()));
        // Of equal ones the first.
        let before = needs
            .copied()
            .reduce(|best, other| match ways[other].0 > ways[best].0 {
                true => other,
                false => best,
            });
        let before = before.filter(|before| ways[*before].0 > 0);
        let own = run.spans.get(&node.info.id).map_or(0, Spans::worked);
        ways.push((own + before.map_or(0, |before| ways[before].0), before));
        place.insert(&node.info.id, index);
    }
    let mut last = ways
        .iter()
        .enumerate()
        .filter(|(_, way)| way.0 > 0)
        .map(|(index, _)| index);
    let first = last.next();
    let mut next = last.fold(first, |best, other| match best {
        Some(best) if ways[other].0 <= ways[best].0 => Some(best),
        _ => Some(other),
    });
    let mut path = Vec::new();
    while let Some(index) = next {
        path.push(index);
        next = ways[index].1;
    }
    path.reverse();
    path
}
