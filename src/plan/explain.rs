//! What a key is made of, and what differs from the one last built: every difference with the file in which it was made.
//! Pure; nothing that stands for a secret comes out of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use similar::TextDiff;

use super::node::{Input, Named, Node, Stage};
use super::reason::by_label;
use crate::lock;
use crate::manifest::model::{Manifest, StepKind};
use crate::size::write_duration;

/// Stands for a secret, whatever it is.
const SECRET: &str = "(secret)";
/// Stands for one that is not the one before.
const OTHER_SECRET: &str = "(another secret)";
/// How the stand-in of a secret begins in a step's environment.
const SECRET_MARK: &str = "secret:";
/// Lines around a change.
const CONTEXT: usize = 3;

/// One difference between two keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The file in which it was made, as the manifest names it; none for the key of another node, and for what is built
    /// into this program.
    pub file: Option<String>,
    /// The input: `disk`, `steps.update.sh.environment.LEVEL`.
    pub field: String,
    /// As it was, null where it was not there. A script is its SHA-256.
    pub old: Value,
    /// As it is, null where it is no longer there.
    pub new: Value,
    /// The same as a unified diff, where both are texts of several lines and known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

/// Where the inputs of a node are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    pub manifest: String,
    /// The lock next to it.
    pub lock: String,
    /// The template of the answers.
    pub answers: Option<String>,
    /// Files of steps, by label.
    pub steps: BTreeMap<String, String>,
}

impl Origins {
    /// Those of a node of this manifest's plan.
    pub fn of<W>(manifest: &Manifest, node: &Node<W>) -> Self {
        let mut origins = Self {
            manifest: manifest.path.display().to_string(),
            lock: lock::path_of(&manifest.path).display().to_string(),
            ..Self::default()
        };
        if let Some(distro) = manifest.distro(&node.subject) {
            origins.answers = distro.answers.as_ref().map(|template| template.name.clone());
        }
        let of_node = |distro: &str, flavor: &str| node.subject == format!("{distro}-{flavor}");
        let image = manifest
            .images
            .iter()
            .find(|image| of_node(&image.distro, &image.flavor));
        let flavor = image.and_then(|image| manifest.flavor(&image.flavor));
        for step in flavor.iter().flat_map(|flavor| &flavor.steps) {
            let file = match &step.kind {
                StepKind::Run(run) if run.origin != "inline" => run.origin.clone(),
                StepKind::Copy(copy) => copy.from.display().to_string(),
                StepKind::Ansible(ansible) => ansible.playbook.display().to_string(),
                _ => continue,
            };
            origins.steps.insert(step.label.clone(), file);
        }
        origins
    }
}

/// What a key is made of, field by field, in the order of its inputs.
pub fn parts(stage: Stage, inputs: &Value) -> Vec<(String, Value)> {
    let inputs = &with_durations(inputs);
    let mut parts = Vec::new();
    for (name, value) in inputs.as_object().into_iter().flatten() {
        match stage.input(name) {
            Some(Input::Named(Named { noun, .. })) => {
                for (label, one) in by_label(noun, Some(value)) {
                    flatten(&format!("{name}.{label}"), one, Some(noun), &mut parts);
                }
            }
            Some(Input::Secret(_)) if !value.is_null() => parts.push((name.clone(), json!(SECRET))),
            _ => flatten(name, value, None, &mut parts),
        }
    }
    parts
}

/// The inputs without what stands for secrets.
pub fn shown(stage: Stage, inputs: &Value) -> Value {
    let mut shown = with_durations(inputs);
    for (name, value) in shown.as_object_mut().into_iter().flatten() {
        if matches!(stage.input(name), Some(Input::Secret(_))) && !value.is_null() {
            *value = json!(SECRET);
        }
    }
    hidden(&shown)
}

