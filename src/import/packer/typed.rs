//! What was typed into a boot loader: recognised as the start of a known installer, with the arguments that carry over;
//! or kept as a `boot_command`.

use std::sync::LazyLock;

use regex::Regex;

use super::answers::words::{Kind, Meaning, WORDS, meaning};
use super::build::Build;
use super::go::{self, Piece};
use super::model::System;
use super::times;
use crate::boot_command;
use crate::families::Tables;
use crate::import::node::Node;
use crate::import::note::Weight;

/// Stands for `{{ .HTTPIP }}:{{ .HTTPPort }}` while words are looked at.
const SERVER: char = '\u{e000}';
/// Stands for a secret.
const SECRET: char = '\u{e001}';
/// Stands for the server's port alone.
const PORT: char = '\u{e002}';
/// Stands for what Packer alone knows.
const UNKNOWN: char = '\u{e003}';

/// Stands for a wait.
const WAIT: char = '\u{e004}';

/// How an installer is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Its kernel directly: the keys meant nothing else.
    Direct(Words),
    /// By typing, still: the text, as a template of the manifest's.
    Keys(String),
    /// Nothing was typed.
    Nothing,
}

/// What the keys said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The version that has this installer, where it is another one than the medium's.
    pub version: Option<String>,
    /// Path of the answers on Packer's server; absent: they came in another way.
    pub answers: Option<String>,
    /// Vars of the answers.
    pub vars: Vec<(&'static str, String)>,
    /// URL of the packages.
    pub mirror: Option<String>,
    /// Arguments that the installer still gets.
    pub arguments: Vec<String>,
    /// Arguments that the installed system keeps.
    pub kept: Vec<String>,
    /// A password was typed.
    pub has_password: bool,
    /// One of root's was.
    pub root_password: bool,
    /// Words with something in them that only Packer knows.
    pub unknown: Vec<String>,
    /// What was typed, for people, without secrets.
    pub shown: String,
}

/// All that was typed, as one text of Packer's.
fn whole(build: &Build<'_>) -> Option<String> {
    let mut text: String = build
        .option("boot_command")
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .filter_map(Node::text)
        .collect();
    for step in build.option("boot_steps").map(Node::items).unwrap_or_default() {
        if let [keys, description @ ..] = step.items() {
            text += &keys.text().unwrap_or_default();
            for description in description.iter().filter_map(Node::text) {
                build.note(
                    Weight::Decided,
                    "boot_steps",
                    format!("described as: {description}"),
                );
            }
        }
    }
    (!text.trim().is_empty()).then_some(text)
}

/// Reads what was typed.
pub fn read(build: &Build<'_>, system: &System, answers: &[String]) -> Start {
    let Some(text) = whole(build) else {
        return Start::Nothing;
    };
    match recognised(build, system, &text) {
        Some(words) => {
            for key in ["boot_command", "boot_steps"] {
                if build.option(key).is_some() {
                    build.note(Weight::Decided, key, "only started the installer: its kernel is started directly instead, and nothing is typed");
                }
            }
            if build.option("boot_wait").is_some() {
                build.note(
                    Weight::Decided,
                    "boot_wait",
                    "a pause before typing; nothing is typed",
                );
            }
            for word in &words.unknown {
                let text = format!(
                    "`{word}` has something in it that only Packer knows; say it by `arguments` of the source, if the \
                     installer needs it"
                );
                build.stop("boot_command", &text);
            }
            Start::Direct(words)
        }
        None => kept(build, &text, answers),
    }
}

/// A key that is held while another one is pressed, which then types nothing; or one key.
static KEYS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let held = "<(?:left|right)(?:ctrl|alt)on>(?:<wait[^>]*>)*[^<](?:<wait[^>]*>)*(?:<(?:left|right)(?:ctrl|alt)off>)?";
    Regex::new(&format!("(?i){held}|<[a-z0-9]+(?: [^>]*)?>")).ok()
});
/// Packer's server, by whatever address the guest reached it.
static SERVERS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!("(?:{UNKNOWN}|[^\\s=/;<>\0{WAIT}]+):[\0{WAIT}]*{PORT}")).ok());
/// Keys of GRUB's menu, with more keys or a wait behind them.
static MENU: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!("(^|[\\s\0{WAIT}])([ce])[\0{WAIT}]+")).ok());

/// Words, with line ends as words of their own.
fn plain(build: &Build<'_>, text: &str) -> Option<String> {
    let mut plain = String::new();
    for piece in go::pieces(text, &build.scope) {
        match piece {
            Piece::Text(text) => plain.push_str(&text),
            Piece::Var { value, .. } => plain.push_str(&value),
            Piece::Secret(_) => plain.push(SECRET),
            Piece::Env(name) => plain.push_str(build.scope.env.get(&name).map_or("", String::as_str)),
            Piece::Context(name) if name == ".HTTPPort" => plain.push(PORT),
            Piece::Context(_) | Piece::Now(..) => plain.push(UNKNOWN),
            Piece::Unknown(_) => return None,
        }
    }
    without_keys(&plain)
}

