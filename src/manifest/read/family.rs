//! `families`: files with families and installers of the user's own, in addition to the built-in ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::NamedSource;

use super::Reading;
use crate::families::{self, Fault, Kind, Mistake, Tables};
use crate::installer::Installer;
use crate::manifest::describe::tables::MANIFEST;
use crate::manifest::error::{ProblemKind, Source, Span};
use crate::manifest::fields::Fields;
use crate::manifest::files::FileError;
use crate::manifest::model::Template;
use crate::manifest::{builtin, names, suggest};

/// A file that the manifest names.
struct File<'a> {
    reading: Reading<'a>,
    /// As the manifest names it.
    name: String,
    /// Where it does so.
    named: Span,
    text: Arc<str>,
    source: Source,
}

/// All families and installers that there are for a manifest.
pub fn tables(reading: Reading<'_>, root: &Fields<'_>) -> Tables {
    let mut tables = Tables::built_in().clone();
    let mut files = Vec::new();
    let mut rows_of_files: BTreeMap<(Kind, String), String> = BTreeMap::new();
    for cell in root.items(&MANIFEST.families) {
        let Some(name) = cell.read() else { continue };
        let Some(text) = reading.found(&cell, reading.files.text(&name)) else {
            continue;
        };
        let (rows, mistakes) = families::read(&text);
        let file = File {
            reading,
            source: Arc::new(NamedSource::new(&name, Arc::clone(&text))),
            named: cell.span().clone(),
            name,
            text,
        };
        for mistake in mistakes {
            file.report(mistake);
        }
        for (kind, row) in rows.names() {
            let twice = rows_of_files.insert((kind, row.to_owned()), file.name.clone());
            if let Some(first) = twice {
                let cause = format!("`{first}` has a row of this name already");
                file.bad(&[kind.name(), row], cause, "give one of them another name");
            }
        }
        tables.add(rows.of_file(&file.name));
        files.push(file);
    }
    // Rows may name those of files that come later.
    for file in &files {
        file.check(&tables);
    }
    tables
}

/// The answers that a row of a file of the user's names: a file relative to that one, or a built-in template.
pub(super) fn answers(reading: Reading<'_>, origin: &str, name: &str) -> Result<Template, FileError> {
    let folder = Path::new(origin).parent().unwrap_or(Path::new(""));
    let path: PathBuf = folder.join(name);
    let path = path.to_string_lossy();
    match reading.files.text(&path) {
        Ok(text) => Ok(Template {
            name: path.into_owned(),
            text: text.as_ref().to_owned(),
        }),
        Err(error @ FileError::Missing { .. }) => super::distro::built_in(name).ok_or(error),
        Err(error) => Err(error),
    }
}

