//! HCL expressions evaluated, three times: with the values of the variables, with actions of Packer's text templates in
//! their place, and with the values at another time. Where the first two agree, the second one is kept: so a text still says
//! which variables are in it. Where the third one differs, it changes with each build, which must not be written down.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use hcl::Value as Hcl;
use hcl::edit::Span as _;
use hcl::edit::expr::{Expression, ObjectKey};
use hcl::edit::visit::Visit as _;
use hcl::edit::visit_mut::VisitMut as _;
use hcl::eval::{Context, Evaluate as _};

use super::early::{Early, Loops};
use super::format::scalar;
use super::functions;
use crate::import::node::{Node, Place, Value};
use crate::import::packer::go::{self, Scope};
use crate::import::packer::model::{Found, Look};
use crate::import::path;

/// Work that all expressions of a configuration may make, in steps of their evaluation (an upper bound of them).
const MOST_WORK: u64 = 1 << 28;
/// Work that any expression makes, however short it is.
const LEAST_WORK: u64 = 1 << 13;
/// Largest file that a function reads, in bytes.
const LONGEST_FILE: usize = 256 * 1024;
/// Splats of one expression (`[*]`, `.*`): each goes deeper into the stack.
const MOST_SPLATS: usize = 256;

/// A text and where its lines begin.
#[derive(Clone, Debug)]
pub struct Text {
    /// The file as the user named it.
    pub shown: Arc<str>,
    /// Offsets of line ends.
    ends: Vec<usize>,
    /// Lines of the file that the lines of the text stand for; none: its own.
    lines: Vec<usize>,
    pub text: Arc<str>,
}

impl Text {
    /// With its lines counted.
    pub fn new(shown: &Arc<str>, text: &Arc<str>) -> Self {
        Self {
            shown: Arc::clone(shown),
            ends: text.match_indices('\n').map(|(at, _)| at).collect(),
            lines: Vec::new(),
            text: Arc::clone(text),
        }
    }

    /// A text that stands for another one.
    pub fn standing_for(self, lines: Vec<usize>) -> Self {
        Self { lines, ..self }
    }

    pub fn place(&self, offset: usize) -> Place {
        self.line(self.ends.partition_point(|end| *end < offset) + 1)
    }

    /// The place of a line, counted from 1.
    pub fn line(&self, number: usize) -> Place {
        Place {
            file: Arc::clone(&self.shown),
            line: self
                .lines
                .get(number.saturating_sub(1))
                .copied()
                .unwrap_or(number),
        }
    }
}

/// Files that functions read.
#[derive(Clone, Copy)]
pub struct Files<'f> {
    pub look: Look<'f>,
    /// The template's folder.
    pub folder: &'f str,
    /// The folder that Packer was started in, `path.cwd`.
    pub cwd: &'f str,
}

/// A value: by itself, at another time, and with actions of text templates.
#[derive(Clone, Debug)]
pub struct Evaluated {
    pub value: Hcl,
    pub later: Hcl,
    pub actions: Hcl,
}

impl Evaluated {
    /// One that does not depend on the time.
    pub fn new(value: Hcl, actions: Hcl) -> Self {
        let later = value.clone();
        Self {
            value,
            later,
            actions,
        }
    }

    /// Bytes of the larger form.
    pub fn weight(&self) -> usize {
        weight(&self.value).max(weight(&self.actions))
    }

    /// Values by their names as one.
    pub fn object(entries: &BTreeMap<String, Self>) -> Self {
        let of = |part: fn(&Self) -> &Hcl| {
            let entries = entries
                .iter()
                .map(|(name, value)| (name.clone(), part(value).clone()));
            Hcl::Object(entries.collect())
        };
        Self {
            value: of(|value| &value.value),
            later: of(|value| &value.later),
            actions: of(|value| &value.actions),
        }
    }
}

impl From<Hcl> for Evaluated {
    fn from(value: Hcl) -> Self {
        Self::new(value.clone(), value)
    }
}

/// Another time, in seconds from now: no part of it is the same (year, month, day, weekday, hour, minute, second).
const LATER: i64 = 397 * 86400 + 13 * 3600 + 17 * 60 + 29;

/// What expressions may refer to.
pub struct Names<'f> {
    values: Context<'static>,
    /// At another time.
    later: Context<'static>,
    /// With actions of text templates.
    actions: Context<'static>,
    /// Values of variables, to see whether both say the same; nothing is secret in it.
    scope: Scope,
    /// Actions that stand for secrets.
    secrets: Vec<String>,
    /// Largest value declared, in bytes.
    largest: usize,
    work: Cell<u64>,
    files: Option<Files<'f>>,
    /// Locals without a value, and why.
    pub unknown: BTreeMap<String, String>,
    /// Why a call of a function was left as it is.
    cause: RefCell<Option<String>>,
}

