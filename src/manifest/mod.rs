//! What the user wrote: read, checked in full, and turned into plain data. Knows nothing of plans or machines.

pub mod assertion;
mod attach;
pub mod builtin;
mod check;
pub mod context;
pub mod error;
mod expand;
mod fields;
mod files;
mod kind;
pub mod load;
pub mod model;
mod names;
mod parse;
mod read;
pub mod secret;
pub mod select;
pub mod suggest;
pub mod target;
pub mod template;

pub use error::ManifestErrors;
pub use load::load;
pub use model::Manifest;
