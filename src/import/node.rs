//! A value with the place it stands at, whatever language it was written in. Knows no tool's keys.

use std::fmt;
use std::sync::Arc;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: usize,
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub value: Value,
    pub place: Place,
}

/// What JSON, YAML and HCL can all say.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    /// A truth value.
    Bool(bool),
    /// A number, as written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// Names with values, in the order they were written.
    Map(Vec<(String, Node)>),
    /// A value that cannot be known here: why.
    Unknown(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Node {
    /// A node.
    pub fn new(value: Value, place: &Place) -> Self {
        let place = place.clone();
        Self { value, place }
    }

    /// A scalar as a text: Packer takes `"2"` for 2 and `"true"` for true everywhere.
    pub fn text(&self) -> Option<String> {
        match &self.value {
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Number(text) | Value::Text(text) => Some(text.clone()),
            Value::Null | Value::List(_) | Value::Map(_) | Value::Unknown(_) => None,
        }
    }

    /// Whether it says yes.
    pub fn is_true(&self) -> bool {
        self.text().is_some_and(|text| text == "true")
    }

    /// The items of a list; of anything else, itself.
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            Value::Null => &[],
            _ => std::slice::from_ref(self),
        }
    }

    /// The entries of a map.
    pub fn entries(&self) -> &[(String, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a key; the last one counts, as in JSON.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let found = self.entries().iter().rev().find(|(name, _)| name == key);
        found
            .map(|(_, node)| node)
            .filter(|node| node.value != Value::Null)
    }

    /// Whether a map at any depth has a key of this name.
    pub fn contains_key(&self, key: &str) -> bool {
        match &self.value {
            Value::List(items) => items.iter().any(|item| item.contains_key(key)),
            Value::Map(entries) => {
                let mut entries = entries.iter();
                entries.any(|(name, item)| name == key || item.contains_key(key))
            }
            _ => false,
        }
    }

    /// A key's scalar as a text.
    pub fn text_of(&self, key: &str) -> Option<String> {
        self.get(key)?.text()
    }

    /// All scalars of a key's list as texts.
    pub fn texts_of(&self, key: &str) -> Vec<String> {
        self.get(key)
            .map(|node| node.items().iter().filter_map(Self::text).collect())
            .unwrap_or_default()
    }

    /// The value for people, on one line and short.
    pub fn short(&self) -> String {
        let whole = match &self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(flag) => flag.to_string(),
            Value::Number(text) => text.clone(),
            Value::Text(text) => format!("{:?}", shortened(text)),
            Value::List(items) if items.is_empty() => "[]".to_owned(),
            Value::List(items) => format!(
                "[{}{}]",
                items[0].short(),
                if items.len() > 1 { ", …" } else { "" }
            ),
            Value::Map(_) => "{ … }".to_owned(),
            Value::Unknown(_) => "…".to_owned(),
        };
        shortened(&whole)
    }
}

/// Longest value that a message shows.
const SHORT: usize = 60;

fn shortened(text: &str) -> String {
    if text.chars().count() <= SHORT {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(SHORT).collect();
    short.push('…');
    short
}
