//! Tables of a manifest and their values, checked against what is known about their keys. Whatever is not as wanted
//! becomes a problem, and reading goes on. Knows no key by name.

use std::fmt::Display;

use super::error::{ProblemKind, Problems, Span};
use super::key::{Group, Key, Table};
use super::parse::{Entry, Node, Value};
use super::suggest;

/// Place of the whole document.
const ROOT: &str = "manifest";

/// A table that is being read. Its keys were checked when it was opened: none is unknown, missing or in the wrong
/// company without a problem being there.
#[derive(Debug)]
pub struct Fields<'a> {
    /// Dotted place: `distros.debian12`.
    pub path: String,
    /// The table's header or braces.
    pub span: Span,
    table: &'static Table,
    entries: &'a [Entry],
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
    pub node: &'a Node,
    /// A value that would be right, in TOML.
    example: &'static str,
    problems: &'a Problems,
}

impl<'a> Fields<'a> {
    /// Opens the whole document.
    pub fn root(node: &'a Node, table: &'static Table, problems: &'a Problems) -> Self {
        let entries: &[Entry] = match &node.value {
            Value::Table(entries) => entries,
            _ => &[],
        };
        let root = Self {
            path: ROOT.to_owned(),
            span: node.span.clone(),
            table,
            entries,
            problems,
        };
        root.check();
        root
    }

    /// A table in which nothing is written.
    pub fn empty(&self, table: &'static Table) -> Self {
        Self {
            path: self.path.clone(),
            span: self.span.clone(),
            table,
            entries: &[],
            problems: self.problems,
        }
    }

    /// The value of a key, where it is there.
    pub fn find(&self, key: &'static Key) -> Option<Field<'a>> {
        debug_assert!(
            self.table.key(key.name).is_some(),
            "the table `{}` has no key `{}`",
            self.table.id,
            key.name
        );
        #[cfg(test)]
        recorder::record(key);
        let entry = self.entry(key)?;
        Some(Field::new(&self.path, entry, key.example, self.problems))
    }

    /// Reports a problem of the table as a whole.
    pub fn report(&self, kind: ProblemKind) {
        self.problems.add(&self.span, kind);
    }

    /// Reports that a key must be there.
    pub fn lacks(&self, key: &Key) {
        self.report(ProblemKind::MissingKey {
            path: self.path.clone(),
            key: key.name,
            example: match key.written {
                Some(written) => format!("\n{written}"),
                None => format!(" {} = {}", key.name, key.example),
            },
        });
    }

    /// The values of keys that are no keys of this table, but names.
    pub fn others(&self, example: &'static str) -> impl Iterator<Item = Field<'a>> + '_ {
        let is_other = |entry: &&Entry| self.is_other(entry);
        let entries = self.entries.iter().filter(is_other);
        entries.map(move |entry| Field::new(&self.path, entry, example, self.problems))
    }

    /// The one key of a group that is there. With several there was a report already.
    pub fn only(&self, keys: impl IntoIterator<Item = &'static Key>) -> Option<&'static Key> {
        let mut found = keys.into_iter().filter(|key| self.has(key));
        found.next().filter(|_| found.next().is_none())
    }

    fn entry(&self, key: &Key) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == key.name)
    }

    fn has(&self, key: &Key) -> bool {
        self.entry(key).is_some()
    }

    fn is_other(&self, entry: &Entry) -> bool {
        let may_be = self.table.others.is_some() && matches!(entry.node.value, Value::Table(_));
        may_be && self.table.key(&entry.key).is_none()
    }

    /// Reports keys that are unknown, missing, or there with the wrong other ones.
    fn check(&self) {
        let is_strange = |entry: &&Entry| self.table.key(&entry.key).is_none() && !self.is_other(entry);
        let strange: Vec<_> = self.entries.iter().filter(is_strange).collect();
        for group in self.table.groups {
            self.check_group(group, !strange.is_empty());
        }
        for key in self.table.keys() {
            if key.needed && !self.has(key) {
                self.lacks(key);
            }
        }
        for entry in self.entries {
            let Some(key) = self.table.key(&entry.key) else {
                continue;
            };
            if self.is_misplaced(key) {
                self.misplaced(key, &entry.key_span);
            }
            let needs = key.needs.map_or_else(Vec::new, |needs| needs());
            for other in needs.into_iter().filter(|other| !self.has(other)) {
                self.lacks(other);
            }
        }
        let fitting = self.table.keys().filter(|key| !self.is_misplaced(key));
        for entry in strange {
            let mut remedy = suggest::remedy(&entry.key, "known keys", fitting.clone().map(|key| key.name));
            if self.table.others.is_some() {
                remedy += &format!(", and tables of other names: [{}.NAME]", self.path);
            }
            let (key, path) = (entry.key.clone(), self.path.clone());
            self.problems
                .add(&entry.key_span, ProblemKind::UnknownKey { key, path, remedy });
        }
    }

