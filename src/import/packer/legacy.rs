//! Packer's old JSON templates. Knows their frame, not the keys of builders and provisioners.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::go::{self, Known, Scope};
use super::model::{Block, Builder, Fault, Input, Overrides, Template, Variable};
use crate::import::node::{Node, Value};
use crate::import::note::{Notes, Weight};
use crate::import::{json, path};

/// Reads a template.
///
/// # Errors
/// Where it is no template, or a variable has no value.
pub fn read(input: &Input, overrides: &Overrides<'_>, notes: &mut Notes) -> Result<Template, Vec<Fault>> {
    let shown = &Arc::from(input.shown.as_str());
    let root = json::read(shown, &input.text).map_err(|error| {
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
    let variables = variables(&root, overrides, notes)?;
    let known: Vec<_> = variables
        .iter()
        .map(|variable| (variable.name.clone(), variable.known.clone()))
        .collect();
    let scope = Scope {
        vars: go::settle(&known, &Scope::default()),
        env: Arc::new(overrides.env.clone()),
        ..Scope::default()
    };
    let builders = root.get("builders").map(Node::items).unwrap_or_default();
    let blocks = |key: &str, name: &str| -> Vec<Block> {
        let all = root.get(key).map(Node::items).unwrap_or_default();
        // A chain of post-processors is a list in the list; a bare text is one without options.
        let flat = all.iter().flat_map(Node::items);
        let made = flat.filter_map(|node| match &node.value {
            Value::Text(kind) => Block::of(kind, &Node::new(Value::Map(Vec::new()), &node.place), name, name),
            _ => Block::of(&node.text_of("type").unwrap_or_default(), node, name, name),
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
            group: None,
        }
    });
    Ok(Template {
        builders: builders.collect(),
        shown: Arc::clone(shown),
        folder: path::folder(&input.path),
        variables,
    })
}

fn variables(root: &Node, overrides: &Overrides<'_>, notes: &mut Notes) -> Result<Vec<Variable>, Vec<Fault>> {
    let mut sensitive = root.texts_of("sensitive-variables");
    let builders = root.get("builders").map(Node::items).unwrap_or_default();
    let of = |fits: fn(&str) -> bool| {
        let keys = builders
            .iter()
            .flat_map(Node::entries)
            .filter(move |(key, _)| fits(key));
        keys.flat_map(|(_, node)| go::users(&node.text().unwrap_or_default()))
    };
    let accounts: Vec<_> = of(|key| key == "ssh_username").collect();
    sensitive.extend(of(go::is_secret_name).filter(|name| !accounts.contains(name)));
    let mut given = Vec::new();
    for file in overrides.files.iter().filter(|file| file.path.ends_with(".json")) {
        given.extend(variable_file(file).map_err(|fault| vec![fault])?);
    }
    given.extend(overrides.vars.iter().cloned());
    let value = |name: &str| {
        let found = given.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    };
    let declared = root.get("variables").map(Node::entries).unwrap_or_default();
    // Packer takes what a file or `-var` gives without a declaration, too.
    let mut all: Vec<(String, Option<String>, &Node)> = declared
        .iter()
        .map(|(name, node)| (name.clone(), value(name).or_else(|| node.text()), node))
        .collect();
    let mut more = given.iter().map(|(name, _)| name.clone()).collect();
    used(root, &mut more);
    for name in more {
        if all.iter().all(|(known, ..)| *known != name) {
            let value = value(&name);
            if value.is_none() {
                let text = format!(
                    "is declared nowhere and has no value: empty, as in Packer; -var {name}=… gives it one"
                );
                notes.add(Weight::Lost, Some(&root.place), format!("variable {name}"), text);
            }
            all.push((name, Some(value.unwrap_or_default()), root));
        }
    }
    let (mut variables, mut faults) = (Vec::new(), Vec::new());
    for (name, value, node) in all {
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
                secret: sensitive.contains(&name) || go::is_secret_name(&name),
                ..Known::default()
            },
            description: None,
            place: node.place.clone(),
            name,
        });
    }
    if faults.is_empty() {
        Ok(variables)
    } else {
        Err(faults)
    }
}

/// Adds the names of all user variables in texts below a node.
fn used(node: &Node, names: &mut BTreeSet<String>) {
    match &node.value {
        Value::Text(text) => names.extend(go::users(text)),
        Value::List(items) => items.iter().for_each(|item| used(item, names)),
        Value::Map(entries) => entries.iter().for_each(|(_, item)| used(item, names)),
        _ => {}
    }
}

/// The values of a JSON file of variables.
fn variable_file(file: &Input) -> Result<Vec<(String, String)>, Fault> {
    let root = json::read(&Arc::from(file.shown.as_str()), &file.text).map_err(|error| {
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
