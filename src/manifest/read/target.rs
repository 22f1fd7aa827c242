//! `[publish.<name>]`: places that images are published to.

use crate::manifest::fields::Fields;
use crate::places::{self, Offered, Target, TargetKeys};
use crate::syntax::row::Record;

use super::{Reading, Spot};

/// A target and what of it is checked with the images.
#[derive(Debug)]
pub struct TargetDraft {
    pub target: Target,
    /// Templates of its metadata.
    pub metadata: Vec<Spot>,
}

/// The sub-tables of `[publish]`.
pub(super) fn read_all(reading: Reading<'_>, publish: &Fields<'_>, offered: &Offered) -> Vec<TargetDraft> {
    let tables = publish.others(TargetKeys::EXAMPLE);
    tables
        .filter_map(|field| {
            reading.file_name(field.key_span, "the name of a place to publish to", field.key);
            let mut metadata = Vec::new();
            let target = places::read(reading, &field, offered, &mut metadata)?;
            Some(TargetDraft { target, metadata })
        })
        .collect()
}
