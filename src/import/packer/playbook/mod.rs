//! The playbook that runs Packer: which templates it builds with which variables, and what it does with the results.
//! Only the shape is understood that such playbooks have: commands in tasks with lists of items.

mod commands;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use regex::Regex;

use super::build::Importer;
use super::model::{Fault, Input, Item, PlaybookPlan};
use crate::import::node::{Node, Place, Value};
use crate::import::note::Weight;
use crate::import::{path, yaml};

/// Items of all tasks.
const MOST_ITEMS: usize = 2000;
/// Keys of a task that bring items.
const LOOPS: [&str; 5] = [
    "with_items",
    "loop",
    "with_list",
    "with_nested",
    "with_flattened_items",
];
/// Files of tasks, and Makefiles, that are read.
const MOST_FILES: usize = 1000;
/// Keys of a task that are other files of tasks.
const INCLUDES: [&str; 4] = [
    "include_tasks",
    "import_tasks",
    "ansible.builtin.include_tasks",
    "ansible.builtin.import_tasks",
];
/// Keys of a task that run make.
const MAKES: [&str; 2] = ["make", "community.general.make"];
/// Keys of a task that are commands.
const COMMANDS: [&str; 6] = [
    "shell",
    "command",
    "ansible.builtin.shell",
    "ansible.builtin.command",
    "ansible.legacy.shell",
    "ansible.legacy.command",
];

struct Reading<'r, 'd> {
    importer: &'r Importer<'d>,
    folder: String,
    plan: PlaybookPlan,
    items: usize,
    /// Files of tasks that were read.
    files: usize,
}

/// Reads a playbook.
///
/// # Errors
/// Where it is none, or never runs Packer.
pub fn read(input: &Input, importer: &Importer<'_>) -> Result<PlaybookPlan, Vec<Fault>> {
    let shown = Arc::from(input.shown.as_str());
    let root = yaml::read(&shown, &input.text).map_err(|error| {
        vec![Fault::new(
            &error.place,
            format!("this is no YAML: {}", error.cause),
            "name the playbook that runs Packer",
        )]
    })?;
    let mut reading = Reading {
        importer,
        folder: path::folder(&input.path),
        plan: PlaybookPlan::default(),
        items: 0,
        files: 0,
    };
    for play in root.items() {
        let vars = play.get("vars").cloned();
        // A file of tasks alone.
        if play.get("hosts").is_none() && play.get("import_playbook").is_none() {
            reading.task(play, None, 0);
        }
        for key in ["pre_tasks", "tasks", "post_tasks", "handlers"] {
            for task in play.get(key).map(Node::items).unwrap_or_default() {
                reading.task(task, vars.as_ref(), 0);
            }
        }
        for key in ["roles", "import_playbook"] {
            if let Some(node) = play.get(key) {
                importer.note(
                    Weight::Lost,
                    Some(&node.place),
                    format!("{key} = {}", node.short()),
                    "is not followed; if Packer is run there, give that file with --ansible",
                );
            }
        }
    }
    if reading.plan.builds.is_empty() {
        let remedy = "tasks that run `packer build` by `shell`, `command` or `make` are understood; without --ansible the \
                      templates are imported with their own variables";
        return Err(vec![Fault::new(
            &root.place,
            "this playbook never runs `packer build`",
            remedy,
        )]);
    }
    Ok(reading.plan)
}

