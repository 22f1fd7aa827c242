//! What the user wrote: read, checked in full, and turned into plain data. Knows nothing of plans or machines.

pub mod check;
pub mod error;
pub mod load;
pub mod model;
pub mod parse;
pub mod select;
pub mod template;
