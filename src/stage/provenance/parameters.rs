//! What a statement says of the manifest, and of the nodes that it was planned as. Texts stand there by their digests, secrets
//! not at all, and URLs without passwords. Pure.

use serde_json::{Map, Value, json};

use crate::digest::sha256_hex;
use crate::host::http::redact;
use crate::manifest::model::{Distro, Flavor, Image, Manifest};
use crate::plan::graph::Nodes;
use crate::plan::node::{Input, Stage};
use crate::stage::Work;
use crate::stage::index;
use crate::stage::part::Ready;

/// How what stands for a secret begins, among variables.
const SECRET: &str = "secret:";

/// What the manifest says, and what is planned of it.
pub(super) fn parameters(
    nodes: &Nodes<Work>,
    manifest: &Manifest,
    image: &Image,
    parts: (&Distro, &Flavor),
    ready: &Ready<'_>,
) -> (Value, Value) {
    let facts = index::facts(nodes, manifest, image, parts, ready);
    let mut external = match serde_json::to_value(facts) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    if let Some(Value::Object(built_from)) = external.remove("built_from") {
        // The keys are among the nodes.
        external.extend(built_from.into_iter().filter(|(name, _)| name != "keys"));
    }
    let mut planned = Map::new();
    let mut behind = nodes.behind(ready.all());
    behind.sort_unstable();
    for index in behind {
        let node = nodes.node(index);
        let members = node.inputs.as_object().into_iter().flatten();
        let inputs: Map<_, _> = members
            .map(|(name, value)| (name.clone(), shown(node.stage, name, value)))
            .collect();
        planned.insert(node.id(), json!({ "key": node.key, "inputs": inputs }));
    }
    (external.into(), json!({ "nodes": planned }))
}

/// An input of a key, as strangers may see it.
fn shown(stage: Stage, name: &str, value: &Value) -> Value {
    match stage.input(name) {
        Some(Input::Secret(_)) if !value.is_null() => Value::from("secret"),
        _ => public(value),
    }
}

fn public(value: &Value) -> Value {
    match value {
        Value::String(text) if text.starts_with(SECRET) => Value::from("secret"),
        Value::String(text) if text.contains('\n') => json!({ "sha256": sha256_hex(text.as_bytes()) }),
        Value::String(text) => redact(text).into(),
        Value::Array(items) => items.iter().map(public).collect(),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| (name.clone(), public(value)));
            Value::Object(members.collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_see_no_secret_and_no_text() {
        let value = json!({
            "environment": { "A": "plain", "B": "secret:1f" },
            "url": "https://user:pass@mirror.example/a?token=1",
            "answers": "two\nlines\n",
        });
        let found = public(&value);
        assert_eq!(found["environment"], json!({ "A": "plain", "B": "secret" }));
        assert_eq!(found["url"], "https://***@mirror.example/a?token=…");
        assert_eq!(found["answers"], json!({ "sha256": sha256_hex(b"two\nlines\n") }));
    }
}