impl Reading<'_, '_> {
    fn task(&mut self, task: &Node, vars: Option<&Node>, depth: usize) {
        if depth > 8 {
            return;
        }
        for key in ["block", "rescue", "always"] {
            for inner in task.get(key).map(Node::items).unwrap_or_default() {
                self.task(inner, vars, depth + 1);
            }
        }
        let included = INCLUDES.iter().find_map(|key| task.get(key));
        if let Some(node) = included {
            self.include(node, vars, depth);
            return;
        }
        let command = COMMANDS.iter().find_map(|key| {
            let node = task.get(key)?;
            let text = node.text().or_else(|| node.text_of("cmd"));
            let text = text
                .or_else(|| Some(node.texts_of("argv").join(" ")))
                .filter(|text| !text.is_empty())?
                .replace("\\\n", " ");
            // A line is a command of a shell.
            let text = if key.ends_with("shell") {
                text.replace('\n', " ; ")
            } else {
                text
            };
            Some((text, node))
        });
        let command = command.or_else(|| {
            MAKES
                .iter()
                .find_map(|key| Some((make(task.get(key)?), task.get(key)?)))
        });
        let name = task.text_of("name").unwrap_or_else(|| "a task".to_owned());
        let items = self.items(task, vars);
        let Some((words, node)) = command else {
            let ours = ["block", "name"];
            let what = task
                .entries()
                .iter()
                .find(|(key, _)| !ours.contains(&key.as_str()));
            if let Some((key, node)) = what.filter(|_| task.get("block").is_none()) {
                self.importer.note(
                    Weight::Lost,
                    Some(&node.place),
                    format!("task {name}: {key}"),
                    "is not part of building images; keep it in a playbook of its own if it is still needed",
                );
            }
            return;
        };
        let chdir = task
            .get("args")
            .and_then(|args| args.text_of("chdir"))
            .or_else(|| node.text_of("chdir"));
        let mut is_build = false;
        for item in &items {
            let text = filled(&words, item, vars);
            let chdir = chdir.as_ref().map(|chdir| filled(chdir, item, vars));
            let environment = task.get("environment").map(Node::entries).unwrap_or_default();
            let given = environment.iter().filter_map(|(name, value)| {
                let name = name.strip_prefix("PKR_VAR_")?;
                Some((name.to_owned(), filled(&value.text()?, item, vars)))
            });
            let base = path::join(&self.folder, chdir.as_deref().unwrap_or("."));
            is_build |= self.run(&text, &base, &given.collect::<Vec<_>>(), (&item.1, node), 0);
        }
        if is_build {
            self.other_keys(task, &name);
        }
        let known = self.publishes(&words, &name, is_build, &node.place) || is_build;
        if task.get("ignore_errors").is_some_and(Node::is_true) && known {
            self.importer.note(
                Weight::Decided,
                Some(&node.place),
                format!("task {name}: ignore_errors"),
                "a failure went unnoticed; now it ends its image, and nothing of it is listed or uploaded",
            );
        }
        if !known {
            self.importer.note(Weight::Lost, Some(&node.place), format!("task {name}"), format!("runs `{}`, which has no place in a manifest; run it before or after `pipeline run` if it is still needed", first_words(&words)));
        }
        if !is_build {
            for (values, place) in items.into_iter().filter(|(values, _)| values.len() > 1) {
                self.plan.matrix.push(Item {
                    values,
                    task: name.clone(),
                    place,
                });
            }
        }
    }

    /// Reads the tasks of another file.
    fn include(&mut self, node: &Node, vars: Option<&Node>, depth: usize) {
        let written = node.text().or_else(|| node.text_of("file")).unwrap_or_default();
        let written = filled(&written, &(BTreeMap::new(), node.place.clone()), vars);
        let found = path::join(&self.folder, &written);
        let text = self.importer.text(&found).filter(|_| self.files < MOST_FILES);
        let shown = path::relative(&self.importer.request.folder, &found);
        let root = text.and_then(|text| yaml::read(&Arc::from(shown), &text).ok());
        self.files += 1;
        match root {
            Some(root) => root
                .items()
                .iter()
                .for_each(|task| self.task(task, vars, depth + 1)),
            None => {
                let text = "is not read; if Packer is run there, give that file with --ansible";
                self.importer.note(
                    Weight::Todo,
                    Some(&node.place),
                    format!("tasks of {written}"),
                    text,
                );
            }
        }
    }

    /// What a command does with images that are built; false: nothing.
    fn publishes(&mut self, words: &str, task: &str, is_build: bool, place: &Place) -> bool {
        let mut known = false;
        for (mark, kind) in [
            ("gzip", "gzip"),
            ("pigz", "gzip"),
            ("zstd", "zstd"),
            ("xz ", "xz"),
        ] {
            let found = words.contains(mark);
            known |= found;
            if found && !is_build && self.plan.compress.is_none() {
                self.plan.compress = Some((kind, place.clone()));
            }
        }
        for (mark, kind) in [
            ("sha512sum", "sha512"),
            ("sha256sum", "sha256"),
            ("md5sum", "md5"),
        ] {
            let found = words.contains(mark);
            known |= found;
            if found && !self.plan.checksums.iter().any(|(known, _)| *known == kind) {
                self.plan.checksums.push((kind, place.clone()));
            }
        }
        let mut marks = ["shacache", "networkcache", "shadir"].iter();
        if marks.any(|mark| words.contains(mark)) || task.to_lowercase().contains("shacache") {
            known = true;
            self.plan.shacache.get_or_insert_with(|| place.clone());
        }
        known
    }

    /// What else a task says about its runs of Packer.
    fn other_keys(&self, task: &Node, name: &str) {
        for (key, node) in task.entries() {
            let text = match key.as_str() {
                "name" => continue,
                key if LOOPS.contains(&key) || COMMANDS.contains(&key) => continue,
                "args" if node.get("creates").is_some() => {
                    "skipped what had an output folder; here work is kept by everything that went into it, and is redone when that changes"
                }
                "args" | "register" | "tags" => continue,
                "async" | "poll" | "throttle" => {
                    "ran builds in parallel; the program does so by itself, within memory and processors"
                }
                "when" => {
                    "a condition: all of the items are in the manifest; `pipeline run … SELECTOR` builds some of them"
                }
                "environment" => "environment of Packer; its variables `PKR_VAR_…` are taken, as by -var",
                _ => continue,
            };
            self.importer.note(
                Weight::Decided,
                Some(&node.place),
                format!("task {name}: {key}"),
                text,
            );
        }
    }

