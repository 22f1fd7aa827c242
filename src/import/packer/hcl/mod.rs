//! Packer's HCL2 configurations: variables, locals, sources and builds become the same plain template that a JSON one
//! does. Knows HCL's frame, not the keys of builders and provisioners.

mod arguments;
mod builds;
mod early;
mod encoded;
mod format;
mod functions;
mod json;
mod network;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hcl::Value as Hcl;
use hcl::edit::Span as _;
use hcl::edit::expr::Expression;
use hcl::edit::structure::{Attribute, Block as HclBlock, Body, Structure};
use hcl::edit::visit::Visit as _;
use hcl::value::Map;

use self::early::Loops;
use self::format::scalar;
use self::value::{Evaluated, Files, Names, Text, action, weight};
use super::go::{self, Known};
use super::model::{Fault, Input, Look, Overrides, Template, Variable};
use crate::import::node::{Node, Place, Value};
use crate::import::note::{Notes, Weight};

/// Largest value of a variable or a local, in bytes.
const LARGEST: usize = 64 * 1024;
/// Locals that are made of locals may be so deep, where each stands above what it is made of.
const DEEPEST: usize = 32;

struct File {
    text: Text,
    body: Body,
}

/// Reads all files of a configuration.
///
/// # Errors
/// All mistakes in its frame: syntax, variables without values, sources that are not there.
pub fn read(
    shown: &Arc<str>,
    files: &[(Arc<str>, Arc<str>)],
    folder: &str,
    overrides: &Overrides<'_>,
    (look, now): (Look<'_>, i64),
    notes: &mut Notes,
) -> Result<Template, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut parsed = Vec::new();
    for (name, text) in files {
        match parse(name, text) {
            Ok(file) => parsed.push(file),
            Err(fault) => faults.push(fault),
        }
    }
    if let Some((name, (first, second))) = twice(&parsed) {
        let cause = format!("{name} is declared a second time; first at {first}");
        faults.push(Fault::new(&second, cause, "rename one of them, or take it out"));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut reading = Reading {
        files: &parsed,
        names: Names::new(
            Some(Files {
                look,
                folder,
                cwd: overrides.cwd,
            }),
            overrides.env,
            now,
        ),
        variables: Vec::new(),
        notes,
        faults,
    };
    reading.names.declare("path", path(folder));
    reading.names.declare("packer", packer());
    reading.variables(overrides);
    reading.locals();
    reading.rest();
    let builders = reading.builds();
    let Reading {
        variables, faults, ..
    } = reading;
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Template {
        shown: Arc::clone(shown),
        folder: folder.to_owned(),
        variables,
        builders,
    })
}

/// The name that two of the files declare, and where.
pub fn declared_twice(files: &[(Arc<str>, Arc<str>)]) -> Option<(String, (Place, Place))> {
    let parsed = files.iter().filter_map(|(name, text)| parse(name, text).ok());
    twice(&parsed.collect::<Vec<_>>()).filter(|(_, (first, second))| first.file != second.file)
}

/// Whether a file says what is built.
pub fn has_build(name: &Arc<str>, text: &Arc<str>) -> bool {
    parse(name, text).is_ok_and(|file| file.body.get_blocks("build").next().is_some())
}

fn twice(files: &[File]) -> Option<(String, (Place, Place))> {
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    for File { text, body } in files {
        for block in body.blocks() {
            let kind = block.ident.as_str();
            let names: Vec<(String, Place)> = match kind {
                "locals" => {
                    let names = block.body.attributes();
                    let named =
                        |name: &Attribute| (format!("local {}", name.key.as_str()), place(text, name));
                    names.map(named).collect()
                }
                "variable" | "local" | "source" | "data" => {
                    let name = [vec![kind], labels(block)].concat().join(" ");
                    vec![(name, block_place(text, block))]
                }
                _ => continue,
            };
            for (name, place) in names {
                if let Some(first) = seen.insert(name.clone(), place.clone()) {
                    return Some((name, (first, place)));
                }
            }
        }
    }
    None
}

