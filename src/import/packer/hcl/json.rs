//! HCL in the form of JSON (`*.pkr.json`), written as HCL itself. Where its blocks are is known from their names alone, as
//! in the language's own rules.

use hcl::Identifier;

use crate::import::node::{Node, Value};

/// Blocks: where they stand (nothing: at the top), their names, and how many labels they have.
const BLOCKS: [(&str, &str, usize); 15] = [
    ("", "build", 0),
    ("", "data", 2),
    ("", "local", 1),
    ("", "locals", 0),
    ("", "packer", 0),
    ("", "source", 2),
    ("", "variable", 1),
    ("build", "error-cleanup-provisioner", 1),
    ("build", "post-processor", 1),
    ("build", "post-processors", 0),
    ("build", "provisioner", 1),
    ("build", "source", 1),
    ("packer", "required_plugins", 0),
    ("post-processors", "post-processor", 1),
    ("variable", "validation", 0),
];

/// The text, and for each of its lines the one that it stands for.
pub(super) fn written(root: &Node) -> (String, Vec<usize>) {
    let mut writing = Writing::default();
    writing.body("", root);
    (writing.text, writing.lines)
}

#[derive(Default)]
struct Writing {
    text: String,
    lines: Vec<usize>,
}

impl Writing {
    fn line(&mut self, text: &str, of: &Node) {
        self.text.push_str(text);
        self.text.push('\n');
        self.lines.push(of.place.line);
    }

    fn body(&mut self, name: &str, body: &Node) {
        for (key, node) in body.entries().iter().filter(|(key, _)| key != "//") {
            let ident = Identifier::sanitized(key);
            match BLOCKS.iter().find(|(at, block, _)| *at == name && block == key) {
                Some((.., labels)) => self.blocks(key, *labels, String::new(), node),
                // A type, as in `list(string)`.
                None if name == "variable" && key == "type" => {
                    let text = node.text().unwrap_or_default().replace(['\n', '\r'], " ");
                    self.line(&format!("{ident} = {text}"), node);
                }
                None => {
                    self.text.push_str(&format!("{ident} = "));
                    self.value(node);
                    self.line("", node);
                }
            }
        }
    }

    /// A block, or several of one name. `labels`: how many more it has.
    fn blocks(&mut self, name: &str, labels: usize, start: String, node: &Node) {
        for one in node.items() {
            if labels > 0 {
                for (label, inner) in one.entries().iter().filter(|(label, _)| label != "//") {
                    self.blocks(name, labels - 1, format!("{start} {}", quoted(label)), inner);
                }
                continue;
            }
            self.line(&format!("{name}{start} {{"), one);
            self.body(name, one);
            self.line("}", one);
        }
    }

    fn value(&mut self, node: &Node) {
        match &node.value {
            Value::Null | Value::Unknown(_) => self.text.push_str("null"),
            Value::Bool(flag) => self.text.push_str(&flag.to_string()),
            Value::Number(number) => self.text.push_str(number),
            Value::Text(text) => self.text.push_str(&quoted(text)),
            Value::List(items) => {
                self.line("[", node);
                for item in items {
                    self.value(item);
                    self.line(",", item);
                }
                self.text.push(']');
            }
            Value::Map(entries) => {
                self.line("{", node);
                for (key, item) in entries {
                    self.text.push_str(&format!("{} = ", quoted(key)));
                    self.value(item);
                    self.line("", item);
                }
                self.text.push('}');
            }
        }
    }
}

/// What a letter stands in.
#[derive(Clone, Copy, PartialEq)]
enum In {
    /// Braces of an expression.
    Braces,
    /// Quotes in an expression.
    Quotes,
}

/// A text of JSON, which is a template, in quotes of HCL. Expressions in it stay as they are.
fn quoted(text: &str) -> String {
    let mut made = String::from("\"");
    let mut open: Vec<In> = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let is_text = open.last() != Some(&In::Braces);
        // Two signs are one that starts no expression.
        let taken = match ["$${", "%%{", "${", "%{"]
            .iter()
            .find(|start| rest.starts_with(**start))
        {
            Some(start) if is_text => {
                if start.len() == 2 {
                    open.push(In::Braces);
                }
                *start
            }
            _ => &rest[..c.len_utf8()],
        };
        match (open.last().copied(), c) {
            _ if taken.len() > 1 && taken.is_ascii() => made.push_str(taken),
            (None, '"' | '\\') => made.extend(['\\', c]),
            (None, '\n') => made.push_str("\\n"),
            (None, '\r') => made.push_str("\\r"),
            (_, '\n' | '\r') => made.push(' '),
            (Some(In::Quotes), '\\') => {
                made.push('\\');
                rest = &rest[1..];
                made.extend(rest.chars().next());
                rest = rest
                    .get(rest.chars().next().map_or(0, char::len_utf8)..)
                    .unwrap_or_default();
                continue;
            }
            (Some(In::Quotes), '"') => {
                open.pop();
                made.push(c);
            }
            (Some(In::Braces), '"') => {
                open.push(In::Quotes);
                made.push(c);
            }
            (Some(In::Braces), '{') => {
                open.push(In::Braces);
                made.push(c);
            }
            (Some(In::Braces), '}') => {
                open.pop();
                made.push(c);
            }
            _ => made.push(c),
        }
        rest = &rest[taken.len()..];
    }
    made + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_templates() {
        for (text, wanted) in [
            ("a \"b\" \\ c\n", r#""a \"b\" \\ c\n""#),
            (
                "${f(\"x\\\"\", {a = \"}\"})} $${x} é",
                r#""${f("x\"", {a = "}"})} $${x} é""#,
            ),
            (
                "%{ if \"${a}\" == \"\" }x%{ endif }\"",
                r#""%{ if "${a}" == "" }x%{ endif }\"""#,
            ),
        ] {
            assert_eq!(quoted(text), wanted);
        }
    }
}