impl File<'_> {
    fn report(&self, mistake: Mistake) {
        let path = match mistake.path.as_str() {
            "" => self.name.clone(),
            path => path.to_owned(),
        };
        let kind = match mistake.fault {
            Fault::Unknown { key, known } => {
                let remedy = suggest::remedy(&key, "known keys", known.iter().map(String::as_str));
                ProblemKind::UnknownKey { key, path, remedy }
            }
            Fault::Missing(key) => ProblemKind::BadValue {
                path,
                cause: format!("it lacks `{key}`"),
                remedy: families::SEE.to_owned(),
            },
            Fault::Other(cause) => ProblemKind::BadValue {
                path,
                cause,
                remedy: families::SEE.to_owned(),
            },
        };
        let problems = self.reading.problems;
        problems.add_elsewhere(&self.named, Arc::clone(&self.source), Some(mistake.span), kind);
    }

    /// Reports a value of a row.
    fn bad(&self, place: &[&str], cause: String, remedy: impl Into<String>) {
        self.report_at(place, |path| ProblemKind::BadValue {
            path,
            cause,
            remedy: remedy.into(),
        });
    }

    fn report_at(&self, place: &[&str], kind: impl FnOnce(String) -> ProblemKind) {
        let span = families::span(&self.text, place);
        let problems = self.reading.problems;
        problems.add_elsewhere(&self.named, Arc::clone(&self.source), span, kind(place.join(".")));
    }

    /// Reports what rows say that cannot be.
    fn check(&self, tables: &Tables) {
        let is_of_this = |origin: &Option<String>| origin.as_ref() == Some(&self.name);
        for family in tables.families().filter(|row| is_of_this(&row.origin)) {
            let place = ["family", family.name.as_str()];
            self.check_name(&place, "the name of a family", &family.name);
            if let Some(base) = &family.bootstrap {
                self.check_answers(&[&place[..], &["bootstrap", "answers"]].concat(), &base.answers);
            }
        }
        for (name, row) in tables.installers().filter(|(_, row)| is_of_this(&row.origin)) {
            self.check_installer(name, row, tables);
        }
        for recipe in tables.recipes().filter(|row| is_of_this(&row.origin)) {
            if let Some((key, cause)) = recipe.fault() {
                self.report_at(&["release", &recipe.name], |path| ProblemKind::BadValue {
                    path: format!("{path}.{key}"),
                    cause,
                    remedy: families::SEE.to_owned(),
                });
            }
        }
    }

    fn check_installer(&self, name: &str, row: &Installer, tables: &Tables) {
        let at = |key| ["installer", name, key];
        if tables.family(&row.family).is_none() {
            let known = tables.families().map(|family| family.name.as_str());
            let remedy = suggest::remedy(&row.family, "families", known);
            self.bad(
                &at("family"),
                format!("there is no family `{}`", row.family),
                remedy,
            );
        }
        if tables.program(&row.program).is_none() {
            let remedy = suggest::remedy(&row.program, "programs", tables.programs());
            let cause = format!("there is no program `{}`", row.program);
            self.bad(&at("program"), cause, remedy);
        }
        if !row.takes(row.delivery) {
            let way = row.delivery.name();
            let needed = if way == "seed" { "label" } else { way };
            let cause = format!("answers cannot come by `{way}`: the row has no `{needed}`");
            self.bad(&at("delivery"), cause, families::SEE);
        }
        if row.label.len() > SEED_LABEL {
            let cause = format!("a FAT label has at most {SEED_LABEL} letters");
            self.bad(&at("label"), cause, "shorten it");
        }
        if row.images.is_empty() && row.treeinfo.is_empty() {
            let cause = "neither this nor `treeinfo` says where a medium keeps its kernel".to_owned();
            self.bad(&at("images"), cause, families::SEE);
        }
        for (key, name) in [("file", &row.file)]
            .into_iter()
            .chain(row.other_seed_files.iter().map(|name| ("other_seed_files", name)))
        {
            self.check_name(&at(key), "the name of a file", name);
        }
        self.check_answers(&at("answers"), &row.answers);
    }

    fn check_name(&self, place: &[&str], what: &'static str, name: &str) {
        if let Some(cause) = names::file_fault(name) {
            self.report_at(place, |_| ProblemKind::BadName {
                what,
                name: name.to_owned(),
                cause,
                remedy: names::FILE_REMEDY,
            });
        }
    }

    fn check_answers(&self, place: &[&str], name: &str) {
        let Err(error) = answers(self.reading, &self.name, name) else {
            return;
        };
        let built_in = builtin::TEMPLATES.iter().map(|(name, _)| *name);
        let remedy = match (&error, suggest::near(name, built_in).first()) {
            (FileError::Missing { .. }, Some(best)) => format!("did you mean the built-in `{best}`?"),
            (FileError::Missing { near, .. }, None) if near.is_empty() => {
                format!("names of files are relative to the folder of `{}`", self.name)
            }
            _ => error.remedy(),
        };
        let cause = error.to_string();
        self.report_at(place, |path| ProblemKind::File { path, cause, remedy });
    }
}

/// Letters of a FAT file system's label.
const SEED_LABEL: usize = 11;
