//! Kickstart files of Anaconda: commands, one a line, then sections from `%name` to `%end`.

use std::collections::BTreeSet;

use super::converted::{Added, Answer, Converted, Quote, squeezed};
use crate::import::note::Weight;

pub(super) fn convert(text: &str, quote: Quote<'_>, known: &BTreeSet<String>) -> Converted {
    let mut made = Converted::default();
    let (mut kept, mut sections, mut mirror) = (String::new(), String::new(), String::new());
    let (mut disk, mut end) = (Vec::new(), None);
    let (mut packages, mut without) = (Vec::new(), Vec::new());
    let mut section: Option<(String, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        let trimmed = line.trim();
        if let Some((name, body)) = &mut section {
            if trimmed == "%end" {
                if !name.starts_with("%packages") {
                    sections.push_str(&format!("\n{}\n{}%end\n", quote.quoted(name), quote.quoted(body)));
                }
                section = None;
            } else if name.starts_with("%packages") {
                match trimmed.strip_prefix('-') {
                    _ if trimmed.is_empty() || trimmed.starts_with('#') || trimmed == "@core" => {}
                    Some(_) => without.push(trimmed.to_owned()),
                    None => packages.push(trimmed.to_owned()),
                }
            } else {
                body.push_str(line);
                body.push('\n');
            }
            continue;
        }
        if trimmed.starts_with('%') {
            if let Some(options) = trimmed
                .strip_prefix("%packages")
                .filter(|options| !options.is_empty())
            {
                made.note(
                    Weight::Lost,
                    number,
                    format!("%packages{options}"),
                    "options of the list of packages; the built-in answers have none",
                );
            }
            section = Some((trimmed.to_owned(), String::new()));
            continue;
        }
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let plain = quote.plain(trimmed);
        let words: Vec<&str> = plain.split_whitespace().collect();
        let option = |name: &str| {
            let found = words
                .iter()
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            found.map(|value| value.trim_matches(['"', '\'']).to_owned())
        };
        let bare = words
            .iter()
            .skip(1)
            .find(|word| !word.starts_with("--"))
            .map(|word| word.trim_matches(['"', '\'']));
        match words[0] {
            "lang" => made.text("locale", bare.unwrap_or_default()),
            "keyboard" => {
                let layout = option("--vckeymap")
                    .or_else(|| bare.map(str::to_owned))
                    .or_else(|| option("--xlayouts"));
                made.text(
                    "keymap",
                    layout.unwrap_or_default().split(',').next().unwrap_or_default(),
                );
            }
            "timezone" => made.text("timezone", bare.unwrap_or_default()),
            "user" => {
                made.text("username", &option("--name").unwrap_or_default());
                made.text("fullname", &option("--gecos").unwrap_or_default());
                made.has_password |= option("--password").is_some();
            }
            "rootpw" => {
                if option("--lock").is_none() && !plain.contains("--lock") {
                    made.note(Weight::Lost, number, "rootpw", "a password for root; the build logs in as root by a key, and root has no password in the image");
                }
            }
            "selinux" => made.text("selinux", words.get(1).unwrap_or(&"").trim_start_matches("--")),
            "firewall" => made.var("firewall", Answer::Flag(plain.contains("--enable"))),
            "zerombr" | "clearpart" | "autopart" | "part" | "partition" | "volgroup" | "logvol" | "raid"
            | "btrfs" | "ignoredisk" | "reqpart" => {
                disk.push((number, words[0].to_owned()));
            }
            "bootloader" => {
                disk.push((number, "bootloader".to_owned()));
                let append = plain
                    .split_once("--append=")
                    .map(|(_, rest)| rest.trim_start_matches(['"', '\'']));
                let append = append.map(|rest| rest.split(['"', '\'']).next().unwrap_or_default().to_owned());
                let usual = [
                    "net.ifnames=0",
                    "biosdevname=0",
                    "rhgb",
                    "quiet",
                    "crashkernel=auto",
                ];
                let more: Vec<_> = append
                    .iter()
                    .flat_map(|all| all.split_whitespace())
                    .filter(|word| !usual.contains(word) && !word.starts_with("console="))
                    .collect();
                made.text("kernel_args", &more.join(" "));
            }
            "url" if option("--url").is_some() => made.mirror = option("--url"),
            "url" => mirror = quote.quoted(trimmed),
            "network" => {
                if plain.contains("static") || plain.contains("--ip=") {
                    made.note(
                        Weight::Lost,
                        number,
                        "network",
                        "a fixed address; the first network card of an image asks for its address by DHCP",
                    );
                } else {
                    made.note(
                        Weight::Decided,
                        number,
                        "network",
                        "the first network card, by DHCP, whatever its name is; the built-in answers do this",
                    );
                }
            }
            "reboot" | "poweroff" | "shutdown" | "halt" => end = Some(number),
            "text" | "cmdline" | "graphical" | "install" | "cdrom" | "eula" | "firstboot" | "upgrade" => {}
            _ if known.contains(&squeezed(trimmed)) => {}
            _ => {
                kept.push_str(&quote.quoted(trimmed));
                kept.push('\n');
            }
        }
    }
    if let Some((name, body)) = section.filter(|(name, _)| !name.starts_with("%packages")) {
        sections.push_str(&format!(
            "\n{}\n{}%end\n",
            quote.quoted(&name),
            quote.quoted(&body)
        ));
    }
    if let Some((line, _)) = disk.first() {
        let mut names: Vec<_> = disk.iter().map(|(_, name)| name.as_str()).collect();
        names.dedup();
        let text = "partitions and boot loader are the built-in answers': one ext4 file system, last on the disk, so that every \
                    size is made from one installation; swap is `swap` of the vars (a file)";
        made.note(Weight::Decided, *line, names.join(", "), text);
    }
    if let Some(line) = end {
        made.note(
            Weight::Decided,
            line,
            "end of the installation",
            "the machine switches off once the installation is done",
        );
    }
    if !packages.is_empty() {
        made.var("packages", Answer::List(packages));
    }
    if !without.is_empty() {
        made.var("without", Answer::List(without));
    }
    if !mirror.is_empty() {
        made.blocks.push(("mirror", Added::Instead(mirror)));
    }
    if !kept.is_empty() {
        made.blocks.push(("network", Added::Lines(kept)));
    }
    if !sections.is_empty() {
        made.blocks.push(("late", Added::Lines(sections)));
    }
    made
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
