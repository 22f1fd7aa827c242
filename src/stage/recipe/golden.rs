//! Keys must not change by accident: a store built by an earlier version would be built again. What each node's key is
//! made of is pinned here, for the manifests that the project ships and for one that has every source, step and place.
//! A key is a function of its inputs, so equal inputs are equal keys; keys of other nodes stand as the ids of those, and
//! digests of the scripts in `guest/` and of rendered texts are short, so that a line says what has changed.
//!
//! After a change that is meant: `INSTA_UPDATE=always cargo test --lib golden`, and look at what `git diff` shows. A stage
//! that makes other bytes of equal inputs gets its revision raised; that shows here too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use super::testing::planned;
use crate::digest::sha256_hex;
use crate::guest;
use crate::key;
use crate::manifest::load::{load, load_text};
use crate::manifest::model::Manifest;

/// Every kind of source, step, check and place.
const ALL: &str = include_str!("golden/all.toml");

fn pinned(manifest: &Manifest) -> String {
    let plan = planned(manifest);
    let folder = std::path::absolute(&manifest.folder).unwrap_or_else(|error| panic!("{error}"));
    let agent = format!("{}\0{}", guest::AGENT, guest::INSTALL_AGENT);
    let mut names: BTreeMap<String, String> = [
        (guest::SEAL, "guest/seal.sh"),
        (guest::CHECK, "guest/check.sh"),
        (agent.as_str(), "the agent"),
    ]
    .map(|(text, name)| (sha256_hex(text.as_bytes()), format!("<{name}>")))
    .into();
    let mut text = String::new();
    for (_, node) in plan.nodes() {
        assert_eq!(node.key, key::of(&node.inputs), "{}", node.id());
        let shown = shown(&node.inputs, &names);
        let shown = shown.replace(&folder.display().to_string(), "<here>");
        let _ = writeln!(text, "{}\n{shown}", node.id());
        names.insert(node.key.clone(), format!("<key of {}>", node.id()));
    }
    text
}

/// One line for each member.
fn shown(inputs: &Value, names: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, value) in inputs.as_object().into_iter().flatten() {
        let _ = writeln!(text, "  {name}: {}", named(value, names));
    }
    text
}

fn named(value: &Value, names: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) if names.contains_key(text) => names[text].as_str().into(),
        Value::String(text) if text.contains('\n') => {
            let digest = sha256_hex(text.as_bytes());
            format!("<{} lines, {}>", text.lines().count(), &digest[..12]).into()
        }
        Value::Array(items) => items.iter().map(|item| named(item, names)).collect(),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, item)| (name.clone(), named(item, names)));
            Value::Object(members.collect())
        }
        other => other.clone(),
    }
}

fn shipped(name: &str) -> Manifest {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(name);
    load(&path).unwrap_or_else(|error| panic!("{error:?}"))
}

#[test]
fn keys_of_the_quickstart_stay() {
    insta::assert_snapshot!(pinned(&shipped("quickstart.toml")));
}

#[test]
fn keys_of_the_fleet_stay() {
    insta::assert_snapshot!(pinned(&shipped("images.toml")));
}

#[test]
fn keys_of_every_source_step_and_place_stay() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("play")).unwrap();
    // Modes count: they must not depend on who runs this.
    for (name, text, mode) in [
        ("update.sh", "#!/bin/sh\nexit 0\n", 0o755),
        ("play/site.yml", "- hosts: all\n", 0o644),
        ("motd", "hello\n", 0o644),
        ("base.img", "", 0o644),
        ("play", "", 0o755),
    ] {
        let path = folder.path().join(name);
        if !path.is_dir() {
            std::fs::write(&path, text).unwrap();
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let path = folder.path().join("all.toml");
    let manifest = load_text(&path, ALL).unwrap_or_else(|error| panic!("{error:?}"));
    insta::assert_snapshot!(pinned(&manifest));
}

/// The function from inputs to key is part of every key.
#[test]
fn a_key_is_the_sha_256_of_the_inputs_in_order_of_their_names() {
    let inputs = serde_json::json!({ "stage": "size", "revision": 1, "size": 3, "format": "qcow2" });
    assert_eq!(
        key::of(&inputs),
        sha256_hex(br#"{"format":"qcow2","revision":1,"size":3,"stage":"size"}"#)
    );
}
