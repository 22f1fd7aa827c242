//! `build` blocks: which sources they build, and with which blocks of their own.

use hcl::Value as Hcl;
use hcl::edit::Span as _;
use hcl::edit::expr::Expression;
use hcl::edit::structure::Block as HclBlock;

use super::format::scalar;
use super::value::{Evaluated, Text};
use super::{Reading, block_place, labels, place};
use crate::import::node::{Node, Place, Value};
use crate::import::note::Weight;
use crate::import::packer::model::{Block, Builder, Fault};

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

impl Reading<'_> {
    pub(super) fn builds(&mut self) -> Vec<Builder> {
        let mut builders = Vec::new();
        let mut used = Vec::new();
        for (text, build) in self.blocks("build") {
            let mut wanted: Vec<(String, Option<&HclBlock>, Place)> = Vec::new();
            if let Some(attribute) = build.body.get_attribute("sources") {
                let items = match &attribute.value {
                    Expression::Array(items) => items.iter().collect(),
                    other => vec![other],
                };
                for item in items {
                    let here = text.place(item.span().map_or(0, |span| span.start));
                    match self.names.raw(item, text) {
                        Ok(Evaluated {
                            value: Hcl::Array(names),
                            ..
                        }) => {
                            let names = names.iter().filter_map(scalar);
                            wanted.extend(names.map(|name| (name, None, here.clone())));
                        }
                        Ok(name) => wanted.extend(scalar(&name.value).map(|name| (name, None, here))),
                        Err(cause) => self.faults.push(Fault::new(
                            &here,
                            cause,
                            "name the sources: [\"source.qemu.NAME\"]",
                        )),
                    }
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
                // Of three words Packer drops the first, whatever it is.
                let reference = match reference.split('.').collect::<Vec<_>>().as_slice() {
                    [_, kind, name, ..] => format!("{kind}.{name}"),
                    _ => reference,
                };
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
        let (kind, mut name) = (label(0).unwrap_or_default(), label(1).unwrap_or_default());
        let source_place = block_place(source_text, source);
        let group = self.own(text, build, "name").as_ref().and_then(scalar);
        if kind != "qemu" {
            // One can write what Packer's server hands out.
            let options = match kind.as_str() {
                "file" => self.map(source_text, &source.body, &source_place),
                _ => Node::new(Value::Map(Vec::new()), &source_place),
            };
            return Builder {
                kind,
                name,
                group,
                options,
                provisioners: Vec::new(),
                post_processors: Vec::new(),
            };
        }
        let own_name = over.and_then(|over| self.own(text, over, "name"));
        name = own_name.as_ref().and_then(scalar).unwrap_or(name);
        self.declare_build(&kind, &name);
        let mut options = self.map(source_text, &source.body, &source_place);
        if let Some(over) = over {
            let more = self.map(text, &over.body, &block_place(text, over));
            if let (Value::Map(entries), Value::Map(more)) = (&mut options.value, more.value) {
                for (key, node) in more.into_iter().filter(|(key, _)| key != "name") {
                    entries.retain(|(known, _)| *known != key);
                    entries.push((key, node));
                }
            }
        }
        let (mut provisioners, mut post_processors) = (Vec::new(), Vec::new());
        for block in build.body.blocks() {
            match block.ident.as_str() {
                "source" => {}
                "provisioner" => provisioners.extend(self.step(text, block, &name)),
                "post-processor" => post_processors.extend(self.step(text, block, &name)),
                "post-processors" => {
                    for inner in block.body.get_blocks("post-processor") {
                        post_processors.extend(self.step(text, inner, &name));
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
            group,
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
        self.names.declare("source", source);
        self.names.declare("build", build);
    }

    fn step(&mut self, text: &Text, block: &HclBlock, source: &str) -> Option<Block> {
        let kind = labels(block)
            .first()
            .map(|kind| (*kind).to_owned())
            .unwrap_or_default();
        let full = format!("qemu.{source}");
        let place = block_place(text, block);
        // First whether it is for this build: what is not need not be understood.
        let mut chosen = Vec::new();
        for key in ["only", "except"] {
            let names = block.body.get_attribute(key);
            let names = names.and_then(|names| self.names.evaluate(&names.value, text).ok());
            chosen.extend(names.map(|names| (key.to_owned(), names)));
        }
        Block::of(&kind, &Node::new(Value::Map(chosen), &place), source, &full)?;
        let options = self.map(text, &block.body, &place);
        Block::of(&kind, &options, source, &full)
    }
}
