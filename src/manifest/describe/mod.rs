//! What a manifest may say: one description of every table and key. The reader reads by it, and the JSON Schema, the
//! contracts of the Nickel library and the tables of `docs/manifest.md` are made from it.

mod contracts;
mod manual;
mod schema;
pub mod tables;

pub use self::contracts::library;
pub use self::manual::manual;
#[cfg(feature = "nickel")]
pub use self::manual::nickel_example;
pub use self::schema::schema;
pub use self::tables::tables;
pub use crate::syntax::{key, row, text};

#[cfg(feature = "nickel")]
use self::key::Key;
use self::key::Table;

pub fn table(id: &str) -> Option<&'static Table> {
    tables().find(|table| table.id == id)
}

/// Keys of this name, in whatever table.
#[cfg(feature = "nickel")]
pub fn keys(name: &str) -> impl Iterator<Item = &'static Key> {
    tables().filter_map(move |table| table.key(name))
}

#[cfg(test)]
mod tests;
