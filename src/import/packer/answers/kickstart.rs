//! Kickstart files of Anaconda: commands, one a line, then sections from `%name` to `%end`.

use std::collections::BTreeSet;

use super::converted::{Added, Answer, Converted, Quote, squeezed};
use super::words::WORDS;
use crate::import::note::Weight;

/// The lines of a file, sorted.
#[derive(Default)]
struct Lines<'t> {
    /// Commands, each with its line's number.
    commands: Vec<(usize, &'t str)>,
    /// Packages, and those that are left out, with their `-`.
    packages: Vec<String>,
    without: Vec<String>,
    /// Options of `%packages`, each with its line's number.
    options: Vec<(usize, &'t str)>,
    /// Other sections: first line, and what is up to `%end`.
    sections: Vec<(&'t str, String)>,
}

impl<'t> Lines<'t> {
    fn read(text: &'t str) -> Self {
        let mut sorted = Self::default();
        let mut section: Option<&str> = None;
        for (number, line) in text.lines().enumerate() {
            let trimmed = line.trim();
            let is_blank = trimmed.is_empty() || trimmed.starts_with('#');
            match section {
                Some(_) if trimmed == "%end" => section = None,
                Some(name) if name.starts_with("%packages") => match trimmed.strip_prefix('-') {
                    _ if is_blank || trimmed == "@core" => {}
                    Some(_) => sorted.without.push(trimmed.to_owned()),
                    None => sorted.packages.push(trimmed.to_owned()),
                },
                Some(_) => {
                    if let Some((_, body)) = sorted.sections.last_mut() {
                        body.push_str(line);
                        body.push('\n');
                    }
                }
                None if trimmed.starts_with('%') => {
                    section = Some(trimmed);
                    match trimmed.strip_prefix("%packages") {
                        Some("") => {}
                        Some(options) => sorted.options.push((number + 1, options)),
                        None => sorted.sections.push((trimmed, String::new())),
                    }
                }
                None if is_blank => {}
                None => sorted.commands.push((number + 1, trimmed)),
            }
        }
        sorted
    }
}

pub(super) fn convert(text: &str, quote: Quote<'_>, known: &BTreeSet<String>) -> Converted {
    let mut made = Converted::default();
    let lines = Lines::read(text);
    let (mut kept, mut sections) = (String::new(), String::new());
    for (number, options) in lines.options {
        let text = "options of the list of packages; the built-in answers have none";
        made.note(Weight::Lost, number, format!("%packages{options}"), text);
    }
    for (number, line) in lines.commands {
        if !command(&mut made, number, line, quote) && !known.contains(&squeezed(line)) {
            kept.push_str(&quote.quoted(line));
            kept.push('\n');
        }
    }
    for (name, body) in lines.sections {
        sections.push_str(&format!(
            "\n{}\n{}%end\n",
            quote.quoted(name),
            quote.quoted(&body)
        ));
    }
    made.finish();
    for (name, list) in [("packages", lines.packages), ("without", lines.without)] {
        if !list.is_empty() {
            made.var(name, Answer::List(list));
        }
    }
    made.block("network", kept);
    made.block("late", sections);
    made
}

/// Takes a command; false where it has no meaning here.
fn command(made: &mut Converted, number: usize, line: &str, quote: Quote<'_>) -> bool {
    let plain = quote.plain(line);
    let words: Vec<&str> = plain.split_whitespace().collect();
    let Some((name, arguments)) = words.split_first() else {
        return true;
    };
    let unquoted = |text: &str| text.trim_matches(['"', '\'']).to_owned();
    let option = |name: &str| {
        let found = words
            .iter()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.map(unquoted)
    };
    let bare = arguments.iter().find(|word| !word.starts_with("--"));
    let bare = bare.map(|word| unquoted(word));
    let in_table = made.take(&WORDS.kickstart, number, name, &bare.clone().unwrap_or_default());
    match *name {
        "keyboard" => {
            let layout = option("--vckeymap").or(bare).or_else(|| option("--xlayouts"));
            let layout = layout.unwrap_or_default();
            made.text("keymap", layout.split(',').next().unwrap_or_default());
        }
        "user" => {
            made.text("username", &option("--name").unwrap_or_default());
            made.text("fullname", &option("--gecos").unwrap_or_default());
            made.has_password |= option("--password").is_some();
        }
        "rootpw" if plain.contains("--lock") => {}
        "rootpw" => {
            let text = "a password for root; the build logs in as root by a key, and root has no password in the image";
            made.note(Weight::Lost, number, "rootpw", text);
        }
        "selinux" => made.text(
            "selinux",
            arguments.first().unwrap_or(&"").trim_start_matches("--"),
        ),
        "firewall" => made.var("firewall", Answer::Flag(plain.contains("--enable"))),
        "bootloader" => made.text("kernel_args", &kernel_arguments(&plain)),
        "url" => match option("--url") {
            Some(url) => made.mirror = Some(url),
            None => {
                made.blocks.retain(|(block, _)| *block != "mirror");
                made.blocks.push(("mirror", Added::Instead(quote.quoted(line))));
            }
        },
        "network" if plain.contains("static") || plain.contains("--ip=") => {
            let text = "a fixed address; the first network card of an image asks for its address by DHCP";
            made.note(Weight::Lost, number, "network", text);
        }
        "network" => {
            let text = "the first network card, by DHCP, whatever its name is; the built-in answers do this";
            made.note(Weight::Decided, number, "network", text);
        }
        _ => return in_table,
    }
    true
}

/// What `bootloader --append` says beyond what the built-in answers do.
fn kernel_arguments(command: &str) -> String {
    let append = command.split_once("--append=").map_or("", |(_, rest)| rest);
    let append = append.trim_start_matches(['"', '\'']).split(['"', '\'']).next();
    let usual = [
        "net.ifnames=0",
        "biosdevname=0",
        "rhgb",
        "quiet",
        "crashkernel=auto",
    ];
    let words = append.unwrap_or_default().split_whitespace();
    let more = words.filter(|word| !usual.contains(word) && !word.starts_with("console="));
    more.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_packages_and_sections() {
        let text = "text\nlang en_US.UTF-8\nkeyboard --vckeymap=fr --xlayouts='fr'\nrootpw --plaintext hunter2\n\
                    user --name=ann --groups=wheel --password=hunter2\nurl --mirrorlist=http://m.example/?x\n\
                    autopart --type=plain\nbootloader --timeout=1 --append=\"net.ifnames=0 elevator=noop\"\nskipx\n\
                    %packages --nobase\n@core\nvim\n-plymouth\n%end\n%post\nyum -y update\n%end\nreboot\n";
        let made = convert(text, Quote::File, &BTreeSet::new());
        assert!(made.has_password && made.mirror.is_none());
        assert!(
            made.vars
                .contains(&("kernel_args", Answer::Text("elevator=noop".into())))
        );
        assert!(
            made.vars
                .contains(&("without", Answer::List(vec!["-plymouth".into()])))
        );
        let template = made.template("kickstart.cfg.j2").unwrap();
        assert!(
            template.contains("{% block mirror %}\nurl --mirrorlist=http://m.example/?x\n{% endblock %}"),
            "{template}"
        );
        assert!(template.contains("%post\nyum -y update\n%end"), "{template}");
        assert!(
            template.contains("skipx") && !template.contains("hunter2"),
            "{template}"
        );
    }
}
