//! How a manifest is written: texts to a tree with places, the description of tables and keys, reading by it, and what is
//! reported. Knows no key by name but those of a secret.

pub mod error;
pub mod fields;
pub mod files;
pub mod glob;
pub mod key;
mod kind;
pub mod names;
pub mod parse;
pub mod reading;
pub mod row;
pub mod script;
pub mod secret;
pub mod sources;
pub mod suggest;
pub mod table;
pub mod text;
