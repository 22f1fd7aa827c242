//! The kinds of work, one file or folder each. A stage gets plain data and a scratch folder, does its work, leaves
//! files; it knows nothing of the plan, the store or other stages.

pub mod fetch;
pub mod package;
pub mod sums;
