//! Autoinstall files of Ubuntu's installer: YAML, below a key `autoinstall`. What is kept is cut out line by line, as only
//! the user's own words are surely what the user meant.

use std::sync::Arc;

use super::converted::{Answer, Converted, Quote};
use super::words::WORDS;
use crate::import::node::{Node, Value};
use crate::import::note::Weight;
use crate::import::yaml;

/// A key with all its lines.
struct Part {
    key: String,
    line: usize,
    indent: usize,
    lines: Vec<String>,
}

pub(super) fn convert(text: &str, quote: Quote<'_>) -> Converted {
    let mut made = Converted::default();
    let root = match yaml::read(&Arc::from("user-data"), text) {
        Ok(root) => root,
        Err(error) => {
            let subject = "user-data".to_owned();
            made.note(
                Weight::Todo,
                error.place.line,
                subject,
                format!(
                    "this is no YAML ({}); the built-in answers are used alone",
                    error.cause
                ),
            );
            return made;
        }
    };
    let nested = root.get("autoinstall").is_some();
    let own = root.get("autoinstall").unwrap_or(&root);
    if own.entries().is_empty() || (!nested && own.get("version").is_none()) {
        made.note(
            Weight::Todo,
            1,
            "user-data",
            "has no `autoinstall`; the built-in answers are used alone",
        );
        return made;
    }
    let parts = parts(text, nested);
    let (mut kept, mut late) = (String::new(), String::new());
    for (key, node) in own.entries() {
        let part = parts.iter().find(|part| part.key == *key);
        let line = part.map_or(node.place.line, |part| part.line);
        let value = quote.plain(&node.text().unwrap_or_default());
        if made.take(&WORDS.autoinstall, line, key, &value) || setting(&mut made, own, key, node, line, quote)
        {
            continue;
        }
        match key.as_str() {
            "early-commands" => {
                let commands = node.items().iter().map(Node::short);
                let (stops, others): (Vec<_>, Vec<_>) = commands.partition(|command| stops_ssh(command));
                if !stops.is_empty() {
                    let text = "kept Packer from logging in to the live system; here the installation ends by switching off, and only \
                                then does the build log in";
                    made.note(Weight::Decided, line, "early-commands: stop ssh", text);
                }
                if !others.is_empty() {
                    keep(&mut kept, part, quote);
                }
            }
            "late-commands" => {
                late = late_commands(part, quote);
                if late.trim().is_empty() && !node.items().is_empty() {
                    let text =
                        "not written as a list of lines, so they could not be taken over; add them by hand";
                    made.note(Weight::Todo, line, "late-commands", text);
                }
            }
            _ if matches!(node.value, Value::Null) => {}
            _ => keep(&mut kept, part, quote),
        }
    }
    made.finish();
    made.block("packages", kept);
    made.block("late", late);
    made
}

/// Takes a key that is more than its value; false where it is none of those.
fn setting(made: &mut Converted, own: &Node, key: &str, node: &Node, line: usize, quote: Quote<'_>) -> bool {
    let plain = |key: &str| {
        node.text_of(key)
            .map(|text| quote.plain(&text))
            .unwrap_or_default()
    };
    match key {
        "keyboard" => {
            made.text("keymap", &plain("layout"));
            if !plain("variant").is_empty() {
                made.note(
                    Weight::Lost,
                    line,
                    "keyboard.variant",
                    "a variant of the keyboard's layout; `keymap` says the layout alone",
                );
            }
        }
        "identity" => {
            made.text("username", &plain("username"));
            made.text("fullname", &plain("realname"));
            made.has_password |= !plain("password").is_empty();
        }
        "ssh" => {
            if node.get("authorized-keys").is_some() {
                made.note(
                    Weight::Lost,
                    line,
                    "ssh.authorized-keys",
                    "keys of the user; put them there with a `copy` step: every clone will have them",
                );
            }
        }
        "storage" => storage(made, node, line),
        "packages" => {
            let packages = node
                .items()
                .iter()
                .filter_map(Node::text)
                .map(|text| quote.plain(&text))
                .collect();
            made.var("packages", Answer::List(packages));
        }
        "apt" => apt(made, node, line),
        "user-data" if own.get("identity").is_none() => {
            made.note(
                Weight::Lost,
                line,
                "user-data",
                "accounts by cloud-init; an account is `username` of the vars, all else can be a step",
            );
        }
        _ => return false,
    }
    true
}

