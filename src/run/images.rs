//! The images of a plan as they are now: what is in the output folder, how old it is, what its checks said. Only looks.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize as _, Serialize};

use super::execute::REPORT;
use super::look::Delivery;
use super::prepare::Prepared;
use crate::digest::Digest;
use crate::event::{CheckOutcome, CheckResult};
use crate::plan::assess::State;
use crate::plan::node::{Node, Stage, SumsWork, Work};
use crate::store::{Entry, Store};

/// Where an image stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageState {
    /// In the output folder, as the manifest has it now.
    Current,
    /// In the output folder, but the manifest or something it names has changed since.
    Outdated,
    /// Not in the output folder.
    Missing,
}

/// What is known of its checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum ChecksState {
    /// The manifest wants none.
    None,
    /// They have not been asked of what the manifest describes now.
    Pending,
    /// All held.
    Passed {
        /// How many there are.
        count: usize,
    },
}

/// An image. The serialised form is an interface.
#[derive(Clone, Debug, Serialize)]
pub struct ImageStatus {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: ImageState,
    /// Why it is not current; empty where it is.
    pub reason: String,
    /// The file in the output folder, as it can be typed.
    pub path: PathBuf,
    /// Virtual size of the disk that the manifest asks for, in bytes.
    pub disk_bytes: u64,
    /// Size of the file, in bytes; absent where there is none.
    pub bytes: Option<u64>,
    /// When its content was packaged; absent where nobody remembers.
    pub created: Option<Timestamp>,
    /// Digests of the file, where they are known.
    pub digests: Vec<Digest>,
    /// Its checks.
    pub checks: ChecksState,
}

/// Looks at the images of a plan, in manifest order.
pub fn images(prepared: &Prepared, store: &Store) -> Vec<ImageStatus> {
    let plan = &prepared.plan;
    let image = |(id, index): &(String, _)| {
        let node = plan.node(*index);
        let Work::Sums(work) = &node.work else { return None };
        let path = work.output.join(&work.file);
        let found = std::fs::metadata(&path).ok();
        let state = match (prepared.verdicts[index].state, &found) {
            (_, None) => ImageState::Missing,
            (State::Cached, Some(_)) => ImageState::Current,
            _ => ImageState::Outdated,
        };
        let delivered = delivered(store, &plan.pipeline, node);
        let mine = |stage| {
            plan.nodes()
                .map(|(_, node)| node)
                .find(|node| node.stage == stage && node.subject == *id)
        };
        let disk_bytes = mine(Stage::Size).map_or(0, |node| match &node.work {
            Work::Size(work) => work.size,
            _ => 0,
        });
        // What the records say is of the file that was put there, and not of whatever is there now.
        let same = |delivery: &Delivery| found.as_ref().is_some_and(|found| found.len() == delivery.bytes);
        let delivered = delivered.filter(|(delivery, _)| same(delivery));
        Some(ImageStatus {
            id: id.clone(),
            state,
            reason: prepared.verdicts[index].reason.clone(),
            path,
            disk_bytes,
            bytes: found.map(|found| found.len()),
            created: delivered.as_ref().map(|(_, created)| *created),
            digests: delivered
                .map(|(delivery, _)| of(&delivery, work))
                .unwrap_or_default(),
            checks: checks(mine(Stage::Check), store),
        })
    };
    plan.images().iter().filter_map(image).collect()
}

/// What was put into the output folder last, and when that was packaged (or put there, where it is not known any more).
fn delivered(store: &Store, pipeline: &str, node: &Node) -> Option<(Delivery, Timestamp)> {
    let stage = Stage::Sums.name();
    let now = store.lookup(stage, &node.key);
    let entry = now.or_else(|| store.lookup(stage, &store.latest(pipeline, stage, &node.subject)?.key))?;
    let delivery = Delivery::deserialize(entry.facts()).ok()?;
    let latest = entry.latest();
    let package = latest.inputs["package"].as_str();
    let packaged = package.and_then(|key| store.lookup(Stage::Package.name(), key));
    let created = packaged.map_or(latest.created, |entry| entry.latest().created);
    Some((delivery, created))
}

fn of(delivery: &Delivery, work: &SumsWork) -> Vec<Digest> {
    let listed = work
        .algorithms
        .iter()
        .filter_map(|algorithm| delivery.digests.get(algorithm));
    listed.cloned().collect()
}

fn checks(node: Option<&Node>, store: &Store) -> ChecksState {
    let Some(node) = node else {
        return ChecksState::None;
    };
    let results = store
        .lookup(node.stage.name(), &node.key)
        .and_then(|entry| results(&entry));
    results.map_or(ChecksState::Pending, |results| {
        let passed = results
            .iter()
            .filter(|result| result.outcome == CheckOutcome::Passed);
        ChecksState::Passed {
            count: passed.count(),
        }
    })
}

/// What the checks of a stored result said.
pub(super) fn results(entry: &Entry) -> Option<Vec<CheckResult>> {
    serde_json::from_slice(&std::fs::read(entry.path(REPORT)).ok()?).ok()
}
