//! One provisioner of a build: its options, notes about them, and what all steps that come of it share.

use std::time::Duration;

use toml_edit::{InlineTable, Value};

use crate::import::node::Node;
use crate::import::note::Weight;
use crate::import::packer::build::Build;
use crate::import::packer::model::{Block, Step};
use crate::import::packer::times;
use crate::size::write_duration;

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

    /// A step that fails, in the place of what cannot be carried over.
    pub(super) fn stop(&self, key: &str, text: &str, steps: &mut Vec<Step>) {
        self.note(Weight::Todo, key, text);
        steps.push(Step::todo(&format!(
            "{} of {}: {text}",
            self.kind, self.options.place
        )));
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
            match times::duration(&text).map(rounded) {
                Some(time) if time.is_zero() => {}
                Some(time) => shared.keys.push(("timeout", Value::from(write_duration(time)))),
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
        let Some(seconds) = times::duration(&text).map(rounded) else {
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
        if seconds.is_zero() {
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

/// In whole seconds.
fn rounded(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}