fn storage(made: &mut Converted, node: &Node, line: usize) {
    let layout = node.get("layout").and_then(|layout| layout.text_of("name"));
    let weight = if layout.as_deref() == Some("direct") {
        Weight::Decided
    } else {
        Weight::Lost
    };
    let text = "the built-in answers' layout: one root file system, last on the disk, so that every size is made from one \
                installation; swap is `swap` of the vars (a file)";
    made.note(weight, line, "storage", text);
}

/// The lines of `late-commands`, set in as the built-in template's are.
fn late_commands(part: Option<&Part>, quote: Quote<'_>) -> String {
    let lines = part.map(|part| &part.lines[1..]).unwrap_or_default();
    let written = lines.iter().filter(|line| !line.trim().is_empty());
    let indent = written.map(|line| indent(line)).min().unwrap_or(0);
    let lines = lines.iter().map(|line| line.get(indent..).unwrap_or_default());
    lines
        .map(|line| format!("    {}\n", quote.quoted(line)))
        .collect()
}

fn stops_ssh(command: &str) -> bool {
    command.contains("stop") && command.contains("ssh")
}

fn apt(made: &mut Converted, node: &Node, line: usize) {
    let primary = node.get("primary").or_else(|| {
        node.get("mirror-selection")
            .and_then(|selection| selection.get("primary"))
    });
    let uri = primary.and_then(|list| list.items().iter().find_map(|item| item.text_of("uri")));
    made.mirror = uri;
    let others: Vec<_> = node
        .entries()
        .iter()
        .map(|(key, _)| key.as_str())
        .filter(|key| {
            ![
                "primary",
                "mirror-selection",
                "geoip",
                "preserve_sources_list",
                "fallback",
            ]
            .contains(key)
        })
        .collect();
    if !others.is_empty() {
        let subject = format!("apt: {}", others.join(", "));
        made.note(Weight::Lost, line, subject, "settings of apt while installing; `mirror` of the source is all that is known here, a step can do the rest");
    }
}

/// Adds a key's lines, set two blanks in, as the built-in template's are.
fn keep(kept: &mut String, part: Option<&Part>, quote: Quote<'_>) {
    let Some(part) = part else { return };
    for line in &part.lines {
        let line = line.get(part.indent.min(indent(line))..).unwrap_or_default();
        kept.push_str(&quote.quoted(&format!("  {line}")));
        kept.push('\n');
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// The keys below `autoinstall`, or of the root.
fn parts(text: &str, nested: bool) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let (mut inside, mut level) = (!nested, None);
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            if let Some(part) = parts.last_mut().filter(|_| inside && !trimmed.is_empty()) {
                part.lines.push(line.to_owned());
            }
            continue;
        }
        let depth = indent(line);
        if nested && depth == 0 {
            inside = trimmed.starts_with("autoinstall:");
            continue;
        }
        if !inside {
            continue;
        }
        let level = *level.get_or_insert(depth);
        // A list may stand as far left as its key.
        match trimmed
            .split_once(':')
            .filter(|_| depth == level && !trimmed.starts_with('-'))
        {
            Some((key, _)) => parts.push(Part {
                key: key.trim_matches(['"', '\'']).to_owned(),
                line: number + 1,
                indent: level,
                lines: vec![line.to_owned()],
            }),
            None => {
                if let Some(part) = parts.last_mut() {
                    part.lines.push(line.to_owned());
                }
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_vars_or_stay_as_they_are() {
        let text = "#cloud-config\nautoinstall:\n    version: 1\n    locale: en_US\n    identity:\n        username: ann\n\
                    \x20       password: \"$6$x$hunter2\"\n    early-commands:\n        - systemctl stop ssh\n\
                    \x20   late-commands:\n        - touch /target/{{x}}\n        - |\n          two\n            lines\n\
                    \x20   snaps:\n        - name: lxd\n    storage: {layout: {name: lvm}}\n";
        let made = convert(text, Quote::File);
        let template = made.template("autoinstall-ubuntu.yaml.j2").unwrap();
        assert!(template.contains("  snaps:\n      - name: lxd\n"), "{template}");
        assert!(
            template.contains("    - touch /target/{{ \"{\" }}{x}}\n    - |\n      two\n        lines\n"),
            "{template}"
        );
        assert!(!template.contains("hunter2") && made.has_password, "{template}");
        assert!(
            made.notes
                .iter()
                .any(|(weight, _, subject, _)| *weight == Weight::Lost && subject == "storage")
        );
    }
}
