//! The answers of a distro with an installer: where the template has them, and what of them is said in which way.

use std::collections::BTreeMap;

use toml_edit::{InlineTable, Value};

use super::answers::{self, Answer, Quote};
use super::build::Build;
use super::model::{Distro, Found, Keys, Step};
use super::typed::Words;
use super::{go, system};
use crate::import::node::{self, Node, Place};
use crate::import::note::Weight;
use crate::import::path;
use crate::installer::Installer;
use crate::manifest::builtin;

/// An answer file.
pub struct Answers {
    /// How it is called, for people.
    pub shown: String,
    /// Name of the file alone.
    name: String,
    pub text: String,
    is_file: bool,
    place: Place,
}

/// Paths on Packer's server that were typed.
pub fn on_server(build: &Build<'_>) -> Vec<String> {
    let typed = ["boot_command", "boot_steps"].map(|key| build.option(key).map(texts).unwrap_or_default());
    let typed = build.resolve(&typed.concat());
    let mut paths = Vec::new();
    for (at, _) in typed.match_indices("{{ .HTTPPort }}/") {
        let rest = typed.get(at + "{{ .HTTPPort }}/".len()..).unwrap_or_default();
        let end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '<' | '"' | '\'' | ';' | '\\'))
            .unwrap_or(rest.len());
        paths.push(rest[..end].to_owned());
    }
    paths
}

fn texts(node: &Node) -> String {
    node.items()
        .iter()
        .map(|item| match item.items() {
            [only] if std::ptr::eq(only, item) => item.text().unwrap_or_default(),
            items => items.iter().filter_map(Node::text).collect(),
        })
        .collect()
}

/// Answers of a distro with an installer: the template's own, and what was typed.
pub fn answered(
    build: &Build<'_>,
    known: &Installer,
    words: Words,
    mut wanted: Vec<String>,
    distro: &mut Distro,
    source: &mut Keys,
) {
    wanted.extend(words.answers.clone());
    // The keys started an installation with answers, wherever they came from.
    let was_named = !wanted.is_empty() || !words.shown.is_empty();
    wanted.retain(|path| !path.is_empty());
    wanted.dedup();
    wanted.push(known.file.clone());
    let made = match find(build, &wanted) {
        Ok(found) => {
            served_too(build, &found);
            converted(build, known, &found, distro)
        }
        Err(cause) => {
            let cause = cause.unwrap_or_else(|| "no answer file was found".to_owned());
            let subject = format!("builder {}", build.name());
            let fed = [
                "http_content",
                "cd_files",
                "cd_content",
                "floppy_files",
                "floppy_content",
            ];
            let text = if was_named || fed.iter().any(|key| build.option(key).is_some()) {
                let name = format!("TODO-{}.j2", distro.name);
                distro.keys.push(("answers", Value::from(name.as_str())));
                format!(
                    "{cause} ({}): write it as {name}, a template that extends {}, or take the key `answers` out for the \
                     built-in one alone",
                    wanted.join(", "),
                    known.answers
                )
            } else {
                let names = wanted.join(", ");
                format!("{cause} ({names}); the built-in {} is used", known.answers)
            };
            build
                .importer
                .note(Weight::Todo, Some(build.place()), subject, text);
            answers::Converted::default()
        }
    };
    if made.root_password.unwrap_or(words.root_password) {
        root_password(build, made.root_password.is_none());
    }
    let has_password = made.has_password || words.has_password;
    // What is typed counts more.
    let mirror = words.mirror.clone().or(made.mirror);
    distro.vars.extend(vars(build, made.vars, &words));
    if let Some(mirror) = mirror.filter(|url| url.starts_with("http")) {
        source.push(("mirror", Value::from(mirror), None));
    }
    let usual = || {
        let wants = known.program == "debian-installer";
        wants.then(|| system::suite(distro.system.family, &distro.system.version).map(str::to_owned))
    };
    if let Some(suite) = made.suite.or_else(|| usual().flatten()) {
        source.push(("suite", Value::from(suite), None));
    }
    if !words.arguments.is_empty() {
        let arguments = go::escape(&words.arguments.join(" "));
        let comment = "what was typed for the installer beyond its usual arguments".to_owned();
        source.push(("arguments", Value::from(arguments), Some(comment)));
    }
    let has_user = distro.vars.iter().any(|(name, _)| name == "username");
    if has_user && (has_password || build.option("ssh_password").is_some()) {
        password(build, source);
    }
}