/// What differs, in the order of the new inputs. `is_key` tells which inputs are keys of other nodes, `texts` gives the
/// text of a digest, where it is known.
pub fn changes(
    stage: Stage,
    old: &Value,
    new: &Value,
    origins: &Origins,
    is_key: &dyn Fn(&Value) -> bool,
    texts: &dyn Fn(&str) -> Option<String>,
) -> Vec<Change> {
    let empty = Map::new();
    let (old, new) = (with_durations(old), with_durations(new));
    let (before, now) = (
        old.as_object().unwrap_or(&empty),
        new.as_object().unwrap_or(&empty),
    );
    let names = now
        .keys()
        .chain(before.keys().filter(|name| !now.contains_key(*name)));
    let mut found = Finder {
        stage,
        origins,
        texts,
        changes: Vec::new(),
    };
    for name in names {
        let of = |inputs: &Map<String, Value>| inputs.get(name).cloned().unwrap_or_default();
        let (before, now) = (of(before), of(now));
        match stage.input(name) {
            _ if before == now => {}
            Some(Input::Named(named)) => found.labelled(name, named, &before, &now),
            _ if is_key(&now) => found.push(None, name, &before, &now),
            input => {
                let file = match input {
                    Some(Input::Answers(_)) => origins.answers.as_ref().or(Some(&origins.manifest)),
                    Some(Input::BuiltIn(_)) => None,
                    Some(Input::Archives) => Some(&origins.lock),
                    _ => Some(&origins.manifest),
                };
                found.descend(file, name, &before, &now);
            }
        }
    }
    found.changes
}

struct Finder<'a> {
    stage: Stage,
    origins: &'a Origins,
    texts: &'a dyn Fn(&str) -> Option<String>,
    changes: Vec<Change>,
}

impl Finder<'_> {
    /// Steps or checks, which have names.
    fn labelled(&mut self, name: &str, named: Named, before: &Value, now: &Value) {
        let noun = named.noun;
        let count = self.changes.len();
        let (old, new) = (by_label(noun, Some(before)), by_label(noun, Some(now)));
        let labels = new
            .keys()
            .chain(old.keys().filter(|label| !new.contains_key(*label)));
        for label in labels {
            let field = format!("{name}.{label}");
            let of =
                |all: &BTreeMap<String, &Value>| all.get(label).map_or(Value::Null, |one| (*one).clone());
            let (before, now) = (of(&old), of(&new));
            let origins = self.origins;
            let manifest = Some(&origins.manifest);
            if before.is_null() || now.is_null() {
                self.push(manifest, &field, &before, &now);
                continue;
            }
            for member in members(&before, &now) {
                let file = match named.member(&member) {
                    Some(Input::Content) => origins.steps.get(label).or(manifest),
                    Some(Input::BuiltIn(_)) => None,
                    _ => manifest,
                };
                self.descend(
                    file,
                    &format!("{field}.{member}"),
                    &before[&member],
                    &now[&member],
                );
            }
        }
        if self.changes.len() == count {
            let order = |list: &Value| -> Value {
                let names = list.as_array().into_iter().flatten().map(|one| one[noun].clone());
                names.collect()
            };
            let origins = self.origins;
            self.push(Some(&origins.manifest), name, &order(before), &order(now));
        }
    }

    fn descend(&mut self, file: Option<&String>, field: &str, before: &Value, now: &Value) {
        if before == now {
            return;
        }
        if before.is_object() && now.is_object() {
            for member in members(before, now) {
                self.descend(
                    file,
                    &format!("{field}.{member}"),
                    &before[&member],
                    &now[&member],
                );
            }
        } else {
            self.push(file, field, before, now);
        }
    }

    fn push(&mut self, file: Option<&String>, field: &str, before: &Value, now: &Value) {
        let is_secret = |value: &Value| {
            (matches!(self.stage.input(field), Some(Input::Secret(_))) && value.is_string())
                || value.as_str().is_some_and(|text| text.starts_with(SECRET_MARK))
        };
        let diff = self.diff(field, before, now);
        let (old, mut new) = (hidden(before), hidden(now));
        let (old, hide_new) = (
            if is_secret(before) { json!(SECRET) } else { old },
            is_secret(now),
        );
        if hide_new {
            new = json!(if is_secret(before) { OTHER_SECRET } else { SECRET });
        }
        self.changes.push(Change {
            file: file.cloned(),
            field: field.to_owned(),
            old,
            new,
            diff,
        });
    }

    fn diff(&self, field: &str, before: &Value, now: &Value) -> Option<String> {
        let (before, now) = (before.as_str()?, now.as_str()?);
        let (before, now) = if field.ends_with(".script") {
            ((self.texts)(before)?, (self.texts)(now)?)
        } else if before.contains('\n') && now.contains('\n') {
            (without_passwords(before), without_passwords(now))
        } else {
            return None;
        };
        let diff = TextDiff::from_lines(&before, &now);
        let mut unified = diff.unified_diff();
        Some(
            unified
                .context_radius(CONTEXT)
                .header("as last built", "now")
                .to_string(),
        )
    }
}

