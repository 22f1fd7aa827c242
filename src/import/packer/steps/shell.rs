//! `shell` provisioners: scripts and inline commands, what they are run with, and reboots among them.

use toml_edit::{Array, InlineTable, Value};

use super::agent::is_agent;
use super::interpreter::command;
use super::provisioner::{Provisioner, Shared};
use crate::import::node::Node;
use crate::import::note::Weight;
use crate::import::packer::go::{self, Piece};
use crate::import::packer::model::{Found, Step};
use crate::import::path;

pub(super) fn shell(provisioner: &Provisioner<'_>, steps: &mut Vec<Step>) {
    let Provisioner { build, options, .. } = *provisioner;
    let mut shared = provisioner.shared();
    environment(provisioner, &mut shared);
    let codes: Vec<i64> = options
        .texts_of("valid_exit_codes")
        .iter()
        .filter_map(|text| text.parse().ok())
        .filter(|code| (0..=255).contains(code))
        .collect();
    if !codes.is_empty() {
        shared
            .keys
            .push(("exit_codes", Value::from(codes.into_iter().collect::<Array>())));
    }
    let reboots = options.get("expect_disconnect").is_some_and(Node::is_true);
    let interpreter = command(provisioner);
    if options.get("inline").is_some() {
        inline(provisioner, interpreter.as_deref(), shared, reboots, steps);
        return;
    }
    let scripts = [options.texts_of("script"), options.texts_of("scripts")].concat();
    let count = scripts.len();
    for (number, written) in scripts.into_iter().enumerate() {
        let script = build.resolve(&written);
        if script.is_empty() {
            provisioner.note(
                Weight::Decided,
                "scripts",
                "one of them is an empty name: no script",
            );
            continue;
        }
        let (found, what) = build.find(&script);
        let text = build.importer.text(&found).unwrap_or_default();
        if is_agent(&text) {
            let mut step = Step::of("install", "vm-bootstrap");
            step.comment = Some(format!(
                "was {script}, which only installed the boot-time agent; the program brings its own"
            ));
            steps.push(step);
            provisioner.note(
                Weight::Decided,
                "scripts",
                format!("{script} installs the boot-time agent: `install = \"vm-bootstrap\"`"),
            );
            continue;
        }
        if what == Found::Missing {
            provisioner.note(
                Weight::Todo,
                "scripts",
                format!("there is no file {script}; the manifest is not valid until it is there"),
            );
        }
        let mut step = Step::of("run", build.importer.named(&found));
        if let Some(interpreter) = interpreter.as_deref() {
            step.keys.push(("interpreter", Value::from(interpreter)));
        }
        shared.finish(&mut step);
        steps.push(step);
        if reboots && number + 1 == count {
            steps.push(Step::of("reboot", true));
            if text
                .lines()
                .rev()
                .map(str::trim)
                .find(|line| !line.is_empty() && !line.starts_with('#'))
                .is_some_and(is_reboot)
            {
                provisioner.note(
                    Weight::Todo,
                    "expect_disconnect",
                    format!("{script} ends with a reboot: take that line out, the step after it reboots"),
                );
            } else {
                may_have_rebooted(provisioner);
            }
        }
    }
}

fn may_have_rebooted(provisioner: &Provisioner<'_>) {
    provisioner.note(
        Weight::Decided,
        "expect_disconnect",
        "the script may have rebooted the guest: a `reboot` step comes after it; take it out if it did not",
    );
}

pub(super) fn is_reboot(line: &str) -> bool {
    let line = line
        .trim()
        .trim_start_matches("sudo ")
        .trim_end_matches(['&', ';', ' ']);
    let words: Vec<_> = line.split_whitespace().collect();
    match words.first().map(|word| path::name(word)) {
        Some("reboot") => true,
        Some("systemctl") => words.get(1) == Some(&"reboot"),
        Some("shutdown") => words.contains(&"-r"),
        Some("init") => words.get(1) == Some(&"6"),
        _ => false,
    }
}