/// Stops the build where answers fetch another file of Packer's server.
fn served_too(build: &Build<'_>, found: &Answers) {
    let folder = build.text("http_directory").map(|folder| build.find(&folder).1);
    let Some(Found::Folder(names)) = folder else {
        return;
    };
    let is_fetched = |name: &&String| **name != found.name && is_fetched(&found.text, name);
    let fetched: Vec<_> = names.iter().filter(is_fetched).map(String::as_str).collect();
    if !fetched.is_empty() {
        let text = format!(
            "the answers name {} of it, and nothing but the answers is served: `copy` it by a step, and run there what the answers did \
             with it",
            fetched.join(", ")
        );
        build.stop("http_directory", &text);
    }
}

/// A preseed with those behind it that it includes, and after how many lines each begins. They are read after it, so they
/// count more. One that is not there leaves the line that names it.
fn with_included(build: &Build<'_>, found: &Answers) -> (String, Vec<(usize, String)>) {
    let base = &build.importer.request.folder;
    let folder = path::folder(&path::join(base, &found.shown));
    let (mut whole, mut more, mut included) = (String::new(), String::new(), Vec::new());
    let count = found.text.lines().count();
    for line in found.text.lines() {
        let mut words = line
            .split_whitespace()
            .skip_while(|word| *word != "preseed/include");
        let names = words
            .nth(1)
            .filter(|kind| *kind == "string" && found.is_file && !line.trim_start().starts_with('#'));
        let files = names.map(|_| words.map(|name| path::join(&folder, name)).collect::<Vec<_>>());
        let texts: Option<Vec<_>> = files.and_then(|files| {
            let read = |file: String| Some((path::relative(base, &file), build.importer.text(&file)?));
            files.into_iter().map(read).collect()
        });
        match texts {
            Some(texts) => {
                for (file, text) in texts {
                    included.push((count + more.lines().count(), file));
                    more.push_str(text.trim_end());
                    more.push('\n');
                }
            }
            None => whole.push_str(line),
        }
        whole.push('\n');
    }
    (whole + &more, included)
}

/// Whether a text takes a file of this name from a server that is not a public one.
fn is_fetched(text: &str, name: &str) -> bool {
    let marked = format!("/{name}");
    text.lines().any(|line| {
        let fetches = ["wget", "curl", "fetch"].iter().any(|word| line.contains(word));
        let words = line.split(|c: char| c.is_whitespace() || "\"'`;,()".contains(c));
        words
            .filter_map(|word| word.split_once(&marked))
            .any(|(before, after)| {
                let is_whole = !after.starts_with(|c: char| c.is_ascii_alphanumeric() || "-_.".contains(c));
                // Packer's server has a port, and no name of its own.
                let is_packers = match before.split_once("://") {
                    Some((_, rest)) => {
                        let host = rest.split('/').next().unwrap_or_default();
                        host.contains([':', '$']) || !host.contains(|c: char| c.is_ascii_alphabetic())
                    }
                    None => before.ends_with('}') || fetches && before.starts_with('$'),
                };
                is_whole && is_packers
            })
    })
}

