//! The builds of a system that the store has, the newest first: what an image is made of now, and was made of before. Only looks.

use crate::plan::graph::PlannedImage;
use crate::run::look::as_given;
use crate::stage::Plan;
use crate::stage::result::Given;
use crate::store::{Condition, Store};

/// The provisioned systems that an image was made of, the newest first.
pub fn builds(store: &Store, plan: &Plan, image: &PlannedImage) -> Vec<Given> {
    let node = plan.node(image.provision);
    let built_for = Some((plan.pipeline.clone(), node.subject.clone()));
    let mut found: Vec<_> = store
        .results()
        .into_iter()
        .filter(|result| result.condition == Condition::Whole)
        .filter(|result| result.address.stage == node.stage.name && result.built_for == built_for)
        .collect();
    found.sort_by_key(|result| std::cmp::Reverse(result.created));
    let given = found.into_iter().filter_map(|result| {
        let entry = store.lookup(&result.address.stage, &result.address.key)?;
        Some(as_given(entry, node.id()))
    });
    given.collect()
}
