//! What an answer file becomes: vars, and blocks of a template that extends a built-in one.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::words::{self, Kind, Meaning, Row};
use crate::import::note::Weight;
use crate::import::packer::go::{self, Piece, Scope};

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
    /// Whether root has a password, where it says so.
    pub root_password: Option<bool>,
    /// The line that sets it, and its word.
    root: Option<(usize, String)>,
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

/// A layout of a disk that the built-in answers do not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Encrypted,
    Raid,
    Lvm,
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
            Some(Meaning::Todo(text)) => self.note(Weight::Todo, line, word, text),
            Some(Meaning::Is(Kind::Nothing)) => {}
            Some(Meaning::Is(Kind::Password)) => self.has_password = true,
            Some(Meaning::Is(Kind::Root)) => self.root(line, word, value),
            Some(Meaning::Is(Kind::Disk)) => {
                let (_, words) = self.disk.get_or_insert_with(|| (line, BTreeSet::new()));
                words.insert(word.to_owned());
            }
            Some(Meaning::Is(Kind::End)) => self.end = self.end.or(Some(line)),
            None => return false,
        }
        true
    }

    /// Takes a password of root's; one that starts with `!` or `*` is none.
    pub(super) fn root(&mut self, line: usize, word: &str, password: &str) {
        let is_locked = password.is_empty() || password.starts_with(['!', '*']);
        self.root_password = self.root_password.or((!is_locked).then_some(true));
        self.root = (self.root.take()).or((!is_locked).then(|| (line, word.to_owned())));
    }

    /// Adds lines to the end of a block of the built-in template, where there are any.
    pub(super) fn block(&mut self, name: &'static str, lines: String) {
        match self.blocks.iter_mut().find(|(known, _)| *known == name) {
            Some((_, Added::Lines(known))) => known.push_str(&lines),
            _ if lines.is_empty() => {}
            _ => self.blocks.push((name, Added::Lines(lines))),
        }
    }

    /// Stops every build until the user has decided: the template names a var that is not there.
    pub(super) fn stop(&mut self, line: usize, subject: &str, var: &str, block: &'static str, text: &str) {
        self.note(Weight::Todo, line, subject, text);
        self.block(block, format!("{{{{ todo_{var} }}}}\n"));
    }

    /// The disk was more than a partition.
    pub(super) fn layout(&mut self, line: usize, subject: &str, kind: Layout) {
        let plain = "the built-in answers make one plain ext4 partition";
        match kind {
            Layout::Encrypted => {
                let text = format!("the disk was encrypted; {plain}: decide whether that will do");
                self.stop(line, subject, "encryption", "disk", &text);
            }
            Layout::Raid => {
                let text = format!("the disk was a RAID; {plain}: decide whether that will do");
                self.stop(line, subject, "raid", "disk", &text);
            }
            Layout::Lvm => {
                let text = format!(
                    "the disk had logical volumes or subvolumes; {plain}, which every size is made from"
                );
                self.note(Weight::Todo, line, subject, text);
            }
        }
    }

    /// Says what becomes of root's password, of the disk's layout and of the end, once all words were taken.
    pub(super) fn finish(&mut self) {
        if let Some((line, word)) = self.root.take().filter(|_| self.root_password == Some(true)) {
            self.note(Weight::Todo, line, word, ROOT_PASSWORD);
        }
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
             can say; accounts, disk, boot loader and the end are the built-in template's. Names that begin with `todo_`\n   \
             are of no var: something has to be decided there. #}}\n{{% extends \"{parent}\" %}}\n"
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

/// What the report says of root's password.
pub const ROOT_PASSWORD: &str = "a password of root's; the first step sets it: `export ROOT_PASSWORD=…` before a run (a password, or \
                                 its hash as in crypt(5)), or take that step out, and root has none";

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
    /// For a template of minijinja's. What must not be written down, or has to be decided, is a name of no var.
    pub(super) fn quoted(&self, text: &str) -> String {
        let quoted = match self {
            Self::File => go::escape(text),
            Self::Text(scope) => {
                let todo = |name: &str| {
                    format!(
                        "{{{{ todo_{} }}}}",
                        name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
                    )
                };
                let parts = go::pieces(text, scope).into_iter().map(|piece| match piece {
                    Piece::Text(text) | Piece::Unknown(text) => go::escape(&text),
                    Piece::Var { name, filters, .. } => go::var(&name, &filters),
                    Piece::Env(name) if !go::is_secret_name(&name) => {
                        go::escape(&go::resolved(Piece::Env(name), scope))
                    }
                    Piece::Secret(name) | Piece::Env(name) => todo(&name),
                    Piece::Now(..) => todo("time"),
                    Piece::Context(name) => go::escape(&format!("{{{{ {name} }}}}")),
                });
                parts.collect()
            }
        };
        hide_passwords(&quoted).replace(HIDDEN, "{{ todo_password }}")
    }

    /// For a var.
    pub(super) fn plain(&self, text: &str) -> String {
        match self {
            Self::File => text.to_owned(),
            Self::Text(scope) => {
                let parts = go::pieces(text, scope).into_iter().map(|piece| match piece {
                    // It is enough that there is one.
                    Piece::Secret(_) => "secret".to_owned(),
                    piece => go::resolved(piece, scope),
                });
                parts.collect()
            }
        }
    }
}

