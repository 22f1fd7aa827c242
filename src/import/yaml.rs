//! YAML with the line of every value. The parser is saphyr's; the tree is built here, because aliases must be bounded.

use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::node::{Node, Place, Value};

/// Nodes of a document, those that aliases repeat included.
const MOST_NODES: usize = 100_000;
/// Lists and maps within each other.
const DEEPEST: usize = 64;

/// Why a text is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct YamlError {
    /// What the parser says.
    pub cause: String,
    pub place: Place,
}

enum Open {
    List(Vec<Node>),
    Map(Vec<(String, Node)>, Option<String>),
}

/// Reads the first document of a text. Keys are texts; tags count for nothing.
pub fn read(file: &Arc<str>, text: &str) -> Result<Node, YamlError> {
    let at = |line: usize| Place {
        file: Arc::clone(file),
        line: line.max(1),
    };
    let failed = |cause: &str, line: usize| YamlError {
        cause: cause.to_owned(),
        place: at(line),
    };
    let mut open: Vec<(Open, Place, usize)> = Vec::new();
    let mut anchors: Vec<(usize, Node, usize)> = Vec::new();
    let mut count = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| failed(error.info(), error.marker().line()))?;
        let line = span.start.line();
        let done = match event {
            Event::SequenceStart(anchor, _) => {
                open.push((Open::List(Vec::new()), at(line), anchor));
                None
            }
            Event::MappingStart(anchor, _) => {
                open.push((Open::Map(Vec::new(), None), at(line), anchor));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|(open, place, anchor)| {
                let value = match open {
                    Open::List(items) => Value::List(items),
                    Open::Map(entries, _) => Value::Map(entries),
                };
                (Node::new(value, &place), anchor)
            }),
            Event::Scalar(text, style, anchor, _) => {
                Some((Node::new(scalar(&text, style), &at(line)), anchor))
            }
            Event::Alias(id) => {
                let found = anchors.iter().rev().find(|(known, ..)| *known == id);
                let (_, node, size) = found.ok_or_else(|| failed("an alias of nothing", line))?;
                count += size;
                Some((node.clone(), 0))
            }
            Event::DocumentEnd => break,
            _ => None,
        };
        count += 1;
        if count > MOST_NODES || open.len() > DEEPEST {
            return Err(failed(
                "larger or deeper than any file of this kind should be",
                line,
            ));
        }
        let Some((node, anchor)) = done else { continue };
        if anchor > 0 {
            let size = size(&node);
            count += size;
            anchors.push((anchor, node.clone(), size));
        }
        match open.last_mut() {
            None => return Ok(node),
            Some((Open::List(items), ..)) => items.push(node),
            Some((Open::Map(entries, key), ..)) => match key.take() {
                None => *key = Some(node.text().unwrap_or_default()),
                Some(name) => entries.push((name, node)),
            },
        }
    }
    Ok(Node::new(Value::Null, &at(1)))
}

fn size(node: &Node) -> usize {
    let inside: usize = match &node.value {
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries.iter().map(|(_, node)| size(node)).sum(),
        _ => 0,
    };
    inside + 1
}

/// A plain scalar by the core schema (and YAML 1.1's yes and no, which Ansible takes); anything quoted is text.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if !matches!(style, ScalarStyle::Plain) {
        return Value::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "yes" | "Yes" => Value::Bool(true),
        "false" | "False" | "no" | "No" => Value::Bool(false),
        number
            if number.parse::<f64>().is_ok()
                && number.starts_with(|c: char| c.is_ascii_digit() || c == '-') =>
        {
            Value::Number(number.to_owned())
        }
        text => Value::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_places_and_bounds() {
        let file = Arc::from("a.yml");
        let node = read(&file, "- a: &x [1, two]\n  b: *x\n- c: |\n    text\n").unwrap();
        let second = &node.items()[1];
        assert_eq!(second.place.line, 3);
        assert_eq!(second.text_of("c").unwrap(), "text\n");
        assert_eq!(node.items()[0].texts_of("b"), ["1", "two"]);
        assert!(read(&file, &"[".repeat(1000)).is_err());
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for pair in ["ab", "bc", "cd", "de", "ef", "fg"] {
            let (from, to) = pair.split_at(1);
            bomb += &format!("{to}: &{to} [{}]\n", vec![format!("*{from}"); 9].join(", "));
        }
        assert!(read(&file, &bomb).is_err());
    }
}
