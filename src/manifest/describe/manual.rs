//! The description as `docs/manifest.md`: written prose (`manual.md`) with a table of keys where it asks for one.

use std::fmt::Write;

use serde_json::Value as Json;

use super::key::{Group, Key, Kind, Table};
use super::table;
use crate::manifest::export;
use crate::manifest::parse::{self, Value};

const PROSE: &str = include_str!("manual.md");
/// A line that stands for the keys of a table: `<!-- keys: distro -->`.
const OPEN: &str = "<!-- keys: ";
const CLOSE: &str = " -->";

/// The whole page.
pub fn manual() -> String {
    let mut page = String::new();
    for line in PROSE.lines() {
        let wanted = line.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(CLOSE));
        match wanted {
            Some(ids) => page.push_str(&keys(ids)),
            None => page.push_str(line),
        }
        page.push('\n');
    }
    page
}

/// The keys of some tables as one table in Markdown; `iso -medium` is those of `iso` that `medium` does not have.
fn keys(ids: &str) -> String {
    let (id, without) = ids.split_once(" -").unwrap_or((ids, ""));
    let (Some(wanted), without) = (table(id), table(without)) else {
        return format!("(there is no table `{id}`)");
    };
    let is_new = |key: &Key| without.is_none_or(|other: &Table| other.key(key.name).is_none());
    let mut text = String::from("| key | value | what | default |\n| --- | --- | --- | --- |");
    for key in wanted.keys_here().filter(is_new) {
        let default = match (key.needed, key.default) {
            (true, _) => "must be there".to_owned(),
            (false, Some(default)) => code(default),
            (false, None) => String::new(),
        };
        let beside = beside(&key, wanted);
        let row = format!(
            "\n| `{}` | {} | {}{beside} | {default} |",
            key.name,
            kind(&key.kind),
            key.doc.replace('|', "\\|"),
        );
        text.push_str(&row.replace("  |", " |"));
    }
    text
}

/// Which keys of the table one goes with; of many the few that it does not go with.
fn beside(key: &Key, table: &Table) -> String {
    let quoted = |names: Vec<&str>| {
        let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    };
    let companions = key.companions();
    match companions.len() {
        0 => String::new(),
        1..=4 => format!(" (goes with {})", quoted(companions)),
        _ => {
            let mut others: Vec<_> = table.groups.iter().flat_map(Group::names).collect();
            others.retain(|name| !companions.contains(name));
            format!(" (goes with all but {})", quoted(others))
        }
    }
}

/// Defaults that are values look like values.
fn code(default: &str) -> String {
    let is_value = parse::parse(&format!("x = {default}")).is_ok();
    if is_value {
        format!("`{default}`")
    } else {
        default.to_owned()
    }
}

fn kind(of: &Kind) -> String {
    match of {
        Kind::Text(form) => match form.name {
            "Text" | "AnyText" => "text".to_owned(),
            "Url" => "URL".to_owned(),
            "Sha256" | "Sha512" | "Md5" => "hexadecimal digits".to_owned(),
            "GuestPath" => "absolute path".to_owned(),
            name => name.to_lowercase(),
        },
        Kind::Choice(words) => {
            let words: Vec<_> = words().iter().map(|word| format!("`\"{word}\"`")).collect();
            words.join(", ")
        }
        Kind::Whole(least, most) => format!("{least} to {most}"),
        Kind::Yes => "`true`".to_owned(),
        Kind::Variable => "any".to_owned(),
        Kind::List(item) => format!("list: {}", kind(item)),
        Kind::OneOrMore(item) => format!("{}, or a list", kind(item)),
        Kind::Table("secret") => "[secret](#secrets)".to_owned(),
        Kind::Table("medium") => "[medium](#media)".to_owned(),
        Kind::Table(_) => "table".to_owned(),
        Kind::Named(..) => "table of names".to_owned(),
        Kind::Either(kinds) => {
            let kinds: Vec<_> = kinds.iter().map(kind).collect();
            kinds.join(" or ")
        }
    }
}

/// A key's example as data.
///
/// # Errors
/// It is no value of TOML: a sketch, for people.
pub fn example(key: &Key) -> Result<Json, ()> {
    let document = parse::parse(&format!("x = {}", key.example)).map_err(|_| ())?;
    match document.value {
        Value::Table(entries) => entries.first().map(|entry| export::json(&entry.node)).ok_or(()),
        _ => Err(()),
    }
}

/// A key's example in Nickel: `disk = "2G"`.
pub fn nickel_example(key: &Key) -> Option<String> {
    let document = parse::parse(&format!("x = {}", key.example)).ok()?;
    let Value::Table(entries) = document.value else {
        return None;
    };
    let mut text = String::new();
    let value = export::nickel_line(&entries.first()?.node);
    write!(text, "{} = {value}", export::nickel_key(key.name)).ok()?;
    Some(text)
}

/// With a capital letter at its beginning, unless that is code.
pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}
