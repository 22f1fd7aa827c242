//! The builds of a system that the store has: what an image is made of now, and was made of before. Only looks.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use jiff::Timestamp;

use crate::packages::{Inside, PackageChange};
use crate::plan::graph::PlannedImage;
use crate::run::look::as_given;
use crate::stage::Plan;
use crate::stage::provision;
use crate::stage::result::Given;
use crate::store::{Condition, Store, Stored};

/// The provisioned systems that an image was made of, the newest first.
pub fn builds(store: &Store, plan: &Plan, image: &PlannedImage) -> Vec<Given> {
    let subject = plan.node(image.provision).subject.as_str();
    let found = provisioned(store, &plan.pipeline);
    let found = found.into_iter().filter(|result| subject_of(result) == subject);
    found.filter_map(|result| given(store, &result)).collect()
}

/// What changed in the packages of the systems that were provisioned in this time, by their nodes, since the build before of
/// each. Those of which no other build was recorded are left out.
pub fn package_changes(
    store: &Store,
    pipeline: &str,
    during: &RangeInclusive<Timestamp>,
) -> BTreeMap<String, Vec<PackageChange>> {
    let mut newer: BTreeMap<String, Inside> = BTreeMap::new();
    let mut changes = BTreeMap::new();
    for result in provisioned(store, pipeline) {
        let node = format!("{}/{}", provision::STAGE.name, subject_of(&result));
        let is_of_now = result.created.is_some_and(|created| during.contains(&created));
        if changes.contains_key(&node) || !(is_of_now || newer.contains_key(&node)) {
            continue;
        }
        let Some(inside) = given(store, &result).and_then(|given| provision::inside(&given)) else {
            continue;
        };
        if let Some(now) = newer.get(&node) {
            changes.insert(node, inside.changes(now));
        } else {
            newer.insert(node, inside);
        }
    }
    changes
}

/// The provisioned systems of a pipeline, the newest first.
fn provisioned(store: &Store, pipeline: &str) -> Vec<Stored> {
    let is_of_pipeline = |result: &Stored| {
        let built_for = result.built_for.as_ref();
        result.address.stage == provision::STAGE.name && built_for.is_some_and(|(name, _)| name == pipeline)
    };
    let found = store.results().into_iter();
    let found = found.filter(|result| result.condition == Condition::Whole);
    let mut found: Vec<_> = found.filter(is_of_pipeline).collect();
    found.sort_by_key(|result| std::cmp::Reverse(result.created));
    found
}

fn subject_of(result: &Stored) -> &str {
    result.built_for.as_ref().map_or("", |(_, subject)| subject)
}

fn given(store: &Store, result: &Stored) -> Option<Given> {
    let entry = store.lookup(&result.address.stage, &result.address.key)?;
    Some(as_given(
        &entry,
        format!("{}/{}", result.address.stage, subject_of(result)),
    ))
}
