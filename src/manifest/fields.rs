//! Typed access to the tables of a manifest. Whatever is not as wanted becomes a problem, and reading goes on:
//! `None` means "absent, or already reported". Knows no key by name; which ones there are it learns by being asked.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;

use super::error::{ProblemKind, Problems, Span};
use super::parse::{Entry, Node, Value};
use super::suggest;

/// A table that is being read. Every key must be asked for; [`Fields::finish`] reports the others.
#[derive(Debug)]
pub struct Fields<'a> {
    /// Dotted place: `distros.debian12`.
    pub path: String,
    /// The table's header or braces.
    pub span: Span,
    entries: &'a [Entry],
    asked: RefCell<Vec<&'static str>>,
    named: RefCell<Vec<&'a str>>,
    problems: &'a Problems,
}

/// A value that is being read.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    /// Its key; for an item of a list, the list's key.
    pub key: &'a str,
    /// Where the key stands.
    pub key_span: &'a Span,
    /// Dotted place: `distros.debian12.disk`.
    pub path: String,
    /// The value.
    pub node: &'a Node,
    problems: &'a Problems,
    in_list: bool,
}

impl<'a> Fields<'a> {
    /// The whole document.
    pub fn root(node: &'a Node, problems: &'a Problems) -> Self {
        let entries: &[Entry] = match &node.value {
            Value::Table(entries) => entries,
            _ => &[],
        };
        Self {
            path: "manifest".to_owned(),
            span: node.span.clone(),
            entries,
            asked: RefCell::default(),
            named: RefCell::default(),
            problems,
        }
    }

