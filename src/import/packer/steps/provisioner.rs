//! One provisioner of a build: its options, notes about them, and what all steps that come of it share.

use toml_edit::{InlineTable, Value};

use crate::import::node::Node;
use crate::import::note::Weight;
use crate::import::packer::build::Build;
use crate::import::packer::model::{Block, Step};
use crate::size::parse_duration;

/// A provisioner in a build.
#[derive(Clone, Copy)]
pub(super) struct Provisioner<'b> {
    pub(super) build: &'b Build<'b>,
    pub(super) kind: &'b str,
    pub(super) options: &'b Node,
}

/// What all steps of one provisioner share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) keys: Vec<(&'static str, Value)>,
    /// Variables for secrets in inline scripts.
    pub(super) env: InlineTable,
}

impl Shared {
    pub(super) fn finish(&self, step: &mut Step) {
        if !self.env.is_empty() {
            step.keys.push(("env", Value::InlineTable(self.env.clone())));
        }
        step.keys.extend(self.keys.iter().cloned());
    }
}

impl<'b> Provisioner<'b> {
    pub(super) fn new(build: &'b Build<'b>, block: &'b Block) -> Self {
        Self {
            build,
            kind: &block.kind,
            options: &block.options,
        }
    }

    /// A scalar option, resolved.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        Some(self.build.resolve(&self.options.text_of(key)?))
    }

    pub(super) fn note(&self, weight: Weight, key: &str, text: impl Into<String>) {
        let place = self
            .options
            .get(key)
            .map_or(&self.options.place, |node| &node.place);
        let subject = format!("{}: {key}", self.kind);
        self.build.importer.note(weight, Some(place), subject, text);
    }

    /// `timeout` and `max_retries`.
    pub(super) fn shared(&self) -> Shared {
        let mut shared = Shared::default();
        if let Some(text) = self.text("timeout") {
            match duration(&text) {
                Some(text) => shared.keys.push(("timeout", Value::from(text))),
                None => self.note(
                    Weight::Lost,
                    "timeout",
                    format!("`{text}` is not a time that is known here; 30m is the usual one"),
                ),
            }
        }
        if let Some(text) = self.text("max_retries") {
            match text.parse::<i64>() {
                Ok(0) => {}
                Ok(number) => shared.keys.push(("retries", Value::from(number.clamp(0, 100)))),
                Err(_) => self.note(Weight::Lost, "max_retries", "not a number"),
            }
        }
        shared
    }

    /// Seconds of waiting as a step, unless a reboot before it waits by itself.
    pub(super) fn pause(&self, key: &'static str, steps: &mut Vec<Step>) {
        let Some(text) = self.text(key) else { return };
        let Some(seconds) = duration(&text).and_then(|text| parse_duration(&text).ok()) else {
            let text = format!("`{text}` is not a time that is known here");
            self.note(Weight::Lost, key, text);
            return;
        };
        let after_reboot = steps
            .last()
            .is_some_and(|step| step.keys.iter().any(|(key, _)| *key == "reboot"));
        let here = key == "pause_after" && self.options.get("expect_disconnect").is_some_and(Node::is_true);
        if after_reboot || here {
            let text = "waited for the guest to come back; `reboot` waits by itself";
            self.note(Weight::Decided, key, text);
            return;
        }
        let mut step = Step::of("inline", format!("sleep {}", seconds.as_secs()));
        step.keys.push(("name", Value::from("pause")));
        step.comment = Some(format!(
            "{key} = {text} of the template; take it out if nothing needs it"
        ));
        steps.push(step);
    }
}

/// Go's duration in ours; parts of seconds are rounded up.
fn duration(text: &str) -> Option<String> {
    if let Some(milliseconds) = text.strip_suffix("ms") {
        let seconds = milliseconds.parse::<u64>().ok()?.div_ceil(1000).max(1);
        return Some(format!("{seconds}s"));
    }
    let time = parse_duration(text).ok()?;
    (!time.is_zero()).then(|| text.to_owned())
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
