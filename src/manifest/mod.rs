//! What the user wrote: read, checked in full, and turned into plain data. Knows nothing of plans or machines.

pub mod assertion;
pub mod builtin;
pub mod context;
pub mod describe;
pub mod error;
mod expand;
pub mod export;
mod fields;
mod files;
pub mod glob;
mod image_checks;
mod kind;
pub mod load;
pub mod model;
mod names;
#[cfg(feature = "nickel")]
pub mod nickel;
pub mod overrides;
pub mod parse;
mod read;
mod rules;
pub mod script;
pub mod secret;
pub mod select;
pub mod sources;
pub mod starter;
pub mod suggest;
pub mod target;
pub mod template;

pub use error::ManifestErrors;
pub use load::{load, load_text};
pub use model::Manifest;
