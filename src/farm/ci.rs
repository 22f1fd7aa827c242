//! Pipelines for CI systems: each chain of a plan is one job of theirs, which runs this program on it. Jobs pass results on
//! by the remote store alone. Pure: gives texts.

pub mod github;
pub mod gitlab;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use petgraph::graph::NodeIndex;

use super::chains::{Chain, Reach, cut};
use crate::host::process::shell_quote;
use crate::plan::assess::{Assessment, State};
use crate::plan::node::{Cost, Results};
use crate::stage::{Node, Plan, Work, install};

/// The file in a job's checkout with what the plan was made by.
const FACTS: &str = "pipeline-facts.json";
/// A job that is expected to take so long may take this many times as long.
const PATIENCE: f64 = 3.0;
/// The least that a job may take, and what one of unknown duration may.
const SHORTEST: Duration = Duration::from_secs(30 * 60);
const UNKNOWN: Duration = Duration::from_secs(6 * 3600);
/// Time limits are in whole steps of this.
const STEP: u64 = 600;

/// What all jobs have in common.
#[derive(Clone, Debug)]
pub struct Common {
    /// The command line behind `pipeline run`: manifest, selectors and options, quoted for a shell.
    pub words: String,
    /// What the plan was made by, as JSON in one line.
    pub facts: String,
    /// Which runners take the jobs.
    pub labels: Vec<String>,
    /// Which of these can start virtual machines.
    pub machine_label: String,
}

/// A job for one chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The node that it ends with; unique in a plan.
    pub name: String,
    /// All nodes that it ends with.
    pub until: Vec<String>,
    /// The jobs whose results it takes.
    pub after: Vec<String>,
    /// How many jobs come one after the other up to this one, from 0 on.
    pub level: usize,
    /// What it takes of a host.
    pub cost: Cost,
    /// The longest time that it may take.
    pub limit: Duration,
}

/// The jobs of a plan, each after those that it takes results of; for so many that run at once, where that is known.
pub fn jobs(
    plan: &Plan,
    assessments: &BTreeMap<NodeIndex, Assessment>,
    workers: Option<NonZeroUsize>,
) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    let unsealed = unsealed(plan, assessments);
    for chain in cut(plan, assessments, &|node| reach(node, &unsealed), workers) {
        let ids: Vec<_> = chain.results.iter().map(|index| plan.node(*index).id()).collect();
        let after = chain.after.iter().map(|before| &jobs[*before]);
        let level = after.clone().map(|job| job.level + 1).max().unwrap_or_default();
        let job = Job {
            name: ids.last().cloned().unwrap_or_default(),
            after: after.map(|job| job.name.clone()).collect(),
            until: ids,
            level,
            cost: chain.cost,
            limit: limit(&chain),
        };
        jobs.push(job);
    }
    jobs
}

/// Provisioned disks to come that their sizes may have to boot, which takes the key of the very disk that was installed.
fn unsealed(plan: &Plan, assessments: &BTreeMap<NodeIndex, Assessment>) -> BTreeSet<String> {
    let may_boot = |node: &Node| matches!(&node.work, Work::Size(size) if size.may_boot);
    let sizes = plan.nodes().filter(|(_, node)| may_boot(node));
    let disks = sizes.flat_map(|(index, _)| plan.needs(index));
    let disks = disks.filter(|index| assessments[index].state == State::Todo);
    disks.map(|index| plan.node(index).id()).collect()
}

/// Where the results of a node can go. An installed disk is not sealed yet: the private key to it is part of the result.
fn reach(node: &Node, unsealed: &BTreeSet<String>) -> Reach {
    if node.stage == install::STAGE || unsealed.contains(&node.id()) {
        Reach::Kept
    } else if node.stage.results == Results::Outside {
        Reach::Here
    } else {
        Reach::Shared
    }
}

fn limit(chain: &Chain) -> Duration {
    let known = chain
        .seconds
        .map(|seconds| Duration::from_secs_f64(seconds * PATIENCE).max(SHORTEST));
    let limit = known.unwrap_or(UNKNOWN).as_secs();
    Duration::from_secs(limit.next_multiple_of(STEP))
}

impl Common {
    /// The command of a job.
    fn command(&self, job: &Job) -> String {
        let until = job.until.iter();
        let until: String = until
            .map(|node| format!(" --until {}", shell_quote(node)))
            .collect();
        format!("{}{until}", self.whole())
    }

    /// The command that delivers the images.
    fn whole(&self) -> String {
        format!("pipeline run {} --facts {FACTS}", self.words)
    }

    /// Which runners take a job.
    fn labels(&self, job: &Job) -> Vec<&str> {
        let machine = (job.cost.machines > 0).then_some(&self.machine_label);
        self.labels.iter().chain(machine).map(String::as_str).collect()
    }
}

/// A command for a comment.
fn in_one_line(command: &str) -> String {
    command.replace('\n', " ")
}

/// A text as YAML has it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A list of texts in one line.
fn listed<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let texts: Vec<_> = texts.into_iter().map(quoted).collect();
    format!("[{}]", texts.join(", "))
}
