//! Provisioners as steps of a flavor: what all kinds of them share; each kind has a module.

mod agent;
mod ansible;
mod file;
mod interpreter;
mod shell;

use toml_edit::{InlineTable, Value};

use super::build::Build;
use super::fold::is_true;
use super::options::{self, Fate};
use super::template::Block;
use crate::import::node::Node;
use crate::import::note::Weight;
use crate::size::parse_duration;

use ansible::ansible;
use file::file;
use shell::shell;

/// A step, as it will be written.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Its keys.
    pub keys: Vec<(&'static str, Value)>,
    /// What stands above it.
    pub comment: Option<String>,
}

impl Step {
    fn of(key: &'static str, value: impl Into<Value>) -> Self {
        Self {
            keys: vec![(key, value.into())],
            comment: None,
        }
    }

    /// As a text.
    pub fn show(&self) -> String {
        let keys = self.keys.iter().map(|(key, value)| format!("{key} = {value}"));
        keys.collect::<Vec<_>>().join(", ")
    }
}

/// What all steps of one provisioner share.
#[derive(Default)]
struct Shared {
    keys: Vec<(&'static str, Value)>,
    /// Variables for secrets in inline scripts.
    env: InlineTable,
}

/// The steps of a build.
pub fn read(build: &Build<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    for block in &build.builder.provisioners {
        pause(build, block, "pause_before", &mut steps);
        match block.kind.as_str() {
            "shell" => shell(build, block, &mut steps),
            "file" => file(build, block, &mut steps),
            "ansible" => ansible(build, block, &mut steps),
            kind => {
                let text = match kind {
                    "shell-local" => {
                        "a command on this host, in the middle of the build: run it before `pipeline run`, and `copy` what it makes"
                    }
                    "ansible-local" => {
                        "ran Ansible inside the guest; an `ansible` step runs the same playbook from this host"
                    }
                    "breakpoint" => {
                        "stopped the build for somebody to look; `pipeline boot` starts what was built"
                    }
                    "powershell" | "windows-shell" | "windows-restart" | "windows-update" => {
                        "for Windows guests, which cannot be built here"
                    }
                    "hcp-sbom" => "a list of what is inside, for a service of HashiCorp's",
                    _ => "not known here: do the same with a script (`run`) or a playbook (`ansible`)",
                };
                let place = Some(&block.options.place);
                build
                    .desk
                    .note(Weight::Todo, place, format!("provisioner {kind}"), text);
                for (key, node) in block.options.entries() {
                    build.desk.note(
                        Weight::Lost,
                        Some(&node.place),
                        format!("provisioner {kind}: {key} = {}", hidden(build, node)),
                        "went with that provisioner",
                    );
                }
                continue;
            }
        }
        tell(build, block);
        pause(build, block, "pause_after", &mut steps);
    }
    steps
}

/// A value for people, without secrets.
fn hidden(build: &Build<'_>, node: &Node) -> String {
    match node.text() {
        Some(text) if build.is_secret(&text) => "…".to_owned(),
        _ => node.short(),
    }
}

fn note(build: &Build<'_>, block: &Block, weight: Weight, key: &str, text: impl Into<String>) {
    let place = block
        .options
        .get(key)
        .map_or(&block.options.place, |node| &node.place);
    build
        .desk
        .note(weight, Some(place), format!("{}: {key}", block.kind), text);
}

/// Keys that are not read elsewhere.
fn tell(build: &Build<'_>, block: &Block) {
    for (key, node) in block.options.entries() {
        let (weight, text) = match options::of_provisioner(&block.kind, key) {
            Some(Fate::Taken(_)) => continue,
            Some(Fate::Ours(text)) => (Weight::Decided, text),
            Some(Fate::Lost(text)) => (Weight::Lost, text),
            None => (
                Weight::Lost,
                "not a key that is known here; look up what it meant",
            ),
        };
        build.desk.note(
            weight,
            Some(&node.place),
            format!("{}: {key} = {}", block.kind, hidden(build, node)),
            text,
        );
    }
}

/// Seconds of waiting as a step, unless a reboot before it waits by itself.
fn pause(build: &Build<'_>, block: &Block, key: &'static str, steps: &mut Vec<Step>) {
    let Some(text) = block.options.text_of(key).map(|text| build.resolve(&text)) else {
        return;
    };
    let Some(seconds) = duration(&text).and_then(|text| parse_duration(&text).ok()) else {
        note(
            build,
            block,
            Weight::Lost,
            key,
            format!("`{text}` is not a time that is known here"),
        );
        return;
    };
    let after_reboot = steps
        .last()
        .is_some_and(|step| step.keys.iter().any(|(key, _)| *key == "reboot"));
    let here = key == "pause_after" && is_true(block.options.get("expect_disconnect"));
    if after_reboot || here {
        note(
            build,
            block,
            Weight::Decided,
            key,
            "waited for the guest to come back; `reboot` waits by itself",
        );
        return;
    }
    let mut step = Step::of("inline", format!("sleep {}", seconds.as_secs()));
    step.keys.push(("name", Value::from("pause")));
    step.comment = Some(format!(
        "{key} = {text} of the template; take it out if nothing needs it"
    ));
    steps.push(step);
}

/// Go's duration in ours; parts of seconds are rounded up.
fn duration(text: &str) -> Option<String> {
    if let Some(milliseconds) = text.strip_suffix("ms") {
        return Some(format!(
            "{}s",
            milliseconds.parse::<u64>().ok()?.div_ceil(1000).max(1)
        ));
    }
    parse_duration(text)
        .ok()
        .filter(|time| !time.is_zero())
        .map(|_| text.to_owned())
}

/// `name`, `timeout`, `retries`.
fn shared(build: &Build<'_>, block: &Block) -> Shared {
    let mut shared = Shared::default();
    if let Some(text) = block.options.text_of("timeout").map(|text| build.resolve(&text)) {
        match duration(&text) {
            Some(text) => shared.keys.push(("timeout", Value::from(text))),
            None => note(
                build,
                block,
                Weight::Lost,
                "timeout",
                format!("`{text}` is not a time that is known here; 30m is the usual one"),
            ),
        }
    }
    if let Some(text) = block
        .options
        .text_of("max_retries")
        .map(|text| build.resolve(&text))
    {
        match text.parse::<i64>() {
            Ok(0) => {}
            Ok(number) => shared.keys.push(("retries", Value::from(number.clamp(0, 100)))),
            Err(_) => note(build, block, Weight::Lost, "max_retries", "not a number"),
        }
    }
    shared
}

fn finish(step: &mut Step, shared: &Shared) {
    if !shared.env.is_empty() {
        step.keys.push(("env", Value::InlineTable(shared.env.clone())));
    }
    step.keys.extend(shared.keys.iter().cloned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("1h5m"), Some("1h5m".to_owned()));
        assert_eq!(duration("1500ms"), Some("2s".to_owned()));
        assert_eq!((duration("0s"), duration("x")), (None, None));
    }
}
