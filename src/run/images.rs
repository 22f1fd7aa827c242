//! The images of a plan as they are now: what is in the output folder, how old it is, what its checks said. Only looks.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Timestamp;
use petgraph::graph::NodeIndex;
use serde::Serialize;

use super::look::{address, as_given, given};
use super::prepare::Prepared;
use crate::digest::Digest;
use crate::event::CheckOutcome;
use crate::plan::assess::{LastFailure, State};
use crate::plan::graph::PlannedImage;
use crate::platform::Start;
use crate::stage::part::IMAGE;
use crate::stage::sums::Delivery;
use crate::stage::{Node, Plan, check, sums};
use crate::store::{Address, Store};

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
    /// In the output folder, as the manifest has it now, but not checked yet.
    Unchecked,
    /// The last attempt to build it, as the manifest has it now, failed; what is in the output folder, if anything, is older.
    Failed,
}

impl ImageState {
    /// Every state, with its word.
    pub const WORDS: [(Self, &str); 5] = [
        (Self::Current, "current"),
        (Self::Failed, "failed"),
        (Self::Unchecked, "unchecked"),
        (Self::Outdated, "outdated"),
        (Self::Missing, "missing"),
    ];

    pub fn word(self) -> &'static str {
        let row = Self::WORDS.iter().find(|(state, _)| *state == self);
        row.map_or("", |(_, word)| word)
    }
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
    pub id: String,
    /// Where it stands.
    pub state: ImageState,
    /// Why it is not current; empty where it is.
    pub reason: String,
    pub distro: String,
    pub flavor: String,
    /// Why the last attempt to build it failed, and when; absent where it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedNode>,
    /// When the system that it is built on was installed; absent where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_created: Option<Timestamp>,
    /// Of when the newest of its package archives, or its medium, is, in the lock that it was built by; absent where nothing
    /// was locked, or that has no date.
    pub sources: Option<Timestamp>,
    /// The file in the output folder, as it can be typed.
    pub path: PathBuf,
    /// The ways in which firmware can start it.
    pub firmware: Vec<Start>,
    /// Virtual size of the disk that the manifest asks for, in bytes.
    pub disk_bytes: u64,
    /// Size of the file, in bytes; absent where there is none.
    pub bytes: Option<u64>,
    /// When its content was packaged; absent where that is not known.
    pub created: Option<Timestamp>,
    /// Digests of the file, where they are known.
    pub digests: Vec<Digest>,
    pub checks: ChecksState,
    /// Whether other hosts can take it, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<bool>,
}

/// The node that failed on the way to an image.
#[derive(Clone, Debug, Serialize)]
pub struct FailedNode {
    pub node: String,
    #[serde(flatten)]
    pub last: LastFailure,
}

/// Looks at the images of a plan, in manifest order. `shared`: the results that are in the remote store.
pub fn images(prepared: &Prepared, store: &Store, shared: Option<&BTreeSet<Address>>) -> Vec<ImageStatus> {
    let plan = &prepared.plan;
    let image = |image: &PlannedImage| {
        let node = plan.node(image.delivery);
        let assessment = &prepared.assessments[&image.delivery];
        let found = std::fs::metadata(&image.path)
            .ok()
            .filter(std::fs::Metadata::is_file);
        let failed = plan.way_to(image).into_iter().find_map(|index| {
            let last = prepared.assessments[&index].failed.clone()?;
            let node = plan.node(index).id();
            Some(FailedNode { node, last })
        });
        // What the records say is of the file that was put there, and not of whatever is there now.
        let same = |delivery: &Delivery| found.as_ref().is_some_and(|found| found.len() == delivery.bytes);
        let delivered = delivered(plan, store, node).filter(|(delivery, _)| same(delivery));
        let packaged = of_image(node).and_then(|package| given(store, plan.node(package)));
        let is_of_now = || {
            let there = delivered.as_ref().and_then(|(delivery, _)| delivery.packaged);
            there.is_some() && there == packaged.map(|package| package.created)
        };
        let waits_for_check = image
            .check
            .is_some_and(|check| prepared.assessments[&check].state == State::Todo);
        let state = match (assessment.state, &found) {
            (State::Cached, Some(_)) => ImageState::Current,
            _ if failed.is_some() => ImageState::Failed,
            (_, None) => ImageState::Missing,
            _ if waits_for_check && is_of_now() => ImageState::Unchecked,
            _ => ImageState::Outdated,
        };
        ImageStatus {
            id: image.id.clone(),
            state,
            reason: assessment.reason.clone(),
            distro: image.distro.clone(),
            flavor: image.flavor.clone(),
            failed,
            base_created: given(store, plan.node(image.install)).map(|base| base.created),
            path: image.path.clone(),
            firmware: image.firmware.clone(),
            disk_bytes: image.disk_bytes,
            bytes: found.map(|found| found.len()),
            sources: delivered.as_ref().and_then(|(delivery, _)| delivery.sources),
            created: delivered.as_ref().map(|(_, created)| *created),
            digests: delivered.map_or_else(Vec::new, |(delivery, _)| delivery.listed(&image.checksums)),
            remote: shared.map(|shared| {
                of_image(node).is_some_and(|package| shared.contains(&address(plan.node(package))))
            }),
            checks: checks(image.check.map(|check| plan.node(check)), store),
        }
    };
    plan.images.iter().map(image).collect()
}

/// The node that packages what a delivery puts into the output folder.
fn of_image(node: &Node) -> Option<NodeIndex> {
    let take = node.takes.iter().find(|take| take.role == IMAGE)?;
    Some(take.node)
}

/// What was put into the output folder last, and when that was packaged (or put there, where it is not known any more).
fn delivered(plan: &Plan, store: &Store, node: &Node) -> Option<(Delivery, Timestamp)> {
    let now = given(store, node);
    let packaged = of_image(node).and_then(|package| given(store, plan.node(package)));
    // One of a version that did not note the time.
    let packaged = packaged.filter(|_| now.is_some()).map(|package| package.created);
    let last = || {
        let stage = node.stage.name;
        let key = store.latest(&plan.history, stage, &node.subject)?.key;
        Some(as_given(&store.lookup(stage, &key)?, node.id()))
    };
    let given = now.or_else(last)?;
    let delivery = sums::delivery(&given)?;
    let created = delivery.packaged.or(packaged).unwrap_or(given.created);
    Some((delivery, created))
}

fn checks(node: Option<&Node>, store: &Store) -> ChecksState {
    let Some(node) = node else {
        return ChecksState::None;
    };
    let results = given(store, node).and_then(|given| check::results(&given));
    results.map_or(ChecksState::Pending, |results| {
        let passed = results
            .iter()
            .filter(|result| result.outcome == CheckOutcome::Passed);
        ChecksState::Passed {
            count: passed.count(),
        }
    })
}
