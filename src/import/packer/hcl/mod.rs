//! Packer's HCL2 configurations: variables, locals, sources and builds become the same plain template that a JSON one
//! does. Knows HCL's frame, not the keys of builders and provisioners.

mod functions;
mod value;

use std::collections::BTreeMap;
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

/// What Packer knows of a build only while it runs.
const OF_BUILD: [&str; 10] = [
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
        let mut given: BTreeMap<String, Hcl> = BTreeMap::new();
        for (name, text) in &overrides.hcl_files {
            match variable_file(name, text) {
                Ok(values) => given.extend(values),
                Err(fault) => self.faults.push(fault),
            }
        }
        let (mut values, mut actions) = (Map::new(), Map::new());
        for (text, block) in self.blocks("variable") {
            let Some(name) = labels(block).first().map(|name| (*name).to_owned()) else {
                continue;
            };
            let written = overrides.value(&name);
            let Some(value) = self.value_of(&name, text, block, written, given.get(&name)) else {
                continue;
            };
            let action = match self.variable(&name, text, block, &value) {
                true => Hcl::from(action(&name)),
                false => value.clone(),
            };
            actions.insert(name.clone(), action);
            values.insert(name, value);
        }
        self.names
            .declare("var", Hcl::Object(values), Hcl::Object(actions));
    }

    /// A plain value that an attribute has.
    fn own(&self, text: &Text, block: &HclBlock, key: &str) -> Option<Hcl> {
        let attribute = block.body.get_attribute(key)?;
        let raw = self.names.raw(&attribute.value, text).ok()?;
        Some(raw.0)
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
                raw.map_or(Hcl::String(text), |(value, _)| value)
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
                (cause, format!("give it one: -var {name}=…, or --var-file FILE"))
            }
        };
        self.faults.push(Fault::new(&place, cause, remedy));
        None
    }

    /// Takes a variable down; false where it is a list or a map.
    fn variable(&mut self, name: &str, text: &Text, block: &HclBlock, value: &Hcl) -> bool {
        let place = block_place(text, block);
        for nested in block.body.blocks() {
            let what = format!("{} of the variable `{name}`", nested.ident.as_str());
            let meaning = "a rule for its value; values in a manifest have no rules of their own";
            self.notes
                .add(Weight::Lost, Some(&block_place(text, nested)), what, meaning);
        }
        let sensitive = self.own(text, block, "sensitive");
        let secret = go::is_secret_name(name) || sensitive.is_some_and(|value| value.as_bool() == Some(true));
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
                ..Known::default()
            },
            description: description.and_then(|value| value.as_str().map(str::to_owned)),
            name: name.to_owned(),
            place,
        });
        true
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
                format!("{cause}; what uses it is left out and listed below: write its value by hand"),
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
                        format!("its value cannot be known here: {cause}; it is left out, write it by hand"),
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
        let label = |at: usize| labels(source).get(at).map(|label| (*label).to_owned());
        let (kind, label) = (label(0).unwrap_or_default(), label(1).unwrap_or_default());
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
        self.declare_build(&kind, &name);
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

    /// `source.…` and `build.…` while the blocks of one builder are read.
    fn declare_build(&mut self, kind: &str, name: &str) {
        let object = |entries: Vec<(&str, Hcl)>| {
            let entries = entries.into_iter();
            Hcl::Object(entries.map(|(key, value)| (key.to_owned(), value)).collect())
        };
        let source = object(vec![("name", Hcl::from(name)), ("type", Hcl::from(kind))]);
        let of_build = OF_BUILD.map(|key| (key, Hcl::from(format!("{{{{build `{key}`}}}}"))));
        let build = object([vec![("name", Hcl::from(name))], of_build.to_vec()].concat());
        self.names.declare("source", source.clone(), source);
        self.names.declare("build", build.clone(), build);
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