/// The values of a `*.pkrvars.hcl` or `*.pkrvars.json`.
fn variable_file(file: &Input) -> Result<Vec<(String, Hcl)>, Fault> {
    let name = Arc::from(file.shown.as_str());
    if file.path.ends_with(".json") {
        let values: Map<String, Hcl> = serde_json::from_str(&file.text).map_err(|error| {
            let place = Place {
                file: name,
                line: error.line().max(1),
            };
            Fault::new(&place, format!("this is no JSON: {error}"), "correct it")
        })?;
        return Ok(values.into_iter().collect());
    }
    let file = parse(&name, &Arc::from(file.text.as_str()))?;
    let names = Names::new(None, &BTreeMap::new(), 0);
    let values = file.body.attributes().map(|attribute| {
        let value = names.raw(&attribute.value, &file.text);
        let value = value
            .map_err(|cause| Fault::new(&place(&file.text, attribute), cause, "write the value itself"))?;
        Ok((attribute.key.as_str().to_owned(), value.value))
    });
    values.collect()
}

fn parse(name: &Arc<str>, text: &Arc<str>) -> Result<File, Fault> {
    let fault =
        |place: &Place, cause: String| Fault::new(place, cause, "Packer itself says more: packer validate");
    let text = if name.ends_with(".json") {
        let root = crate::import::json::read(name, text);
        let root = root.map_err(|error| fault(&error.place, format!("this is no JSON: {}", error.cause)))?;
        let (text, lines) = json::written(&root);
        Text::new(name, &Arc::from(text)).standing_for(lines)
    } else {
        Text::new(name, text)
    };
    let body = hcl::edit::parser::parse_body(&text.text).map_err(|error| {
        let place = text.line(error.location().line());
        fault(&place, format!("this is no HCL: {}", error.message()))
    })?;
    Ok(File { text, body })
}

fn path(folder: &str) -> Hcl {
    let mut map = Map::new();
    map.insert("root".to_owned(), folder.into());
    map.insert("cwd".to_owned(), ".".into());
    Hcl::Object(map)
}

fn packer() -> Hcl {
    let mut map = Map::new();
    map.insert("version".to_owned(), "1.11.0".into());
    map.insert("iterationID".to_owned(), "".into());
    Hcl::Object(map)
}

fn place(text: &Text, what: &Attribute) -> Place {
    text.place(what.span().map_or(0, |span| span.start))
}

fn block_place(text: &Text, what: &HclBlock) -> Place {
    text.place(what.span().map_or(0, |span| span.start))
}

fn labels(block: &HclBlock) -> Vec<&str> {
    block
        .labels
        .iter()
        .map(hcl::edit::structure::BlockLabel::as_str)
        .collect()
}

struct Reading<'r> {
    files: &'r [File],
    names: Names<'r>,
    variables: Vec<Variable>,
    notes: &'r mut Notes,
    faults: Vec<Fault>,
}

impl<'r> Reading<'r> {
    fn blocks(&self, ident: &'static str) -> Vec<(&'r Text, &'r HclBlock)> {
        let all = self.files.iter();
        all.flat_map(|file| file.body.get_blocks(ident).map(|block| (&file.text, block)))
            .collect()
    }

    /// Variables that a key for a password names, by itself or by locals; not those that name the account too.
    fn passwords(&self) -> BTreeSet<String> {
        let (mut used, mut accounts) = (Loops::default(), Loops::default());
        let sources = self.blocks("source");
        for attribute in sources.iter().flat_map(|(_, source)| source.body.attributes()) {
            match attribute.key.as_str() {
                "ssh_username" => accounts.visit_expr(&attribute.value),
                key if go::is_secret_name(key) => used.visit_expr(&attribute.value),
                _ => {}
            }
        }
        let blocks = self.blocks("locals");
        for _ in 0..DEEPEST {
            let known = used.locals.clone();
            let locals = blocks.iter().flat_map(|(_, block)| block.body.attributes());
            locals
                .filter(|local| known.iter().any(|name| name == local.key.as_str()))
                .for_each(|local| used.visit_expr(&local.value));
            used.locals.sort_unstable();
            used.locals.dedup();
            if used.locals == known {
                break;
            }
        }
        let passwords = used.vars.into_iter();
        passwords.filter(|name| !accounts.vars.contains(name)).collect()
    }