/// The answer file as vars and, where those do not say all of it, a template next to the manifest.
fn converted(
    build: &Build<'_>,
    known: &Installer,
    found: &Answers,
    distro: &mut Distro,
) -> answers::Converted {
    let quote = if found.is_file {
        Quote::File
    } else {
        Quote::Text(&build.scope)
    };
    let parent = known.answers.as_str();
    let built_in = builtin::template(parent).unwrap_or_default();
    let user = build.text("ssh_username").unwrap_or_default();
    let (whole, included) = with_included(build, found);
    let made = answers::convert(&known.program, &whole, quote, built_in, &user);
    for (weight, line, subject, text) in &made.notes {
        let place = match included.iter().rfind(|(start, _)| start < line) {
            Some((start, file)) => Place {
                file: file.as_str().into(),
                line: line - start,
            },
            None if found.place.line == 1 => Place {
                line: *line,
                ..found.place.clone()
            },
            None => found.place.clone(),
        };
        build
            .importer
            .note(*weight, Some(&place), subject.clone(), text.clone());
    }
    let comment = match made.template(parent) {
        Some(text) => {
            let is_generic = ["user-data", "ks.cfg", "preseed.cfg"].contains(&found.name.as_str());
            let name = if is_generic {
                format!("{}-{}", distro.name, found.name)
            } else {
                found.name.clone()
            };
            build.look_for_names(&found.shown, &text);
            let todos = answers::todos(&text);
            let name = build
                .importer
                .write(&format!("{}.j2", path::plain_name(&name)), text);
            distro.keys.push(("answers", Value::from(name.as_str())));
            for todo in todos {
                let text = format!(
                    "stands in {name} for what must not be written down, or cannot be taken over: until that is decided, \
                     nothing is built. Write the right words there, or take it out"
                );
                build.importer.note(Weight::Todo, Some(&found.place), todo, text);
            }
            format!("what vars can say is in the vars, the rest is in {name}")
        }
        None => format!("vars and the built-in {parent} say all of them"),
    };
    distro
        .comments
        .push(format!("Answers of {}: {comment}.", found.shown));
    made
}

/// Vars of the answer file, of what was typed, and of the builder.
fn vars(build: &Build<'_>, of_file: Vec<(&'static str, Answer)>, words: &Words) -> Vec<(String, Value)> {
    let mut vars: BTreeMap<&str, Answer> = of_file.into_iter().collect();
    // An argument was there before the file was read: it counts more.
    let typed = words.vars.iter();
    vars.extend(typed.map(|(name, value)| (*name, Answer::Text(value.clone()))));
    if let Some(user) = build.text("ssh_username").filter(|user| user != "root") {
        vars.entry("username").or_insert(Answer::Text(user));
    }
    if !words.kept.is_empty() {
        vars.insert("kernel_args", Answer::Text(words.kept.join(" ")));
    }
    let vars = vars.into_iter();
    vars.map(|(name, answer)| (name.to_owned(), value(answer)))
        .collect()
}

/// A step that sets root's password, which is never written into a manifest.
fn root_password(build: &Build<'_>, was_typed: bool) {
    if was_typed {
        build.note(Weight::Todo, "boot_command", answers::ROOT_PASSWORD);
    }
    let script = "case $ROOT_PASSWORD in\n  '$'*) hash=-e ;;\nesac\nprintf 'root:%s\\n' \"$ROOT_PASSWORD\" | chpasswd ${hash-}\n";
    let mut step = Step::of("inline", script);
    step.keys.push(("name", Value::from("password of root")));
    let env = InlineTable::from_iter([("ROOT_PASSWORD", secret("ROOT_PASSWORD"))]);
    step.keys.push(("env", Value::InlineTable(env)));
    build.first.borrow_mut().push(step);
}

fn secret(name: &str) -> Value {
    Value::InlineTable(InlineTable::from_iter([("env", Value::from(name))]))
}

/// The account's password, which is never written into a manifest.
fn password(build: &Build<'_>, source: &mut Keys) {
    let name = password_name(build);
    source.push(("password", secret(&name), None));
    let text = format!(
        "the account's password stood in the template or its answers; it is a secret now: `export {name}=…` before a run (a \
         password, or its hash as in crypt(5)), or take `password` out, and the account has none"
    );
    let place = build
        .option("ssh_password")
        .map_or(build.place(), |node| &node.place);
    build.importer.note(Weight::Todo, Some(place), "password", text);
}

/// The variable that asks for the account's password.
fn password_name(build: &Build<'_>) -> String {
    let written = build
        .option("ssh_password")
        .and_then(Node::text)
        .unwrap_or_default();
    match go::lone(&written).as_deref() {
        Some([function, name]) if function == "user" || function == "env" => go::env_name(name),
        _ => "SSH_PASSWORD".to_owned(),
    }
}

fn value(answer: Answer) -> Value {
    match answer {
        Answer::Text(text) => Value::from(text),
        Answer::Flag(flag) => Value::from(flag),
        Answer::List(items) => Value::from(items.into_iter().collect::<toml_edit::Array>()),
    }
}

