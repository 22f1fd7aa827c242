//! Provisioners as steps of a flavor. Each kind that has steps has a module; `options.toml` says what becomes of others.

mod agent;
mod ansible;
mod file;
mod interpreter;
mod provisioner;
mod shell;

use self::ansible::ansible;
use self::file::file;
use self::provisioner::Provisioner;
use self::shell::shell;
use super::build::Build;
use super::model::Step;
use super::options::{self, Fate};
use crate::import::node::{Node, Value};
use crate::import::note::Weight;

pub fn read(build: &Build<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    for block in &build.builder.provisioners {
        let provisioner = Provisioner::new(build, block);
        provisioner.pause("pause_before", &mut steps);
        let unknown_key = block
            .options
            .entries()
            .iter()
            .find_map(|(key, node)| match &node.value {
                Value::Unknown(cause) => Some((key, cause)),
                Value::List(items) => items.iter().find_map(|item| match &item.value {
                    Value::Unknown(cause) => Some((key, cause)),
                    _ => None,
                }),
                _ => None,
            });
        if let Some((key, cause)) = unknown_key {
            steps.push(Step::todo(&format!(
                "{} of {}: {key} cannot be known: {cause}",
                block.kind, block.options.place
            )));
            continue;
        }
        match block.kind.as_str() {
            "shell" => shell(&provisioner, &mut steps),
            "file" => file(&provisioner, &mut steps),
            "ansible" => ansible(&provisioner, &mut steps),
            _ => {
                unknown(&provisioner, &mut steps);
                continue;
            }
        }
        for (key, node) in block.options.entries() {
            let (weight, text) = match options::of_provisioner(&block.kind, key) {
                Some(Fate::Taken(_)) => continue,
                Some(Fate::Ours(text)) => (Weight::Decided, text.as_str()),
                Some(Fate::Lost(text)) => (Weight::Lost, text.as_str()),
                None => (
                    Weight::Lost,
                    "not a key that is known here; look up what it meant",
                ),
            };
            let subject = format!("{}: {key} = {}", block.kind, shown(build, node));
            build.importer.note(weight, Some(&node.place), subject, text);
        }
        provisioner.pause("pause_after", &mut steps);
    }
    steps
}

/// Reports a provisioner that becomes no step.
fn unknown(provisioner: &Provisioner<'_>, steps: &mut Vec<Step>) {
    let Provisioner { build, kind, options } = *provisioner;
    let text = match options::of_provisioner_type(kind) {
        Some(Fate::Taken(text) | Fate::Ours(text) | Fate::Lost(text)) => text.as_str(),
        None => "not known here: do the same with a script (`run`) or a playbook (`ansible`)",
    };
    let subject = format!("provisioner {kind}");
    build
        .importer
        .note(Weight::Todo, Some(&options.place), &subject, text);
    // What never touched the image need not stop it.
    if !matches!(kind, "breakpoint" | "hcp-sbom") {
        steps.push(Step::todo(&format!("{subject} of {}: {text}", options.place)));
    }
    for (key, node) in options.entries() {
        let subject = format!("{subject}: {key} = {}", shown(build, node));
        let text = "went with that provisioner";
        build
            .importer
            .note(Weight::Lost, Some(&node.place), subject, text);
    }
}

/// A value for people, without secrets.
fn shown(build: &Build<'_>, node: &Node) -> String {
    match node.text() {
        Some(text) if build.is_secret(&text) => "…".to_owned(),
        _ => node.short(),
    }
}
