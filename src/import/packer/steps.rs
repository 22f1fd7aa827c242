//! Provisioners as steps of a flavor.

use toml_edit::{Array, InlineTable, Value};

use super::Found;
use super::build::Build;
use super::fold::is_true;
use super::go::{self, Piece};
use super::options::{self, Fate};
use super::template::Block;
use crate::import::node::Node;
use crate::import::note::Weight;
use crate::import::path;
use crate::size::parse_duration;

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

fn shell(build: &Build<'_>, block: &Block, steps: &mut Vec<Step>) {
    let mut shared = shared(build, block);
    environment(build, block, &mut shared);
    let codes: Vec<i64> = block
        .options
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
    let reboots = is_true(block.options.get("expect_disconnect"));
    let interpreter = command(build, block);
    if block.options.get("inline").is_some() {
        inline(build, block, interpreter.as_deref(), shared, reboots, steps);
        return;
    }
    let scripts = [
        block.options.texts_of("script"),
        block.options.texts_of("scripts"),
    ]
    .concat();
    let count = scripts.len();
    for (number, written) in scripts.into_iter().enumerate() {
        let script = build.resolve(&written);
        if script.is_empty() {
            note(
                build,
                block,
                Weight::Decided,
                "scripts",
                "one of them is an empty name: no script",
            );
            continue;
        }
        let (found, what) = build.find(&script);
        let text = build.desk.text(&found).unwrap_or_default();
        if is_agent(&text) {
            let mut step = Step::of("install", "vm-bootstrap");
            step.comment = Some(format!(
                "was {script}, which only installed the boot-time agent; the program brings its own"
            ));
            steps.push(step);
            note(
                build,
                block,
                Weight::Decided,
                "scripts",
                format!("{script} installs the boot-time agent: `install = \"vm-bootstrap\"`"),
            );
            continue;
        }
        if what == Found::Missing {
            note(
                build,
                block,
                Weight::Todo,
                "scripts",
                format!("there is no file {script}; the manifest is not valid until it is there"),
            );
        }
        let mut step = Step::of("run", build.desk.named(&found));
        if let Some(interpreter) = interpreter.as_deref() {
            step.keys.push(("interpreter", Value::from(interpreter)));
        }
        finish(&mut step, &shared);
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
                note(
                    build,
                    block,
                    Weight::Todo,
                    "expect_disconnect",
                    format!("{script} ends with a reboot: take that line out, the step after it reboots"),
                );
            } else {
                note(
                    build,
                    block,
                    Weight::Decided,
                    "expect_disconnect",
                    "the script may have rebooted the guest: a `reboot` step comes after it; take it out if it did not",
                );
            }
        }
    }
}

fn finish(step: &mut Step, shared: &Shared) {
    if !shared.env.is_empty() {
        step.keys.push(("env", Value::InlineTable(shared.env.clone())));
    }
    step.keys.extend(shared.keys.iter().cloned());
}