    /// The value of a key, where it is there.
    pub fn get(&self, key: &'static str) -> Option<Field<'a>> {
        self.know(&[key]);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(self.field(entry))
    }

    /// The value of a key that must be there; `example` is how to write it.
    pub fn need(&self, key: &'static str, example: &str) -> Option<Field<'a>> {
        let field = self.get(key);
        if field.is_none() {
            let (path, example) = (self.path.clone(), format!("{key} = {example}"));
            self.problems
                .add(&self.span, ProblemKind::MissingKey { path, key, example });
        }
        field
    }

    /// Reports a problem of the table as a whole.
    pub fn report(&self, kind: ProblemKind) {
        self.problems.add(&self.span, kind);
    }

    /// All values, for tables whose keys are names.
    pub fn all(&self) -> impl Iterator<Item = Field<'a>> + '_ {
        self.entries.iter().map(|entry| self.field(entry))
    }

    /// The tables in this one that nobody asked for yet: sub-tables whose keys are names. They count as known.
    pub fn tables(&self) -> Vec<Field<'a>> {
        let is_table = |entry: &&Entry| matches!(entry.node.value, Value::Table(_));
        let found: Vec<_> = self
            .unknown()
            .filter(is_table)
            .map(|entry| self.field(entry))
            .collect();
        self.named
            .borrow_mut()
            .extend(found.iter().map(|field| field.key));
        found
    }

    /// Which of some keys are there; all of them count as known.
    pub fn which(&self, keys: &'static [&'static str]) -> Vec<Field<'a>> {
        self.know(keys);
        let known = self
            .entries
            .iter()
            .filter(|entry| keys.contains(&entry.key.as_str()));
        known.map(|entry| self.field(entry)).collect()
    }

    /// The one key of several that exclude each other; `others` are the keys that may stand beside it.
    pub fn one_of(&self, keys: &'static [&'static str], others: &[&str]) -> Option<Field<'a>> {
        let mut found = self.which(keys);
        // With an unknown key and none of the known ones, the unknown one is a typo of it: one report is enough.
        let strange = |entry: &Entry| !others.contains(&entry.key.as_str());
        let typo = found.is_empty() && self.unknown().any(strange);
        if found.len() != 1 && !typo {
            let (path, wanted) = (self.path.clone(), keys);
            let names = found
                .iter()
                .map(|field| format!("`{}`", field.key))
                .collect::<Vec<_>>();
            let span = found.get(1).map_or(&self.span, |field| field.key_span);
            let kind = ProblemKind::OneOf {
                path,
                found: names,
                wanted,
            };
            match found.first() {
                Some(first) => self.problems.add_pair((first.key_span, "this"), span, kind),
                None => self.problems.add(span, kind),
            }
        }
        (found.len() == 1).then(|| found.remove(0))
    }

    /// Keys that have a meaning here, whether or not they are read.
    pub fn know(&self, keys: &[&'static str]) {
        let mut asked = self.asked.borrow_mut();
        for key in keys {
            if !asked.contains(key) {
                asked.push(key);
            }
        }
    }

    /// Ends the reading: keys that nobody asked for are mistakes.
    pub fn finish(self) {
        let asked = self.asked.borrow();
        #[cfg(test)]
        recorder::record(&self.path, &asked);
        for entry in self.unknown() {
            let remedy = suggest::remedy(&entry.key, "known keys", asked.iter().copied());
            let (key, path) = (entry.key.clone(), self.path.clone());
            self.problems
                .add(&entry.key_span, ProblemKind::UnknownKey { key, path, remedy });
        }
    }

    fn unknown(&self) -> impl Iterator<Item = &'a Entry> + '_ {
        let asked = self.asked.borrow().clone();
        let named = self.named.borrow().clone();
        self.entries
            .iter()
            .filter(move |entry| !asked.contains(&entry.key.as_str()) && !named.contains(&entry.key.as_str()))
    }

    fn field(&self, entry: &'a Entry) -> Field<'a> {
        let path = if self.path == "manifest" {
            entry.key.clone()
        } else {
            format!("{}.{}", self.path, entry.key)
        };
        Field {
            key: &entry.key,
            key_span: &entry.key_span,
            path,
            node: &entry.node,
            problems: self.problems,
            in_list: false,
        }
    }
}

impl<'a> Field<'a> {
    /// Where the value stands.
    pub fn span(&self) -> &'a Span {
        &self.node.span
    }

    /// Reports a value of the right type that makes no sense.
    pub fn bad(&self, cause: impl Display, remedy: impl Into<String>) {
        let kind = ProblemKind::BadValue {
            path: self.path.clone(),
            cause: cause.to_string(),
            remedy: remedy.into(),
        };
        self.problems.add(self.span(), kind);
    }

    /// Reports anything else about this value.
    pub fn report(&self, kind: ProblemKind) {
        self.problems.add(self.span(), kind);
    }

    fn wrong<T>(&self, wanted: &'static str, example: &str) -> Option<T> {
        let kind = ProblemKind::WrongType {
            path: self.path.clone(),
            found: self.node.type_name(),
            wanted,
            example: self.example(example),
        };
        self.problems.add(self.span(), kind);
        None
    }

    fn example(&self, example: &str) -> String {
        if self.in_list {
            example.to_owned()
        } else {
            format!("{} = {example}", self.key)
        }
    }

    /// A text with something in it. Examples are TOML: `"\"bookworm\""`.
    pub fn text(&self, example: &str) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) if text.trim().is_empty() => {
                self.bad(
                    "the text is empty",
                    format!("write it like this: {}", self.example(example)),
                );
                None
            }
            Value::Text(text) => Some(text),
            _ => self.wrong("a text", example),
        }
    }

    /// A text that something reads. Its error says why not.
    pub fn parsed<T, E: Display>(&self, example: &str, read: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        match read(self.text(example)?) {
            Ok(value) => Some(value),
            Err(cause) => {
                self.bad(cause, format!("write it like this: {}", self.example(example)));
                None
            }
        }
    }

    /// One of some words.
    pub fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let example = format!("\"{}\"", choices.first().map_or("", |(name, _)| name));
        let text = self.text(&example)?;
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let remedy = suggest::remedy(text, "choices", choices.iter().map(|(name, _)| *name));
            self.bad(format!("`{text}` is not one of the choices"), remedy);
        }
        found.map(|(_, value)| *value)
    }

    /// A whole number in a range.
    pub fn whole(&self, range: RangeInclusive<i64>, example: &str) -> Option<i64> {
        let Value::Integer(number) = self.node.value else {
            return self.wrong("a whole number", example);
        };
        if range.contains(&number) {
            return Some(number);
        }
        self.bad(
            format!("{number} is out of range"),
            format!("write a number from {} to {}", range.start(), range.end()),
        );
        None
    }

    /// The items of a list.
    pub fn list(&self, example: &str) -> Option<Vec<Field<'a>>> {
        let Value::List(nodes) = &self.node.value else {
            return self.wrong("a list", example);
        };
        Some(self.items(nodes))
    }

    /// The items of a list; a value that stands alone is a list of one.
    pub fn one_or_list(&self) -> Vec<Field<'a>> {
        match &self.node.value {
            Value::List(nodes) => self.items(nodes),
            _ => vec![self.clone()],
        }
    }

    fn items(&self, nodes: &'a [Node]) -> Vec<Field<'a>> {
        let item = |(index, node)| Field {
            path: format!("{}[{index}]", self.path),
            node,
            in_list: true,
            ..self.clone()
        };
        nodes.iter().enumerate().map(item).collect()
    }

    /// A list of texts.
    pub fn texts(&self, example: &str) -> Option<Vec<String>> {
        let items = self.list(&format!("[{example}]"))?;
        let texts = items.iter().filter_map(|item| item.text(example));
        Some(texts.map(str::to_owned).collect())
    }

    /// A table.
    pub fn table(&self, example: &str) -> Option<Fields<'a>> {
        let Value::Table(entries) = &self.node.value else {
            return self.wrong("a table", example);
        };
        Some(Fields {
            path: self.path.clone(),
            span: self.span().clone(),
            entries,
            asked: RefCell::default(),
            named: RefCell::default(),
            problems: self.problems,
        })
    }
}

/// Which keys were asked for in which table, for the test that holds the description against the reader.
#[cfg(test)]
pub mod recorder {
    use std::cell::RefCell;

    thread_local! {
        static ASKED: RefCell<Vec<(String, Vec<&'static str>)>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn record(path: &str, asked: &[&'static str]) {
        ASKED.with_borrow_mut(|all| all.push((path.to_owned(), asked.to_owned())));
    }

    /// All that this thread read so far.
    pub fn take() -> Vec<(String, Vec<&'static str>)> {
        ASKED.take()
    }
}
