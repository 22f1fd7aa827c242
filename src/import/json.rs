//! JSON with the line of every value. serde_json says whether it is JSON and what each scalar is; only the places are
//! found here.

use std::sync::Arc;

use super::node::{Node, Place, Value};

/// Why a text is no JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct JsonError {
    /// What serde_json says, without the place.
    pub cause: String,
    /// Where.
    pub place: Place,
}

/// Reads a text. Nesting is bounded by serde_json (128).
pub fn read(file: &Arc<str>, text: &str) -> Result<Node, JsonError> {
    let valid = serde_json::from_str::<serde_json::Value>(text);
    if let Err(error) = valid {
        let cause = error.to_string();
        let cause = cause.split(" at line ").next().unwrap_or_default().to_owned();
        let place = Place {
            file: Arc::clone(file),
            // Where the text ends too early, serde_json counts the line behind it.
            line: error.line().clamp(1, text.lines().count().max(1)),
        };
        return Err(JsonError { cause, place });
    }
    let mut walk = Walk {
        file,
        text,
        at: 0,
        line: 1,
    };
    Ok(walk.value())
}

/// Walks over a text that is known to be JSON.
struct Walk<'t> {
    file: &'t Arc<str>,
    text: &'t str,
    at: usize,
    line: usize,
}

impl Walk<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) = self.peek() {
            self.line += usize::from(byte == b'\n');
            self.at += 1;
        }
    }

    /// Blanks and the given byte.
    fn eat(&mut self, wanted: u8) -> bool {
        self.blanks();
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self) -> Node {
        self.blanks();
        let place = Place {
            file: Arc::clone(self.file),
            line: self.line,
        };
        let value = match self.peek() {
            Some(b'{') => {
                self.at += 1;
                let mut entries = Vec::new();
                while !self.eat(b'}') && self.at < self.text.len() {
                    let key = self.string();
                    self.eat(b':');
                    entries.push((key, self.value()));
                    self.eat(b',');
                }
                Value::Map(entries)
            }
            Some(b'[') => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.eat(b']') && self.at < self.text.len() {
                    items.push(self.value());
                    self.eat(b',');
                }
                Value::List(items)
            }
            Some(b'"') => Value::Text(self.string()),
            _ => {
                let end = self.rest().find([',', ']', '}', ' ', '\n', '\r', '\t']);
                let word = &self.rest()[..end.unwrap_or(self.rest().len())];
                let value = match word {
                    "null" | "" => Value::Null,
                    "true" => Value::Bool(true),
                    "false" => Value::Bool(false),
                    number => Value::Number(number.to_owned()),
                };
                self.at += word.len().max(1);
                value
            }
        };
        Node::new(value, &place)
    }

    fn string(&mut self) -> String {
        self.blanks();
        let start = self.at;
        let mut escaped = false;
        for (offset, byte) in self.rest().bytes().enumerate() {
            if offset == 0 {
                continue;
            }
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    self.at = start + offset + 1;
                    return serde_json::from_str(&self.text[start..self.at]).unwrap_or_default();
                }
                _ => {}
            }
        }
        self.at = self.text.len();
        String::new()
    }
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
        let error = read(&file, "{\n \"a\": [1,\n").unwrap_err();
        assert_eq!(error.place.line, 2);
        assert!(read(&file, &"[".repeat(1000)).is_err());
    }
}