fn is_reboot(line: &str) -> bool {
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
    build: &Build<'_>,
    block: &Block,
    interpreter: Option<&str>,
    mut shared: Shared,
    reboots: bool,
    steps: &mut Vec<Step>,
) {
    let mut lines = Vec::new();
    let password = build
        .option("ssh_password")
        .and_then(Node::text)
        .unwrap_or_default();
    for node in block.options.get("inline").map(Node::items).unwrap_or_default() {
        let Some(text) = node.text() else { continue };
        let mut line = String::new();
        for piece in go::pieces(&text, &build.scope) {
            match piece {
                Piece::Text(text) | Piece::Now(text) | Piece::Unknown(text) => line.push_str(&text),
                Piece::Var { value, name, .. } => {
                    note(
                        build,
                        block,
                        Weight::Decided,
                        "inline",
                        format!("scripts are no templates: `{name}` is written out in them ({value})"),
                    );
                    line.push_str(&value);
                }
                Piece::Context(name) => {
                    note(
                        build,
                        block,
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
                    note(
                        build,
                        block,
                        Weight::Decided,
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
        let shebang = block
            .options
            .text_of("inline_shebang")
            .map(|text| build.resolve(&text));
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
        finish(&mut step, &shared);
        steps.push(step);
    }
    if reboots {
        if !has_reboot {
            note(
                build,
                block,
                Weight::Decided,
                "expect_disconnect",
                "the script may have rebooted the guest: a `reboot` step comes after it; take it out if it did not",
            );
        }
        steps.push(Step::of("reboot", true));
    }
}

/// A command without the password that it told sudo: steps run as root.
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
fn environment(build: &Build<'_>, block: &Block, shared: &mut Shared) {
    let texts = block.options.texts_of("environment_vars");
    let texts = texts
        .iter()
        .filter_map(|text| text.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let map = block.options.get("env").map(Node::entries).unwrap_or_default();
    let map = map
        .iter()
        .filter_map(|(name, node)| Some((name.clone(), node.text()?)));
    for (name, value) in texts.chain(map) {
        let fits = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !fits {
            note(
                build,
                block,
                Weight::Lost,
                "environment_vars",
                format!("`{name}` is not the name of a variable"),
            );
            continue;
        }
        let written = match go::pieces(&value, &build.scope).as_slice() {
            [Piece::Secret(of)] => secret(&go::env_name(of)),
            [Piece::Env(of)] => {
                note(
                    build,
                    block,
                    Weight::Todo,
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
                note(
                    build,
                    block,
                    Weight::Todo,
                    "environment_vars",
                    format!("a secret stood in the template: `export {name}=…` before a run"),
                );
                secret(&name)
            }
            _ => match go::jinja(&value, &build.scope, &|_| None) {
                Ok(text) => Value::from(text),
                Err(action) => {
                    note(
                        build,
                        block,
                        Weight::Todo,
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

/// The interpreter that `execute_command` names. Tells what else it did.
fn command(build: &Build<'_>, block: &Block) -> Option<String> {
    let user = build.text("ssh_username").filter(|user| user != "root");
    let Some(written) = block.options.text_of("execute_command") else {
        if let Some(user) = user {
            note(
                build,
                block,
                Weight::Decided,
                "execute_command",
                format!("without one, commands ran as {user}; steps run as root"),
            );
        }
        return None;
    };
    let text = build.resolve(&written);
    let unquoted: String = text
        .replace("{{ .Path }}", "PATH_")
        .chars()
        .filter(|c| !matches!(c, '\'' | '"'))
        .collect();
    let words: Vec<&str> = unquoted.split_whitespace().collect();
    if !unquoted.contains("PATH_") {
        note(
            build,
            block,
            Weight::Todo,
            "execute_command",
            "does not run the script at all; see what it did, and write a step for it",
        );
        return None;
    }
    let is_root = words
        .iter()
        .any(|word| matches!(path::name(word), "sudo" | "su" | "doas" | "dzdo"));
    match user.filter(|_| !is_root) {
        Some(user) => note(
            build,
            block,
            Weight::Decided,
            "execute_command",
            format!("ran the script as {user}; steps run as root"),
        ),
        None => note(
            build,
            block,
            Weight::Decided,
            "execute_command",
            "became root; steps run as root, without a password",
        ),
    }
    let at = words.iter().rposition(|word| word.contains("PATH_"))?;
    let shells = ["bash", "sh", "dash", "ksh", "zsh", "python", "python3", "perl"];
    let start = words[..at]
        .iter()
        .rposition(|word| shells.contains(&path::name(word)))?;
    let between = &words[start + 1..at];
    // `sh -c "… PATH"` runs the script by its own first line.
    let plain = between
        .iter()
        .all(|word| word.starts_with('-') && !word.contains('c'));
    plain.then(|| words[start..at].join(" "))
}

/// Whether a script surely does nothing but install the boot-time agent: it writes all the agent's files, and every
/// command in it is one that such a script needs.
fn is_agent(text: &str) -> bool {
    let marks = [
        "/root/bootstrap",
        "start-bootstrap",
        "bootstrap-max-retry",
        "http://10.0.2.100/vm-bootstrap",
        "/etc/cron.d/",
    ];
    if !marks.iter().all(|mark| text.contains(mark)) {
        return false;
    }
    let mut end: Option<String> = None;
    for line in text.lines() {
        if let Some(marker) = &end {
            if line.trim() == marker {
                end = None;
            }
            continue;
        }
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some((_, rest)) = line.split_once("<<") {
            let marker = rest
                .trim_start_matches('-')
                .split_whitespace()
                .next()
                .unwrap_or_default();
            end = Some(marker.trim_matches(['\'', '"', '\\']).to_owned());
        }
        if !unquoted(line).split(['&', ';', '|']).all(is_harmless) {
            return false;
        }
    }
    end.is_none()
}

/// A line without what is within quotes.
fn unquoted(line: &str) -> String {
    let mut quote: Option<char> = None;
    let outside = line.chars().filter(|c| match quote {
        Some(end) => {
            if *c == end {
                quote = None;
            }
            false
        }
        None if matches!(c, '\'' | '"') => {
            quote = Some(*c);
            false
        }
        None => true,
    });
    outside.collect()
}

fn is_harmless(command: &str) -> bool {
    let mut words = command.split_whitespace().skip_while(|word| *word == "sudo");
    let Some(first) = words.next() else { return true };
    match path::name(first) {
        "mkdir" | "cat" | "echo" | "printf" | "chmod" | "chown" | "cp" | "tee" | "touch" | "set" | "cd"
        | "true" | ":" | "exit" | "if" | "then" | "else" | "elif" | "fi" | "[" | "test" | "umask"
        | "command" => true,
        "apt" | "apt-get" | "yum" | "dnf" => words.all(|word| {
            word.starts_with(['-', '>', '/'])
                || ["install", "update", "cron", "cronie", "wget", "curl", "bash"].contains(&word)
        }),
        "systemctl" | "service" => words.all(|word| {
            word.starts_with(['-', '>', '/'])
                || [
                    "enable",
                    "start",
                    "restart",
                    "reload",
                    "cron",
                    "crond",
                    "cron.service",
                    "crond.service",
                ]
                .contains(&word)
        }),
        assignment => {
            assignment
                .split_once('=')
                .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
                && words.next().is_none()
        }
    }
}

fn file(build: &Build<'_>, block: &Block, steps: &mut Vec<Step>) {
    let shared = shared(build, block);
    let to = block
        .options
        .text_of("destination")
        .map(|text| build.resolve(&text))
        .unwrap_or_default();
    if block
        .options
        .text_of("direction")
        .is_some_and(|text| text == "download")
    {
        note(
            build,
            block,
            Weight::Todo,
            "direction",
            format!(
                "brought {to} out of the guest; not to be had: publish it from the image, or make it on this host"
            ),
        );
        return;
    }
    let user = build.text("ssh_username").unwrap_or_else(|| "root".to_owned());
    let home = if user == "root" {
        "/root".to_owned()
    } else {
        format!("/home/{user}")
    };
    let to = if to.starts_with('/') {
        to
    } else {
        let text = format!("`{to}` was in the home of {user}: {home}/ here");
        note(build, block, Weight::Decided, "destination", text);
        format!("{home}/{}", to.trim_start_matches("~/"))
    };
    if user != "root" {
        note(
            build,
            block,
            Weight::Decided,
            "destination",
            format!("files belonged to {user}; now they belong to root, unless `owner` says otherwise"),
        );
    }
    if let Some(content) = block.options.text_of("content") {
        if build.is_secret(&content) {
            note(
                build,
                block,
                Weight::Todo,
                "content",
                "has a secret in it: write the file by a `run` step with `env`",
            );
            return;
        }
        let content = build.resolve(&content);
        let marker = (0..)
            .map(|number| format!("END{number}"))
            .find(|marker| !content.contains(marker.as_str()))
            .unwrap_or_default();
        let text =
            format!("mkdir -p \"$(dirname '{to}')\"\ncat > '{to}' <<'{marker}'\n{content}\n{marker}\n");
        let mut step = Step::of("inline", text);
        step.keys
            .push(("name", Value::from(format!("write {}", path::name(&to)))));
        finish(&mut step, &shared);
        steps.push(step);
        return;
    }
    for written in [
        block.options.texts_of("source"),
        block.options.texts_of("sources"),
    ]
    .concat()
    {
        let from = build.resolve(&written);
        let (found, what) = build.find(from.trim_end_matches('/'));
        let to = match what {
            // Like rsync: without a slash at the end, the folder itself arrives.
            Found::Folder if !from.ends_with('/') => {
                format!("{}/{}", to.trim_end_matches('/'), path::name(&found))
            }
            Found::Folder => to.clone(),
            _ if to.ends_with('/') => format!("{to}{}", path::name(&found)),
            _ => to.clone(),
        };
        if what == Found::Missing {
            note(
                build,
                block,
                Weight::Todo,
                "source",
                format!("there is no file {from}; the manifest is not valid until it is there"),
            );
        }
        let mut step = Step::of("copy", build.desk.named(&found));
        step.keys.push(("to", Value::from(path::plain(&to))));
        finish(&mut step, &shared);
        steps.push(step);
    }
}

fn ansible(build: &Build<'_>, block: &Block, steps: &mut Vec<Step>) {
    let shared = shared(build, block);
    let Some(playbook) = block
        .options
        .text_of("playbook_file")
        .map(|text| build.resolve(&text))
    else {
        note(
            build,
            block,
            Weight::Todo,
            "playbook_file",
            "no playbook is named",
        );
        return;
    };
    let (found, what) = build.find(&playbook);
    if what == Found::Missing {
        note(
            build,
            block,
            Weight::Todo,
            "playbook_file",
            format!("there is no file {playbook}; the manifest is not valid until it is there"),
        );
    }
    let mut step = Step::of("ansible", build.desk.named(&found));
    let mut args: Vec<String> = Vec::new();
    for node in block
        .options
        .get("extra_arguments")
        .map(Node::items)
        .unwrap_or_default()
    {
        let Some(text) = node.text() else { continue };
        let plain = build.resolve(&text);
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
            note(
                build,
                block,
                Weight::Todo,
                "extra_arguments",
                "an argument with a secret is left out, as everybody on this host could read it; let the playbook look it up (`lookup('env', …)`)",
            );
            continue;
        }
        if go::pieces(&plain, &build.scope)
            .iter()
            .any(|piece| !matches!(piece, Piece::Text(_)))
        {
            note(
                build,
                block,
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
    finish(&mut step, &shared);
    let hosts = build.desk.text(&found).unwrap_or_default();
    if hosts.contains("hosts: default") || hosts.contains("hosts: packer") {
        note(
            build,
            block,
            Weight::Todo,
            "playbook_file",
            "the playbook is for a host called `default`; here it is called `guest`: let it say `hosts: all`",
        );
    }
    steps.push(step);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_recognised_only_where_it_is_nothing_else() {
        let script = "#!/bin/sh\nset -e\nmkdir -p /root/bootstrap\ncat > /root/bootstrap/vm-bootstrap <<'EOF'\n\
                      anything http://10.0.2.100/vm-bootstrap rm -rf /\nEOF\necho 10 > /root/bootstrap/bootstrap-max-retry\n\
                      touch /root/bootstrap/start-bootstrap\nchmod 700 /root/bootstrap/vm-bootstrap\n\
                      echo '* * * * * root x' > /etc/cron.d/vm-boostrap\n";
        assert!(is_agent(script));
        assert!(!is_agent(&format!("{script}adduser ann\n")));
        assert!(!is_agent(&format!("{script}apt-get install -y cron vim\n")));
        assert!(!is_agent(&script.replace("start-bootstrap", "x")));
        assert!(!is_agent(&script.replace("\nEOF", "")));
    }

    #[test]
    fn reboots_and_durations() {
        assert!(
            is_reboot("sudo shutdown -r now") && is_reboot("/sbin/reboot &") && !is_reboot("echo reboot")
        );
        assert_eq!(duration("1h5m"), Some("1h5m".to_owned()));
        assert_eq!(duration("1500ms"), Some("2s".to_owned()));
        assert_eq!((duration("0s"), duration("x")), (None, None));
    }
}
