//! TOML text to a plain tree that keeps the span of every key and value.
//! Knows TOML, nothing of what a manifest means; the readers know the tree, nothing of TOML.

use serde::{Deserialize, Serialize};
use toml_edit::{Document, Item, Table, TableLike};
use toml_parser::parser::{self, EventKind, RecursionGuard, ValidateWhitespace};

use super::error::Span;

/// How deep tables and lists may nest: the limit of the TOML library's own documents.
const DEPTH: u32 = 80;

/// A value and its place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// The value's text; a table's header; the key where nothing else was written.
    pub span: Span,
    pub value: Value,
}

/// Kinds of value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Value {
    /// `"x"`.
    Text(String),
    /// `1`.
    Integer(i64),
    /// `1.5`.
    Float(f64),
    /// `true`.
    Boolean(bool),
    /// `2024-05-01`, as written.
    Date(String),
    /// `[1, 2]` or `[[images]]`.
    List(Vec<Node>),
    /// `{ a = 1 }` or `[distros.x]`.
    Table(Vec<Entry>),
}

/// A key of a table with its value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    pub node: Node,
}

impl Node {
    /// For messages: `a whole number`.
    pub fn type_name(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "a text",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Boolean(_) => "true or false",
            Value::Date(_) => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// Reads TOML.
///
/// # Errors
/// Every syntax error that the parser recovers from, with its place; none of the tables then.
pub fn parse(text: &str) -> Result<Node, Vec<(Span, String)>> {
    let errors = syntax_errors(text);
    if !errors.is_empty() {
        return Err(errors);
    }
    // What is left for this one to find (a key defined twice) it reports one at a time.
    let document = Document::parse(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let span = clamp(span, text);
        let message = match error.message() {
            "duplicate key" => format!("`{}` is there twice", &text[span.clone()]),
            other => other.to_owned(),
        };
        vec![(span, message)]
    })?;
    // What it lacks belongs behind what it has.
    let end = text.trim_end().len();
    Ok(Node {
        span: end..end,
        value: Value::Table(entries(document.as_table(), &(0..0))),
    })
}

fn syntax_errors(text: &str) -> Vec<(Span, String)> {
    let source = toml_parser::Source::new(text);
    let tokens = source.lex().into_vec();
    let (mut events, mut errors) = (Vec::new(), Vec::new());
    let mut receiver = ValidateWhitespace::new(&mut events, source);
    let mut receiver = RecursionGuard::new(&mut receiver, DEPTH);
    parser::parse_document(&tokens, &mut receiver, &mut errors);
    for event in &events {
        let Some(raw) = source.get(event) else { continue };
        let mut ignored = std::borrow::Cow::Borrowed("");
        match event.kind() {
            EventKind::Scalar => {
                let _kind = raw.decode_scalar(&mut ignored, &mut errors);
            }
            EventKind::SimpleKey => raw.decode_key(&mut ignored, &mut errors),
            _ => {}
        }
    }
    let mut found: Vec<_> = errors
        .iter()
        .map(|error| {
            let span = error.unexpected().or(error.context());
            let span = span.map_or(0..0, |span| span.start()..span.end());
            (clamp(span, text), describe(error))
        })
        .collect();
    found.sort_by_key(|(span, _)| span.start);
    found.dedup_by_key(|(span, _)| span.start);
    found
}

fn describe(error: &toml_parser::ParseError) -> String {
    let wanted: Vec<_> = error
        .expected()
        .unwrap_or_default()
        .iter()
        .filter_map(|expected| match expected {
            toml_parser::Expected::Literal("\n") => Some("a new line".to_owned()),
            toml_parser::Expected::Literal(text) => Some(format!("`{text}`")),
            toml_parser::Expected::Description(text) => Some((*text).to_owned()),
            _ => None,
        })
        .collect();
    let is_nothing = error.unexpected().is_some_and(|span| span.is_empty());
    match wanted.as_slice() {
        // What the parser says of `key = ` with nothing behind it.
        _ if is_nothing && error.description() == "string values must be quoted" => {
            "a value is missing".to_owned()
        }
        [] => error.description().to_owned(),
        all => format!("{}, expected {}", error.description(), all.join(" or ")),
    }
}

/// Errors at the end of the text may point behind it.
fn clamp(span: Span, text: &str) -> Span {
    let start = span.start.min(text.len());
    start..span.end.clamp(start, text.len())
}

fn entries(table: &dyn TableLike, around: &Span) -> Vec<Entry> {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, item)| {
            let key_span = table.key(key).and_then(toml_edit::Key::span);
            let key_span = key_span.unwrap_or_else(|| around.clone());
            Entry {
                key: key.to_owned(),
                node: node(item, &key_span),
                key_span,
            }
        })
        .collect();
    // A sub-table can stand far from its parent; what the user sees is the order of the file.
    entries.sort_by_key(|entry| entry.key_span.start);
    entries
}

