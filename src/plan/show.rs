//! A plan on paper: a tree for people, JSON and DOT for programs. Pure text; prints nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use petgraph::dot::{Config, Dot};
use petgraph::graph::NodeIndex;
use serde::Serialize;

use super::assess::{Assessment, LastFailure, State};
use super::graph::Plan;
use super::node::{Cost, Node};
use crate::size::{ByteSize, show_seconds};
use crate::took::By;

pub type Verdicts = BTreeMap<NodeIndex, Assessment>;

/// The sums under a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Nodes to do.
    pub todo: usize,
    /// Nodes whose result is there.
    pub cached: usize,
    /// Of these, nodes whose result is in the store that hosts share alone.
    #[serde(skip_serializing_if = "is_zero")]
    pub remote: usize,
    /// Virtual machines to boot.
    pub machines: u32,
    /// Bytes to download, as far as earlier runs tell.
    pub fetch_bytes: u64,
    /// Bytes to write, as far as earlier runs tell.
    pub write_bytes: u64,
    /// Seconds of work, one node after the other, as far as earlier runs tell.
    pub seconds: f64,
    /// Nodes to do that no earlier run tells anything about.
    pub unknown: usize,
}

/// Adds up.
pub fn totals<W>(plan: &Plan<W>, assessments: &Verdicts) -> Totals {
    let mut totals = Totals::default();
    for (index, node) in plan.nodes() {
        let assessment = &assessments[&index];
        match assessment.state {
            State::Cached => {
                totals.cached += 1;
                totals.remote += usize::from(assessment.remote);
            }
            State::Unneeded => {}
            State::Todo => {
                totals.todo += 1;
                totals.machines += node.cost.machines;
                match assessment.expected {
                    Some(expected) => totals.seconds += expected.seconds,
                    None => totals.unknown += 1,
                }
                let sum = if node.downloads.is_empty() {
                    &mut totals.write_bytes
                } else {
                    &mut totals.fetch_bytes
                };
                *sum += assessment.bytes.unwrap_or(0);
            }
        }
    }
    totals
}

/// The tree for people: each image with the chain of nodes that leads to it; a node that several images share is
/// shown in full the first time only.
pub fn text<W>(plan: &Plan<W>, assessments: &Verdicts) -> String {
    let mut out = String::new();
    let mut shown = BTreeSet::new();
    for image in &plan.images {
        let chain = plan.way_to(image);
        let todo = chain
            .iter()
            .filter(|i| assessments[i].state == State::Todo)
            .count();
        let summary = match todo {
            0 => "up to date".to_owned(),
            1 => "1 node to do".to_owned(),
            n => format!("{n} nodes to do"),
        };
        let _ = writeln!(out, "{}  {summary}", image.id);
        let count = chain.len();
        for (position, index) in chain.into_iter().enumerate() {
            let branch = if position + 1 == count { "└─" } else { "├─" };
            let node = plan.node(index);
            let assessment = &assessments[&index];
            let state = match assessment.state {
                State::Cached if assessment.remote => "in the remote store",
                State::Cached => "cached",
                State::Todo => "to do",
                State::Unneeded => "not needed",
            };
            let _ = write!(out, "  {branch} {:<9} {:<28} {state}", node.stage, node.subject);
            if !shown.insert(index) {
                if assessment.state == State::Todo {
                    out.push_str(", as above");
                }
            } else if assessment.state == State::Todo {
                let _ = write!(out, ": {}", assessment.reason);
                if !node.downloads.is_empty() {
                    let _ = write!(out, "; from {}", sources(&node.downloads));
                }
                if assessment.layer > 0 {
                    let _ = write!(out, "; from layer: step {}", assessment.layer);
                }
                if let Some(failed) = &assessment.failed {
                    let _ = write!(out, "; the last attempt failed: {}", failed.why());
                }
                if let Some(expected) = assessment.expected {
                    let took = show_seconds(expected.seconds);
                    let _ = match expected.by {
                        By::Subject => write!(out, " (took {took} last time)"),
                        By::Alike | By::Stage => write!(out, " (about {took}, as others took)"),
                    };
                }
            }
            let kept = out.trim_end().len();
            out.truncate(kept);
            out.push('\n');
        }
    }
    out.push('\n');
    out.push_str(&totals_text(&totals(plan, assessments)));
    out
}

/// What no other host takes, a line for each reason. Empty where there is nothing of that kind.
pub fn unshared_text<W>(
    plan: &Plan<W>,
    assessments: &Verdicts,
    unshared: &BTreeMap<NodeIndex, String>,
) -> String {
    let mut nodes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (index, why) in unshared {
        if assessments[index].state != State::Unneeded {
            nodes.entry(why).or_default().push(plan.node(*index).id());
        }
    }
    let lines = nodes.iter().map(|(why, ids)| match ids.as_slice() {
        [id] => format!("not shared with other hosts: {id}: {why}\n"),
        ids => format!(
            "not shared with other hosts: {} and {} more: {why}\n",
            ids[0],
            ids.len() - 1
        ),
    });
    lines.collect()
}