/// The first answer file that is there, or why there is none, if more than that is known.
fn find(build: &Build<'_>, wanted: &[String]) -> Result<Answers, Option<String>> {
    for path in wanted {
        for (key, node) in build
            .option("http_content")
            .map(Node::entries)
            .unwrap_or_default()
        {
            if build.resolve(key).trim_start_matches('/') == path.trim_start_matches('/') {
                return content("http_content", path, node);
            }
        }
        if let Some(folder) = build.text("http_directory") {
            let path = format!("{folder}/{path}");
            if let Some(found) = file(build, &path, "http_directory") {
                return Ok(found);
            }
            let whole = path::plain(&path);
            if let Some(node) = written(build, |target| path::plain(target) == whole) {
                return content("content", &path, node);
            }
        }
    }
    let usual = |name: &str| {
        let name = path::name(name);
        wanted.iter().any(|wanted| path::name(wanted) == name)
            || matches!(name, "user-data" | "ks.cfg" | "anaconda-ks.cfg" | "preseed.cfg")
            || name.ends_with(".ks")
    };
    for key in ["cd_content", "floppy_content"] {
        for (name, node) in build.option(key).map(Node::entries).unwrap_or_default() {
            if usual(&build.resolve(name)) {
                return content(key, name, node);
            }
        }
    }
    for key in ["cd_files", "floppy_files"] {
        for node in build.option(key).map(Node::items).unwrap_or_default() {
            let name = build.resolve(&node.text().unwrap_or_default());
            if usual(&name)
                && let Some(found) = file(build, &name, key)
            {
                return Ok(found);
            }
            // A folder or a pattern that holds it.
            let folder = name.trim_end_matches('*').trim_end_matches('/');
            for inside in ["user-data", "ks.cfg", "preseed.cfg"] {
                if let Some(found) = file(build, &format!("{folder}/{inside}"), key) {
                    return Ok(found);
                }
            }
        }
    }
    Err(None)
}

/// User-data that the template serves, or writes for a seed that it makes by itself.
pub fn user_data(build: &Build<'_>) -> Option<Answers> {
    let name = "user-data";
    let served = find(build, &[name.to_owned()]).ok();
    served.or_else(|| {
        content(
            "content",
            name,
            written(build, |target| path::name(target) == name)?,
        )
        .ok()
    })
}

/// What a builder `file` of the template writes to such a place.
fn written<'b>(build: &Build<'b>, fits: impl Fn(&str) -> bool) -> Option<&'b Node> {
    let mut all = build.template.builders.iter();
    let one = all.find(|builder| {
        let target = builder.options.text_of("target");
        builder.kind == "file" && target.is_some_and(|target| fits(&build.resolve(&target)))
    });
    one?.options.get("content")
}

fn file(build: &Build<'_>, written: &str, key: &str) -> Option<Answers> {
    for path in build.candidates(written) {
        if let Some(text) = build.importer.text(&path) {
            let shown = path::relative(&build.importer.request.folder, &path);
            return Some(Answers {
                place: Place {
                    file: shown.as_str().into(),
                    line: 1,
                },
                shown,
                name: path::name(&path).to_owned(),
                text,
                is_file: true,
            });
        }
        if (build.importer.look)(&path) == Found::Bytes {
            build.note(
                Weight::Todo,
                key,
                format!("`{written}` is too large or not a text, so it is not read"),
            );
        }
    }
    None
}

/// A text of the template, or one that its functions read.
fn content(key: &str, name: &str, node: &Node) -> Result<Answers, Option<String>> {
    if let node::Value::Unknown(cause) = &node.value {
        return Err(Some(cause.clone()));
    }
    let text = node.text().ok_or(None)?;
    let is_read = !node.place.file.ends_with(".pkr.hcl") && !node.place.file.ends_with(".json");
    Ok(Answers {
        shown: match is_read {
            true => node.place.file.to_string(),
            false => format!("`{key}` of {}", node.place.file),
        },
        name: path::name(name).to_owned(),
        text,
        is_file: false,
        place: node.place.clone(),
    })
}
