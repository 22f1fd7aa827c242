//! `shell` provisioners: scripts and inline commands, what they are run with, and reboots among them.

use toml_edit::{Array, InlineTable, Value};

use super::agent::is_agent;
use super::interpreter::{Runs, command};
use super::provisioner::{Provisioner, Shared};
use crate::import::node::Node;
use crate::import::note::Weight;
use crate::import::packer::answers::{HIDDEN, hide_passwords};
use crate::import::packer::go::{self, Piece};
use crate::import::packer::model::{Found, Step};
use crate::import::path;

pub(super) fn shell(provisioner: &Provisioner<'_>, steps: &mut Vec<Step>) {
    let Provisioner { build, options, .. } = *provisioner;
    let mut shared = provisioner.shared();
    environment(provisioner, &mut shared, steps);
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
    let runs = match command(provisioner) {
        Ok(runs) => runs,
        Err(cause) => {
            let text = format!("{cause}; write a step that does it");
            provisioner.stop("execute_command", &text, steps);
            return;
        }
    };
    runs.add_to(&mut shared);
    if options.get("inline").is_some() {
        inline(provisioner, &runs, shared, reboots, steps);
        return;
    }
    let scripts = [options.texts_of("script"), options.texts_of("scripts")].concat();
    let count = scripts.len();
    for (number, written) in scripts.into_iter().enumerate() {
        let script = build.resolve(&written);
        if script.is_empty() || script == "/dev/null" {
            let text = "one of them is an empty name, or /dev/null: no script";
            provisioner.note(Weight::Decided, "scripts", text);
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
        homes(provisioner, &runs, &text);
        build.look_for_names(&script, &text);
        let mut step = Step::of("run", build.importer.named(&found));
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

/// Tells where a script that became root may mean a user's home.
fn homes(provisioner: &Provisioner<'_>, runs: &Runs, script: &str) {
    let names = ["~/", "$HOME", "authorized_keys"];
    // `$HOME_DIR` is another variable.
    let script = script.replace("$HOME_", "");
    if let Some(name) = names
        .iter()
        .find(|name| runs.keeps_home && script.contains(**name))
    {
        let text = format!(
            "ran as root with the user's environment, and says `{name}`: here that is root's, unless `user` says otherwise"
        );
        provisioner.note(Weight::Todo, "execute_command", text);
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
    runs: &Runs,
    mut shared: Shared,
    reboots: bool,
    steps: &mut Vec<Step>,
) {
    let Provisioner { build, options, .. } = *provisioner;
    let mut lines = Vec::new();
    for node in options.get("inline").map(Node::items).unwrap_or_default() {
        let Some(text) = node.text() else { continue };
        let Some(line) = line(provisioner, &text, runs, &mut shared, steps) else {
            return;
        };
        lines.push(line);
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
        homes(provisioner, runs, &lines.join("\n"));
        build.look_for_names("inline", &lines.join("\n"));
        let mut step = Step::of("inline", format!("{start}{}\n", lines.join("\n")));
        if let Some(first) = lines.iter().map(|line| line.trim()).find(|line| !line.is_empty()) {
            let name: String = first.chars().take(40).collect();
            step.keys.push(("name", Value::from(name)));
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

/// A line of an inline script, with its secrets in its environment; none where the script cannot be one.
fn line(
    provisioner: &Provisioner<'_>,
    text: &str,
    runs: &Runs,
    shared: &mut Shared,
    steps: &mut Vec<Step>,
) -> Option<String> {
    let build = provisioner.build;
    let password = build
        .option("ssh_password")
        .and_then(Node::text)
        .unwrap_or_default();
    let mut line = String::new();
    for piece in go::pieces(text, &build.scope) {
        match piece {
            Piece::Text(text) | Piece::Unknown(text) => line.push_str(&text),
            Piece::Now(_, Some(command)) => {
                let text = "what changes with each build in it (a time, a random text) is asked for when the step runs";
                provisioner.note(Weight::Decided, "inline", text);
                quoted(&mut line, &format!("$({command})"));
            }
            Piece::Now(text, None) => {
                let text = format!(
                    "a part of it changes with each build (here it is `{text}`): write that in shell, a time by `date`"
                );
                provisioner.stop("inline", &text, steps);
                return None;
            }
            Piece::Var { value, name, .. } => {
                provisioner.note(
                    Weight::Decided,
                    "inline",
                    format!("scripts are no templates: `{name}` is written out in them ({value})"),
                );
                line.push_str(&value);
            }
            Piece::Context(name) => {
                let text =
                    format!("`{{{{ {name} }}}}` is known to Packer alone; write the script in another way");
                provisioner.stop("inline", &text, steps);
                return None;
            }
            Piece::Env(name) if !go::is_secret_name(&name) => {
                quoted(&mut line, &format!("${{{name}}}"));
                shared.env.insert(&name, optional(&name));
            }
            Piece::Secret(name) | Piece::Env(name) => {
                let variable = go::env_name(&name);
                quoted(&mut line, &format!("${{{variable}}}"));
                shared.env.insert(&variable, secret(&variable));
                provisioner.note(
                    Weight::Decided,
                    "inline",
                    format!("a secret stays out of the script: it is ${{{variable}}} of its environment"),
                );
            }
        }
    }
    if !password.is_empty() && !password.contains("{{") {
        for quote in ["", "'", "\""] {
            let start = format!("echo {quote}{password}{quote} | sudo -S ");
            if runs.user.is_none() {
                line = line.replace(&start, "");
            } else if line.contains(&start) {
                line = line.replace(&start, "echo \"${SSH_PASSWORD}\" | sudo -S ");
                shared.env.insert("SSH_PASSWORD", secret("SSH_PASSWORD"));
            }
        }
    }
    let hidden = hide_passwords(&line);
    let mut parts = hidden.split(HIDDEN);
    line = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let text = "a password stood in the script: it is ${PASSWORD} of its environment now; `export PASSWORD=…` before a run";
        provisioner.note(Weight::Todo, "inline", text);
        quoted(&mut line, "${PASSWORD}");
        line.push_str(part);
        shared.env.insert("PASSWORD", secret("PASSWORD"));
    }
    Some(line)
}

/// Adds what a shell has to fill in: single quotes are closed around it.
fn quoted(line: &mut String, text: &str) {
    let is_quoted = line.matches('\'').count() % 2 == 1;
    line.push_str(&if is_quoted {
        format!("'\"{text}\"'")
    } else {
        text.to_owned()
    });
}

fn secret(name: &str) -> Value {
    let mut table = InlineTable::new();
    table.insert("env", Value::from(name));
    Value::InlineTable(table)
}

/// A variable of the host that is empty where it is not set, as in Packer.
fn optional(name: &str) -> Value {
    let mut table = InlineTable::new();
    table.insert("env", Value::from(name));
    table.insert("default", Value::from(""));
    Value::InlineTable(table)
}

/// `environment_vars` (texts `NAME=VALUE`) and `env` (a map).
fn environment(provisioner: &Provisioner<'_>, shared: &mut Shared, steps: &mut Vec<Step>) {
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
        if !go::is_variable(&name) {
            provisioner.note(
                Weight::Lost,
                "environment_vars",
                format!("`{name}` is not the name of a variable"),
            );
            continue;
        }
        let written = match go::pieces(&value, &build.scope).as_slice() {
            [Piece::Secret(of)] => secret(&go::env_name(of)),
            [Piece::Env(of)] if !go::is_secret_name(of) && !go::is_secret_name(&name) => optional(of),
            [Piece::Env(of)] => {
                provisioner.note(Weight::Todo,
                    "environment_vars",
                    format!(
                        "{name}: `export {of}=…` before a run, if only to nothing: Packer took an empty text where it was not set"
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
            pieces if pieces.iter().any(|piece| matches!(piece, Piece::Now(..))) => {
                let text = format!(
                    "{name}: a part of it changed with each build; set it in the script, a time by `date`"
                );
                provisioner.stop("environment_vars", &text, steps);
                continue;
            }
            pieces if pieces.iter().any(|piece| matches!(piece, Piece::Env(_))) => {
                let text = format!(
                    "{name}: a variable of the environment cannot be part of a longer value here; pass it as one of its own"
                );
                provisioner.stop("environment_vars", &text, steps);
                continue;
            }
            _ => match go::jinja(&value, &build.scope, &|_| None) {
                Ok(text) => Value::from(text),
                Err(action) => {
                    let text = format!(
                        "{name}: `{action}` cannot be part of a longer value here; pass it as a variable of its own"
                    );
                    provisioner.stop("environment_vars", &text, steps);
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