/// What keys leave on the screen: blanks, line ends, nothing.
fn without_keys(typed: &str) -> Option<String> {
    let plain = KEYS.as_ref()?.replace_all(typed, |found: &regex::Captures<'_>| {
        match found[0].to_lowercase().as_str() {
            "<spacebar>" => " ",
            "<enter>" | "<return>" => "\n",
            "<f10>" => "\n",
            held if held.contains("ctrlon>") || held.contains("alton>") => "\n",
            wait if wait.starts_with("<wait") => "\u{e004}",
            _ => "\0",
        }
    });
    // Keys and waits between letters part nothing that was typed in one go.
    let plain = SERVERS.as_ref()?.replace_all(&plain, SERVER.to_string());
    let plain = MENU.as_ref()?.replace_all(&plain, "$1$2 ");
    Some(plain.replace(['\0', WAIT], ""))
}

fn recognised(build: &Build<'_>, system: &System, text: &str) -> Option<Words> {
    let plain = plain(build, text)?;
    let unquoted: String = plain
        .chars()
        .filter(|c| !matches!(c, '"' | '\'' | '\\'))
        .collect();
    let has = |text: &str| unquoted.contains(text);
    let program = match system.family {
        "debian" if has("preseed/url=") || has("preseed/file=") || has(" url=") || has("auto") => {
            "debian-installer"
        }
        "ubuntu" if has("autoinstall") || has("nocloud") || has("/casper/vmlinuz") => "subiquity",
        "ubuntu"
            if has("preseed/url=") || has("preseed/file=") || has(" url=") || has("/install/vmlinuz") =>
        {
            "debian-installer"
        }
        "rhel" if has("ks=") => "anaconda",
        _ => return None,
    };
    let of = |version: &str| {
        Tables::built_in()
            .installer(system.family, version)
            .map(|known| known.program.as_str())
    };
    let version = [system.version.clone(), format!("{}-live", system.version)]
        .into_iter()
        .find(|version| of(version) == Some(program))?;
    let mut words = Words {
        version: (version != system.version).then_some(version),
        ..Words::default()
    };
    let mut behind_line = false;
    let lines = unquoted.lines().filter(|line| !is_boot_loaders(line));
    for word in lines.flat_map(str::split_whitespace) {
        if word == "---" || word == "--" {
            behind_line = true;
            continue;
        }
        word_of(program, word, behind_line, &mut words);
    }
    words.shown = shown(&unquoted);
    Some(words)
}

/// Whether a line is a command of GRUB's that does not start a kernel.
fn is_boot_loaders(line: &str) -> bool {
    const COMMANDS: [&str; 15] = [
        "boot",
        "clear",
        "configfile",
        "echo",
        "initrd",
        "initrd16",
        "initrdefi",
        "insmod",
        "load_video",
        "ls",
        "normal",
        "root",
        "search",
        "set",
        "terminal_output",
    ];
    // `c` and `e` are keys of its menu.
    let first = line.split_whitespace().find(|word| !["c", "e"].contains(word));
    first.is_some_and(|first| COMMANDS.contains(&first))
}

/// What was typed, on one line, without secrets and strange letters.
fn shown(unquoted: &str) -> String {
    let words = unquoted
        .split_whitespace()
        .map(|word| match word.split_once('=') {
            Some((key, _)) if key.contains("password") => format!("{key}=…"),
            _ => word
                .replace(SERVER, "HOST:PORT")
                .replace([SECRET, PORT, UNKNOWN], "…"),
        });
    words.collect::<Vec<_>>().join(" ")
}

/// Where on Packer's server something is.
fn on_server(value: &str) -> Option<String> {
    let (_, path) = value.split_once(SERVER)?;
    Some(path.trim_start_matches('/').to_owned())
}

fn word_of(program: &str, word: &str, behind_line: bool, words: &mut Words) {
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    if let Some(path) = on_server(word) {
        let keys = ["ks", "inst.ks", "url", "preseed/url", "ds", "cloud-config-url"];
        if !keys.contains(&key) {
            words.unknown.push(shown(word));
            return;
        }
        // `ds=nocloud-net;s=http://…/` names the folder.
        words.answers = Some(if program == "subiquity" {
            format!("{path}user-data")
        } else {
            path
        });
        return;
    }
    if key.contains("vmlinuz") || word.contains("initrd") {
        return;
    }
    match meaning(&WORDS.typed, key) {
        _ if ["inst.repo", "repo", "method"].contains(&key)
            && value.starts_with("http")
            && !word.contains([PORT, UNKNOWN]) =>
        {
            words.mirror = Some(value.to_owned());
        }
        Some(Meaning::Is(Kind::Nothing)) => {}
        Some(Meaning::Is(Kind::Password)) => words.has_password = true,
        Some(Meaning::Is(Kind::Root)) => words.root_password = true,
        _ if value.contains(SECRET) => words.has_password = true,
        _ if word.contains([PORT, UNKNOWN]) => words.unknown.push(shown(word)),
        Some(Meaning::Var(name)) => set(words, name, value),
        Some(_) => {}
        None if key == "keyboard-configuration/layout" => set(words, "keymap", &layout(value)),
        // Of the installer alone, wherever it stands.
        None if ["language", "country"].contains(&key.trim_start_matches("debian-installer/")) => {
            words.arguments.push(word.to_owned());
        }
        None if behind_line => words.kept.push(word.to_owned()),
        None => words.arguments.push(word.to_owned()),
    }
}

