//! Packer's old JSON templates. Knows their frame, not the keys of builders and provisioners.

use std::sync::Arc;

use super::go::{self, Known, Scope};
use super::model::{Block, Builder, Fault, Overrides, Template, Variable};
use crate::import::json;
use crate::import::node::{Node, Value};
use crate::import::note::{Notes, Weight};

/// Reads a template.
///
/// # Errors
/// Where it is no template, or a variable has no value.
pub fn read(
    shown: &Arc<str>,
    text: &str,
    folder: &str,
    overrides: &Overrides,
    notes: &mut Notes,
) -> Result<Template, Vec<Fault>> {
    let root = json::read(shown, text).map_err(|error| {
        vec![Fault::new(
            &error.place,
            format!("this is no JSON: {}", error.cause),
            "Packer itself says more: packer validate",
        )]
    })?;
    if root.get("builders").is_none() {
        return Err(vec![Fault::new(
            &root.place,
            "this is no Packer template: it has no `builders`",
            "name templates (*.json, *.pkr.hcl) or folders of them",
        )]);
    }
    for (key, node) in root.entries() {
        let meaning = match key.as_str() {
            "builders" | "provisioners" | "post-processors" | "variables" | "sensitive-variables" => continue,
            // Whatever begins so is a comment to Packer too.
            comment if comment.starts_with('_') => continue,
            "description" => {
                let text = node.text().unwrap_or_default();
                notes.add(
                    Weight::Decided,
                    Some(&node.place),
                    "description",
                    format!("kept here: {text}"),
                );
                continue;
            }
            "min_packer_version" => "the oldest Packer for this template; it has no meaning here",
            "error-cleanup-provisioner" => {
                "run in the guest after a failure; here a failed step ends its machine, and its logs and screen are \
                 kept on the host"
            }
            _ => "Packer does not know this key either",
        };
        notes.add(Weight::Lost, Some(&node.place), key.clone(), meaning);
    }
    let variables = variables(&root, overrides)?;
    let known: Vec<_> = variables
        .iter()
        .map(|variable| (variable.name.clone(), variable.known.clone()))
        .collect();
    let scope = Scope {
        vars: go::settle(&known, &Scope::default()),
        ..Scope::default()
    };
    let builders = root.get("builders").map(Node::items).unwrap_or_default();
    let blocks = |key: &str, name: &str| -> Vec<Block> {
        let all = root.get(key).map(Node::items).unwrap_or_default();
        // A chain of post-processors is a list in the list; a bare text is one without options.
        let flat = all.iter().flat_map(Node::items);
        let made = flat.filter_map(|node| match &node.value {
            Value::Text(kind) => Block::of(kind, &Node::new(Value::Map(Vec::new()), &node.place), name),
            _ => Block::of(&node.text_of("type").unwrap_or_default(), node, name),
        });
        made.collect()
    };
    let builders = builders.iter().map(|node| {
        let kind = node.text_of("type").unwrap_or_default();
        let name = node.text_of("name").unwrap_or_else(|| kind.clone());
        let plain = go::resolve(&name, &scope);
        let options = node
            .entries()
            .iter()
            .filter(|(key, _)| key != "type" && key != "name");
        Builder {
            options: Node::new(Value::Map(options.cloned().collect()), &node.place),
            provisioners: blocks("provisioners", &plain),
            post_processors: blocks("post-processors", &plain),
            kind,
            name,
        }
    });
    Ok(Template {
        builders: builders.collect(),
        shown: Arc::clone(shown),
        folder: folder.to_owned(),
        variables,
    })
}

fn variables(root: &Node, overrides: &Overrides) -> Result<Vec<Variable>, Vec<Fault>> {
    let sensitive = root.texts_of("sensitive-variables");
    let mut variables = Vec::new();
    let mut faults = Vec::new();
    for (name, node) in root.get("variables").map(Node::entries).unwrap_or_default() {
        let value = overrides.value(name).or_else(|| node.text());
        if value.is_none() {
            faults.push(Fault::new(
                &node.place,
                format!("the variable `{name}` has no value"),
                format!("give it one: -var {name}=…, or --var-file FILE"),
            ));
        }
        variables.push(Variable {
            known: Known {
                value: value.unwrap_or_default(),
                secret: sensitive.contains(name) || go::is_secret_name(name),
                ..Known::default()
            },
            name: name.clone(),
            description: None,
            place: node.place.clone(),
        });
    }
    if faults.is_empty() {
        Ok(variables)
    } else {
        Err(faults)
    }
}

/// The values of a JSON file of variables.
///
/// # Errors
/// Where it is no such file.
pub fn variable_file(shown: &Arc<str>, text: &str) -> Result<Vec<(String, String)>, Fault> {
    let root = json::read(shown, text).map_err(|error| {
        Fault::new(
            &error.place,
            format!("this is no JSON: {}", error.cause),
            "correct it",
        )
    })?;
    let values = root.entries().iter();
    Ok(values
        .filter_map(|(name, node)| Some((name.clone(), node.text()?)))
        .collect())
}
