//! What the user wrote: read, checked in full, and turned into plain data. Knows nothing of plans or machines.

pub mod builtin;
pub mod context;
pub mod describe;
mod doubts;
mod expand;
pub mod export;
mod image_checks;
pub mod load;
pub mod model;
#[cfg(feature = "nickel")]
pub mod nickel;
pub mod overrides;
mod read;
mod rules;
pub mod secret;
pub mod select;
mod shell;
pub mod starter;
pub mod template;

pub use error::ManifestErrors;
pub use load::{load, load_text};
pub use model::Manifest;

pub use crate::syntax::{error, glob, parse, script, sources, suggest};
use crate::syntax::{fields, files, names};