impl<'f> Names<'f> {
    /// With functions alone. `now`: the time, in seconds since 1970.
    pub fn new(files: Option<Files<'f>>, env: &BTreeMap<String, String>, now: i64) -> Self {
        let mut values = Context::new();
        functions::declare(&mut values);
        let scope = Scope {
            env: Arc::new(env.clone()),
            now,
            ..Scope::default()
        };
        Self {
            actions: values.clone(),
            later: values.clone(),
            values,
            scope,
            secrets: Vec::new(),
            largest: 1,
            work: Cell::new(0),
            files,
            unknown: BTreeMap::new(),
            cause: RefCell::default(),
        }
    }

    /// Declares a name.
    pub fn declare(&mut self, name: &str, value: impl Into<Evaluated>) {
        let value = value.into();
        self.largest = self.largest.max(value.weight());
        let name = hcl::Identifier::sanitized(name);
        self.values.declare_var(name.clone(), value.value);
        self.later.declare_var(name.clone(), value.later);
        self.actions.declare_var(name, value.actions);
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
                let value = self.raw(other, text)?;
                let place = self.read_by(other).unwrap_or(place);
                Ok(self.merged(&value.value, &value.later, &value.actions, &place))
            }
        }
    }

    /// The file whose text a call is.
    fn read_by(&self, expression: &Expression) -> Option<Place> {
        let Expression::FuncCall(call) = expression else {
            return None;
        };
        let is_file = ["file", "templatefile"].contains(&call.name.name.as_str());
        let name = hcl::Expression::from(call.args.iter().next().filter(|_| is_file)?.clone());
        let (path, _) = self.find(name.evaluate(&self.values).ok()?.as_str()?)?;
        let shown = path::relative(self.files?.folder, &path);
        Some(Place {
            file: shown.as_str().into(),
            line: 1,
        })
    }

    /// What is at a path: relative ones start in the template's folder, or are below `path.cwd`, which is `.` here.
    fn find(&self, written: &str) -> Option<(String, Found)> {
        let files = self.files?;
        let below = Some(files.cwd).filter(|_| written.starts_with("./"));
        let mut paths = [files.folder].into_iter().chain(below);
        paths.find_map(|folder| {
            let path = path::join(folder, written);
            let found = (files.look)(&path);
            (found != Found::Missing).then_some((path, found))
        })
    }

    /// A function that reads files; why not is kept for the message.
    fn read(&self, function: &str, args: &[Hcl]) -> Option<Hcl> {
        let read = self.text_of(function, args);
        read.map_err(|cause| *self.cause.borrow_mut() = Some(cause)).ok()
    }

    fn text_of(&self, function: &str, args: &[Hcl]) -> Result<Hcl, String> {
        let name = args.first().and_then(Hcl::as_str).ok_or("no file is named")?;
        let found = self.find(name);
        let text = || match &found {
            Some((_, Found::Text(text))) if text.len() <= LONGEST_FILE => Ok(text.as_str()),
            Some(_) => Err(format!("`{name}` is too large, or not a text")),
            None => Err(format!("there is no file `{name}`")),
        };
        match function {
            "file" => text().map(Hcl::from),
            "templatefile" => {
                let made = self.template(text()?, args.get(1).unwrap_or(&Hcl::Null));
                made.map(Hcl::from)
                    .map_err(|cause| format!("the template `{name}` cannot be evaluated: {cause}"))
            }
            "fileexists" => Ok(found
                .is_some_and(|(_, found)| !matches!(found, Found::Folder(_)))
                .into()),
            _ => {
                let pattern = args.get(1).and_then(Hcl::as_str).ok_or("no pattern")?;
                let glob = globset::GlobBuilder::new(pattern).literal_separator(true).build();
                let glob = glob.map_err(|error| error.to_string())?.compile_matcher();
                let names = match found {
                    Some((_, Found::Folder(names))) => names,
                    _ => return Err(format!("there is no folder `{name}`")),
                };
                Ok(names
                    .into_iter()
                    .filter(|name| glob.is_match(name))
                    .map(Hcl::from)
                    .collect())
            }
        }
    }

    /// All values of an expression.
    ///
    /// # Errors
    /// As [`Names::evaluate`].
    pub fn raw(&self, expression: &Expression, text: &Text) -> Result<Evaluated, String> {
        let span = expression.span().unwrap_or_default();
        let mut loops = Loops::default();
        loops.visit_expr(expression);
        self.afford(text.text.get(span).unwrap_or_default(), &loops)?;
        let now = self.scope.now;
        let value = self.evaluated(expression, loops.early, &self.values, Some(now))?;
        let later = self.evaluated(expression, loops.early, &self.later, Some(now + LATER));
        let actions = self.evaluated(expression, loops.early, &self.actions, None);
        Ok(Evaluated {
            later: later.unwrap_or_else(|_| value.clone()),
            actions: actions.unwrap_or_else(|_| value.clone()),
            value,
        })
    }

    /// `now`: the time, where it is not an action.
    fn evaluated(
        &self,
        expression: &Expression,
        has_early: bool,
        context: &Context<'static>,
        now: Option<i64>,
    ) -> Result<Hcl, String> {
        let mut expression = expression.clone();
        self.cause.take();
        if has_early {
            let mut early = Early {
                context,
                now,
                env: &self.scope.env,
                is_unknown: &|name| self.unknown.contains_key(name),
                read: &|function, args| self.read(function, args),
                open: 0,
            };
            early.visit_expr_mut(&mut expression);
        }
        let made = hcl::Expression::from(expression).evaluate(context);
        made.map_err(|error| self.cause.take().unwrap_or_else(|| self.why(&error)))
    }

    /// Why a value cannot be known, in a few words.
    fn why(&self, error: &hcl::eval::Error) -> String {
        use hcl::eval::ErrorKind;
        match error.kind() {
            ErrorKind::UndefinedFunc(name) => format!("the function `{name}` is not known here"),
            ErrorKind::UndefinedVar(name) => format!("`{name}` is not known here"),
            ErrorKind::NoSuchKey(key) => match self.unknown.get(key.as_str()) {
                Some(cause) => format!("local.{key}: {cause}"),
                None => format!("there is no `{key}`"),
            },
            ErrorKind::FuncCall(name, cause) => format!("{name}(): {cause}"),
            other => other.to_string(),
        }
    }

    /// A text template of HCL (`templatefile`), with these names in place of all others.
    ///
    /// # Errors
    /// As [`Names::evaluate`].
    pub fn template(&self, text: &str, values: &Hcl) -> Result<String, String> {
        let mut names = Self {
            largest: weight(values),
            work: Cell::new(self.work.get()),
            ..Self::new(self.files, &self.scope.env, self.scope.now)
        };
        for (name, value) in values.as_object().into_iter().flatten() {
            names.declare(name, value.clone());
        }
        let template = hcl::edit::parser::parse_template(text).map_err(|error| error.to_string())?;
        let mut loops = Loops::default();
        loops.visit_template(&template);
        let afforded = names.afford(text, &loops);
        self.work.set(names.work.get());
        afforded?;
        let template = hcl::Template::from(template);
        template
            .evaluate(&names.values)
            .map_err(|error| names.why(&error))
    }

    /// Refuses what could take for ever: loops in loops over large values.
    fn afford(&self, text: &str, loops: &Loops) -> Result<(), String> {
        if text.matches("[*]").count() + text.matches(".*").count() > MOST_SPLATS {
            return Err(format!("more than {MOST_SPLATS} splats are not evaluated"));
        }
        let names = loops.names;
        let base = u64::try_from(loops.longest.max(self.largest) + 1).unwrap_or(u64::MAX);
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

    fn merged(&self, value: &Hcl, later: &Hcl, actions: &Hcl, place: &Place) -> Node {
        let merged = match value {
            Hcl::Null => Value::Null,
            Hcl::Array(items) => {
                let at = |all: &Hcl, at: usize| {
                    all.as_array()
                        .filter(|all| all.len() == items.len())?
                        .get(at)
                        .cloned()
                };
                let pairs = items.iter().enumerate().map(|(number, item)| {
                    let of = |all: &Hcl| at(all, number).unwrap_or_else(|| item.clone());
                    self.merged(item, &of(later), &of(actions), place)
                });
                Value::List(pairs.collect())
            }
            Hcl::Object(entries) => {
                let pairs = entries.iter().map(|(key, item)| {
                    let of = |all: &Hcl| {
                        all.as_object()
                            .and_then(|all| all.get(key))
                            .unwrap_or(item)
                            .clone()
                    };
                    (key.clone(), self.merged(item, &of(later), &of(actions), place))
                });
                Value::Map(pairs.collect())
            }
            _ => match scalar(actions) {
                Some(actions) if self.agree(value, later, &actions) => Value::Text(actions),
                // A part of a time, or one that a function changed: no action says so.
                _ if value != later => {
                    let text = scalar(value).unwrap_or_default().replace(['`', '{', '}'], "");
                    Value::Text(format!("{{{{pipeline_time `{text}`}}}}"))
                }
                _ => match value {
                    Hcl::Bool(flag) => Value::Bool(*flag),
                    Hcl::Number(number) => Value::Number(number.to_string()),
                    _ => Value::Text(scalar(value).unwrap_or_default()),
                },
            },
        };
        Node::new(merged, place)
    }

    /// A value for expressions that go on from it: actions in its texts where they say the same, else the texts.
    pub fn settled(&self, all: Evaluated) -> Evaluated {
        let actions = self.with_actions(&all.value, &all.later, &all.actions);
        Evaluated { actions, ..all }
    }

    fn with_actions(&self, value: &Hcl, later: &Hcl, actions: &Hcl) -> Hcl {
        match value {
            Hcl::Array(items) => {
                let part = |all: &Hcl, at: usize| all.as_array()?.get(at).cloned();
                let items = items.iter().enumerate().map(|(at, item)| {
                    let of = |all: &Hcl| part(all, at).unwrap_or_else(|| item.clone());
                    self.with_actions(item, &of(later), &of(actions))
                });
                items.collect()
            }
            Hcl::Object(entries) => {
                let entries = entries.iter().map(|(key, item)| {
                    let of = |all: &Hcl| {
                        all.as_object()
                            .and_then(|all| all.get(key))
                            .unwrap_or(item)
                            .clone()
                    };
                    (key.clone(), self.with_actions(item, &of(later), &of(actions)))
                });
                Hcl::Object(entries.collect())
            }
            _ => match scalar(actions) {
                Some(actions) if self.agree(value, later, &actions) => Hcl::String(actions),
                _ => value.clone(),
            },
        }
    }

    /// Whether a text with actions says the same as a text, at both times. One with a secret is taken in any case.
    fn agree(&self, value: &Hcl, later: &Hcl, actions: &str) -> bool {
        let (Hcl::String(value), Hcl::String(later)) = (value, later) else {
            return false;
        };
        let same = |text: &str, scope: &Scope| go::resolve(actions, scope) == go::resolve(text, scope);
        let then = || Scope {
            now: self.scope.now + LATER,
            ..self.scope.clone()
        };
        self.secrets.iter().any(|secret| actions.contains(secret))
            || same(value, &self.scope) && (value == later || same(later, &then()))
    }
}