/// Names of the members of either, those of the new one first.
fn members(before: &Value, now: &Value) -> Vec<String> {
    let names = |value: &Value| -> Vec<String> {
        let members = value.as_object().into_iter().flatten();
        members.map(|(name, _)| name.clone()).collect()
    };
    let mut all = names(now);
    let old = names(before)
        .into_iter()
        .filter(|name| !all.contains(name))
        .collect::<Vec<_>>();
    all.extend(old);
    all
}

fn flatten(field: &str, value: &Value, but: Option<&str>, parts: &mut Vec<(String, Value)>) {
    match value {
        Value::Null => {}
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members.iter().filter(|(name, _)| Some(name.as_str()) != but) {
                flatten(&format!("{field}.{name}"), value, None, parts);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Object(_) => {}
        value => parts.push((field.to_owned(), hidden(value))),
    }
}

/// Durations as a manifest has them: in keys they are seconds and nanoseconds.
fn with_durations(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let whole = |name: &str| members.get(name).and_then(Value::as_u64);
            if let (2, Some(seconds), Some(0)) = (members.len(), whole("secs"), whole("nanos")) {
                return json!(write_duration(Duration::from_secs(seconds)));
            }
            let members = members
                .iter()
                .map(|(name, value)| (name.clone(), with_durations(value)));
            Value::Object(members.collect())
        }
        Value::Array(items) => items.iter().map(with_durations).collect(),
        other => other.clone(),
    }
}

/// Without stand-ins of secrets, and without the credentials in URLs.
fn hidden(value: &Value) -> Value {
    match value {
        Value::String(text) if text.starts_with(SECRET_MARK) => json!(SECRET),
        Value::String(text) => json!(without_passwords(text)),
        Value::Array(items) => items.iter().map(hidden).collect(),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| (name.clone(), hidden(value)));
            Value::Object(members.collect())
        }
        other => other.clone(),
    }
}

