//! Why a run did not build everything: failures folded by their cause, each once, with the images that it cost and one command
//! to go on. Pure text; the last thing that a run shows.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Outcome, WantedImage};
use crate::report::node::{Done, Node, State};
use crate::report::style::{Role, Style, columns};
use crate::report::summary::Page;
use crate::verdict::Verdict;

/// So many causes are shown with all that is known of them; of more there are two lines each.
const IN_FULL: usize = 3;
/// So many are shown at all.
const SHOWN: usize = 16;
/// Lines of a message that a screen has room for, with one cause, and with more.
const ON_SCREEN: [usize; 2] = [5, 2];
/// Lines of a message where no screen limits them.
const ON_PAPER: usize = 40;
/// Columns for a list of names where no screen limits them.
const ROOM: usize = 100;
/// Columns of the words in front of details.
const LABEL: usize = 8;
const INDENT: &str = "    ";

/// Failures with one cause.
pub(super) struct Cause<'a> {
    pub(super) verdict: Option<Verdict>,
    pub(super) text: String,
    pub(super) nodes: Vec<&'a Node>,
    /// How the first of them ended.
    pub(super) done: &'a Done,
    /// The images that it cost, by their places among those that were wanted.
    pub(super) images: BTreeSet<usize>,
}

impl Cause<'_> {
    /// A node whose machine was kept.
    fn kept(&self) -> Option<&Node> {
        let is_kept = |node: &&&Node| match &node.state {
            State::Done(done) => done.failure.as_ref().is_some_and(|failure| failure.kept),
            _ => false,
        };
        self.nodes.iter().find(is_kept).copied()
    }
}

/// The lines about failures; none where nothing failed.
pub(super) fn lines(nodes: &[Node], wanted: &[WantedImage], folder: &str, page: &Page) -> Vec<String> {
    let causes = fold(nodes, wanted);
    let mut lines = Vec::new();
    let in_full = causes.len() <= IN_FULL;
    for cause in causes.iter().take(SHOWN) {
        if in_full {
            full(cause, causes.len(), wanted, page, &mut lines);
        } else {
            short(cause, wanted, folder, page, &mut lines);
        }
    }
    if let Some(more) = causes.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        lines.push(format!("… and {more} more causes"));
    }
    // Into a machine that was kept, where there is one.
    let first = causes.iter().find(|cause| cause.kept().is_some());
    if let (false, Some(first)) = (in_full, first.or(causes.first())) {
        lines.push(detail("logs", folder));
        lines.push(detail("next", &next(first, page)));
    }
    lines
}

/// The failures by their cause, those that cost most first.
pub(super) fn fold<'a>(nodes: &'a [Node], wanted: &[WantedImage]) -> Vec<Cause<'a>> {
    let mut behind: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (position, image) in wanted.iter().enumerate() {
        for node in &image.nodes {
            behind.entry(node).or_default().insert(position);
        }
    }
    let mut causes: Vec<Cause<'a>> = Vec::new();
    for node in nodes {
        let State::Done(done) = &node.state else { continue };
        if done.outcome != Outcome::Failed {
            continue;
        }
        let verdict = done.failure.as_ref().map(|failure| failure.verdict);
        let text = done.cause();
        let images = behind.get(node.info.id.as_str()).cloned().unwrap_or_default();
        let same = |cause: &&mut Cause<'_>| cause.verdict == verdict && cause.text == text;
        match causes.iter_mut().find(same) {
            Some(cause) => {
                cause.nodes.push(node);
                cause.images.extend(images);
            }
            None => causes.push(Cause {
                verdict,
                text,
                nodes: vec![node],
                done,
                images,
            }),
        }
    }
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.images.len()));
    causes
}

fn full(cause: &Cause<'_>, of: usize, wanted: &[WantedImage], page: &Page, lines: &mut Vec<String>) {
    let style = page.style;
    let verdict = cause
        .verdict
        .map_or_else(|| "failed".to_owned(), |verdict| verdict.to_string());
    let head = style.paint(Role::Bad, &format!("{} {verdict}", mark(style)));
    let room = page.room(columns(&verdict) + 4);
    lines.push(format!("{head}: {}", node_names(&cause.nodes, room)));
    lines.push(format!("{INDENT}{}", style.paint(Role::Strong, &cause.text)));
    lines.extend(excerpt(cause, of, page));
    let remedy = cause.verdict.map_or("", Verdict::remedy);
    if !remedy.is_empty() && !cause.text.contains(remedy) {
        lines.push(detail("help", remedy));
    }
    if !cause.images.is_empty() {
        lines.push(detail("images", &image_names(cause, wanted, page)));
    }
    if let Some(failure) = cause
        .done
        .failure
        .as_ref()
        .filter(|failure| !failure.log.is_empty())
    {
        lines.push(detail("log", &failure.log));
    }
    lines.push(detail("next", &next(cause, page)));
}

