//! `ansible` provisioners: playbooks.

use toml_edit::{Array, Value};

use super::provisioner::Provisioner;
use crate::import::node::Node;
use crate::import::note::Weight;
use crate::import::packer::go::{self, Piece};
use crate::import::packer::model::{Found, Step};

pub(super) fn ansible(provisioner: &Provisioner<'_>, steps: &mut Vec<Step>) {
    let Provisioner { build, options, .. } = *provisioner;
    let shared = provisioner.shared();
    let Some(playbook) = provisioner.text("playbook_file") else {
        provisioner.note(Weight::Todo, "playbook_file", "no playbook is named");
        return;
    };
    let (found, what) = build.find(&playbook);
    if what == Found::Missing {
        provisioner.note(
            Weight::Todo,
            "playbook_file",
            format!("there is no file {playbook}; the manifest is not valid until it is there"),
        );
    }
    let mut step = Step::of("ansible", build.importer.named(&found));
    let mut args: Vec<String> = Vec::new();
    for node in options
        .get("extra_arguments")
        .map(Node::items)
        .unwrap_or_default()
    {
        let Some(text) = node.text() else { continue };
        let plain = build.resolve(&text);
        if build.changes(&text) {
            let text = "an argument changes with each build: let the playbook ask for it (`now()`)";
            provisioner.stop("extra_arguments", text, steps);
            return;
        }
        if plain.is_empty() {
            // An option that got nothing.
            args.pop_if(|last| last.starts_with('-') && !last.contains('='));
            continue;
        }
        if build.is_secret(&text)
            || plain
                .split(['=', ' '])
                .any(|word| go::is_secret_name(word) && plain.contains('='))
        {
            if args
                .last()
                .is_some_and(|arg| matches!(arg.as_str(), "-e" | "--extra-vars"))
            {
                args.pop();
            }
            provisioner.note(Weight::Todo,
                "extra_arguments",
                "an argument with a secret is left out, as everybody on this host could read it; let the playbook look it up (`lookup('env', …)`)",
            );
            continue;
        }
        if go::pieces(&plain, &build.scope)
            .iter()
            .any(|piece| !matches!(piece, Piece::Text(_)))
        {
            provisioner.note(
                Weight::Todo,
                "extra_arguments",
                format!("`{plain}` has something in it that is known to Packer alone; it is left out"),
            );
            continue;
        }
        args.push(plain);
    }
    if !args.is_empty() {
        step.keys
            .push(("args", Value::from(args.into_iter().collect::<Array>())));
    }
    shared.finish(&mut step);
    let hosts = build.importer.text(&found).unwrap_or_default();
    if hosts.contains("hosts: default") || hosts.contains("hosts: packer") {
        provisioner.note(
            Weight::Todo,
            "playbook_file",
            "the playbook is for a host called `default`; here it is called `guest`: let it say `hosts: all`",
        );
    }
    steps.push(step);
}
