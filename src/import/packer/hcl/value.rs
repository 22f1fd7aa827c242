//! HCL expressions evaluated, twice: with the values of the variables, and with actions of Packer's text templates in
//! their place. Where both agree, the second one is kept: so a text still says which variables are in it.

use std::cell::Cell;
use std::sync::Arc;

use hcl::Value as Hcl;
use hcl::edit::Span as _;
use hcl::edit::expr::{Expression, ForExpr, ObjectKey};
use hcl::edit::template::ForDirective;
use hcl::edit::visit::{self, Visit};
use hcl::eval::{Context, Evaluate as _};

use super::functions;
use crate::import::node::{Node, Place, Value};
use crate::import::packer::go::{self, Scope};

/// Work that all expressions of a configuration may make, in steps of their evaluation (an upper bound of them).
const MOST_WORK: u64 = 1 << 28;
/// Work that any expression makes, however short it is.
const LEAST_WORK: u64 = 1 << 13;
/// Splats of one expression (`[*]`, `.*`): each goes deeper into the stack.
const MOST_SPLATS: usize = 256;

/// A text and where its lines begin.
#[derive(Clone, Debug)]
pub struct Text {
    /// The file as the user named it.
    pub shown: Arc<str>,
    /// Offsets of line ends.
    ends: Vec<usize>,
    pub text: Arc<str>,
}

impl Text {
    /// With its lines counted.
    pub fn new(shown: &Arc<str>, text: &Arc<str>) -> Self {
        Self {
            shown: Arc::clone(shown),
            ends: text.match_indices('\n').map(|(at, _)| at).collect(),
            text: Arc::clone(text),
        }
    }

    pub fn place(&self, offset: usize) -> Place {
        Place {
            file: Arc::clone(&self.shown),
            line: self.ends.partition_point(|end| *end < offset) + 1,
        }
    }
}

/// What expressions may refer to.
pub struct Names {
    values: Context<'static>,
    /// With actions of text templates.
    actions: Context<'static>,
    /// Values of variables, to see whether both say the same; nothing is secret in it.
    scope: Scope,
    /// Actions that stand for secrets.
    secrets: Vec<String>,
    /// Largest value declared, in bytes.
    largest: usize,
    work: Cell<u64>,
}

impl Default for Names {
    fn default() -> Self {
        let mut values = Context::new();
        functions::declare(&mut values);
        Self {
            actions: values.clone(),
            values,
            scope: Scope::default(),
            secrets: Vec::new(),
            largest: 1,
            work: Cell::new(0),
        }
    }
}

impl Names {
    /// Declares a name with what it is, and what stands for it in texts.
    pub fn declare(&mut self, name: &str, value: Hcl, actions: Hcl) {
        self.largest = self.largest.max(weight(&value)).max(weight(&actions));
        let name = hcl::Identifier::sanitized(name);
        self.values.declare_var(name.clone(), value);
        self.actions.declare_var(name, actions);
    }

    /// Tells of a variable's value; `name` is what actions call it.
    pub fn know(&mut self, name: &str, value: &str, is_secret: bool) {
        let known = go::Known {
            value: value.to_owned(),
            ..go::Known::default()
        };
        self.scope.vars.insert(name.to_owned(), known);
        if is_secret {
            self.secrets.push(action(name));
        }
    }