fn short(cause: &Cause<'_>, wanted: &[WantedImage], folder: &str, page: &Page, lines: &mut Vec<String>) {
    let style = page.style;
    let images = match cause.images.len() {
        0 => String::new(),
        1 => format!("; image {}", image_names(cause, wanted, page)),
        n if n == wanted.len() => format!("; all {n} images"),
        n => format!("; {n} images"),
    };
    let log = cause
        .done
        .failure
        .as_ref()
        .map_or("", |failure| failure.log.as_str());
    let log = log
        .strip_prefix(folder)
        .map_or(log, |log| log.trim_start_matches('/'));
    let log = if log.is_empty() {
        String::new()
    } else {
        format!("; log {log}")
    };
    let verdict = cause
        .verdict
        .map_or_else(|| "failed".to_owned(), |verdict| verdict.to_string());
    let head = style.paint(Role::Bad, &format!("{} {verdict}", mark(style)));
    lines.push(format!("{head}: {}{images}{log}", node_names(&cause.nodes, 0)));
    lines.push(format!("{INDENT}{}", cause.text));
}

/// What the message says beyond the cause: all of it on paper, on a screen as much as leaves room for the rest.
fn excerpt(cause: &Cause<'_>, of: usize, page: &Page) -> Vec<String> {
    let message = cause.done.message.as_deref().unwrap_or_default();
    let mut all: Vec<&str> = message.lines().collect();
    // The cause is shown already.
    if all.first().is_some_and(|first| first.trim() == cause.text) {
        all.remove(0);
    }
    let (most, width) = match page.width {
        Some(width) => (ON_SCREEN[usize::from(of > 1)], width),
        None => (ON_PAPER, usize::MAX),
    };
    // Of an output its end; of all else the beginning.
    let skipped = match all.last().is_some_and(|last| last.trim_start().starts_with('|')) {
        true => all.len().saturating_sub(most),
        false => 0,
    };
    let shown = all.into_iter().skip(skipped).take(most);
    shown
        .map(|line| {
            page.style
                .cut(&format!("{INDENT}{line}"), width)
                .trim_end()
                .to_owned()
        })
        .collect()
}

fn detail(label: &str, text: &str) -> String {
    format!("{INDENT}{label:<LABEL$}{text}")
}

fn mark(style: Style) -> &'static str {
    style.pick("✗", "FAILED")
}

/// The command that shows more of it: into the machine where one was kept.
fn next(cause: &Cause<'_>, page: &Page) -> String {
    let (verb, node) = match cause.kept() {
        Some(node) => ("ssh", node),
        None => ("logs", cause.nodes[0]),
    };
    format!("pipeline {verb} {}{}", node.info.id, page.store)
}

/// `install debian11, debian12 and 8 more`.
fn node_names(nodes: &[&Node], room: usize) -> String {
    let stage = &nodes[0].info.stage;
    let names: Vec<_> = nodes
        .iter()
        .map(
            |node| match &node.info.stage == stage && !node.info.subject.is_empty() {
                true => node.info.subject.clone(),
                false => node.title(),
            },
        )
        .collect();
    let first = match nodes[0].info.subject.is_empty() {
        true => String::new(),
        false => format!("{stage} "),
    };
    first.clone() + &listed(&names, room.saturating_sub(columns(&first)))
}

fn image_names(cause: &Cause<'_>, wanted: &[WantedImage], page: &Page) -> String {
    let names: Vec<_> = cause
        .images
        .iter()
        .map(|image| wanted[*image].id.clone())
        .collect();
    match names.len() {
        count if count == wanted.len() && count > IN_FULL => format!("all {count}"),
        _ => listed(&names, page.room(INDENT.len() + LABEL)),
    }
}

/// As many names as there is room for, at least one.
fn listed(names: &[String], room: usize) -> String {
    let mut text = String::new();
    for (position, name) in names.iter().enumerate() {
        let left = names.len() - position;
        let more = format!(" and {left} more");
        let comma = if position == 0 { "" } else { ", " };
        let rest = if left == 1 { 0 } else { columns(&more) };
        if position > 0 && columns(&text) + columns(comma) + columns(name) + rest > room {
            return text + &more;
        }
        text = text + comma + name;
    }
    text
}

impl Page {
    /// Columns for a list behind so many others.
    fn room(&self, used: usize) -> usize {
        self.width.unwrap_or(ROOM).saturating_sub(used)
    }
}

#[cfg(test)]
mod tests {
    use super::listed;

    #[test]
    fn names_are_listed_as_far_as_there_is_room() {
        let names = ["debian12-3G", "debian12-20G", "debian12-50G"].map(str::to_owned);
        assert_eq!(listed(&names, 80), "debian12-3G, debian12-20G, debian12-50G");
        assert_eq!(listed(&names, 37), "debian12-3G, debian12-20G and 1 more");
        assert_eq!(listed(&names, 0), "debian12-3G and 2 more");
        assert_eq!(listed(&names[..1], 0), "debian12-3G");
    }
}