    fn variables(&mut self, overrides: &Overrides<'_>) {
        let mut given: BTreeMap<String, Hcl> = BTreeMap::new();
        for file in overrides.files {
            match variable_file(file) {
                Ok(values) => given.extend(values),
                Err(fault) => self.faults.push(fault),
            }
        }
        let mut values = BTreeMap::new();
        let passwords = self.passwords();
        for (text, block) in self.blocks("variable") {
            let Some(name) = labels(block).first().map(|name| (*name).to_owned()) else {
                continue;
            };
            let written = overrides.value(&name);
            let from_env = overrides.env.get(&format!("PKR_VAR_{name}")).cloned();
            let from_env = from_env.filter(|_| !given.contains_key(&name));
            let written = written.or(from_env);
            let is_default = written.is_none() && !given.contains_key(&name);
            let Some(value) = self.value_of(&name, text, block, written, given.get(&name)) else {
                continue;
            };
            let default = block.body.get_attribute("default").filter(|_| is_default);
            let default = default.and_then(|default| self.names.raw(&default.value, text).ok());
            let env = default.and_then(|default| match go::lone(default.actions.as_str()?)?.as_slice() {
                [function, name] if function == "env" => Some(name.clone()),
                _ => None,
            });
            let is_password = passwords.contains(&name);
            let action = match self.variable(&name, text, block, &value, (env, is_password)) {
                true => Hcl::from(action(&name)),
                false => value.clone(),
            };
            values.insert(name, Evaluated::new(value, action));
        }
        self.names.declare("var", Evaluated::object(&values));
    }

    /// A plain value that an attribute has.
    fn own(&self, text: &Text, block: &HclBlock, key: &str) -> Option<Hcl> {
        let attribute = block.body.get_attribute(key)?;
        let raw = self.names.raw(&attribute.value, text).ok()?;
        Some(raw.value)
    }

    /// The value of a variable: as written on the command line, in a file of variables, or its default.
    fn value_of(
        &mut self,
        name: &str,
        text: &Text,
        block: &HclBlock,
        written: Option<String>,
        given: Option<&Hcl>,
    ) -> Option<Hcl> {
        let place = block_place(text, block);
        let attribute = |key: &str| block.body.get_attribute(key);
        let is_text = attribute("type").is_none_or(|kind| kind.value.to_string().trim() == "string");
        let written = written.map(|text| match hcl::edit::parser::parse_expr(&text) {
            Ok(expression) if !is_text => {
                let lines = Text::new(&place.file, &Arc::from(text.as_str()));
                let raw = self.names.raw(&expression, &lines);
                raw.map_or(Hcl::String(text), |raw| raw.value)
            }
            _ => Hcl::String(text),
        });
        let value = written.or_else(|| given.cloned());
        let value = value.or_else(|| self.own(text, block, "default"));
        let (cause, remedy) = match value {
            Some(value) if weight(&value) <= LARGEST => return Some(value),
            Some(_) => (
                format!("the variable `{name}` is too large"),
                "shorten it".to_owned(),
            ),
            None => {
                let cause = match attribute("default") {
                    Some(_) => format!("the default of the variable `{name}` is not a plain value"),
                    None => format!("the variable `{name}` has no value"),
                };
                (
                    cause,
                    format!("give it one: -var {name}=…, --var-file FILE, or PKR_VAR_{name}"),
                )
            }
        };
        self.faults.push(Fault::new(&place, cause, remedy));
        None
    }

    /// Takes a variable down; false where it is a list or a map.
    fn variable(
        &mut self,
        name: &str,
        text: &Text,
        block: &HclBlock,
        value: &Hcl,
        (env, is_password): (Option<String>, bool),
    ) -> bool {
        let place = block_place(text, block);
        for nested in block.body.blocks() {
            let what = format!("{} of the variable `{name}`", nested.ident.as_str());
            let meaning = "a rule for its value; values in a manifest have no rules of their own";
            self.notes
                .add(Weight::Lost, Some(&block_place(text, nested)), what, meaning);
        }
        let sensitive = self.own(text, block, "sensitive");
        let sensitive = sensitive.is_some_and(|value| value.as_bool() == Some(true));
        let secret = is_password || sensitive || go::is_secret_name(name);
        let plain = scalar(value);
        self.names
            .know(name, plain.as_deref().unwrap_or_default(), secret);
        let Some(plain) = plain else {
            let meaning = "a list or a map: its values are written where they are used";
            self.notes
                .add(Weight::Decided, Some(&place), format!("variable {name}"), meaning);
            return false;
        };
        let description = self.own(text, block, "description");
        self.variables.push(Variable {
            known: Known {
                value: plain,
                secret,
                env,
                ..Known::default()
            },
            description: description.and_then(|value| value.as_str().map(str::to_owned)),
            name: name.to_owned(),
            place,
        });
        true
    }

