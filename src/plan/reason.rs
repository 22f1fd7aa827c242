//! Why a node must run, in words: the difference between the inputs of its key and those of the key last built.

use std::collections::BTreeMap;

use serde_json::Value;

use super::node::{Input, Named, REVISION, Stage};
use crate::size::ByteSize;

/// What differs between keys of a stage, one phrase a difference, in the order of the new inputs. Empty when only nodes
/// before it differ: `is_key` says which inputs are keys of those.
pub fn differences(stage: Stage, old: &Value, new: &Value, is_key: &dyn Fn(&Value) -> bool) -> Vec<String> {
    let mut phrases = Vec::new();
    let empty = serde_json::Map::new();
    let (old, new) = (
        old.as_object().unwrap_or(&empty),
        new.as_object().unwrap_or(&empty),
    );
    for (name, value) in new {
        let before = old.get(name);
        if before == Some(value) || is_key(value) {
            continue;
        }
        match stage.input(name) {
            Some(Input::Named(named)) => steps(named, before, value, &mut phrases),
            Some(Input::Answers(words) | Input::BuiltIn(words) | Input::Secret(words)) => {
                phrases.push(words.to_owned());
            }
            Some(Input::Archives) => archives(before, value, &mut phrases),
            input => phrases.push(changed(name, input == Some(Input::Size), before, value)),
        }
    }
    let is_unlocked = |name: &String| stage.input(name) == Some(Input::Archives) && !new.contains_key(name);
    if old.keys().any(is_unlocked) {
        phrases.push("the lock no longer has its package archives".to_owned());
    }
    phrases
}

/// Which suites of package archives have moved.
fn archives(before: Option<&Value>, now: &Value, phrases: &mut Vec<String>) {
    let Some(before) = before.and_then(Value::as_object) else {
        return phrases.push("it was built before its package archives were locked".to_owned());
    };
    let date = |state: &Value| state["date"].as_str().unwrap_or_default().to_owned();
    for (suite, state) in now.as_object().into_iter().flatten() {
        match before.get(suite) {
            None => phrases.push(format!("{suite} is locked at {}", day(&date(state)))),
            Some(old) if old != state => {
                let (old, new) = (date(old), date(state));
                let is_same_day = day(&old) == day(&new);
                let shown = |date| if is_same_day { date } else { day(date) };
                phrases.push(format!("{suite} {} → {}", shown(&old), shown(&new)));
            }
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|suite| now.get(suite).is_none());
    phrases.extend(gone.map(|suite| format!("without {suite}")));
}

fn day(date: &str) -> &str {
    date.get(..10).unwrap_or(date)
}

fn changed(name: &str, sized: bool, before: Option<&Value>, now: &Value) -> String {
    match before {
        None | Some(Value::Null) => format!("{name} is now {}", show(now, sized)),
        Some(_) if now.is_null() => format!("{name} is no longer set"),
        Some(before) => {
            if let (Some(before), Some(now)) = (before.as_array(), now.as_array()) {
                let list = |from: &[Value], but: &[Value]| {
                    let only: Vec<_> = from
                        .iter()
                        .filter(|v| !but.contains(v))
                        .map(|v| show(v, false))
                        .collect();
                    only.join(", ")
                };
                let (added, removed) = (list(now, before), list(before, now));
                return match (added.is_empty(), removed.is_empty()) {
                    (false, true) => format!("{name} now with {added}"),
                    (true, false) => format!("{name} now without {removed}"),
                    (false, false) => format!("{name} now with {added}, without {removed}"),
                    (true, true) => format!("{name} in another order"),
                };
            }
            format!(
                "{name} changed from {} to {}",
                show(before, sized),
                show(now, sized)
            )
        }
    }
}

fn show(value: &Value, sized: bool) -> String {
    match value {
        Value::String(text) if text.len() > 40 => format!("{}…", text.chars().take(39).collect::<String>()),
        Value::String(text) => text.clone(),
        Value::Number(n) if sized => n
            .as_u64()
            .map_or_else(|| n.to_string(), |b| ByteSize(b).to_string()),
        Value::Object(_) => "other values".to_owned(),
        other => other.to_string(),
    }
}

/// What differs in a list of things that have names.
fn steps(named: Named, before: Option<&Value>, now: &Value, phrases: &mut Vec<String>) {
    let noun = named.noun;
    let old = by_label(noun, before);
    let new = by_label(noun, Some(now));
    let count = phrases.len();
    for (label, step) in &new {
        match old.get(label) {
            None => phrases.push(format!("{noun} {label} is new")),
            Some(before) if before != step => phrases.push(step_change(named, label, before, step)),
            Some(_) => {}
        }
    }
    phrases.extend(
        old.keys()
            .filter(|l| !new.contains_key(*l))
            .map(|l| format!("{noun} {l} is gone")),
    );
    if phrases.len() == count {
        phrases.push(format!("the order of the {noun}s changed"));
    }
}

/// Steps by label; the second of two equal labels becomes `label (2)`.
pub(super) fn by_label<'v>(noun: &str, steps: Option<&'v Value>) -> BTreeMap<String, &'v Value> {
    let mut found = BTreeMap::new();
    for step in steps.and_then(Value::as_array).into_iter().flatten() {
        let label = step.get(noun).and_then(Value::as_str).unwrap_or("?");
        let mut unique = label.to_owned();
        let mut number = 1;
        while found.contains_key(&unique) {
            number += 1;
            unique = format!("{label} ({number})");
        }
        found.insert(unique, step);
    }
    found
}

