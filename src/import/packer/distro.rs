//! A builder as a distro of the manifest: its medium, its installer, its answers, its machine.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use toml_edit::{InlineTable, Value};

use super::answers::{self, Answer, Quote};
use super::build::Build;
use super::hcl::Names;
use super::model::{Distro, Found, Keys};
use super::options::{self, Fate};
use super::typed::{self, Start, Words};
use super::{go, media, system};
use crate::families::Tables;
use crate::import::node::{Node, Place};
use crate::import::note::Weight;
use crate::import::path;
use crate::installer::Installer;
use crate::manifest::builtin;

/// An answer file.
struct Answers {
    /// How it is called, for people.
    shown: String,
    /// Name of the file alone.
    name: String,
    text: String,
    is_file: bool,
    place: Place,
}

static SIZED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^(.+?)[-_.]([0-9]+)[GgMmTt](?:i?[Bb])?(?:[-_.](.+))?$").ok());

/// Distro and flavor, as the build's name says them.
pub fn names(build: &Build<'_>) -> (String, Option<String>) {
    let name = build.name();
    let parts = SIZED.as_ref().and_then(|sized| sized.captures(name));
    let (distro, flavor) = match parts {
        Some(parts) => (
            parts[1].to_owned(),
            parts.get(3).map(|flavor| flavor.as_str().to_owned()),
        ),
        None => {
            let start = build.builder.name.split("{{").next().unwrap_or_default();
            let fits = !start.is_empty() && start != build.builder.name && name.starts_with(start);
            match fits.then(|| name.split_at(start.len())) {
                Some((distro, flavor)) if !flavor.is_empty() => (distro.to_owned(), Some(flavor.to_owned())),
                _ => (name.to_owned(), None),
            }
        }
    };
    let distro = if ["qemu", "", "default", "main", "vm"].contains(&distro.as_str()) {
        let shown = path::name(&build.template.shown);
        let shown = shown.split('.').next().unwrap_or_default();
        if shown.is_empty() {
            distro
        } else {
            path::stem(&build.template.shown)
                .trim_end_matches(".pkr")
                .to_owned()
        }
    } else {
        distro
    };
    (plain_name(&distro), flavor.map(|flavor| plain_name(&flavor)))
}

/// A name that can be part of file names.
pub fn plain_name(name: &str) -> String {
    let fits = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
            c
        } else {
            '-'
        }
    };
    let name: String = name.chars().map(fits).take(80).collect();
    let name = name.trim_matches(['.', '_', '-']);
    if name.is_empty() {
        "system".to_owned()
    } else {
        name.to_owned()
    }
}

/// Reads a builder. `None`: it cannot be a distro, which is reported.
pub fn read(build: &Build<'_>) -> Option<Distro> {
    tell(build);
    let urls = media::urls(build);
    let is_disk = build.text("disk_image").is_some_and(|text| text == "true");
    let Some(mut system) = system::of(build, &urls) else {
        let text = "neither the medium's name nor the build's says which system this is (debian, ubuntu, a RHEL rebuild, \
                    alpine): write the distro by hand";
        build.importer.note(
            Weight::Todo,
            Some(build.place()),
            format!("builder {}", build.name()),
            text,
        );
        return None;
    };
    let mut source = media::read(build, &urls)?;
    let (name, _) = names(build);
    let mut distro = Distro {
        name,
        system: system.clone(),
        kind: if is_disk { "disk" } else { "iso" },
        comments: Vec::new(),
        source: Keys::new(),
        keys: Vec::new(),
        vars: Vec::new(),
    };
    machine(build, &mut distro);
    if is_disk {
        access(build, &mut source);
        distro.source = source;
        return Some(distro);
    }
    if Tables::built_in()
        .installer(system.family, &system.version)
        .is_none()
    {
        let text = format!(
            "no installer of {} is known here; take a cloud image as `source.disk`, written by hand",
            system.family
        );
        build.importer.note(
            Weight::Todo,
            Some(build.place()),
            format!("builder {}", build.name()),
            text,
        );
        return None;
    }
    let wanted = on_server(build);
    let mut words = Words::default();
    match typed::read(build, &system, &wanted) {
        Start::Direct(found) => {
            distro.comments.push(format!(
                "Its installer's kernel is started directly. Packer typed: {}",
                found.shown
            ));
            words = found;
        }
        Start::Keys(keys) => source.push(("boot_command", Value::from(keys), None)),
        Start::Nothing => {}
    }
    if let Some(version) = words.version.take() {
        distro.comments.push(format!("Version {version}, not {}: of this release there are two installers, and this is the one that was used.", system.version));
        system.version = version;
    }
    distro.system = system.clone();
    let known = Tables::built_in().installer(system.family, &system.version)?;
    answered(build, known, words, wanted, &mut distro, &mut source);
    distro.source = source;
    Some(distro)
}

