//! Commands of tasks: runs of Packer, by themselves or by make.

use super::{MOST_FILES, Reading};
use crate::import::node::{Node, Place};
use crate::import::note::Weight;
use crate::import::packer::makefile::Makefile;
use crate::import::packer::model::{Command, Input};
use crate::import::packer::shell_words::shell_words;
use crate::import::path;

/// Names that make looks for.
const MAKEFILES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];

impl Reading<'_, '_> {
    /// Reads commands that are run in a folder; whether they run Packer, by themselves or by make.
    pub(super) fn run(
        &mut self,
        text: &str,
        base: &str,
        given: &[(String, String)],
        at: (&Place, &Node),
        depth: usize,
    ) -> bool {
        let words = shell_words(text, &[';', '>', '|', '&']);
        let is_end = |word: &String| matches!(word.as_str(), "|" | ">" | "&" | ";");
        let (mut base, mut is_build) = (base.to_owned(), false);
        for command in words.split(is_end).filter(|command| !command.is_empty()) {
            let packer = command
                .iter()
                .position(|word| path::name(word).starts_with("packer"));
            let make = command
                .iter()
                .position(|word| matches!(path::name(word), "make" | "gmake"));
            let build = command.iter().position(|word| word == "build");
            if let Some(("cd", to)) = command
                .split_first()
                .and_then(|(cd, rest)| Some((cd.as_str(), rest.first()?)))
            {
                base = path::join(&base, to);
            } else if let (Some(packer), Some(build)) = (packer, build)
                && packer < build
            {
                self.build(command.split_at(build), &base, given.to_vec(), at);
                is_build = true;
            } else if let Some(make) = make.filter(|_| depth < 4) {
                is_build |= self.make(&command[make + 1..], &base, given, at, depth);
            }
        }
        is_build
    }

    /// Reads the commands of a Makefile's goals.
    fn make(
        &mut self,
        words: &[String],
        base: &str,
        given: &[(String, String)],
        at: (&Place, &Node),
        depth: usize,
    ) -> bool {
        let mut base = base.to_owned();
        let (mut names, mut goals, mut vars) =
            (MAKEFILES.map(str::to_owned).to_vec(), Vec::new(), Vec::new());
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match (word.as_str(), word.split_once('=')) {
                ("-C" | "--directory", _) => {
                    base = words.next().map_or(base.clone(), |to| path::join(&base, to));
                }
                ("-f" | "--file" | "--makefile", _) => names = words.next().cloned().into_iter().collect(),
                (option, _) if option.starts_with('-') => {}
                (_, Some((name, value))) => vars.push((name.to_owned(), value.to_owned())),
                (goal, None) => goals.push(Some(goal)),
            }
        }
        let text = names
            .iter()
            .find_map(|name| self.importer.text(&path::join(&base, name)));
        let Some(text) = text.filter(|_| self.files < MOST_FILES) else {
            return false;
        };
        self.files += 1;
        let makefile = Makefile::read(&text, &vars);
        if goals.is_empty() {
            goals.push(None);
        }
        let given = [makefile.exported("PKR_VAR_").as_slice(), given].concat();
        let mut is_build = false;
        for command in goals.into_iter().flat_map(|goal| makefile.commands(goal)) {
            is_build |= self.run(&command, &base, &given, at, depth + 1);
        }
        is_build
    }

    /// A run of Packer: what stands before its `build`, and from there on.
    fn build(
        &mut self,
        (before, rest): (&[String], &[String]),
        base: &str,
        mut vars: Vec<(String, String)>,
        (place, node): (&Place, &Node),
    ) {
        let assigned = before
            .iter()
            .filter_map(|word| word.strip_prefix("PKR_VAR_")?.split_once('='));
        vars.extend(assigned.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let mut command = Command {
            templates: Vec::new(),
            written: String::new(),
            vars,
            var_files: Vec::new(),
            only: Vec::new(),
            except: Vec::new(),
            place: place.clone(),
        };
        let mut rest = rest.iter().skip(1).cloned();
        let place = &node.place;
        while let Some(word) = rest.next() {
            let (flag, inline) = match word.split_once('=') {
                Some((flag, value)) if word.starts_with('-') => (flag.to_owned(), Some(value.to_owned())),
                _ => (word.clone(), None),
            };
            if !flag.starts_with('-') {
                command.written = word;
                continue;
            }
            match flag.trim_start_matches('-') {
                "var" => {
                    let value = inline.or_else(|| rest.next()).unwrap_or_default();
                    match value.split_once('=') {
                        Some((name, value)) => command.vars.push((name.to_owned(), value.to_owned())),
                        None => {
                            self.importer.note(
                                Weight::Lost,
                                Some(place),
                                format!("-var {value}"),
                                "has no value",
                            );
                        }
                    }
                }
                "var-file" => {
                    let written = inline.or_else(|| rest.next()).unwrap_or_default();
                    let found = path::join(base, &written);
                    match self.importer.text(&found) {
                        Some(text) => command.var_files.push(Input {
                            shown: path::relative(&self.importer.request.folder, &found),
                            path: found,
                            text,
                        }),
                        None => self.importer.note(
                            Weight::Todo,
                            Some(place),
                            format!("-var-file {written}"),
                            "there is no such file",
                        ),
                    }
                }
                kind @ ("only" | "except") => {
                    let names = inline.or_else(|| rest.next()).unwrap_or_default();
                    let names = names.split(',').map(str::to_owned);
                    match kind {
                        "only" => command.only.extend(names),
                        _ => command.except.extend(names),
                    }
                }
                "on-error" | "parallel-builds" | "parallel" => {
                    let value = inline.or_else(|| rest.next()).unwrap_or_default();
                    self.importer.note(Weight::Decided, Some(place), format!("{flag} {value}"), "how Packer behaved; builds run in parallel, and what fails leaves its logs and screen");
                }
                _ => self.importer.note(
                    Weight::Decided,
                    Some(place),
                    flag,
                    "how Packer behaved; has no meaning here",
                ),
            }
        }
        command.templates = vec![
            path::join(base, &command.written),
            path::join(&self.importer.request.folder, &command.written),
            path::join(&self.folder, &command.written),
        ];
        command.templates.dedup();
        self.plan.builds.push(command);
    }
}
