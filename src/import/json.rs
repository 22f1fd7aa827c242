//! JSON with the line of every value.

use std::sync::Arc;

use jsonc_parser::ast;
use jsonc_parser::common::Ranged as _;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::node::{Node, Place, Value};

/// JSON and nothing more: no comments, no commas that lead nowhere.
const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// Why a text is no JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct JsonError {
    /// What the parser says, without the place.
    pub cause: String,
    pub place: Place,
}

/// Reads a text. Nesting is bounded by the parser (512).
pub fn read(file: &Arc<str>, text: &str) -> Result<Node, JsonError> {
    let ends: Vec<_> = text.match_indices('\n').map(|(at, _)| at).collect();
    let place = |offset: usize| Place {
        file: Arc::clone(file),
        line: ends.partition_point(|end| *end < offset) + 1,
    };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &STRICT).map_err(|error| JsonError {
        cause: error.kind().to_string().to_lowercase(),
        place: place(error.range().start),
    })?;
    let root = parsed.value.ok_or_else(|| JsonError {
        cause: "it is empty".to_owned(),
        place: place(0),
    })?;
    Ok(node(root, &place))
}

fn node(value: ast::Value<'_>, place: &dyn Fn(usize) -> Place) -> Node {
    let here = place(value.start());
    let value = match value {
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::BooleanLit(flag) => Value::Bool(flag.value),
        ast::Value::NumberLit(number) => Value::Number(number.value.to_owned()),
        ast::Value::StringLit(text) => Value::Text(text.value.into_owned()),
        ast::Value::Array(list) => {
            Value::List(list.elements.into_iter().map(|item| node(item, place)).collect())
        }
        ast::Value::Object(map) => {
            let entries = map.properties.into_iter();
            Value::Map(
                entries
                    .map(|entry| (entry.name.into_string(), node(entry.value, place)))
                    .collect(),
            )
        }
    };
    Node::new(value, &here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_lines() {
        let file = Arc::from("a.json");
        let node = read(
            &file,
            "{\n \"a\": [1,\n  \"x\\\"\\u00e9\\n\", {}],\n \"b\": true }",
        )
        .unwrap();
        let list = node.get("a").unwrap();
        assert_eq!((list.place.line, list.items()[1].place.line), (2, 3));
        assert_eq!(list.items()[1].text().unwrap(), "x\"é\n");
        assert_eq!(node.get("b").unwrap().value, Value::Bool(true));
    }

    #[test]
    fn nothing_but_json_is_read() {
        let file = Arc::from("a.json");
        for (text, line) in [
            ("{\n \"a\": [1,\n", 2),
            ("{\n \"a\": 1 // one\n}", 2),
            ("{\n \"a\": [1,]\n}", 2),
            ("{\n \"a\": 1\n \"b\": 2 }", 2),
            ("{ \"a\":\n 0x1 }", 2),
            ("{}\n{}", 2),
            ("", 1),
        ] {
            assert_eq!(read(&file, text).unwrap_err().place.line, line, "{text}");
        }
        assert!(read(&file, &"[".repeat(1000)).is_err());
        let node = read(&file, r#"["\ud83d\ude00\/"]"#).unwrap();
        assert_eq!(node.items()[0].text().unwrap(), "😀/");
    }
}
