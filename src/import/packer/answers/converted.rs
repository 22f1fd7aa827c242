//! What an answer file becomes: vars, and blocks of a template that extends a built-in one.

use std::collections::BTreeSet;

use super::words::{self, Kind, Meaning, Row};
use crate::import::note::Weight;
use crate::import::packer::go::{self, Scope};

/// What an answer file became.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// Vars, by name.
    pub vars: Vec<(&'static str, Answer)>,
    /// Package mirror, as `mirror` of the source.
    pub mirror: Option<String>,
    pub suite: Option<String>,
    /// It set a password.
    pub has_password: bool,
    /// Blocks of the built-in template with what is added to each.
    pub(super) blocks: Vec<(&'static str, Added)>,
    /// Words about the disk's layout, and the line of the first.
    disk: Option<(usize, BTreeSet<String>)>,
    /// The line that says how the installation ends.
    end: Option<usize>,
    /// For the report: weight, line, subject, text.
    pub notes: Vec<(Weight, usize, String, String)>,
}

/// A value of a var.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Text(String),
    /// Several.
    List(Vec<String>),
    /// A truth value.
    Flag(bool),
}

/// How a block changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// More lines behind it.
    Lines(String),
    /// A command, in a block for commands that must not fail.
    Command(String),
    /// Other lines instead.
    Instead(String),
}

impl Converted {
    pub(super) fn var(&mut self, name: &'static str, value: Answer) {
        self.vars.retain(|(known, _)| *known != name);
        self.vars.push((name, value));
    }

    pub(super) fn text(&mut self, name: &'static str, value: &str) {
        if !value.is_empty() {
            self.var(name, Answer::Text(value.to_owned()));
        }
    }

    /// Takes what the table says of a word; false where it says nothing.
    pub(super) fn take(&mut self, rows: &'static [Row], line: usize, word: &str, value: &str) -> bool {
        match words::meaning(rows, word) {
            Some(Meaning::Var(name)) => self.text(name, value),
            Some(Meaning::Decided(text)) => self.note(Weight::Decided, line, word, text),
            Some(Meaning::Lost(text)) => self.note(Weight::Lost, line, word, text),
            Some(Meaning::Is(Kind::Nothing)) => {}
            Some(Meaning::Is(Kind::Password)) => self.has_password = true,
            Some(Meaning::Is(Kind::Disk)) => {
                let (_, words) = self.disk.get_or_insert_with(|| (line, BTreeSet::new()));
                words.insert(word.to_owned());
            }
            Some(Meaning::Is(Kind::End)) => self.end = self.end.or(Some(line)),
            None => return false,
        }
        true
    }

    /// Adds lines to the end of a block of the built-in template, where there are any.
    pub(super) fn block(&mut self, name: &'static str, lines: String) {
        if !lines.is_empty() {
            self.blocks.push((name, Added::Lines(lines)));
        }
    }

    /// Says what becomes of the disk's layout and of the end, once all words were taken.
    pub(super) fn finish(&mut self) {
        if let Some((line, words)) = self.disk.take() {
            let words: Vec<_> = words.into_iter().collect();
            let text = "partitions and boot loader are the built-in answers': one ext4 file system, last on the disk, so that every \
                        size is made from one installation; swap is `swap` of the vars (a file)";
            self.note(Weight::Decided, line, words.join(", "), text);
        }
        if let Some(line) = self.end.take() {
            let text = "the machine switches off once the installation is done";
            self.note(Weight::Decided, line, "end of the installation", text);
        }
    }

    pub(super) fn note(
        &mut self,
        weight: Weight,
        line: usize,
        subject: impl Into<String>,
        text: impl Into<String>,
    ) {
        self.notes.push((weight, line, subject.into(), text.into()));
    }

    /// The template's text, if one is needed.
    pub fn template(&self, parent: &str) -> Option<String> {
        let blocks: Vec<_> = self
            .blocks
            .iter()
            .filter(|(_, added)| !matches!(added, Added::Lines(text) if text.trim().is_empty()))
            .collect();
        if blocks.is_empty() {
            return None;
        }
        let mut text = format!(
            "{{# What the Packer template's own answers say beyond the built-in ones, word for word.\n   Vars hold what vars \
             can say; accounts, disk, boot loader and the end are the built-in template's. #}}\n{{% extends \"{parent}\" %}}\n"
        );
        for (block, added) in blocks {
            let body = match added {
                Added::Lines(lines) => format!("{{{{ super() }}}}{}", ended(lines)),
                // As it was: its last word counts.
                Added::Command(command) => format!("  ( set +e; \\\n  {command} ); \\\n"),
                Added::Instead(lines) => ended(lines),
            };
            text.push_str(&format!("\n{{% block {block} %}}\n{body}{{% endblock %}}\n"));
        }
        Some(text)
    }
}

fn ended(text: &str) -> String {
    let text = text.trim_end_matches('\n');
    format!("{text}\n")
}

/// Where a text comes from: a file is no template, `http_content` is one of Packer's.
#[derive(Clone, Copy, Debug)]
pub enum Quote<'a> {
    File,
    /// A text of the template.
    Text(&'a Scope),
}

impl Quote<'_> {
    /// For a template of minijinja's.
    pub(super) fn quoted(&self, text: &str) -> String {
        match self {
            Self::File => go::escape(text),
            Self::Text(scope) => {
                let context = |_: &str| None;
                // What cannot be translated stays visible where it was.
                go::jinja(text, scope, &context).unwrap_or_else(|_| go::escape(text))
            }
        }
    }

    /// For a var.
    pub(super) fn plain(&self, text: &str) -> String {
        match self {
            Self::File => text.to_owned(),
            Self::Text(scope) => go::resolve(text, scope),
        }
    }
}

/// A line with single blanks.
pub(super) fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