fn step_change(named: Named, label: &str, before: &Value, now: &Value) -> String {
    let differing: Vec<&str> = now
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, value)| before.get(name.as_str()) != Some(value))
        .map(|(name, _)| name.as_str())
        .collect();
    let [member] = differing[..] else {
        return format!("{label}: {} changed", differing.join(" and "));
    };
    match named.member(member) {
        Some(Input::Content) => format!("{label} changed"),
        Some(Input::BuiltIn(words)) if member == REVISION => format!("{label}: {words}"),
        Some(Input::BuiltIn(words)) => words.to_owned(),
        Some(Input::Variables) => {
            let of = |v: &Value| {
                v.get(member)
                    .and_then(Value::as_object)
                    .cloned()
                    .unwrap_or_default()
            };
            let (old, new) = (of(before), of(now));
            let names: Vec<_> = new
                .iter()
                .filter(|(name, value)| old.get(name.as_str()) != Some(value))
                .map(|(name, _)| name)
                .chain(old.keys().filter(|name| !new.contains_key(*name)))
                .cloned()
                .collect();
            format!("{} of {label} changed", names.join(", "))
        }
        _ => format!("{label}: {member} changed"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::node::Results;

    const STAGE: Stage = Stage {
        name: "brew",
        results: Results::Stored,
        inputs: &[
            ("disk", Input::Size),
            ("beans", Input::Secret("its beans changed")),
            (
                "steps",
                Input::Named(Named {
                    noun: "step",
                    members: &[("script", Input::Content), ("environment", Input::Variables)],
                }),
            ),
        ],
    };

    #[test]
    fn differences_are_told_in_the_users_words() {
        let old = json!({
            "install": "aaa", "disk": 2u64 << 30, "packages": ["vim"],
            "steps": [{"step": "guest/update.sh", "script": "1", "environment": {"A": "1"}}, {"step": "reboot"}],
        });
        let mut new = old.clone();
        new["install"] = json!("bbb");
        let is_key = |input: &Value| input == "bbb";
        assert_eq!(differences(STAGE, &old, &new, &is_key), Vec::<String>::new());
        new["disk"] = json!(3u64 << 30);
        new["beans"] = json!("f00");
        new["packages"] = json!(["vim", "curl"]);
        new["steps"] =
            json!([{"step": "guest/update.sh", "script": "2", "environment": {"A": "1"}}, {"step": "x"}]);
        assert_eq!(
            differences(STAGE, &old, &new, &is_key),
            [
                "disk changed from 2 GiB to 3 GiB",
                "packages now with curl",
                "guest/update.sh changed",
                "step x is new",
                "step reboot is gone",
                "its beans changed",
            ]
        );
        let mut copy = old.clone();
        copy["steps"][1] = json!({"step": "reboot", "revision": 2});
        assert_eq!(
            differences(STAGE, &old, &copy, &is_key),
            ["reboot: this version of pipeline does it differently"]
        );
        let mut env = old.clone();
        env["steps"][0]["environment"] = json!({"A": "2", "B": "3"});
        assert_eq!(
            differences(STAGE, &old, &env, &is_key),
            ["A, B of guest/update.sh changed"]
        );
    }
}
