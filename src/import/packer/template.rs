//! A Packer template, whichever of its two languages it was written in. Texts in it are still Packer's templates.

use std::sync::Arc;

use super::go::Known;
use crate::import::node::{Node, Place};

/// A template with the variables of one build command.
#[derive(Clone, Debug)]
pub struct Template {
    /// The file (or folder) as the user named it.
    pub shown: Arc<str>,
    /// Its folder.
    pub folder: String,
    /// Variables, in the order they were declared.
    pub variables: Vec<Variable>,
    /// What is built.
    pub builders: Vec<Builder>,
}

/// A user variable.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What is known of it; not yet settled.
    pub known: Known,
    /// What it is for, where somebody said so.
    pub description: Option<String>,
    /// Where it is declared.
    pub place: Place,
}

/// One builder with all that is done in its machine.
#[derive(Clone, Debug)]
pub struct Builder {
    /// `qemu`.
    pub kind: String,
    /// Name of the build, a template; Packer's default is the kind.
    pub name: String,
    /// All other keys.
    pub options: Node,
    /// In order.
    pub provisioners: Vec<Block>,
    /// In order, chains laid end to end.
    pub post_processors: Vec<Block>,
}

/// A provisioner or a post-processor.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Its type: `shell`.
    pub kind: String,
    /// Its keys, without `type`, `only`, `except` and `override`.
    pub options: Node,
}

impl Block {
    /// The block for the builder of this name, if it is for it at all.
    pub fn of(kind: &str, options: &Node, builder: &str) -> Option<Self> {
        let named = |key: &str| {
            let names = options.get(key)?;
            let fits = |name: String| name == builder || name == format!("qemu.{builder}");
            Some(names.items().iter().filter_map(Node::text).any(fits))
        };
        if named("only") == Some(false) || named("except") == Some(true) {
            return None;
        }
        let mut entries: Vec<_> = options
            .entries()
            .iter()
            .filter(|(key, _)| !["type", "only", "except", "override"].contains(&key.as_str()))
            .cloned()
            .collect();
        let over = options.get("override").and_then(|all| all.get(builder));
        for (key, node) in over.map(Node::entries).unwrap_or_default() {
            entries.retain(|(known, _)| known != key);
            entries.push((key.clone(), node.clone()));
        }
        let value = crate::import::node::Value::Map(entries);
        Some(Self {
            kind: kind.to_owned(),
            options: Node::new(value, &options.place),
        })
    }
}
