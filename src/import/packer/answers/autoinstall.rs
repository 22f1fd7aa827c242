//! Autoinstall files of Ubuntu's installer: YAML, below a key `autoinstall`. What is kept is cut out line by line, as only
//! the user's own words are surely what the user meant.

use std::sync::Arc;

use super::converted::{Added, Answer, Converted, Layout, Quote, key_again};
use super::words::WORDS;
use crate::import::node::{Node, Value};
use crate::import::note::Weight;
use crate::import::yaml;

/// Keys of cloud-init that give access to the guest.
const LOGINS: [&str; 7] = [
    "chpasswd",
    "disable_root",
    "password",
    "ssh_authorized_keys",
    "ssh_deletekeys",
    "ssh_pwauth",
    "users",
];

/// A key with all its lines.
struct Part {
    key: String,
    line: usize,
    indent: usize,
    lines: Vec<String>,
}

pub(super) fn convert(text: &str, quote: Quote<'_>) -> Converted {
    let mut made = Converted::default();
    let root = match yaml::read(&Arc::from("user-data"), &quote.plain(text)) {
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
        if made.take(&WORDS.autoinstall, line, key, &value) || setting(&mut made, key, node, line, quote) {
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
                if late.trim().is_empty() {
                    let commands = node.items().iter().map(|item| quote.quoted(&json(item)));
                    late = commands.map(|command| format!("    - {command}\n")).collect();
                }
                if late.contains("/root/.ssh") {
                    late.push_str(&format!("    - {}\n", key_again("/target")));
                }
            }
            "user-data" if own.get("identity").is_none() => {
                let text = "accounts by cloud-init; here the account is `username` of the vars: decide what of this it needs";
                made.stop(line, "user-data", "user_data", "accounts", text);
            }
            _ if matches!(node.value, Value::Null) => {}
            "apt" => {
                let mut own = String::new();
                keep(&mut own, part, quote);
                made.blocks.push(("mirror", Added::Instead(own)));
            }
            _ => keep(&mut kept, part, quote),
        }
    }
    if own.get("storage").is_none() {
        made.note(
            Weight::Lost,
            1,
            "storage",
            "not said: the installer made logical volumes; the built-in answers make one \
            plain ext4 partition, which every size is made from",
        );
    }
    made.finish();
    made.block("packages", kept);
    made.block("late", late);
    if nested {
        live_system(&mut made, &root, text, quote);
    }
    made
}

/// What cloud-init does in the live system before the installer starts: its commands may need it.
fn live_system(made: &mut Converted, root: &Node, text: &str, quote: Quote<'_>) {
    let parts = parts(text, false);
    let mut kept = String::new();
    for (key, _) in root.entries().iter().filter(|(key, _)| key != "autoinstall") {
        let Some(part) = parts.iter().find(|part| part.key == *key) else {
            let text = "cannot be read as lines of its own: put it into the answers by hand";
            made.stop(1, key, "cloud_config", "end", text);
            continue;
        };
        if LOGINS.contains(&key.as_str()) {
            let text = "who may log in to the live system: the build logs in once the installation is done";
            made.note(Weight::Decided, part.line, key, text);
            continue;
        }
        for line in &part.lines {
            kept.push_str(&quote.quoted(line));
            kept.push('\n');
        }
    }
    made.block("end", kept);
}

/// Takes a key that is more than its value; false where it is none of those.
fn setting(made: &mut Converted, key: &str, node: &Node, line: usize, quote: Quote<'_>) -> bool {
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
            let keys: Vec<_> = node
                .texts_of("authorized-keys")
                .iter()
                .map(|key| quote.plain(key))
                .collect();
            let passwords = node.get("allow-pw").map_or(keys.is_empty(), Node::is_true);
            made.var("password_logins", Answer::Flag(passwords));
            if !keys.is_empty() {
                made.var("authorized_keys", Answer::List(keys));
            }
        }
        "network" => {
            let text = "the first network card, by DHCP, whatever its name is; the built-in answers do this";
            let is_fixed = node.contains_key("addresses");
            let weight = if is_fixed { Weight::Todo } else { Weight::Decided };
            let text = if is_fixed {
                "a fixed address; the first network card of an image asks for its address by DHCP"
            } else {
                text
            };
            made.note(weight, line, "network", text);
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
        "apt" => return apt(made, node),
        _ => return false,
    }
    true
}

fn storage(made: &mut Converted, node: &Node, line: usize) {
    let layout = node.get("layout").and_then(|layout| layout.text_of("name"));
    let types = node.get("config").map(Node::items).unwrap_or_default();
    let types: Vec<_> = types.iter().filter_map(|item| item.text_of("type")).collect();
    let has = |kind: &str| types.iter().any(|known| known.starts_with(kind));
    if has("dm_crypt") || node.contains_key("password") {
        made.layout(line, "storage", Layout::Encrypted);
    } else if has("raid") {
        made.layout(line, "storage", Layout::Raid);
    } else if has("lvm") || matches!(layout.as_deref(), Some("lvm" | "zfs")) {
        made.layout(line, "storage", Layout::Lvm);
    }
    let weight = if layout.as_deref() == Some("direct") {
        Weight::Decided
    } else {
        Weight::Lost
    };
    let text = "the built-in answers' layout: one root file system, last on the disk, so that every size is made from one \
                installation; swap is `swap` of the vars (a file)";
    made.note(weight, line, "storage", text);
}

/// A value as JSON, which is YAML too.
fn json(node: &Node) -> String {
    match &node.value {
        Value::List(items) => format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(", ")),
        _ => serde_json::Value::from(node.text().unwrap_or_default()).to_string(),
    }
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

/// The mirror, where nothing else is said.
fn apt(made: &mut Converted, node: &Node) -> bool {
    let ours = [
        "primary",
        "mirror-selection",
        "geoip",
        "preserve_sources_list",
        "fallback",
    ];
    if node
        .entries()
        .iter()
        .any(|(key, _)| !ours.contains(&key.as_str()))
    {
        return false;
    }
    let primary = node.get("primary").or_else(|| {
        node.get("mirror-selection")
            .and_then(|selection| selection.get("primary"))
    });
    made.mirror = primary.and_then(|list| list.items().iter().find_map(|item| item.text_of("uri")));
    true
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
                .any(|(weight, _, subject, _)| *weight == Weight::Todo && subject == "storage")
        );
    }
}