fn inline(
    provisioner: &Provisioner<'_>,
    interpreter: Option<&str>,
    mut shared: Shared,
    reboots: bool,
    steps: &mut Vec<Step>,
) {
    let Provisioner { build, options, .. } = *provisioner;
    let mut lines = Vec::new();
    let password = build
        .option("ssh_password")
        .and_then(Node::text)
        .unwrap_or_default();
    for node in options.get("inline").map(Node::items).unwrap_or_default() {
        let Some(text) = node.text() else { continue };
        let mut line = String::new();
        for piece in go::pieces(&text, &build.scope) {
            match piece {
                Piece::Text(text) | Piece::Now(text) | Piece::Unknown(text) => line.push_str(&text),
                Piece::Var { value, name, .. } => {
                    provisioner.note(
                        Weight::Decided,
                        "inline",
                        format!("scripts are no templates: `{name}` is written out in them ({value})"),
                    );
                    line.push_str(&value);
                }
                Piece::Context(name) => {
                    provisioner.note(
                        Weight::Todo,
                        "inline",
                        format!(
                            "`{{{{ {name} }}}}` is known to Packer alone; write the script in another way"
                        ),
                    );
                    line.push_str(&format!("{{{{ {name} }}}}"));
                }
                Piece::Secret(name) | Piece::Env(name) => {
                    let variable = go::env_name(&name);
                    line.push_str(&format!("${{{variable}}}"));
                    shared.env.insert(&variable, secret(&variable));
                    provisioner.note(Weight::Decided,
                        "inline",
                        format!(
                            "a secret stays out of the script: it is ${{{variable}}} of its environment (within single quotes that would not be replaced)"
                        ),
                    );
                }
            }
        }
        lines.push(without_sudo(line, &password));
    }
    let mut has_reboot = false;
    if reboots {
        while lines
            .last()
            .is_some_and(|line| is_reboot(line) || line.trim().is_empty())
        {
            has_reboot |= lines.pop().is_some_and(|line| is_reboot(&line));
        }
    }
    if lines.iter().any(|line| !line.trim().is_empty()) {
        let shebang = provisioner.text("inline_shebang");
        let start = match shebang.as_deref() {
            // Packer's default is `/bin/sh -e`: the first command that fails ends the script.
            None | Some("/bin/sh -e") => "set -e\n".to_owned(),
            Some(other) => format!("#!{other}\n"),
        };
        let start = if interpreter.is_some() && shebang.is_none() {
            "set -e\n".to_owned()
        } else {
            start
        };
        let mut step = Step::of("inline", format!("{start}{}\n", lines.join("\n")));
        if let Some(first) = lines.iter().map(|line| line.trim()).find(|line| !line.is_empty()) {
            let name: String = first.chars().take(40).collect();
            step.keys.push(("name", Value::from(name)));
        }
        if let Some(interpreter) = interpreter {
            step.keys.push(("interpreter", Value::from(interpreter)));
        }
        shared.finish(&mut step);
        steps.push(step);
    }
    if reboots {
        if !has_reboot {
            may_have_rebooted(provisioner);
        }
        steps.push(Step::of("reboot", true));
    }
}

/// A command without the password that it gave to sudo: steps run as root.
fn without_sudo(line: String, password: &str) -> String {
    if password.is_empty() || password.contains("{{") {
        return line;
    }
    let mut line = line;
    for quote in ["", "'", "\""] {
        let start = format!("echo {quote}{password}{quote} | sudo -S ");
        line = line.replace(&start, "");
    }
    line
}

fn secret(name: &str) -> Value {
    let mut table = InlineTable::new();
    table.insert("env", Value::from(name));
    Value::InlineTable(table)
}

/// `environment_vars` (texts `NAME=VALUE`) and `env` (a map).
fn environment(provisioner: &Provisioner<'_>, shared: &mut Shared) {
    let Provisioner { build, options, .. } = *provisioner;
    let texts = options.texts_of("environment_vars");
    let texts = texts
        .iter()
        .filter_map(|text| text.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let map = options.get("env").map(Node::entries).unwrap_or_default();
    let map = map
        .iter()
        .filter_map(|(name, node)| Some((name.clone(), node.text()?)));
    for (name, value) in texts.chain(map) {
        let fits = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !fits {
            provisioner.note(
                Weight::Lost,
                "environment_vars",
                format!("`{name}` is not the name of a variable"),
            );
            continue;
        }
        let written = match go::pieces(&value, &build.scope).as_slice() {
            [Piece::Secret(of)] => secret(&go::env_name(of)),
            [Piece::Env(of)] => {
                provisioner.note(Weight::Todo,
                    "environment_vars",
                    format!(
                        "{name}: `export {of}=…` before a run, if only to nothing: Packer took it as empty where it was not set"
                    ),
                );
                secret(of)
            }
            pieces
                if go::is_secret_name(&name)
                    && !pieces.is_empty()
                    && pieces.iter().all(|piece| matches!(piece, Piece::Text(_))) =>
            {
                provisioner.note(
                    Weight::Todo,
                    "environment_vars",
                    format!("a secret stood in the template: `export {name}=…` before a run"),
                );
                secret(&name)
            }
            _ => match go::jinja(&value, &build.scope, &|_| None) {
                Ok(text) => Value::from(text),
                Err(action) => {
                    provisioner.note(Weight::Todo,
                        "environment_vars",
                        format!(
                            "{name}: `{action}` cannot be part of a longer value here; pass it as a variable of its own"
                        ),
                    );
                    continue;
                }
            },
        };
        shared.env.insert(&name, written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reboots() {
        assert!(
            is_reboot("sudo shutdown -r now") && is_reboot("/sbin/reboot &") && !is_reboot("echo reboot")
        );
    }
}