    fn locals(&mut self) {
        let mut pending: Vec<(String, &'r Text, &'r Expression)> = Vec::new();
        for (text, block) in self.blocks("locals") {
            for attribute in block.body.attributes() {
                pending.push((attribute.key.as_str().to_owned(), text, &attribute.value));
            }
        }
        for (text, block) in self.blocks("local") {
            if let (Some(name), Some(expression)) =
                (labels(block).first(), block.body.get_attribute("expression"))
            {
                pending.push(((*name).to_owned(), text, &expression.value));
            }
        }
        let mut values = BTreeMap::new();
        for round in 0..DEEPEST {
            self.names.declare("local", Evaluated::object(&values));
            let names: BTreeSet<String> = pending.iter().map(|(name, ..)| name.clone()).collect();
            let mut left = Vec::new();
            for (name, text, expression) in pending {
                // `try` takes what is not there yet for an error.
                let mut loops = Loops::default();
                loops.visit_expr(expression);
                if round + 1 < DEEPEST
                    && loops
                        .locals
                        .iter()
                        .any(|used| names.contains(used) && *used != name)
                {
                    left.push((name, text, expression));
                    continue;
                }
                match self.names.raw(expression, text) {
                    Ok(value) if value.weight() <= LARGEST => {
                        values.insert(name, self.names.settled(value));
                    }
                    Ok(_) => {
                        self.names.unknown.insert(name, "it is too large".to_owned());
                    }
                    Err(cause) => {
                        self.names.unknown.insert(name, cause);
                    }
                }
            }
            pending = left;
            if pending.is_empty() {
                break;
            }
        }
        self.names.declare("local", Evaluated::object(&values));
        for (name, ..) in pending {
            let cause = "its locals name each other too deep".to_owned();
            self.names.unknown.insert(name, cause);
        }
    }

    /// Blocks that are none of ours.
    fn rest(&mut self) {
        for file in self.files {
            for structure in &file.body {
                match structure {
                    Structure::Block(block) => {
                        let text = match block.ident.as_str() {
                            "variable" | "locals" | "local" | "source" | "build" => continue,
                            "packer" => {
                                self.notes.add(
                                    Weight::Decided,
                                    Some(&block_place(&file.text, block)),
                                    "packer { … }",
                                    "versions of Packer and of its plugins: neither is needed any more",
                                );
                                continue;
                            }
                            "data" => {
                                "asked something when the build began; what uses it is listed above, where that matters"
                            }
                            _ => "Packer's own; nothing here corresponds to it",
                        };
                        let name = [vec![block.ident.as_str()], labels(block)].concat().join(" ");
                        self.notes
                            .add(Weight::Lost, Some(&block_place(&file.text, block)), name, text);
                    }
                    Structure::Attribute(attribute) => {
                        let place = place(&file.text, attribute);
                        self.notes.add(
                            Weight::Lost,
                            Some(&place),
                            attribute.key.as_str(),
                            "Packer does not know this key either",
                        );
                    }
                }
            }
        }
    }

    /// Attributes and blocks of a body as a map.
    fn map(&mut self, text: &Text, body: &Body, place: &Place) -> Node {
        let mut entries = Vec::new();
        for structure in body {
            match structure {
                Structure::Attribute(attribute) => match self.names.evaluate(&attribute.value, text) {
                    Ok(node) => entries.push((attribute.key.as_str().to_owned(), node)),
                    Err(cause) => {
                        let place = self::place(text, attribute);
                        let key = attribute.key.as_str();
                        let what = format!("its value cannot be known here: {cause}; write it by hand");
                        self.notes.add(Weight::Todo, Some(&place), key, what);
                        entries.push((key.to_owned(), Node::new(Value::Unknown(cause), &place)));
                    }
                },
                Structure::Block(block) => {
                    let place = block_place(text, block);
                    let inner = self.map(text, &block.body, &place);
                    entries.push((block.ident.as_str().to_owned(), inner));
                }
            }
        }
        Node::new(Value::Map(entries), place)
    }
}