/// A line with single blanks.
pub(super) fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A command that puts the build's key back, where the template's own commands may have taken it away.
pub(super) fn key_again(root: &str) -> String {
    let file = format!("{root}/root/.ssh/authorized_keys");
    format!("grep -qF '{{{{ build_key }}}}' {file} || echo '{{{{ build_key }}}}' >> {file}")
}

/// Stands where a password was.
pub const HIDDEN: char = '\u{e010}';

/// Passwords in options, in the files of cloud-init, and on their way to chpasswd(8); not variables of a script.
static GIVEN: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    // What begins with two braces is no password, but stands for one.
    let value = r#"(?:"(?:\$[0-9]|\{[^{\n]|[^"\n${])[^"\n]*"|'(?:\{[^{\n]|[^'\n{])[^'\n]*'|(?:\$[0-9]|\{[^{\s]|[^\s,}"'${])[^\s,}"']*)"#;
    let patterns = [
        format!(r"(?P<start>--(?:[a-z-]*-)?pass(?:word|phrase)?(?:=|[ \t]+)){value}(?P<end>)"),
        format!(r#"(?P<start>\b(?:plain_text_|hashed_)?passw(?:or)?d["']?:[ \t]+){value}(?P<end>)"#),
        r#"(?P<start>\b(?:echo|printf)\b[^\n|]*?[\w.-]+:)(?:\$[0-9]|\{[^{\s]|[^\s'"|:${])[^\s'"|:]*(?P<end>[^\n]*chpasswd)"#
            .to_owned(),
    ];
    patterns
        .iter()
        .filter_map(|pattern| Regex::new(pattern).ok())
        .collect()
});

/// A text with [`HIDDEN`] in the place of each password.
pub fn hide_passwords(text: &str) -> String {
    if !text.contains("passw") && !text.contains("--pass") {
        return text.to_owned();
    }
    let with = format!("${{start}}{HIDDEN}${{end}}");
    let hidden = |text: String, pattern: &Regex| pattern.replace_all(&text, with.as_str()).into_owned();
    GIVEN.iter().fold(text.to_owned(), hidden)
}

/// Names of no var in a template.
pub fn todos(template: &str) -> Vec<String> {
    let names = template
        .split("{{ todo_")
        .skip(1)
        .filter_map(|rest| rest.split_once(" }}"));
    let mut names: Vec<_> = names.map(|(name, _)| format!("todo_{name}")).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_and_what_stands_for_them_is_kept() {
        for (text, hidden) in [
            ("user --password=lily --x", "user --password=\u{e010} --x"),
            ("user --password \"$6$li ly\"", "user --password \u{e010}"),
            ("rootpw --pass '{lily'", "rootpw --pass \u{e010}"),
            ("passwd: lily, y", "passwd: \u{e010}, y"),
            ("echo ann:lily | chpasswd", "echo ann:\u{e010} | chpasswd"),
            ("user --password={{ todo_x }}", "user --password={{ todo_x }}"),
            ("password: \"{{ todo_x }}\"", "password: \"{{ todo_x }}\""),
            (
                "echo ann:{{ todo_x }} | chpasswd",
                "echo ann:{{ todo_x }} | chpasswd",
            ),
            (
                "echo \"ann:$PASSWORD\" | chpasswd",
                "echo \"ann:$PASSWORD\" | chpasswd",
            ),
        ] {
            assert_eq!(hide_passwords(text), hidden);
        }
    }
}
