//! `-D vars.keymap=fr`: values of a manifest that the command line gives. Read here, and put into a tree; Nickel merges
//! them itself. Knows nothing of what the keys mean.

use toml_edit::Key;

use super::describe::row::Record as _;
use super::describe::tables::ManifestKeys;
use super::doubts::Given;
use super::error::{ProblemKind, Span};
use super::parse::{self, Entry, Node, Value};

/// A value for one key.
#[derive(Clone, Debug)]
pub struct Override {
    /// As typed: `vars.keymap=fr`.
    pub text: String,
    /// The keys that lead to it, outermost first.
    pub keys: Vec<String>,
    /// The value; its spans are those of `text`.
    pub node: Node,
}

impl std::str::FromStr for Override {
    type Err = String;

    /// Keys are written as in TOML (`distros."ubuntu-22.04".memory`), and so is the value; what is no value of TOML is a
    /// text.
    fn from_str(text: &str) -> Result<Self, String> {
        let equals = text.match_indices('=').map(|(at, _)| at);
        let mut found = equals.filter_map(|at| Some((at, Key::parse(text.get(..at)?.trim()).ok()?)));
        let Some((at, keys)) = found.next() else {
            return Err("write KEY=VALUE, the key as in TOML: vars.keymap=fr".to_owned());
        };
        let raw = text.get(at + 1..).unwrap_or_default();
        // The value keeps the places that it has in what was typed.
        let line = format!("{:>width$}{raw}", "x=", width = at + 1);
        let node = match parse::parse(&line).map(|document| document.value) {
            Ok(Value::Table(mut entries)) if entries.len() == 1 && at > 0 => entries.remove(0).node,
            _ => Node {
                span: at + 1..text.len(),
                value: Value::Text(raw.to_owned()),
            },
        };
        Ok(Self {
            text: text.to_owned(),
            keys: keys.iter().map(|key| key.get().to_owned()).collect(),
            node,
        })
    }
}

impl Override {
    /// The var that it is about, if it is about one. `start` is where `text` begins among all texts.
    pub(super) fn var(&self, start: Option<usize>) -> Option<Given> {
        let name = match self.keys.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["vars", name] | ["distros", _, "vars", name] => name.to_owned(),
            _ => return None,
        };
        let span = start.map(|start| start..start + self.text.len());
        Some(Given { name, span })
    }

    /// Puts the value into a tree, in place of what is there. `start` is where `text` begins among all texts.
    ///
    /// # Errors
    /// The way leads through something that has no keys, or begins with a var in the place of a key.
    pub(super) fn apply(&self, tree: &mut Node, start: usize) -> Result<(), (Span, ProblemKind)> {
        let whole = start..start + self.text.len();
        if let [key] = self.keys.as_slice()
            && ManifestKeys::TABLE.key(key).is_none()
            && vars(tree).any(|var| var == key)
        {
            return Err((whole, a_var(key)));
        }
        let mut node = tree;
        for (index, key) in self.keys.iter().enumerate() {
            let found = node.type_name();
            let Value::Table(entries) = &mut node.value else {
                let path = self.keys.get(..index).unwrap_or_default().join(".");
                return Err((whole, no_keys(path, found)));
            };
            let position = entries.iter().position(|entry| entry.key == *key);
            let position = position.unwrap_or_else(|| {
                entries.push(Entry {
                    key: key.clone(),
                    key_span: whole.clone(),
                    node: Node {
                        span: whole.clone(),
                        value: Value::Table(Vec::new()),
                    },
                });
                entries.len() - 1
            });
            node = &mut entries[position].node;
        }
        *node = shifted(&self.node, start);
        Ok(())
    }
}

/// The names of the manifest's own vars.
fn vars(tree: &Node) -> impl Iterator<Item = &String> {
    let vars = entries(tree).iter().find(|entry| entry.key == "vars");
    let vars = vars.map_or(&[][..], |entry| entries(&entry.node));
    vars.iter().map(|entry| &entry.key)
}

fn entries(node: &Node) -> &[Entry] {
    match &node.value {
        Value::Table(entries) => entries,
        _ => &[],
    }
}

fn a_var(key: &str) -> ProblemKind {
    ProblemKind::UnknownKey {
        key: key.to_owned(),
        path: "manifest".to_owned(),
        remedy: format!("`{key}` is one of the vars: -D vars.{key}=…"),
    }
}

fn no_keys(path: String, found: &str) -> ProblemKind {
    ProblemKind::BadValue {
        path,
        cause: format!("this is {found}, and has no keys"),
        remedy: "-D reaches the keys of tables; to change a list, give the whole list: \
            -D 'publish.checksums=[\"sha512\"]'"
            .to_owned(),
    }
}

fn shifted(node: &Node, by: usize) -> Node {
    let shift = |span: &Span| span.start + by..span.end + by;
    let value = match &node.value {
        Value::List(items) => Value::List(items.iter().map(|item| shifted(item, by)).collect()),
        Value::Table(entries) => {
            let entry = |entry: &Entry| Entry {
                key: entry.key.clone(),
                key_span: shift(&entry.key_span),
                node: shifted(&entry.node, by),
            };
            Value::Table(entries.iter().map(entry).collect())
        }
        plain => plain.clone(),
    };
    Node {
        span: shift(&node.span),
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        text.parse::<Override>().unwrap().node.value
    }

    #[test]
    fn values_are_those_of_toml_or_texts() {
        assert!(matches!(value("a=1"), Value::Integer(1)));
        assert!(matches!(value("a = true"), Value::Boolean(true)));
        assert!(matches!(value("a=20G"), Value::Text(text) if text == "20G"));
        assert!(matches!(value("a=\"1\""), Value::Text(text) if text == "1"));
        assert!(matches!(value("a="), Value::Text(text) if text.is_empty()));
        assert!(matches!(value("a=b=c"), Value::Text(text) if text == "b=c"));
        assert!(matches!(value("a=[1, 2]"), Value::List(items) if items.len() == 2));
        assert!(matches!(value("a=1\nb=2"), Value::Text(_)));
        let typed: Override = "d.\"x=1.0\".m=[7]".parse().unwrap();
        assert_eq!(typed.keys, ["d", "x=1.0", "m"]);
        assert_eq!(&typed.text[typed.node.span.clone()], "[7]");
        assert!("a".parse::<Override>().is_err() && "=1".parse::<Override>().is_err());
    }

    #[test]
    fn a_value_takes_the_place_of_another_or_makes_its_tables() {
        let mut tree = parse::parse("[vars]\nkeymap = \"us\"\n").unwrap();
        for text in ["vars.keymap=fr", "pipeline.output=elsewhere"] {
            text.parse::<Override>().unwrap().apply(&mut tree, 100).unwrap();
        }
        assert_eq!(
            super::super::export::json(&tree).to_string(),
            r#"{"vars":{"keymap":"fr"},"pipeline":{"output":"elsewhere"}}"#
        );
        let through: Override = "vars.keymap.x=1".parse().unwrap();
        assert!(through.apply(&mut tree, 100).is_err());
    }
}
