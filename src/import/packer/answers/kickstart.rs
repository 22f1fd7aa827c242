//! Kickstart files of Anaconda: commands, one a line, then sections from `%name` to `%end`.

use std::collections::BTreeSet;

use super::converted::{Added, Answer, Converted, Layout, Quote, key_again, squeezed};
use super::words::WORDS;
use crate::import::note::Weight;
use crate::import::packer::shell_words::shell_words;

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
    /// Other files, each with its line's number.
    includes: Vec<(usize, &'t str)>,
    /// There is a list of packages.
    has_packages: bool,
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
                Some("%packages") if trimmed.starts_with("%include") => {
                    sorted.includes.push((number + 1, trimmed));
                }
                Some("%packages") => match trimmed.strip_prefix('-') {
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
                None if trimmed.starts_with("%include") || trimmed.starts_with("%ksappend") => {
                    sorted.includes.push((number + 1, trimmed));
                }
                None if trimmed.starts_with('%') => {
                    section = Some(trimmed);
                    if let Some(options) = trimmed.strip_prefix("%packages") {
                        section = Some("%packages");
                        sorted.has_packages = true;
                        if !options.is_empty() {
                            sorted.options.push((number + 1, options));
                        }
                    } else {
                        sorted.sections.push((trimmed, String::new()));
                    }
                }
                None if is_blank => {}
                None => sorted.commands.push((number + 1, trimmed)),
            }
        }
        sorted
    }
}

/// A command, as pykickstart cuts it: options come as `--name=value` or `--name value`.
struct Command {
    name: String,
    /// Words that belong to no option.
    bare: Vec<String>,
    options: Vec<(String, String)>,
}

/// Options without a value, of the commands that are looked into.
const FLAGS: [&str; 22] = [
    "--activate",
    "--allow-ssh",
    "--disable",
    "--disabled",
    "--enable",
    "--enabled",
    "--enforcing",
    "--encrypted",
    "--ftp",
    "--http",
    "--iscrypted",
    "--isUtc",
    "--lock",
    "--nolvm",
    "--nontp",
    "--noverifyssl",
    "--permissive",
    "--plaintext",
    "--smtp",
    "--ssh",
    "--telnet",
    "--utc",
];

impl Command {
    fn read(line: &str) -> Option<Self> {
        let mut words = shell_words(line, &[]).into_iter().peekable();
        let mut command = Self {
            name: words.next()?,
            bare: Vec::new(),
            options: Vec::new(),
        };
        while let Some(word) = words.next() {
            if !word.starts_with("--") {
                command.bare.push(word);
                continue;
            }
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                None if FLAGS.contains(&word.as_str()) => (word, String::new()),
                None => {
                    let value = words.next_if(|next| !next.starts_with("--"));
                    (word, value.unwrap_or_default())
                }
            };
            command.options.push((name, value));
        }
        Some(command)
    }

    fn option(&self, name: &str) -> Option<&str> {
        let found = self.options.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.option(name).is_some()
    }

    /// Whether it has no other options than these.
    fn only(&self, names: &[&str]) -> bool {
        self.options
            .iter()
            .all(|(name, _)| names.contains(&name.as_str()))
    }
}

pub(super) fn convert(text: &str, quote: Quote<'_>, known: &BTreeSet<String>, user: &str) -> Converted {
    let mut made = Converted::default();
    let lines = Lines::read(text);
    let (mut kept, mut sections) = (String::new(), String::new());
    for (number, options) in lines.options {
        let options = options.split_whitespace();
        let (core, options): (Vec<_>, Vec<_>) = options.partition(|option| *option == "--nocore");
        if !core.is_empty() {
            let text = "the built-in answers always have the group `core`, which builds need";
            made.note(Weight::Lost, number, "%packages --nocore", text);
        }
        made.text("package_options", &quote.plain(&options.join(" ")));
    }
    let commands = lines
        .commands
        .iter()
        .map(|(number, line)| (*number, *line, quote.plain(line)));
    let commands: Vec<_> = commands
        .filter_map(|(number, line, plain)| Some((number, line, Command::read(&plain)?)))
        .collect();
    let users = || commands.iter().filter(|(.., command)| command.name == "user");
    let main = users()
        .find(|(.., command)| command.option("--name") == Some(user))
        .or_else(|| users().next());
    let main = main.map_or(0, |(number, ..)| *number);
    // What Anaconda does where nothing is said.
    made.var("firewall", Answer::Flag(true));
    for (number, line, command) in &commands {
        let number = *number;
        let is_other = command.name == "user" && number != main;
        if !is_other && taken(&mut made, number, command, line, quote) || known.contains(&squeezed(line)) {
            continue;
        }
        if command.name == "sshkey" && command.option("--username") == Some("root") {
            let key = command.bare.join(" ");
            let add = format!("echo '{key}' >> /root/.ssh/authorized_keys");
            sections.push_str(&format!("\n%post\n{}\n%end\n", quote.quoted(&add)));
            continue;
        }
        kept.push_str(&quote.quoted(line));
        kept.push('\n');
    }
    let has_roots_keys = lines.sections.iter().any(|(_, body)| body.contains("/root/.ssh"));
    for (name, body) in lines.sections {
        sections.push_str(&format!(
            "\n{}\n{}%end\n",
            quote.quoted(name),
            quote.quoted(&body)
        ));
    }
    if has_roots_keys {
        sections.push_str(&format!("\n%post\n{}\n%end\n", key_again("")));
    }
    made.finish();
    if !lines.packages.is_empty() {
        made.var("packages", Answer::List(lines.packages));
    }
    made.var("without", Answer::List(lines.without));
    made.block("network", kept);
    made.block("late", sections);
    for (number, include) in lines.includes {
        let text = "another file, which is not read here: put what it says into the answers by hand";
        made.stop(number, include, "include", "late", text);
    }
    made
}