fn set(words: &mut Words, name: &'static str, value: &str) {
    if value.is_empty() {
        return;
    }
    // `debian-installer=en_US.UTF-8` says more than `locale=en_US`, whichever comes first.
    match words.vars.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) if value.len() > known.len() => value.clone_into(known),
        Some(_) => {}
        None => words.vars.push((name, value.to_owned())),
    }
}

/// The X layout by its name in the installer's list.
fn layout(name: &str) -> String {
    match name.to_lowercase().as_str() {
        "usa" | "us" | "english" => "us".to_owned(),
        "uk" => "gb".to_owned(),
        "germany" | "german" => "de".to_owned(),
        "france" | "french" => "fr".to_owned(),
        short => short.to_owned(),
    }
}

/// The text as a template of the manifest's, its keys checked.
fn kept(build: &Build<'_>, text: &str, answers: &[String]) -> Start {
    let context = |name: &str| match name {
        ".HTTPIP" => Some("{{ host.address }}".to_owned()),
        ".HTTPPort" => Some("{{ host.port }}".to_owned()),
        _ => None,
    };
    let mut made = match go::jinja(text, &build.scope, &context) {
        Ok(made) => made,
        Err(action) => {
            let text = format!(
                "`{action}` in it is known to Packer alone (or is a secret, which must not be typed); write the line by hand"
            );
            build.stop("boot_command", &text);
            return Start::Nothing;
        }
    };
    let mut words = made.split_whitespace().filter_map(|word| word.split_once('='));
    if words.any(|(key, value)| key.contains("passw") && !value.is_empty()) {
        let text = "a password in it, which must not stand in a manifest; write the line by hand";
        build.stop("boot_command", text);
        return Start::Nothing;
    }
    // Answers are at a place that cannot be guessed, not at the root of a server.
    let server = "http://{{ host.address }}:{{ host.port }}/";
    for answer in answers {
        made = made.replace(&format!("{server}{answer}"), "{{ host.url }}");
    }
    made = made.replace(server, "{{ host.folder }}").replace('\n', "<enter>");
    let written = build.text("boot_wait").unwrap_or_else(|| "10s".to_owned());
    match times::duration(&written).map(|wait| wait.as_millis()) {
        Some(0) => made = format!("<wait10s>{made}"),
        Some(wait) if wait % 1000 == 0 => made = format!("<wait{}s>{made}", wait / 1000),
        Some(wait) => made = format!("<wait{wait}ms>{made}"),
        // A negative one is Packer's way to wait for nothing.
        None if written.starts_with('-') => {}
        None => build.note(Weight::Lost, "boot_wait", "not a time; nothing is waited for"),
    }
    if let Err(errors) = boot_command::parse(&boot_command::mask(&made)) {
        let causes: Vec<_> = errors.iter().map(ToString::to_string).collect();
        let causes = causes.join("; ");
        let text = format!("cannot be typed as it is: {causes}; write it by hand");
        build.stop("boot_command", &text);
        return Start::Nothing;
    }
    let text = "not recognised as the start of a known installer, so it is still typed, after the pause of `boot_wait`; media \
                whose kernel can be started directly need none of it";
    build.note(Weight::Decided, "boot_command", text);
    Start::Keys(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_keys_type_nothing() {
        let words = |typed: &str| -> Vec<String> {
            let plain = without_keys(typed).unwrap();
            plain.split_whitespace().map(str::to_owned).collect()
        };
        for end in [
            "<leftCtrlOn>x<leftCtrlOff>",
            "<leftCtrlOn><wait>x<wait1s><leftCtrlOff>",
            "<rightCtrlOn>x",
            "<f10>",
        ] {
            let typed = format!("e<down><end> auto<wait>install{end}");
            assert_eq!(words(&typed), ["e", "autoinstall"], "{typed}");
        }
        let typed = format!("<esc>c<wait>linux s=http://{UNKNOWN}:<wait>{PORT}/<wait1s>x <wait>--");
        let server = format!("s=http://{SERVER}/x");
        assert_eq!(words(&typed), ["c", "linux", &server, "--"]);
    }
}
