//! `[[checks]]`, and the `checks` of flavors and images: what is asserted of booted images.

use globset::GlobSet;

use crate::checks::{self, Check, CheckSet};
use crate::manifest::describe::row::{Cell, Choice, In, List, OneOrMore, Row};
use crate::manifest::describe::tables::{CHECK, CheckKey, CheckKeys, MANIFEST};
use crate::manifest::describe::text::Glob;
use crate::manifest::error::Span;
use crate::manifest::fields::Fields;

use super::Spot;

/// One `[[checks]]` table.
#[derive(Debug)]
pub struct CheckDraft {
    /// What it asserts.
    pub what: Checks,
    /// Where its name stands, or what stands for one.
    pub span: Span,
    /// Which images it is for; nothing means all.
    pub images: Vec<Pattern>,
    pub flavors: Vec<Pattern>,
    pub distros: Vec<Pattern>,
}

/// A single check or a set of them.
#[derive(Debug)]
pub enum Checks {
    /// One of the user's own.
    One(Check),
    /// A built-in set.
    Set(CheckSet),
}

/// A name or a glob over names.
#[derive(Debug)]
pub struct Pattern {
    /// As written.
    pub spot: Spot,
    /// The same, compiled.
    pub glob: GlobSet,
}

pub(super) fn read_all(root: &Fields<'_>) -> Vec<CheckDraft> {
    let items = root.items(&MANIFEST.checks);
    items.iter().filter_map(read).collect()
}

/// `checks = ["standard"]` of a flavor or an image.
pub(super) fn read_sets(table: &Fields<'_>, row: &'static Row<List<Choice<CheckSet>>>) -> Vec<CheckSet> {
    let mut sets = Vec::new();
    for item in table.items(row) {
        match item.read() {
            Some(set) if sets.contains(&set) => item.bad("the set is there twice", "take one of them out"),
            set => sets.extend(set),
        }
    }
    sets
}

fn read(cell: &Cell<'_, In<CheckKeys>>) -> Option<CheckDraft> {
    let table = cell.fields()?;
    let images = patterns(&table, &CHECK.images);
    let flavors = patterns(&table, &CHECK.flavors);
    let distros = patterns(&table, &CHECK.distros);
    let name = table.get(&CHECK.name);
    let own_name = name.as_ref().and_then(Cell::read);
    let (key, one) = table.one_of::<CheckKey>()?;
    let what = what(key, &table, own_name)?;
    Some(CheckDraft {
        what,
        span: name.map_or(one.key_span, |name| name.span()).clone(),
        images,
        flavors,
        distros,
    })
}

fn what(key: CheckKey, table: &Fields<'_>, name: Option<String>) -> Option<Checks> {
    match key {
        // A set has no name of its own: its checks do.
        CheckKey::Set => table.read(&CHECK.set).map(Checks::Set),
        CheckKey::Kind(key) => {
            let check = checks::read(key, table)?;
            let name = name.unwrap_or(check.name);
            Some(Checks::One(Check { name, ..check }))
        }
    }
}

fn patterns(table: &Fields<'_>, row: &'static Row<OneOrMore<Glob>>) -> Vec<Pattern> {
    let pattern = |cell: &Cell<'_, Glob>| {
        let glob = cell.read()?;
        Some(Pattern {
            spot: Spot::of(cell)?,
            glob,
        })
    };
    table.items(row).iter().filter_map(pattern).collect()
}
