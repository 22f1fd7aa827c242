//! Preseed files of the Debian installer. Their form: `owner question type value`, a backslash at the end goes on.

use std::collections::BTreeSet;

use super::converted::{Added, Answer, Converted, Layout, Quote, key_again, squeezed};
use super::words::WORDS;
use crate::import::note::Weight;

/// What the report says of other files.
const INCLUDED: &str = "more answers, which are not read here: add them to the answers by hand";

/// An answer as it stands in the file.
struct Entry {
    line: usize,
    raw: String,
    comment: String,
}

pub(super) fn convert(text: &str, quote: Quote<'_>, known: &BTreeSet<String>, is_ubuntu: bool) -> Converted {
    let mut made = Converted::default();
    // What the installer does where nothing is said. Ubuntu's allows no login as root.
    let (mut recommends, mut is_admin, mut has_tasks) = (true, is_ubuntu, false);
    let (mut kept, mut late) = (String::new(), String::new());
    let (mut scheme, mut host, mut folder) = ("http".to_owned(), String::new(), String::new());
    for entry in entries(text) {
        let joined = entry.raw.replace("\\\n", " ");
        let mut words = joined.split_whitespace();
        let (question, kind, value) = match (words.next(), words.next(), words.next()) {
            (Some(_), Some(question), Some(kind)) => {
                (question.to_owned(), kind, words.collect::<Vec<_>>().join(" "))
            }
            _ => (String::new(), "", String::new()),
        };
        let value = quote.plain(&value);
        let list = |split: char| -> Vec<String> {
            let parts = value.split(split).map(str::trim).filter(|part| !part.is_empty());
            parts.map(str::to_owned).collect()
        };
        if let Some(layout) = layout(&question, &value) {
            made.layout(entry.line, &format!("{question} {value}"), layout);
        }
        if made.take(&WORDS.preseed, entry.line, &question, &value) {
            continue;
        }
        match question.as_str() {
            "base-installer/install-recommends" => recommends = value == "true",
            "passwd/root-login" => is_admin = value == "false",
            "mirror/protocol" => scheme = value,
            "mirror/http/hostname" | "mirror/https/hostname" => host = value,
            "mirror/http/directory" | "mirror/https/directory" => folder = value,
            "mirror/http/proxy" | "mirror/https/proxy" | "mirror/ftp/proxy" if value.is_empty() => {}
            "mirror/suite" => made.suite = Some(value),
            "pkgsel/include" => {
                let packages = value.split_whitespace().map(str::to_owned).collect();
                made.var("packages", Answer::List(packages));
            }
            "tasksel/first" => {
                has_tasks = true;
                made.var("tasks", Answer::List(list(',')));
            }
            "apt-setup/services-select" => made.var("services", Answer::List(list(','))),
            "preseed/include" | "preseed/include_command" => {
                made.stop(entry.line, &question, "include", "packages", INCLUDED);
            }
            "preseed/late_command" => {
                let raw = entry
                    .raw
                    .splitn(4, char::is_whitespace)
                    .nth(3)
                    .unwrap_or_default();
                let raw = raw.trim_start_matches(['\\', '\n', ' ', '\t']);
                late = raw.trim_end().trim_end_matches(';').to_owned();
            }
            _ if known.contains(&squeezed(&joined)) => {}
            _ if kind == "password" => {
                let start = joined.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
                kept.push_str(&format!("{} {{{{ todo_password }}}}\n", quote.quoted(&start)));
            }
            _ => {
                kept.push_str(&quote.quoted(&entry.comment));
                kept.push_str(&quote.quoted(&entry.raw));
                kept.push('\n');
            }
        }
    }
    if is_admin {
        made.root_password = Some(false);
    }
    made.finish();
    made.var("recommends", Answer::Flag(recommends));
    if is_admin {
        made.var("groups", Answer::List(vec!["sudo".to_owned()]));
    }
    if !has_tasks {
        let text =
            "not said, so the installer chose by itself; here it is its text system, with an SSH server";
        made.note(Weight::Lost, 1, "tasksel/first", text);
    }
    if !host.is_empty() {
        made.mirror = Some(format!("{scheme}://{host}/{}", folder.trim_matches('/')));
    }
    made.block("packages", kept);
    if !late.is_empty() {
        let mut commands = quote.quoted(&late);
        if late.contains("/root/.ssh") {
            commands.push_str(&format!("; \\\n  {}", key_again("/target")));
        }
        made.blocks.push(("commands", Added::Command(commands)));
    }
    made
}

fn layout(question: &str, value: &str) -> Option<Layout> {
    match (question, value) {
        ("partman-auto/method", "crypto") => Some(Layout::Encrypted),
        ("partman-auto/method", "raid") => Some(Layout::Raid),
        ("partman-auto/method", "lvm") => Some(Layout::Lvm),
        _ => None,
    }
}

fn entries(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let (mut comment, mut open) = (String::new(), false);
    for (number, line) in text.lines().enumerate() {
        if open {
            if let Some(entry) = entries.last_mut() {
                entry.raw.push('\n');
                entry.raw.push_str(line);
            }
        } else if line.trim().is_empty() {
            comment.clear();
        } else if line.trim_start().starts_with('#') {
            // Whoever comments a password out has not changed it.
            if !line.contains("passw") && !line.contains('$') {
                comment.push_str(line);
                comment.push('\n');
            }
        } else {
            entries.push(Entry {
                line: number + 1,
                raw: line.trim_start().to_owned(),
                comment: std::mem::take(&mut comment),
            });
        }
        open = (open || !line.trim_start().starts_with('#')) && line.ends_with('\\');
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vars_say_is_vars_and_the_rest_is_kept() {
        let text = "# Language\nd-i debian-installer/locale string en_US.UTF-8\n\
                    d-i mirror/http/hostname string deb.example\nd-i mirror/http/directory string /debian\n\
                    d-i partman-auto/method string regular\n\
                    # Firmware\nd-i hw-detect/load_firmware boolean true\n\
                    d-i passwd/user-password password hunter2\nd-i pkgsel/include string vim \\\n  curl\n\
                    d-i preseed/late_command string \\\n  in-target touch /{{x}}; \\\n  true;\n";
        let made = convert(text, Quote::File, &BTreeSet::new(), false);
        assert_eq!(made.mirror.as_deref(), Some("http://deb.example/debian"));
        assert!(made.has_password);
        let template = made.template("preseed-debian.cfg.j2").unwrap();
        assert!(
            template.contains("# Firmware\nd-i hw-detect/load_firmware boolean true\n"),
            "{template}"
        );
        assert!(
            template.contains("  ( set +e; \\\n  in-target touch /{{ \"{\" }}{x}}; \\\n  true ); \\\n"),
            "{template}"
        );
        assert!(
            !template.contains("hunter2") && !template.contains("partman"),
            "{template}"
        );
        assert!(
            made.vars
                .contains(&("packages", Answer::List(vec!["vim".into(), "curl".into()])))
        );
    }
}