/// Paths on Packer's server that were typed.
fn on_server(build: &Build<'_>) -> Vec<String> {
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
fn answered(
    build: &Build<'_>,
    known: &Installer,
    words: Words,
    mut wanted: Vec<String>,
    distro: &mut Distro,
    source: &mut Keys,
) {
    wanted.extend(words.answers.clone());
    wanted.push(known.file.clone());
    let made = match find(build, &wanted) {
        Some(found) => converted(build, known, &found, distro),
        None => {
            let text = format!(
                "no answer file was found ({}); the built-in {} is used",
                wanted.join(", "),
                known.answers
            );
            let subject = format!("builder {}", build.name());
            build
                .importer
                .note(Weight::Todo, Some(build.place()), subject, text);
            answers::Converted::default()
        }
    };
    let has_password = made.has_password || words.has_password;
    distro.vars.extend(vars(build, made.vars, &words));
    if let Some(mirror) = made.mirror.filter(|url| url.starts_with("http")) {
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
    let made = answers::convert(&known.program, &found.text, quote, built_in);
    for (weight, line, subject, text) in &made.notes {
        let place = Place {
            file: found.place.file.clone(),
            line: if found.is_file { *line } else { found.place.line },
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
            let name = build.importer.write(&format!("{}.j2", plain_name(&name)), text);
            distro.keys.push(("answers", Value::from(name.as_str())));
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

/// The account's password, which is never written into a manifest.
fn password(build: &Build<'_>, source: &mut Keys) {
    let name = password_name(build);
    let mut secret = InlineTable::new();
    secret.insert("env", Value::from(name.as_str()));
    source.push(("password", Value::InlineTable(secret), None));
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

/// The first answer file that is there.
fn find(build: &Build<'_>, wanted: &[String]) -> Option<Answers> {
    for path in wanted {
        for (key, node) in build
            .option("http_content")
            .map(Node::entries)
            .unwrap_or_default()
        {
            if build.resolve(key).trim_start_matches('/') == path.trim_start_matches('/') {
                return content(build, "http_content", path, node);
            }
        }
        if let Some(folder) = build.text("http_directory")
            && let Some(found) = file(build, &format!("{folder}/{path}"), "http_directory")
        {
            return Some(found);
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
                return content(build, key, name, node);
            }
        }
    }
    for key in ["cd_files", "floppy_files"] {
        for node in build.option(key).map(Node::items).unwrap_or_default() {
            let name = build.resolve(&node.text().unwrap_or_default());
            if usual(&name)
                && let Some(found) = file(build, &name, key)
            {
                return Some(found);
            }
            // A folder or a pattern that holds it.
            let folder = name.trim_end_matches('*').trim_end_matches('/');
            for inside in ["user-data", "ks.cfg", "preseed.cfg"] {
                if let Some(found) = file(build, &format!("{folder}/{inside}"), key) {
                    return Some(found);
                }
            }
        }
    }
    None
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

/// A text of the template; one that HCL's `file` and `templatefile` give is read.
fn content(build: &Build<'_>, key: &str, name: &str, node: &Node) -> Option<Answers> {
    let text = node.text()?;
    let mut answers = Answers {
        shown: format!("`{key}` of {}", node.place.file),
        name: path::name(name).to_owned(),
        text: text.clone(),
        is_file: false,
        place: node.place.clone(),
    };
    let words = go::lone(&text).unwrap_or_default();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["pipeline_file", path] => return file(build, path, key),
        ["pipeline_templatefile", path, values] => {
            let found = file(build, path, key)?;
            let bytes: Option<Vec<u8>> = (0..values.len() / 2)
                .map(|at| u8::from_str_radix(values.get(2 * at..2 * at + 2)?, 16).ok())
                .collect();
            let values = serde_json::from_slice(&bytes?).ok()?;
            match Names::template(&found.text, &values) {
                Ok(text) => (answers.text, answers.shown) = (text, found.shown),
                Err(cause) => {
                    build.importer.note(
                        Weight::Todo,
                        Some(&node.place),
                        key,
                        format!("the template {} cannot be evaluated: {cause}", found.shown),
                    );
                    return None;
                }
            }
        }
        _ => {}
    }
    Some(answers)
}

/// Memory and processors.
fn machine(build: &Build<'_>, distro: &mut Distro) {
    if let Some(memory) = build.text("memory") {
        match memory.parse::<u64>() {
            Ok(number) if number >= 10 => distro.keys.push(("memory", Value::from(format!("{number}M")))),
            _ => build.note(
                Weight::Lost,
                "memory",
                "not a number of MiB; the installer's usual memory is taken",
            ),
        }
    } else {
        let text = "Packer gave the machine 512 MiB and one processor by default; here it gets what its installer needs";
        build
            .importer
            .note(Weight::Decided, Some(build.place()), "memory, cpus", text);
    }
    let number = |key: &str| {
        build
            .text(key)
            .and_then(|text| text.parse::<i64>().ok())
            .filter(|n| (1..=512).contains(n))
    };
    let product = ["sockets", "cores", "threads"]
        .iter()
        .filter_map(|key| number(key))
        .product::<i64>();
    let cpus = number("cpus").or((product > 1 && product <= 512).then_some(product));
    if let Some(cpus) = cpus {
        distro.keys.push(("cpus", Value::from(cpus)));
    }
}

/// How a build gets into a disk image.
fn access(build: &Build<'_>, source: &mut Keys) {
    if let Some(user) = build.text("ssh_username") {
        source.push(("user", Value::from(user), None));
    }
    if let Some(key) = build.text("ssh_private_key_file") {
        let (found, what) = build.find(&key);
        let mut table = InlineTable::new();
        table.insert("key", Value::from(build.importer.named(&found)));
        source.push(("access", Value::InlineTable(table), None));
        if what == Found::Missing {
            build.note(
                Weight::Todo,
                "ssh_private_key_file",
                "there is no such file now; the image is entered by this key",
            );
        }
        return;
    }
    if build.option("ssh_password").is_some() {
        build.note(Weight::Decided, "ssh_password", "the image is entered by a key that a cloud-init seed brings; an image without cloud-init needs `access = { key = … }`");
    }
    for key in [
        "boot_command",
        "boot_steps",
        "cd_files",
        "cd_content",
        "http_directory",
        "http_content",
        "floppy_files",
        "floppy_content",
    ] {
        if build.option(key).is_some() {
            build.note(Weight::Lost, key, "a disk image is started as it is, with a cloud-init seed of ours: nothing is typed into it, nothing else is served to it");
        }
    }
}

/// Reports what becomes of options that are not read elsewhere.
fn tell(build: &Build<'_>) {
    for (key, _) in build.builder.options.entries() {
        match options::of_builder(key) {
            Some(Fate::Taken(_)) => {}
            Some(Fate::Ours(text)) => build.note(Weight::Decided, key, text.as_str()),
            Some(Fate::Lost(text)) => build.note(Weight::Lost, key, text.as_str()),
            None => build.note(
                Weight::Lost,
                key,
                "not a key of Packer's qemu builder that is known here; look up what it meant",
            ),
        }
    }
    match build.text("communicator").as_deref() {
        None | Some("ssh") => {}
        Some("none") => build.note(Weight::Lost, "communicator", "no login: Packer waited for the machine to power off; here the build logs in by a key, to seal the image"),
        Some(_) => build.note(Weight::Lost, "communicator", "only guests with SSH can be built here"),
    }
    if let Some(folder) = build.text("http_directory") {
        build.note(
            Weight::Decided,
            "http_directory",
            format!(
                "of {folder}/ the one file that the installer asks for is its answers; nothing else is served"
            ),
        );
    }
}