/// Takes a command; false where it has no meaning here.
fn taken(made: &mut Converted, number: usize, command: &Command, line: &str, quote: Quote<'_>) -> bool {
    let name = command.name.as_str();
    let bare = command.bare.first().map(String::as_str).unwrap_or_default();
    let option = |name: &str| command.option(name).unwrap_or_default();
    match name {
        "lang" if command.options.is_empty() => made.text("locale", bare),
        "timezone" if command.only(&["--utc", "--isUtc"]) => made.text("timezone", bare),
        "keyboard" => {
            let layouts = [option("--vckeymap"), bare, option("--xlayouts")];
            let layout = layouts
                .into_iter()
                .find(|layout| !layout.is_empty())
                .unwrap_or_default();
            let plain = |layout: &str| layout.split(',').next().unwrap_or_default().to_owned();
            if layout.contains('(') || !command.only(&["--vckeymap", "--xlayouts"]) {
                return false;
            }
            made.text("keymap", &plain(layout));
        }
        "user" => user(made, command),
        "rootpw" if command.has("--lock") => made.root_password = Some(false),
        "rootpw" => made.root(number, name, bare),
        "selinux" => {
            let mode = command
                .options
                .first()
                .map(|(name, _)| name.trim_start_matches("--"));
            made.text("selinux", mode.unwrap_or_default());
        }
        "firewall" => {
            let rest = line.trim().strip_prefix("firewall").unwrap_or_default().trim();
            let answer = firewall(command).map_or_else(|| Answer::Text(quote.plain(rest)), Answer::Flag);
            made.var("firewall", answer);
        }
        "bootloader" => {
            made.text("kernel_args", &kernel_arguments(option("--append")));
            let usual = [
                "--append",
                "--location",
                "--boot-drive",
                "--driveorder",
                "--timeout",
                "--default",
            ];
            if !command.only(&usual) {
                let more = command.options.iter().map(|(name, _)| name.as_str());
                let more: Vec<_> = more.filter(|name| !usual.contains(name)).collect();
                let text = "of the boot loader; the built-in answers do not say it";
                made.note(
                    Weight::Lost,
                    number,
                    format!("bootloader {}", more.join(" ")),
                    text,
                );
            }
            return made.take(&WORDS.kickstart, number, name, bare);
        }
        "url" if command.only(&["--url"]) && command.has("--url") => {
            made.mirror = Some(option("--url").to_owned());
        }
        "url" => {
            made.blocks.retain(|(block, _)| *block != "mirror");
            made.blocks.push(("mirror", Added::Instead(quote.quoted(line))));
        }
        "network" if option("--bootproto") == "static" || command.has("--ip") => {
            let text = "a fixed address; the first network card of an image asks for its address by DHCP";
            made.note(Weight::Todo, number, "network", text);
        }
        "network" => {
            let text = "the first network card, by DHCP, whatever its name is; the built-in answers do this";
            made.note(Weight::Decided, number, "network", text);
        }
        _ => {
            disk(made, number, command);
            return made.take(&WORDS.kickstart, number, name, bare);
        }
    }
    true
}

/// Whether there is one, where nothing more is said of it than that SSH comes through.
fn firewall(command: &Command) -> Option<bool> {
    let is_off = command.has("--disabled") || command.has("--disable");
    let is_ssh = command.option("--service").is_none_or(|service| service == "ssh");
    let is_plain = command.only(&["--enabled", "--enable", "--ssh", "--service"]) && is_ssh;
    (is_off || is_plain).then_some(!is_off)
}

/// Says what a command makes of the disk, beyond partitions.
fn disk(made: &mut Converted, number: usize, command: &Command) {
    let kind = match command.name.as_str() {
        _ if command.has("--encrypted") => Layout::Encrypted,
        "raid" => Layout::Raid,
        "volgroup" | "logvol" | "btrfs" => Layout::Lvm,
        "autopart" if command.option("--type") != Some("plain") && !command.has("--nolvm") => Layout::Lvm,
        _ => return,
    };
    made.layout(number, &command.name, kind);
}

/// The account that Packer logged in as.
fn user(made: &mut Converted, command: &Command) {
    let option = |name: &str| command.option(name).unwrap_or_default();
    made.text("username", option("--name"));
    made.text("fullname", option("--gecos"));
    let groups = option("--groups").split(',').filter(|group| !group.is_empty());
    made.var("groups", Answer::List(groups.map(str::to_owned).collect()));
    made.has_password |= command.has("--password");
    let usual = [
        "--name",
        "--gecos",
        "--groups",
        "--password",
        "--iscrypted",
        "--plaintext",
        "--lock",
    ];
    let more = command
        .options
        .iter()
        .filter(|(name, _)| !usual.contains(&name.as_str()));
    let more: Vec<_> = more
        .map(|(name, value)| match value.contains(char::is_whitespace) {
            true => format!("{name}=\"{value}\""),
            false => format!("{name}={value}"),
        })
        .collect();
    made.text("user_options", &more.join(" "));
}

/// What `bootloader --append` says beyond what the built-in answers do.
fn kernel_arguments(append: &str) -> String {
    let usual = [
        "net.ifnames=0",
        "biosdevname=0",
        "rhgb",
        "quiet",
        "crashkernel=auto",
    ];
    let words = append.split_whitespace();
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
        let made = convert(text, Quote::File, &BTreeSet::new(), "ann");
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
