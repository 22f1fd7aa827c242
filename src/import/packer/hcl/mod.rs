//! Packer's HCL2 configurations: variables, locals, sources and builds become the same plain template that a JSON one
//! does. Knows HCL's frame, not the keys of builders and provisioners.

mod functions;
mod value;

use std::sync::Arc;

use hcl::Value as Hcl;
use hcl::edit::Span as _;
use hcl::edit::structure::{Attribute, Block as HclBlock, Body, Structure};
use hcl::value::Map;

use self::functions::scalar;
pub use self::value::Names;
use self::value::{Text, action, weight};
use super::go::{self, Known};
use super::model::{Block, Builder, Fault, Overrides, Template, Variable};
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
    overrides: &Overrides,
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
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut reading = Reading {
        files: &parsed,
        names: Names::default(),
        variables: Vec::new(),
        notes,
        faults,
    };
    reading.names.declare("path", path(folder), path(folder));
    reading.names.declare("packer", packer(), packer());
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

/// The values of a `*.pkrvars.hcl`.
fn variable_file(name: &Arc<str>, text: &Arc<str>) -> Result<Vec<(String, Hcl)>, Fault> {
    let file = parse(name, text)?;
    let names = Names::default();
    let values = file.body.attributes().map(|attribute| {
        let value = names.raw(&attribute.value, &file.text);
        let (value, _) = value
            .map_err(|cause| Fault::new(&place(&file.text, attribute), cause, "write the value itself"))?;
        Ok((attribute.key.as_str().to_owned(), value))
    });
    values.collect()
}