    /// With an unknown key and none of the group, the unknown one is a typo of it: one report is enough.
    fn check_group(&self, group: &Group, has_typo: bool) {
        let names = group.names();
        let found: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| names.contains(&entry.key.as_str()))
            .collect();
        let kind = ProblemKind::OneOf {
            path: self.path.clone(),
            found: found.iter().map(|entry| format!("`{}`", entry.key)).collect(),
            wanted: names,
        };
        match found.as_slice() {
            [] if group.needed && !has_typo => self.report(kind),
            [first, second, ..] => {
                self.problems
                    .add_pair((&first.key_span, "this"), &second.key_span, kind);
            }
            _ => {}
        }
    }

    /// Whether none of the keys that a key goes with is there. Where a group has not exactly one key, what the table was
    /// meant to be is unknown: the keys of all are then right.
    fn is_misplaced(&self, key: &Key) -> bool {
        let Some(companions) = key.goes_with.map(|with| with()) else {
            return false;
        };
        let is_undecided = companions
            .iter()
            .any(|key| self.group_of(key).is_some_and(|keys| self.only(keys).is_none()));
        !is_undecided && !companions.iter().any(|key| self.has(key))
    }

    /// The keys of the group that must have one of them, where a key is in such a group.
    fn group_of(&self, key: &Key) -> Option<Vec<&'static Key>> {
        let mut groups = self.table.groups.iter().filter(|group| group.needed);
        groups.find_map(|group| {
            let keys = (group.keys)();
            keys.iter().any(|other| other.name == key.name).then_some(keys)
        })
    }

    fn misplaced(&self, key: &'static Key, span: &Span) {
        let companions = key.goes_with.map_or_else(Vec::new, |with| with());
        let chosen = companions
            .iter()
            .find_map(|other| self.only(self.group_of(other)?));
        let names: Vec<_> = companions
            .iter()
            .map(|other| format!("`{}`", other.name))
            .collect();
        let (rule, remedy) = match (chosen, names.as_slice()) {
            (Some(chosen), [_, _, _, _, _, ..]) => (
                format!("does not go with `{}`", chosen.name),
                format!("take `{}` out", key.name),
            ),
            (Some(chosen), _) => (
                format!("goes with {}, not with `{}`", names.join(" or "), chosen.name),
                format!("take `{}` out", key.name),
            ),
            (None, _) => {
                let first = companions.first();
                let line = first.map(|first| format!("{} = {}", first.name, first.example));
                (
                    format!("goes with {}", names.join(" or ")),
                    format!("add, for instance: {}", line.unwrap_or_default()),
                )
            }
        };
        let kind = ProblemKind::Misplaced {
            key: key.name,
            path: self.path.clone(),
            rule,
            remedy,
        };
        self.problems.add(span, kind);
    }
}

impl<'a> Field<'a> {
    fn new(table: &str, entry: &'a Entry, example: &'static str, problems: &'a Problems) -> Self {
        let path = if table == ROOT {
            entry.key.clone()
        } else {
            format!("{table}.{}", entry.key)
        };
        Self {
            key: &entry.key,
            key_span: &entry.key_span,
            path,
            node: &entry.node,
            example,
            problems,
        }
    }

    /// A value that stands in no manifest.
    pub fn lone(key: &Key, node: &'a Node, problems: &'a Problems) -> Self {
        Self {
            key: key.name,
            key_span: &node.span,
            path: key.name.to_owned(),
            node,
            example: key.example,
            problems,
        }
    }

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

    /// Reports a value of another type than the wanted one.
    pub fn wrong<T>(&self, wanted: &'static str) -> Option<T> {
        self.report(ProblemKind::WrongType {
            path: self.path.clone(),
            found: self.node.type_name(),
            wanted,
            example: self.example(),
        });
        None
    }

    /// What would be right.
    pub fn remedy(&self) -> String {
        format!("write it like this: {}", self.example())
    }

    fn example(&self) -> String {
        format!("{} = {}", self.key, self.example)
    }

    /// A text with something in it.
    pub fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) if text.trim().is_empty() => {
                self.bad("the text is empty", self.remedy());
                None
            }
            Value::Text(text) => Some(text),
            _ => self.wrong("a text"),
        }
    }

    /// The items of a list.
    pub fn items(&self) -> Option<Vec<Self>> {
        let Value::List(nodes) = &self.node.value else {
            return self.wrong("a list");
        };
        let item = |(index, node)| Self {
            path: format!("{}[{index}]", self.path),
            node,
            ..self.clone()
        };
        Some(nodes.iter().enumerate().map(item).collect())
    }

    /// The values of a table whose keys are names; each would be right as the example is.
    pub fn entries(&self, example: &'static str) -> Option<Vec<Self>> {
        let Value::Table(entries) = &self.node.value else {
            return self.wrong("a table");
        };
        let entry = |entry| Self::new(&self.path, entry, example, self.problems);
        Some(entries.iter().map(entry).collect())
    }

    /// The table that the value is.
    pub fn open(&self, table: &'static Table) -> Option<Fields<'a>> {
        let fields = self.open_unchecked(table)?;
        fields.check();
        Some(fields)
    }

    /// The same, where it is not known yet which keys belong there.
    pub fn open_unchecked(&self, table: &'static Table) -> Option<Fields<'a>> {
        let Value::Table(entries) = &self.node.value else {
            return self.wrong("a table");
        };
        Some(Fields {
            path: self.path.clone(),
            span: self.span().clone(),
            table,
            entries,
            problems: self.problems,
        })
    }
}

/// Which keys were read, for the test that finds those that are never read.
#[cfg(test)]
pub mod recorder {
    use std::cell::RefCell;

    use super::Key;

    thread_local! {
        static READ: RefCell<Vec<&'static Key>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn record(key: &'static Key) {
        READ.with_borrow_mut(|all| all.push(key));
    }

    /// All that this thread read so far.
    pub fn take() -> Vec<&'static Key> {
        READ.take()
    }
}