/// `http://user:password@host/` as `http://***@host/`, wherever it stands.
fn without_passwords(text: &str) -> String {
    let mut pieces = text.split("://");
    let mut clean = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece
            .find(|c: char| c == '/' || c.is_whitespace() || c == '"')
            .unwrap_or(piece.len());
        let (authority, rest) = piece.split_at(end);
        clean.push_str("://");
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                clean.push_str("***@");
                clean.push_str(host);
            }
            None => clean.push_str(authority),
        }
        clean.push_str(rest);
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::node::Results;

    const STAGE: Stage = Stage {
        name: "brew",
        results: Results::Stored,
        inputs: &[
            ("answers", Input::Answers("its answers changed")),
            ("password", Input::Secret("its password changed")),
            ("steps", Input::Named(STEPS)),
            (
                "checks",
                Input::Named(Named {
                    noun: "check",
                    members: &[],
                }),
            ),
        ],
    };
    const STEPS: Named = Named {
        noun: "step",
        members: &[("script", Input::Content), ("environment", Input::Variables)],
    };

    fn origins() -> Origins {
        Origins {
            manifest: "m.toml".to_owned(),
            lock: "m.lock".to_owned(),
            answers: Some("debian.cfg.j2".to_owned()),
            steps: [("update".to_owned(), "guest/update.sh".to_owned())].into(),
        }
    }

    #[test]
    fn every_change_has_its_file_and_its_field_and_no_secret_is_in_it() {
        let old = json!({
            "install": "aaa", "answers": "one\ntwo\n", "password": "f00", "disk": 1, "mirror": {"uri": "http://me:pw@a/"},
            "steps": [
                {"step": "update", "script": "d1", "environment": {"A": "1", "T": "secret:f00"}},
                {"step": "gone", "reboot": true},
            ],
        });
        let new = json!({
            "install": "bbb", "answers": "one\n2\n", "password": "ba4", "disk": 1, "mirror": {"uri": "http://me:pv@b/"},
            "steps": [{"step": "update", "script": "d2", "environment": {"A": "1", "T": "secret:ba4", "B": "2"}}],
        });
        let texts = |digest: &str| Some(format!("#!/bin/sh\necho {digest}\n"));
        let found = changes(STAGE, &old, &new, &origins(), &|input| input == "bbb", &texts);
        let lines: Vec<_> = found
            .iter()
            .map(|c| {
                let file = c.file.as_deref().unwrap_or("-");
                format!("{file} {}: {} -> {}", c.field, c.old, c.new)
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        - install: "aaa" -> "bbb"
        debian.cfg.j2 answers: "one\ntwo\n" -> "one\n2\n"
        m.toml password: "(secret)" -> "(another secret)"
        m.toml mirror.uri: "http://***@a/" -> "http://***@b/"
        guest/update.sh steps.update.script: "d1" -> "d2"
        m.toml steps.update.environment.T: "(secret)" -> "(another secret)"
        m.toml steps.update.environment.B: null -> "2"
        m.toml steps.gone: {"step":"gone","reboot":true} -> null
        "#);
        let diffs: Vec<_> = found.iter().filter_map(|c| c.diff.as_deref()).collect();
        insta::assert_snapshot!(diffs.join("\n"), @r"
        --- as last built
        +++ now
        @@ -1,2 +1,2 @@
         one
        -two
        +2

        --- as last built
        +++ now
        @@ -1,2 +1,2 @@
         #!/bin/sh
        -echo d1
        +echo d2
        ");
        let all = format!("{found:?}{:?}{}", parts(STAGE, &new), shown(STAGE, &new));
        for secret in ["f00", "ba4", "me:p"] {
            assert!(!all.contains(secret), "{all}");
        }
    }

    #[test]
    fn a_duration_is_one_value_as_a_manifest_has_it() {
        let check = |seconds: u64| {
            let within = serde_json::to_value(Duration::from_secs(seconds)).unwrap();
            json!({"checks": [{"check": "boots-within", "asserts": {"boots_within": within}}]})
        };
        let field = "checks.boots-within.asserts.boots_within".to_owned();
        assert_eq!(parts(STAGE, &check(300)), [(field.clone(), json!("5m"))]);
        let found = changes(STAGE, &check(300), &check(5400), &origins(), &|_| false, &|_| {
            None
        });
        assert_eq!(found.len(), 1);
        assert_eq!(
            (&found[0].field, &found[0].old, &found[0].new),
            (&field, &json!("5m"), &json!("1h30m"))
        );
    }

    #[test]
    fn another_order_is_a_change_too() {
        let step = |name: &str| json!({"step": name});
        let old = json!({"steps": [step("a"), step("b")]});
        let new = json!({"steps": [step("b"), step("a")]});
        let found = changes(STAGE, &old, &new, &origins(), &|_| false, &|_| None);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].new, json!(["b", "a"]));
    }
}