/// The action for a variable.
pub fn action(name: &str) -> String {
    format!("{{{{user `{name}`}}}}")
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
        let mut names = Names::new(None, &BTreeMap::new(), 0);
        let rooms: Vec<_> = (0..200).map(|room| Hcl::from(format!("room-{room}"))).collect();
        let local = Hcl::Object([("rooms".to_owned(), Hcl::Array(rooms))].into_iter().collect());
        names.declare("local", local);
        Ok(names.evaluate(&parsed, &text)?.text().unwrap_or_default())
    }

    #[test]
    fn only_loops_of_hcl_count_as_loops() {
        let script = format!(
            "\"# prepares the platform before the format: for comments, for performance\\nfor room in a b; do\\n{}done\"",
            "  echo the platform is formatted for the evening\\n".repeat(40)
        );
        assert!(evaluated(&script).unwrap().contains("performance"));
        assert_eq!(
            Names::new(None, &BTreeMap::new(), 0).template(&script, &Hcl::Null),
            Ok(script.clone())
        );
        assert_eq!(
            evaluated("join(\"\", [for r in local.rooms : \"x\"])")
                .unwrap()
                .len(),
            200
        );
        // A long text costs its length, and a loop in it no more than what it goes over.
        let answers = format!("{script}%{{ for x in [1, 2] }}{{x}}\n%{{ endfor }}");
        let made = Names::new(None, &BTreeMap::new(), 0).template(&answers.repeat(20), &Hcl::Null);
        assert!(made.unwrap().ends_with("{x}\n{x}\n"));
        let deep = "\"%{for a in local.rooms}%{for b in local.rooms}%{for c in local.rooms}x%{endfor}%{endfor}%{endfor}\"";
        assert!(evaluated(deep).unwrap_err().contains("loops over values"));
    }
}
