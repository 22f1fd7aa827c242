//! A manifest's tree as text in a language: what a program or a colleague is given. Knows no key by name.

use serde_json::{Map, Number, json};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table};

use super::parse::{Entry, Node, Value};

/// As JSON, keys in the order of the manifest. Dates are texts there.
pub fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Text(text) | Value::Date(text) => json!(text),
        Value::Integer(number) => json!(number),
        Value::Float(number) => Number::from_f64(*number).map_or(serde_json::Value::Null, Into::into),
        Value::Boolean(flag) => json!(flag),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Table(entries) => {
            let pairs = entries.iter().map(|entry| (entry.key.clone(), json(&entry.node)));
            serde_json::Value::Object(pairs.collect::<Map<_, _>>())
        }
    }
}

/// As TOML, with a header for each table down to the third level (`[distros.debian12.source]`), inline below it.
pub fn toml(node: &Node) -> String {
    let mut document = DocumentMut::new();
    if let Value::Table(entries) = &node.value {
        fill(document.as_table_mut(), entries, 1);
    }
    document.to_string().trim_start().to_owned()
}

/// Depth of the last tables with a header of their own.
const HEADERS: usize = 3;

fn fill(table: &mut Table, entries: &[Entry], depth: usize) {
    for entry in entries {
        let item = match &entry.node.value {
            Value::Table(inner) if depth <= HEADERS && !inner.is_empty() => {
                let mut sub = Table::new();
                // A table of tables needs no header.
                sub.set_implicit(
                    inner
                        .iter()
                        .all(|e| matches!(&e.node.value, Value::Table(t) if !t.is_empty())),
                );
                fill(&mut sub, inner, depth + 1);
                Item::Table(sub)
            }
            Value::List(items) if depth == 1 && !items.is_empty() && items.iter().all(is_table) => {
                let mut tables = ArrayOfTables::new();
                for item in items {
                    if let Value::Table(inner) = &item.value {
                        let mut sub = Table::new();
                        fill(&mut sub, inner, HEADERS + 1);
                        tables.push(sub);
                    }
                }
                Item::ArrayOfTables(tables)
            }
            _ => Item::Value(inline(&entry.node)),
        };
        table.insert(&entry.key, item);
    }
}

fn is_table(node: &Node) -> bool {
    matches!(node.value, Value::Table(_))
}

fn inline(node: &Node) -> toml_edit::Value {
    match &node.value {
        Value::Text(text) => text.into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(flag) => (*flag).into(),
        Value::Date(text) => match text.parse::<toml_edit::Datetime>() {
            Ok(date) => date.into(),
            Err(_) => text.into(),
        },
        Value::List(items) => {
            let mut array: Array = items.iter().map(inline).collect();
            // Lists of tables read better with one a line.
            if items.iter().any(is_table) {
                for value in array.iter_mut() {
                    value.decor_mut().set_prefix("\n  ");
                }
                array.set_trailing("\n");
                array.set_trailing_comma(true);
            }
            toml_edit::Value::Array(array)
        }
        Value::Table(entries) => {
            let pairs = entries
                .iter()
                .map(|entry| (entry.key.as_str(), inline(&entry.node)));
            toml_edit::Value::InlineTable(pairs.collect::<InlineTable>())
        }
    }
}

/// A text as a literal of TOML.
pub fn toml_text(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

/// A key of TOML, quoted where it has to be.
pub fn toml_key(key: &str) -> String {
    toml_edit::Key::new(key).to_string().trim().to_owned()
}

/// As Nickel: a record literal.
pub fn nickel(node: &Node) -> String {
    nickel_at(node, 0)
}

/// As Nickel, on one line.
pub fn nickel_line(node: &Node) -> String {
    match &node.value {
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(nickel_line).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(entries) if !entries.is_empty() => {
            let pair = |entry: &Entry| format!("{} = {}", nickel_key(&entry.key), nickel_line(&entry.node));
            let pairs: Vec<_> = entries.iter().map(pair).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        _ => nickel(node),
    }
}

/// Widest list that stays on one line.
const WIDTH: usize = 100;

fn nickel_at(node: &Node, depth: usize) -> String {
    let pad = "  ".repeat(depth + 1);
    let end = "  ".repeat(depth);
    match &node.value {
        Value::Text(text) | Value::Date(text) => nickel_text(text),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| nickel_at(item, depth + 1)).collect();
            let line = format!("[{}]", items.join(", "));
            if line.len() + end.len() <= WIDTH && !line.contains('\n') {
                return line;
            }
            let lines: String = items.iter().map(|item| format!("{pad}{item},\n")).collect();
            format!("[\n{lines}{end}]")
        }
        Value::Table(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Table(entries) => {
            let pairs: Vec<_> = entries
                .iter()
                .map(|entry| {
                    format!(
                        "{} = {}",
                        nickel_key(&entry.key),
                        nickel_at(&entry.node, depth + 1)
                    )
                })
                .collect();
            let line = format!("{{ {} }}", pairs.join(", "));
            if depth > 1 && line.len() + end.len() <= WIDTH && !line.contains('\n') {
                return line;
            }
            let lines: String = pairs.iter().map(|pair| format!("{pad}{pair},\n")).collect();
            format!("{{\n{lines}{end}}}")
        }
    }
}

/// A text as a literal: `%` is escaped where it would begin an interpolation.
pub fn nickel_text(text: &str) -> String {
    let mut literal = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => literal.push_str("\\\""),
            '\\' => literal.push_str("\\\\"),
            '%' => literal.push_str("\\%"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            c if c.is_control() => literal.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => literal.push(c),
        }
    }
    literal + "\""
}

/// Nickel's keywords (its manual, "Syntax"): no bare names of fields.
const KEYWORDS: [&str; 27] = [
    "Dyn",
    "Number",
    "Bool",
    "String",
    "Array",
    "if",
    "then",
    "else",
    "forall",
    "in",
    "let",
    "rec",
    "match",
    "null",
    "true",
    "false",
    "fun",
    "import",
    "merge",
    "default",
    "doc",
    "optional",
    "priority",
    "force",
    "not_exported",
    "include",
    "or",
];

/// A field's name, quoted where it has to be.
pub fn nickel_key(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let starts = key.starts_with(|c: char| c.is_ascii_alphabetic());
    if starts && key.chars().all(plain) && !KEYWORDS.contains(&key) {
        key.to_owned()
    } else {
        nickel_text(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::parse::parse;

    #[test]
    fn what_was_read_is_written_in_each_language() {
        let text = "[pipeline]\nname = \"a\"\n\n[distros.d]\nfamily = \"debian\"\n\n[distros.d.source.bootstrap]\n\
            suite = \"bookworm\"\n\n[[images]]\ndistro = \"d\"\nsizes = [\"3G\"]\n";
        let tree = parse(text).unwrap();
        let again = toml(&tree);
        assert_eq!(json(&parse(&again).unwrap()), json(&tree), "{again}");
        assert!(
            again.contains("[distros.d]\nfamily") && again.contains("[[images]]"),
            "{again}"
        );
        let odd = parse("\"x.y\" = \"50%{x} \\\"\\u0001\"\nin = [1.5, true]\n").unwrap();
        assert_eq!(
            nickel(&odd),
            "{\n  \"x.y\" = \"50\\%{x} \\\"\\u{1}\",\n  \"in\" = [1.5, true],\n}"
        );
    }
}