    /// The items of a task, each as names with values; a plain item is called `item`.
    fn items(&mut self, task: &Node, vars: Option<&Node>) -> Vec<(BTreeMap<String, String>, Place)> {
        let Some(list) = LOOPS
            .iter()
            .find_map(|key| task.get(key).map(|node| (*key, node)))
        else {
            return vec![(BTreeMap::new(), task.place.clone())];
        };
        let (key, mut node) = list;
        if let Some(text) = node.text()
            && let Some(found) = variable(&text).and_then(|name| vars?.get(&name))
        {
            node = found;
        }
        let lists: Vec<Vec<&Node>> = if key == "with_nested" {
            node.items()
                .iter()
                .map(|list| list.items().iter().collect())
                .collect()
        } else {
            vec![
                node.items()
                    .iter()
                    .flat_map(|item| {
                        if key == "with_items" {
                            item.items().iter().collect()
                        } else {
                            vec![item]
                        }
                    })
                    .collect(),
            ]
        };
        let mut rows: Vec<Vec<&Node>> = vec![Vec::new()];
        for list in lists {
            if rows.len().saturating_mul(list.len()) + self.items > MOST_ITEMS {
                self.importer.note(
                    Weight::Todo,
                    Some(&node.place),
                    key,
                    "has more items than are looked at; some builds are missing",
                );
                break;
            }
            rows = rows
                .iter()
                .flat_map(|row| list.iter().map(move |item| [row.as_slice(), &[*item]].concat()))
                .collect();
        }
        self.items += rows.len();
        rows.into_iter()
            .filter_map(|row| {
                let place = row.last()?.place.clone();
                let mut values = BTreeMap::new();
                match row.as_slice() {
                    [one] => add("item", one, &mut values),
                    several => {
                        for (at, node) in several.iter().enumerate() {
                            add(&format!("item.{at}"), node, &mut values);
                        }
                    }
                }
                Some((values, place))
            })
            .collect()
    }
}

/// The command of a task that runs make by a module of its own.
fn make(node: &Node) -> String {
    let params = node.get("params").map(Node::entries).unwrap_or_default();
    let params = params
        .iter()
        .filter_map(|(name, value)| Some(format!("'{name}={}'", value.text()?)));
    let file = node.text_of("file").map(|file| format!("-f '{file}'"));
    let goals = node
        .texts_of("target")
        .into_iter()
        .chain(node.texts_of("targets"));
    let words = std::iter::once("make".to_owned())
        .chain(file)
        .chain(params)
        .chain(goals);
    words.collect::<Vec<_>>().join(" ")
}

fn add(name: &str, node: &Node, values: &mut BTreeMap<String, String>) {
    match &node.value {
        Value::Map(entries) => {
            for (key, node) in entries {
                values.extend(node.text().map(|text| (format!("{name}.{key}"), text)));
            }
        }
        Value::List(items) => {
            for (at, node) in items.iter().enumerate() {
                values.extend(node.text().map(|text| (format!("{name}.{at}"), text)));
            }
        }
        _ => values.extend(node.text().map(|text| (name.to_owned(), text))),
    }
}

static BRACES: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\{\{\s*([^}|]*?)\s*(?:\|[^}]*)?\}\}").ok());

fn variable(text: &str) -> Option<String> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    Some(inner.trim().to_owned())
}

/// A text with its items and variables filled in; what is not known stays.
fn filled(text: &str, (values, _): &(BTreeMap<String, String>, Place), vars: Option<&Node>) -> String {
    let Some(braces) = BRACES.as_ref() else {
        return text.to_owned();
    };
    let fill = |text: &str| {
        braces
            .replace_all(text, |found: &regex::Captures<'_>| {
                let name = found[1]
                    .replace("['", ".")
                    .replace("[\"", ".")
                    .replace(['[', ']', '\'', '"'], ".");
                let name = name
                    .split('.')
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join(".");
                let known = values.get(&name).cloned().or_else(|| vars?.text_of(&name));
                known.unwrap_or_else(|| found[0].to_owned())
            })
            .into_owned()
    };
    // A variable of the play can name another one.
    fill(&fill(text))
}

fn first_words(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().take(6).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_filled_in() {
        let place = Place {
            file: Arc::from("p.yml"),
            line: 1,
        };
        let values = [
            ("item.size".to_owned(), "50".to_owned()),
            ("item.0".to_owned(), "x".to_owned()),
        ]
        .into();
        assert_eq!(
            filled(
                "{{item.size}} {{ item['size'] }} {{ item[0] }} {{ other }}",
                &(values, place),
                None
            ),
            "50 50 x {{ other }}"
        );
    }
}