fn parse(name: &Arc<str>, text: &Arc<str>) -> Result<File, Fault> {
    let lines = Text::new(name, text);
    let body = hcl::edit::parser::parse_body(text).map_err(|error| {
        let place = Place {
            file: Arc::clone(name),
            line: error.location().line(),
        };
        Fault::new(
            &place,
            format!("this is no HCL: {}", error.message()),
            "Packer itself says more: packer validate",
        )
    })?;
    Ok(File { text: lines, body })
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
    names: Names,
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

    fn variables(&mut self, overrides: &Overrides) {
        let mut given: Vec<(String, Hcl)> = Vec::new();
        for (name, text) in &overrides.hcl_files {
            match variable_file(name, text) {
                Ok(values) => given.extend(values),
                Err(fault) => self.faults.push(fault),
            }
        }
        let (mut values, mut actions) = (Map::new(), Map::new());
        for (text, block) in self.blocks("variable") {
            let place = block_place(text, block);
            let Some(name) = labels(block).first().map(|name| (*name).to_owned()) else {
                continue;
            };
            let attribute = |key: &str| block.body.get_attribute(key);
            let own = |reading: &Self, key: &str| {
                let attribute = attribute(key)?;
                reading
                    .names
                    .raw(&attribute.value, text)
                    .ok()
                    .map(|(value, _)| value)
            };
            let is_text = attribute("type").is_none_or(|kind| kind.value.to_string().trim() == "string");
            let written = overrides
                .value(&name)
                .map(|text| match hcl::edit::parser::parse_expr(&text) {
                    Ok(expression) if !is_text => {
                        let lines = Text::new(&place.file, &Arc::from(text.as_str()));
                        self.names
                            .raw(&expression, &lines)
                            .map_or(Hcl::String(text), |(value, _)| value)
                    }
                    _ => Hcl::String(text),
                });
            let from_file = given
                .iter()
                .rev()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.clone());
            let Some(value) = written.or(from_file).or_else(|| own(self, "default")) else {
                let cause = match attribute("default") {
                    Some(_) => format!("the default of the variable `{name}` is not a plain value"),
                    None => format!("the variable `{name}` has no value"),
                };
                let remedy = format!("give it one: -var {name}=…, or --var-file FILE");
                self.faults.push(Fault::new(&place, cause, remedy));
                continue;
            };
            if weight(&value) > LARGEST {
                self.faults.push(Fault::new(
                    &place,
                    format!("the variable `{name}` is too large"),
                    "shorten it",
                ));
                continue;
            }
            for nested in block.body.blocks() {
                let rule = block_place(text, nested);
                let what = format!("{} of the variable `{name}`", nested.ident.as_str());
                self.notes.add(
                    Weight::Lost,
                    Some(&rule),
                    what,
                    "a rule for its value; values in a manifest have no rules of their own",
                );
            }
            let is_secret = go::is_secret_name(&name)
                || own(self, "sensitive").is_some_and(|value| value.as_bool() == Some(true));
            let plain = scalar(&value);
            self.names
                .know(&name, plain.as_deref().unwrap_or_default(), is_secret);
            actions.insert(
                name.clone(),
                if plain.is_some() {
                    Hcl::from(action(&name))
                } else {
                    value.clone()
                },
            );
            values.insert(name.clone(), value);
            if plain.is_none() {
                let what = format!("variable {name}");
                let text = "a list or a map: its values are written where they are used";
                self.notes.add(Weight::Decided, Some(&place), what, text);
            }
            if let Some(plain) = plain {
                self.variables.push(Variable {
                    known: Known {
                        value: plain,
                        secret: is_secret,
                        ..Known::default()
                    },
                    description: own(self, "description").and_then(|value| value.as_str().map(str::to_owned)),
                    name,
                    place,
                });
            }
        }
        self.names
            .declare("var", Hcl::Object(values), Hcl::Object(actions));
    }

    fn locals(&mut self) {
        let mut pending: Vec<(String, &'r Text, &'r hcl::edit::expr::Expression, Place)> = Vec::new();
        for (text, block) in self.blocks("locals") {
            for attribute in block.body.attributes() {
                pending.push((
                    attribute.key.as_str().to_owned(),
                    text,
                    &attribute.value,
                    place(text, attribute),
                ));
            }
        }
        for (text, block) in self.blocks("local") {
            if let (Some(name), Some(expression)) =
                (labels(block).first(), block.body.get_attribute("expression"))
            {
                pending.push((
                    (*name).to_owned(),
                    text,
                    &expression.value,
                    block_place(text, block),
                ));
            }
        }
        let (mut values, mut actions) = (Map::new(), Map::new());
        for _ in 0..DEEPEST {
            self.names
                .declare("local", Hcl::Object(values.clone()), Hcl::Object(actions.clone()));
            let before = pending.len();
            let mut left = Vec::new();
            for (name, text, expression, place) in pending {
                match self.names.raw(expression, text) {
                    Ok((value, with_actions)) if weight(&value).max(weight(&with_actions)) <= LARGEST => {
                        actions.insert(name.clone(), with_actions);
                        values.insert(name, value);
                    }
                    _ => left.push((name, text, expression, place)),
                }
            }
            pending = left;
            if pending.len() == before || pending.is_empty() {
                break;
            }
        }
        self.names
            .declare("local", Hcl::Object(values), Hcl::Object(actions));
        for (name, text, expression, place) in pending {
            let cause = self
                .names
                .raw(expression, text)
                .err()
                .unwrap_or_else(|| "it is too large, or its locals name each other too deep".to_owned());
            self.notes.add(
                Weight::Todo,
                Some(&place),
                format!("local.{name}"),
                format!("{cause}; what uses it is left out and told below: write its value by hand"),
            );
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
                                "asked something when the build began; write what it gave into the manifest"
                            }
                            _ => "Packer's own; nothing here corresponds to it",
                        };
                        let name = [vec![block.ident.as_str()], labels(block)].concat().join(" ");
                        self.notes
                            .add(Weight::Todo, Some(&block_place(&file.text, block)), name, text);
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
                    Err(cause) => self.notes.add(
                        Weight::Todo,
                        Some(&self::place(text, attribute)),
                        attribute.key.as_str(),
                        format!("its value cannot be told here: {cause}; it is left out, write it by hand"),
                    ),
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

    fn builds(&mut self) -> Vec<Builder> {
        let mut builders = Vec::new();
        let mut used = Vec::new();
        for (text, build) in self.blocks("build") {
            let place = block_place(text, build);
            let mut wanted: Vec<(String, Option<&HclBlock>, Place)> = Vec::new();
            if let Some(attribute) = build.body.get_attribute("sources") {
                match self.names.evaluate(&attribute.value, text) {
                    Ok(node) => wanted.extend(
                        node.items()
                            .iter()
                            .filter_map(|item| Some((item.text()?, None, item.place.clone()))),
                    ),
                    Err(cause) => self.faults.push(Fault::new(
                        &place,
                        cause,
                        "name the sources: [\"source.qemu.NAME\"]",
                    )),
                }
            }
            for block in build.body.get_blocks("source") {
                let name = labels(block)
                    .first()
                    .map(|name| (*name).to_owned())
                    .unwrap_or_default();
                wanted.push((name, Some(block), block_place(text, block)));
            }
            for (reference, over, place) in wanted {
                let reference = reference.trim_start_matches("source.").to_owned();
                let sources = self.blocks("source");
                let found = sources
                    .iter()
                    .find(|(_, block)| labels(block).join(".") == reference);
                let Some((source_text, source)) = found else {
                    let cause = format!("there is no source `{reference}`");
                    self.faults.push(Fault::new(
                        &place,
                        cause,
                        "give all files of the configuration, or its folder",
                    ));
                    continue;
                };
                used.push(reference.clone());
                builders.push(self.builder(source_text, source, (text, build), over));
            }
        }
        for (text, source) in self.blocks("source") {
            let name = labels(source).join(".");
            if !used.contains(&name) {
                let place = block_place(text, source);
                self.notes.add(
                    Weight::Lost,
                    Some(&place),
                    format!("source {name}"),
                    "no `build` uses it",
                );
            }
        }
        builders
    }

    fn builder(
        &mut self,
        source_text: &Text,
        source: &HclBlock,
        (text, build): (&Text, &HclBlock),
        over: Option<&HclBlock>,
    ) -> Builder {
        let kind = labels(source)
            .first()
            .map(|kind| (*kind).to_owned())
            .unwrap_or_default();
        let label = labels(source)
            .get(1)
            .map(|name| (*name).to_owned())
            .unwrap_or_default();
        let mut options = self.map(source_text, &source.body, &block_place(source_text, source));
        let mut name = label.clone();
        if let Some(over) = over {
            let more = self.map(text, &over.body, &block_place(text, over));
            if let (Value::Map(entries), Value::Map(more)) = (&mut options.value, more.value) {
                for (key, node) in more {
                    if key == "name" {
                        name = node.text().unwrap_or(name);
                        continue;
                    }
                    entries.retain(|(known, _)| *known != key);
                    entries.push((key, node));
                }
            }
        }
        let facts = |name: &str| {
            let mut map = Map::new();
            map.insert("name".to_owned(), Hcl::from(name));
            map.insert("type".to_owned(), Hcl::from(kind.as_str()));
            Hcl::Object(map)
        };
        let of_build = || {
            let keys = [
                "ID",
                "Host",
                "Port",
                "User",
                "Password",
                "ConnType",
                "PackerRunUUID",
                "PackerHTTPAddr",
                "SSHPublicKey",
                "SSHPrivateKey",
            ];
            let mut map = Map::new();
            map.insert("name".to_owned(), Hcl::from(name.as_str()));
            for key in keys {
                map.insert(key.to_owned(), Hcl::from(format!("{{{{build `{key}`}}}}")));
            }
            Hcl::Object(map)
        };
        self.names.declare("source", facts(&name), facts(&name));
        self.names.declare("build", of_build(), of_build());
        let (mut provisioners, mut post_processors) = (Vec::new(), Vec::new());
        for block in build.body.blocks() {
            match block.ident.as_str() {
                "source" => {}
                "provisioner" => provisioners.extend(self.step(text, block, &label)),
                "post-processor" => post_processors.extend(self.step(text, block, &label)),
                "post-processors" => {
                    for inner in block.body.get_blocks("post-processor") {
                        post_processors.extend(self.step(text, inner, &label));
                    }
                }
                "error-cleanup-provisioner" => self.notes.add(
                    Weight::Lost,
                    Some(&block_place(text, block)),
                    "error-cleanup-provisioner",
                    "run in the guest after a failure; here a failed step ends its machine, and its logs and screen \
                     are kept on the host",
                ),
                other => {
                    let place = block_place(text, block);
                    let what = [vec![other], labels(block)].concat().join(" ");
                    self.notes.add(Weight::Todo, Some(&place), what, "not understood; write out what it makes by hand");
                }
            }
        }
        for attribute in build
            .body
            .attributes()
            .filter(|a| !["sources", "name", "description"].contains(&a.key.as_str()))
        {
            self.notes.add(
                Weight::Lost,
                Some(&place(text, attribute)),
                attribute.key.as_str(),
                "a key of `build` that has no meaning here",
            );
        }
        Builder {
            kind,
            name,
            options,
            provisioners,
            post_processors,
        }
    }

    fn step(&mut self, text: &Text, block: &HclBlock, source: &str) -> Option<Block> {
        let kind = labels(block)
            .first()
            .map(|kind| (*kind).to_owned())
            .unwrap_or_default();
        let options = self.map(text, &block.body, &block_place(text, block));
        Block::of(&kind, &options, source)
    }
}
