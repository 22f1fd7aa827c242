//! Many images on one screen: how many there are of each distro and flavor, and how many of those are as they should be.

use std::collections::BTreeMap;

use super::table::{Table, counted};
use crate::report::style::{Role, Style, columns};

/// Causes that are named.
const CAUSES: usize = 5;

/// An image, as far as a matrix shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot<'a> {
    pub(super) distro: &'a str,
    pub(super) flavor: &'a str,
    pub(super) is_current: bool,
    /// Whether the last attempt to build it failed.
    pub(super) has_failed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    all: usize,
    current: usize,
    failed: usize,
}

impl Cell {
    /// `3/5`, `0/5 ✗5`.
    fn show(self, style: Style) -> (Role, String) {
        let Self { all, current, failed } = self;
        let role = match (failed, current == all) {
            (0, true) => Role::Good,
            (0, false) => Role::Plain,
            _ => Role::Bad,
        };
        match (all, failed) {
            (0, _) => (Role::Dim, style.pick("·", "-").to_owned()),
            (_, 0) => (role, format!("{current}/{all}")),
            _ => (role, format!("{current}/{all} {}{failed}", style.pick("✗", "!"))),
        }
    }
}

/// A row for each distro, a column for each flavor; where that is too wide, a line for each pair.
pub(super) fn matrix<'a>(
    spots: impl Iterator<Item = Spot<'a>>,
    style: Style,
    width: Option<usize>,
) -> String {
    let (mut distros, mut flavors) = (Vec::new(), Vec::new());
    let mut cells: BTreeMap<(&str, &str), Cell> = BTreeMap::new();
    for spot in spots {
        for (names, name) in [(&mut distros, spot.distro), (&mut flavors, spot.flavor)] {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let cell = cells.entry((spot.distro, spot.flavor)).or_default();
        cell.all += 1;
        cell.current += usize::from(spot.is_current);
        cell.failed += usize::from(spot.has_failed);
    }
    let cell = |distro, flavor| {
        cells
            .get(&(distro, flavor))
            .copied()
            .unwrap_or_default()
            .show(style)
    };
    let heads: Vec<_> = std::iter::once("").chain(flavors.iter().copied()).collect();
    let mut table = Table::new(&heads, heads.len());
    for distro in &distros {
        let first = (Role::Plain, (*distro).to_owned());
        let cells = flavors.iter().map(|flavor| cell(distro, flavor));
        table.row(std::iter::once(first).chain(cells).collect());
    }
    let text = table.render(style, None);
    let widest = table
        .render(Style::PLAIN, None)
        .lines()
        .map(columns)
        .max()
        .unwrap_or(0);
    if width.is_none_or(|width| widest <= width) {
        return text;
    }
    let mut table = Table::new(&["distro", "flavor", "current"], 3);
    for (distro, flavor) in cells.keys() {
        let plain = |text: &str| (Role::Plain, text.to_owned());
        table.row(vec![plain(distro), plain(flavor), cell(distro, flavor)]);
    }
    table.render(style, width)
}

/// Why things failed in their last attempt: each cause once, those of most things first.
pub(super) fn causes(
    whys: impl Iterator<Item = String>,
    noun: &str,
    style: Style,
    width: Option<usize>,
) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    whys.for_each(|why| *counts.entry(why).or_default() += 1);
    let mut causes: Vec<_> = counts.into_iter().collect();
    causes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let line = |(why, count): &(String, usize)| {
        let line = format!("{} {}: {why}", style.pick("✗", "!"), counted(*count, noun));
        style.cut(&line, width.unwrap_or(usize::MAX)) + "\n"
    };
    causes.iter().take(CAUSES).map(line).collect()
}

/// What the numbers of a matrix mean.
pub(super) fn legend(style: Style) -> String {
    let mark = style.pick("✗", "!");
    format!("3/5: 3 of 5 images are current; {mark}2: the last attempt to build 2 of them failed\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_counts_and_becomes_a_list_where_it_is_too_wide() {
        let spot = |distro, flavor, is_current, has_failed| Spot {
            distro,
            flavor,
            is_current,
            has_failed,
        };
        let spots = [
            spot("debian12", "web", true, false),
            spot("debian12", "web", false, false),
            spot("debian12", "db", false, true),
            spot("debian13", "db", true, false),
        ];
        let shown = |width| matrix(spots.iter().copied(), Style::PLAIN, width);
        insta::assert_snapshot!(shown(Some(80)), @"
                  web  db
        debian12  1/2  0/1 !1
        debian13  -    1/1
        ");
        insta::assert_snapshot!(shown(Some(16)), @"
        distro    flavor  current
        debian12  db      0/1 !1
        debian12  web     1/2
        debian13  db      1/1
        ");
    }
}
