//! What changed since the run before: what fails now and did not, what took longer, which images grew.

use std::collections::BTreeMap;

use serde::Serialize;

use super::took;
use crate::event::Outcome;
use crate::report::node::State;
use crate::report::recorded::{Recorded, Spans};
use crate::size::ByteSize;

/// Differences of one kind that are listed, the largest first.
const LISTED: usize = 12;
/// A node took as long as before unless the times differ by more than this many milliseconds …
const NOTABLE: u64 = 1000;
/// … and more than a fifth of the longer time.
const SHARE: u64 = 5;

#[derive(Serialize)]
pub(super) struct Comparison<'a> {
    run: &'a str,
    started: String,
    took: String,
    took_before: String,
    /// Nodes that failed, and did not before.
    broken: Vec<&'a str>,
    /// Nodes that failed before, and were built.
    fixed: Vec<&'a str>,
    times: Vec<Change<'a>>,
    sizes: Vec<Change<'a>>,
    /// Images that only this run was to make, and that only the one before was.
    added: Vec<&'a str>,
    gone: Vec<&'a str>,
}

#[derive(Serialize)]
struct Change<'a> {
    name: &'a str,
    before: String,
    now: String,
    is_more: bool,
}

pub(super) fn of<'a>(run: &'a Recorded, before: &'a Recorded) -> Comparison<'a> {
    let (now, then) = (outcomes(run), outcomes(before));
    let other = |of: &BTreeMap<&str, Outcome>, id: &str| of.get(id).copied();
    let which = |wanted: &dyn Fn(Option<Outcome>, Outcome) -> bool| {
        let nodes = now
            .iter()
            .filter(|(id, outcome)| wanted(other(&then, id), **outcome));
        nodes.map(|(id, _)| *id).collect()
    };
    let ids = |run: &'a Recorded| run.summary.wanted.iter().map(|image| image.id.as_str());
    let only = |here: &'a Recorded, there: &'a Recorded| {
        ids(here)
            .filter(|id| !ids(there).any(|other| other == *id))
            .collect()
    };
    Comparison {
        run: &before.run,
        started: before.started.map_or_else(String::new, super::moment),
        took: took(run.millis),
        took_before: took(before.millis),
        broken: which(&|then, now| now == Outcome::Failed && then != Some(Outcome::Failed)),
        fixed: which(&|then, now| now == Outcome::Built && then == Some(Outcome::Failed)),
        times: times(run, before, &now, &then),
        sizes: sizes(run, before),
        added: only(run, before),
        gone: only(before, run),
    }
}

fn outcomes(run: &Recorded) -> BTreeMap<&str, Outcome> {
    let nodes = run.summary.nodes.iter().filter_map(|node| match &node.state {
        State::Done(done) => Some((node.info.id.as_str(), done.outcome)),
        _ => None,
    });
    nodes.collect()
}

/// What both runs built, in times that differ.
fn times<'a>(
    run: &'a Recorded,
    before: &Recorded,
    now: &BTreeMap<&'a str, Outcome>,
    then: &BTreeMap<&str, Outcome>,
) -> Vec<Change<'a>> {
    let built = |of: &BTreeMap<&str, Outcome>, id: &str| of.get(id) == Some(&Outcome::Built);
    let both = now.keys().filter(|id| built(now, id) && built(then, id));
    let pairs = both.filter_map(|id| {
        let of = |run: &Recorded| run.spans.get(*id).map(Spans::worked);
        Some((*id, of(before)?, of(run)?))
    });
    let is_notable =
        |(_, then, now): &(&str, u64, u64)| then.abs_diff(*now) > NOTABLE.max(*then.max(now) / SHARE);
    changes(pairs.filter(is_notable), &took)
}

fn sizes<'a>(run: &'a Recorded, before: &Recorded) -> Vec<Change<'a>> {
    let then: BTreeMap<&str, u64> = before
        .summary
        .images
        .iter()
        .map(|image| (image.id.as_str(), image.bytes))
        .collect();
    let pairs = run.summary.images.iter().filter_map(|image| {
        let then = *then.get(image.id.as_str())?;
        (then != image.bytes).then_some((image.id.as_str(), then, image.bytes))
    });
    changes(pairs, &|bytes| ByteSize(bytes).to_string())
}

fn changes<'a>(
    pairs: impl Iterator<Item = (&'a str, u64, u64)>,
    show: &dyn Fn(u64) -> String,
) -> Vec<Change<'a>> {
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_by_key(|(_, then, now)| std::cmp::Reverse(then.abs_diff(*now)));
    let change = |(name, then, now): (&'a str, u64, u64)| Change {
        name,
        before: show(then),
        now: show(now),
        is_more: now > then,
    };
    pairs.into_iter().take(LISTED).map(change).collect()
}