fn node(item: &Item, key_span: &Span) -> Node {
    let span = item.span().unwrap_or_else(|| key_span.clone());
    let value = match item {
        Item::None => Value::Table(Vec::new()),
        Item::Value(value) => return value_node(value, key_span),
        Item::Table(table) => Value::Table(entries(table, &span)),
        Item::ArrayOfTables(tables) => {
            let table_node = |table: &Table| {
                let span = table.span().unwrap_or_else(|| key_span.clone());
                Node {
                    value: Value::Table(entries(table, &span)),
                    span,
                }
            };
            Value::List(tables.iter().map(table_node).collect())
        }
    };
    Node { span, value }
}

fn value_node(value: &toml_edit::Value, key_span: &Span) -> Node {
    let span = value.span().unwrap_or_else(|| key_span.clone());
    let value = match value {
        toml_edit::Value::String(text) => Value::Text(text.value().clone()),
        toml_edit::Value::Integer(number) => Value::Integer(*number.value()),
        toml_edit::Value::Float(number) => Value::Float(*number.value()),
        toml_edit::Value::Boolean(flag) => Value::Boolean(*flag.value()),
        toml_edit::Value::Datetime(date) => Value::Date(date.value().to_string()),
        toml_edit::Value::Array(list) => {
            Value::List(list.iter().map(|value| value_node(value, &span)).collect())
        }
        toml_edit::Value::InlineTable(table) => Value::Table(entries(table, &span)),
    };
    Node { span, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(text: &'a str, span: &Span) -> &'a str {
        &text[span.clone()]
    }

    #[test]
    fn every_key_and_value_keeps_its_place() {
        let text = "[a.b]\nx = \"1\"\n[[c]]\ny.z = [1, {q = true}]\n[[c]]\n";
        let Value::Table(top) = parse(text).unwrap().value else {
            panic!("a document is a table")
        };
        let Value::Table(a) = &top[0].node.value else {
            panic!("[a.b]")
        };
        assert_eq!(
            (at(text, &a[0].key_span), at(text, &a[0].node.span)),
            ("b", "[a.b]")
        );
        let Value::List(c) = &top[1].node.value else {
            panic!("[[c]]")
        };
        assert_eq!(c.len(), 2);
        let Value::Table(first) = &c[0].value else {
            panic!("a table")
        };
        let Value::Table(y) = &first[0].node.value else {
            panic!("y.z")
        };
        assert_eq!(at(text, &y[0].node.span), "[1, {q = true}]");
    }

    #[test]
    fn all_syntax_errors_come_at_once() {
        let errors = parse("a = \nb = 1 2\nc = \"\\q\"\n[d\n").unwrap_err();
        let lines: Vec<_> = errors.iter().map(|(span, _)| span.start).collect();
        assert_eq!(errors.len(), 4, "{errors:?} at {lines:?}");
        assert_eq!(parse("a = 1\na = 2\n").unwrap_err()[0].0, 6..7);
    }
}