    /// Evaluates an expression.
    ///
    /// # Errors
    /// What stands in the way, in a few words.
    pub fn evaluate(&self, expression: &Expression, text: &Text) -> Result<Node, String> {
        let place = text.place(expression.span().map_or(0, |span| span.start));
        match expression {
            Expression::Array(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| self.evaluate(item, text)).collect();
                Ok(Node::new(Value::List(items?), &place))
            }
            Expression::Object(object) => {
                let mut entries = Vec::new();
                for (key, value) in object {
                    let key = match key {
                        ObjectKey::Ident(name) => name.as_str().to_owned(),
                        ObjectKey::Expression(key) => self
                            .evaluate(key, text)?
                            .text()
                            .ok_or("the name of a key is no text")?,
                    };
                    entries.push((key, self.evaluate(value.expr(), text)?));
                }
                Ok(Node::new(Value::Map(entries), &place))
            }
            other => {
                let (value, actions) = self.raw(other, text)?;
                Ok(self.merged(&value, &actions, &place))
            }
        }
    }

    /// Both values of an expression.
    ///
    /// # Errors
    /// As [`Names::evaluate`].
    pub fn raw(&self, expression: &Expression, text: &Text) -> Result<(Hcl, Hcl), String> {
        let span = expression.span().unwrap_or_default();
        let mut loops = Loops::default();
        loops.visit_expr(expression);
        self.afford(text.text.get(span).unwrap_or_default(), loops)?;
        let expression = hcl::Expression::from(expression.clone());
        let value = expression.evaluate(&self.values).map_err(|error| cause(&error))?;
        let actions = expression
            .evaluate(&self.actions)
            .unwrap_or_else(|_| value.clone());
        Ok((value, actions))
    }

    /// A text template of HCL (`templatefile`), with these names in place of all others.
    ///
    /// # Errors
    /// As [`Names::evaluate`].
    pub fn template(text: &str, values: &Hcl) -> Result<String, String> {
        let mut names = Self {
            largest: weight(values),
            ..Self::default()
        };
        for (name, value) in values.as_object().into_iter().flatten() {
            names.declare(name, value.clone(), value.clone());
        }
        let template = hcl::edit::parser::parse_template(text).map_err(|error| error.to_string())?;
        let mut loops = Loops::default();
        loops.visit_template(&template);
        names.afford(text, loops)?;
        let template = hcl::Template::from(template);
        template.evaluate(&names.values).map_err(|error| cause(&error))
    }

    /// Refuses what could take for ever: loops in loops over large values.
    fn afford(&self, text: &str, loops: Loops) -> Result<(), String> {
        if text.matches("[*]").count() + text.matches(".*").count() > MOST_SPLATS {
            return Err(format!("more than {MOST_SPLATS} splats are not evaluated"));
        }
        let names = text.matches(['.', '$']).count();
        let base = u64::try_from(text.len().max(self.largest) + 1).unwrap_or(u64::MAX);
        let mut work = u64::try_from(text.len() + names.saturating_mul(self.largest)).unwrap_or(u64::MAX);
        for _ in 0..loops.deepest {
            work = work.saturating_mul(base);
        }
        let total = self.work.get().saturating_add(work).saturating_add(LEAST_WORK);
        if total > MOST_WORK {
            return Err(
                "so many expressions, or loops over values of this size, are not evaluated".to_owned(),
            );
        }
        self.work.set(total);
        Ok(())
    }

    fn merged(&self, value: &Hcl, actions: &Hcl, place: &Place) -> Node {
        let merged = match (value, actions) {
            (Hcl::String(text), _) => match functions::scalar(actions) {
                Some(with_actions) if self.agree(text, &with_actions) => Value::Text(with_actions),
                _ => Value::Text(text.clone()),
            },
            (Hcl::Null, _) => Value::Null,
            (Hcl::Bool(flag), _) => Value::Bool(*flag),
            (Hcl::Number(number), _) => Value::Number(number.to_string()),
            (Hcl::Array(items), other) => {
                let others = other.as_array().filter(|others| others.len() == items.len());
                let pairs = items.iter().enumerate().map(|(at, item)| {
                    let other = others.and_then(|others| others.get(at)).unwrap_or(item);
                    self.merged(item, other, place)
                });
                Value::List(pairs.collect())
            }
            (Hcl::Object(entries), other) => {
                let pairs = entries.iter().map(|(key, item)| {
                    let other = other
                        .as_object()
                        .and_then(|others| others.get(key))
                        .unwrap_or(item);
                    (key.clone(), self.merged(item, other, place))
                });
                Value::Map(pairs.collect())
            }
        };
        Node::new(merged, place)
    }

    /// Whether the text with actions says the same. One with a secret is taken in any case.
    fn agree(&self, text: &str, with_actions: &str) -> bool {
        self.secrets.iter().any(|secret| with_actions.contains(secret))
            || go::resolve(with_actions, &self.scope) == go::resolve(text, &self.scope)
    }
}

/// Loops within each other.
#[derive(Default)]
struct Loops {
    open: usize,
    deepest: usize,
}

impl Loops {
    fn within(&mut self, inner: impl FnOnce(&mut Self)) {
        self.open += 1;
        self.deepest = self.deepest.max(self.open);
        inner(self);
        self.open -= 1;
    }
}

impl Visit for Loops {
    fn visit_for_expr(&mut self, node: &ForExpr) {
        self.within(|loops| visit::visit_for_expr(loops, node));
    }

    fn visit_for_directive(&mut self, node: &ForDirective) {
        self.within(|loops| visit::visit_for_directive(loops, node));
    }
}

/// The action for a variable.
pub fn action(name: &str) -> String {
    format!("{{{{user `{name}`}}}}")
}

fn cause(error: &hcl::eval::Error) -> String {
    use hcl::eval::ErrorKind;
    match error.kind() {
        ErrorKind::UndefinedFunc(name) => format!("the function `{name}` is not known here"),
        ErrorKind::UndefinedVar(name) => format!("`{name}` is not known here"),
        ErrorKind::NoSuchKey(key) => format!("there is no `{key}`"),
        ErrorKind::FuncCall(name, cause) => format!("{name}(): {cause}"),
        other => other.to_string(),
    }
}

/// Bytes of all texts and numbers in a value, and something for each value.
pub fn weight(value: &Hcl) -> usize {
    match value {
        Hcl::String(text) => text.len() + 1,
        Hcl::Array(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Hcl::Object(entries) => {
            1 + entries
                .iter()
                .map(|(key, item)| key.len() + weight(item))
                .sum::<usize>()
        }
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluated(expression: &str) -> Result<String, String> {
        let parsed = hcl::edit::parser::parse_expr(expression).unwrap();
        let text = Text::new(&Arc::from("a.pkr.hcl"), &Arc::from(expression));
        let mut names = Names::default();
        let rooms: Vec<_> = (0..200).map(|room| Hcl::from(format!("room-{room}"))).collect();
        let local = Hcl::Object([("rooms".to_owned(), Hcl::Array(rooms))].into_iter().collect());
        names.declare("local", local.clone(), local);
        Ok(names.evaluate(&parsed, &text)?.text().unwrap_or_default())
    }

    #[test]
    fn only_loops_of_hcl_count_as_loops() {
        let script = format!(
            "\"# prepares the platform before the format: for comments, for performance\\nfor room in a b; do\\n{}done\"",
            "  echo the platform is formatted for the evening\\n".repeat(40)
        );
        assert!(evaluated(&script).unwrap().contains("performance"));
        assert_eq!(Names::template(&script, &Hcl::Null).unwrap(), script);
        assert_eq!(
            evaluated("join(\"\", [for r in local.rooms : \"x\"])")
                .unwrap()
                .len(),
            200
        );
        let deep = "\"%{for a in local.rooms}%{for b in local.rooms}%{for c in local.rooms}x%{endfor}%{endfor}%{endfor}\"";
        assert!(evaluated(deep).unwrap_err().contains("loops over values"));
    }
}