/// Where a medium comes from, without user names and tokens.
fn sources(urls: &[String]) -> String {
    let first = urls.first().map_or("", String::as_str);
    let first = first.split(['?', '#']).next().unwrap_or(first);
    let first = match first.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit('@').next().unwrap_or(host);
            format!("{scheme}://{host}{path}")
        }
        None => first.to_owned(),
    };
    match urls.len() {
        0 | 1 => first,
        2 => format!("{first}, else 1 other place"),
        n => format!("{first}, else {} other places", n - 1),
    }
}

/// The closing line.
pub fn totals_text(totals: &Totals) -> String {
    if totals.todo == 0 {
        return format!("Nothing to do: all {} nodes are in place.\n", totals.cached);
    }
    let mut parts = vec![format!("{} to do, {} cached", totals.todo, totals.cached)];
    if totals.remote > 0 {
        parts.push(format!("{} of them in the remote store", totals.remote));
    }
    parts.push(match totals.machines {
        0 => "no VM to boot".to_owned(),
        1 => "1 VM to boot".to_owned(),
        n => format!("{n} VMs to boot"),
    });
    if totals.fetch_bytes > 0 {
        parts.push(format!("about {} to fetch", ByteSize(totals.fetch_bytes)));
    }
    if totals.write_bytes > 0 {
        parts.push(format!("about {} to write", ByteSize(totals.write_bytes)));
    }
    // What is left out may be nearly all of it.
    let unknown = format!("no time estimate for {} of them (never built)", totals.unknown);
    let known = show_seconds(totals.seconds);
    match (totals.seconds, totals.unknown) {
        (0.0, 0) => {}
        (_, 0) => parts.push(format!("about {known} of work")),
        (..1.0, _) => parts.push(unknown),
        _ => parts.push(format!("more than {known} of work, {unknown}")),
    }
    format!("{}.\n", parts.join("; "))
}

#[derive(Serialize)]
struct JsonNode<'a> {
    id: String,
    stage: &'a str,
    subject: &'a str,
    key: &'a str,
    state: State,
    /// Whether its result is in the store that hosts share alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    remote: bool,
    reason: &'a str,
    needs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_seconds: Option<f64>,
    /// Steps that are done in the layer that it goes on from.
    #[serde(skip_serializing_if = "is_zero")]
    layer: usize,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<&'a LastFailure>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    urls: Vec<&'a str>,
    cost: Cost,
    /// Why no other host takes its result.
    #[serde(skip_serializing_if = "Option::is_none")]
    unshared: Option<&'a str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[derive(Serialize)]
struct JsonPlan<'a> {
    version: u32,
    pipeline: &'a str,
    images: Vec<&'a str>,
    nodes: Vec<JsonNode<'a>>,
    totals: Totals,
}

/// JSON for programs. `version` grows when a field changes its meaning or goes away.
///
/// # Errors
/// Those of serialisation, which plain data does not have.
pub fn json<W>(
    plan: &Plan<W>,
    assessments: &Verdicts,
    unshared: &BTreeMap<NodeIndex, String>,
) -> Result<String, serde_json::Error> {
    let nodes = plan.nodes().map(|(index, node)| JsonNode {
        id: node.id(),
        stage: node.stage.name,
        subject: &node.subject,
        key: &node.key,
        state: assessments[&index].state,
        remote: assessments[&index].remote,
        reason: &assessments[&index].reason,
        needs: plan.needs(index).map(|need| plan.node(need).id()).collect(),
        expected_seconds: assessments[&index].expected.map(|expected| expected.seconds),
        layer: assessments[&index].layer,
        failed: assessments[&index].failed.as_ref(),
        urls: node.downloads.iter().map(String::as_str).collect(),
        cost: node.cost,
        unshared: unshared.get(&index).map(String::as_str),
    });
    let plan = JsonPlan {
        version: 1,
        pipeline: &plan.pipeline,
        images: plan.images.iter().map(|image| image.id.as_str()).collect(),
        nodes: nodes.collect(),
        totals: totals(plan, assessments),
    };
    serde_json::to_string_pretty(&plan)
}

/// DOT for Graphviz: to-do nodes filled.
pub fn dot<W: std::fmt::Debug>(plan: &Plan<W>, assessments: &Verdicts) -> String {
    let attributes = |_, (index, node): (NodeIndex, &Node<W>)| {
        let style = match assessments[&index].state {
            State::Todo => "style=filled, fillcolor=lightgoldenrod",
            State::Cached => "style=filled, fillcolor=palegreen",
            State::Unneeded => "style=dashed",
        };
        format!("label=\"{}\\n{}\", shape=box, {style}", node.stage, node.subject)
    };
    let config = [Config::EdgeNoLabel, Config::NodeNoLabel];
    let dot = Dot::with_attr_getters(plan.graph(), &config, &|_, _| String::new(), &attributes);
    format!("{dot:?}")
}
