//! What a manifest may say: one description of every table and key, from which the JSON Schema, the contracts of the
//! Nickel library and the tables of `docs/manifest.md` are made. A test holds the reader against it. Reads nothing.

mod contracts;
mod manual;
mod schema;
mod tables;

pub use self::contracts::library;
pub use self::manual::{manual, nickel_example};
pub use self::schema::schema;
pub use self::tables::TABLES;

/// A table of the manifest, or one that several keys can have as their value.
#[derive(Debug)]
pub struct Table {
    /// What the schema, the contracts and the other tables call it: `bootstrap`.
    pub id: &'static str,
    /// What it is for, in one line.
    pub doc: &'static str,
    /// Its keys, in the order in which they are told about.
    pub keys: &'static [Key],
    /// Groups of keys of which exactly one must be there; with `false`, at most one.
    pub one_of: &'static [(bool, &'static [&'static str])],
    /// What keys of any other name are, where there may be such.
    pub others: Option<(&'static Form, Kind)>,
}

/// A key.
#[derive(Debug)]
pub struct Key {
    /// As written.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// What it means, in Markdown, beginning small.
    pub doc: &'static str,
    /// What holds without it, as written or in words.
    pub default: Option<&'static str>,
    /// A value, in TOML.
    pub example: &'static str,
    /// Whether it must be there.
    pub needed: bool,
    /// Keys of which one must stand beside it.
    pub beside: &'static [&'static str],
}

/// Kinds of value.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A text of a certain form.
    Text(&'static Form),
    /// One of some words.
    Choice(&'static [&'static str]),
    /// A whole number in a range.
    Whole(i64, i64),
    /// `true`.
    Yes,
    /// A text, a number, true or false, or a list of those.
    Variable,
    /// A list.
    List(&'static Kind),
    /// One value, or a list of such.
    OneOrMore(&'static Kind),
    /// The table of this id.
    Table(&'static str),
    /// A table whose keys are names, and what they name.
    Named(&'static Form, &'static Kind),
    /// Any of some kinds.
    Either(&'static [Kind]),
}

/// A form that texts can have.
#[derive(Debug)]
pub struct Form {
    /// What the contracts call it.
    pub name: &'static str,
    /// With its article.
    pub what: &'static str,
    /// A regular expression for the whole of it, in the syntax that Rust's and JavaScript's share. The reader may be
    /// stricter.
    pub pattern: &'static str,
    /// One of them.
    pub example: &'static str,
}

/// The table of an id.
pub fn table(id: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.id == id)
}

/// Keys of this name, in whatever table.
pub fn keys(name: &str) -> impl Iterator<Item = &'static Key> {
    TABLES
        .iter()
        .flat_map(|table| table.keys)
        .filter(move |key| key.name == name)
}

#[cfg(test)]
mod tests;
