//! Tables to data, section by section. What cannot be read is reported and stands in as something harmless, so that one
//! mistake does not cause others. Names are not resolved here.

mod check;
mod computers;
mod distro;
mod family;
mod format;
mod image;
mod installer;
mod medium;
mod step;
mod target;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::checks::CheckSet;
use crate::platform::Start;
use crate::size::ByteSize;

pub use self::check::{CheckDraft, Checks, Pattern};
pub use self::family::tables;
pub use self::format::FormatDraft;
pub use self::target::TargetDraft;
use super::context::RESERVED;
use super::describe::row::{Cell, Named, Var};
use super::describe::tables::{HOOK, MANIFEST, PIPELINE, REPORT, RESOURCES};
use super::describe::text::Variable;
use super::error::{ProblemKind, Span};
use super::fields::{Field, Fields};
use super::files::FileError;
use super::model::{Distro, Hook, Publish, Resources, Step};
use super::names;
pub use crate::syntax::reading::{Reading, Spot};

/// `[pipeline]`.
#[derive(Debug, Default)]
pub struct Pipeline {
    /// `pipeline.name`.
    pub name: Option<String>,
    /// `pipeline.output`.
    pub output: PathBuf,
}

/// The manifest before names are resolved.
#[derive(Debug)]
pub struct Draft {
    /// `[vars]`.
    pub vars: Vars,
    /// `[resources]`.
    pub resources: Resources,
    /// `[distros.*]`.
    pub distros: Vec<DistroDraft>,
    /// `[flavors.*]`.
    pub flavors: Vec<FlavorDraft>,
    /// `[[images]]`.
    pub images: Vec<ImageDraft>,
    /// `[[checks]]`.
    pub checks: Vec<CheckDraft>,
    /// `[publish]`.
    pub publish: Publish,
    /// `publish.file`.
    pub file: Option<Spot>,
    /// `publish.formats`.
    pub formats: Vec<FormatDraft>,
    /// `report.file`.
    pub report: Option<PathBuf>,
    /// `[[hooks]]`.
    pub hooks: Vec<Hook>,
    /// `[publish.*]`; its targets stand in `publish` too.
    pub targets: Vec<TargetDraft>,
}

/// Names with their values.
pub type Vars = BTreeMap<String, serde_json::Value>;

/// A distro and the places that cross-checks point at.
#[derive(Debug)]
pub struct DistroDraft {
    pub distro: Distro,
    /// Its name in the header.
    pub name_span: Span,
    /// `disk`, where written.
    pub disk_span: Span,
    /// `memory`, where written.
    pub memory_span: Span,
    /// `cpus`, where written.
    pub cpus_span: Span,
    /// `answers`, where written.
    pub answers_span: Span,
    /// `source`, where written.
    pub source_span: Span,
    /// Templates in its source: what is typed, arguments of a kernel.
    pub source_templates: Vec<Spot>,
}

/// A flavor's own part.
#[derive(Debug)]
pub struct FlavorDraft {
    pub name: String,
    /// Its name in the header.
    pub name_span: Span,
    /// `extends`.
    pub extends: Option<Spot>,
    /// Its own steps.
    pub steps: Vec<Step>,
    /// Its own `checks`.
    pub checks: Vec<CheckSet>,
    /// Templates in the environment of its steps.
    pub env: Vec<Spot>,
}

/// One `[[images]]` table.
#[derive(Debug)]
pub struct ImageDraft {
    /// `distro`.
    pub distros: Vec<Spot>,
    /// `flavor`.
    pub flavors: Vec<Spot>,
    /// `sizes`.
    pub sizes: Vec<(ByteSize, Spot)>,
    /// `id`.
    pub id: Option<Spot>,
    /// `checks`.
    pub checks: Vec<CheckSet>,
    /// `firmware`; nothing means all that its distro has.
    pub firmware: Vec<(Start, Spot)>,
}

/// Reads `[pipeline]`, which says where things are.
pub fn pipeline(root: &Fields<'_>) -> Pipeline {
    let table = root.table(&MANIFEST.pipeline);
    Pipeline {
        name: table.read(&PIPELINE.name),
        output: table.read_or_default(&PIPELINE.output).into(),
    }
}

/// Reads everything else.
pub fn draft(reading: Reading<'_>, root: &Fields<'_>) -> Draft {
    let vars = reading.vars(root.get(&MANIFEST.vars));
    let resources = resources(root);
    let distros = distro::read_all(reading, root, &vars);
    let flavors = step::read_all(reading, root);
    let images = image::read_all(root);
    let checks = check::read_all(root);
    let formats = format::read_all(root);
    let (publish, file, targets) = image::read_publish(reading, root, &formats);
    Draft {
        vars,
        resources,
        distros,
        flavors,
        images,
        checks,
        publish,
        file,
        formats,
        report: root.table(&MANIFEST.report).read(&REPORT.file).map(PathBuf::from),
        hooks: hooks(root),
        targets,
    }
}

fn hooks(root: &Fields<'_>) -> Vec<Hook> {
    let tables = root.items(&MANIFEST.hooks);
    let tables = tables.iter().filter_map(Cell::fields);
    let hooks = tables.filter_map(|table| {
        Some(Hook {
            after: table.read(&HOOK.after)?,
            command: table.read(&HOOK.command)?,
            timeout: table.read_or_default(&HOOK.timeout),
        })
    });
    hooks.collect()
}

fn resources(root: &Fields<'_>) -> Resources {
    let table = root.table(&MANIFEST.resources);
    Resources {
        memory: table.read(&RESOURCES.memory),
        cpus: table.read(&RESOURCES.cpus),
        scratch: table.read(&RESOURCES.scratch),
        jobs: table.read(&RESOURCES.jobs),
        reread: table.read(&RESOURCES.reread),
    }
}

impl Reading<'_> {
    /// Checks a name that becomes part of file names.
    fn file_name(&self, span: &Span, what: &'static str, name: &str) {
        if let Some(cause) = names::file_fault(name) {
            let (name, remedy) = (name.to_owned(), names::FILE_REMEDY);
            self.problems.add(
                span,
                ProblemKind::BadName {
                    what,
                    name,
                    cause,
                    remedy,
                },
            );
        }
    }

    /// Checks the name of a variable.
    fn variable_name(&self, span: &Span, name: &str) {
        if let Some(cause) = names::variable_fault(name) {
            let (name, remedy) = (name.to_owned(), names::VARIABLE_REMEDY);
            let what = "the name of a variable";
            self.problems.add(
                span,
                ProblemKind::BadName {
                    what,
                    name,
                    cause,
                    remedy,
                },
            );
        }
    }

    /// Gives what was read from a file, or reports why not.
    fn found<T>(&self, field: &Field<'_>, found: Result<T, FileError>) -> Option<T> {
        found
            .map_err(|error| {
                self.file_problem(field, &error, error.remedy());
            })
            .ok()
    }

    /// The file that a value names, as an absolute path.
    fn file(&self, field: &Field<'_>) -> Option<PathBuf> {
        self.found(field, self.files.file(field.text()?))
    }

    fn file_problem(&self, field: &Field<'_>, error: &FileError, remedy: String) {
        let (path, cause) = (field.path.clone(), error.to_string());
        field.report(ProblemKind::File { path, cause, remedy });
    }

    /// `vars` of the manifest or of a distro.
    fn vars(&self, cell: Option<Cell<'_, Named<Variable, Var>>>) -> Vars {
        let mut vars = Vars::new();
        for var in cell.iter().flat_map(Cell::named) {
            self.variable_name(var.key_span, var.key);
            if RESERVED.contains(&var.key) {
                let (path, name) = (var.path.clone(), var.key.to_owned());
                self.problems
                    .add(var.key_span, ProblemKind::Reserved { path, name });
                continue;
            }
            // A value that is no good still defines its name.
            vars.insert(var.key.to_owned(), var.read().unwrap_or_default());
        }
        vars
    }

    /// Where a place inside a text value stands in the manifest, unless escapes are in the way.
    pub fn inner(&self, outer: &Span, value: &str, inner: Span) -> Option<Span> {
        let raw = self.text.get(outer.clone())?;
        ["\"\"\"\n", "'''\n", "\"\"\"", "'''", "\"", "'"]
            .iter()
            .find_map(|quote| {
                let rest = raw.strip_prefix(quote)?.strip_suffix(quote.trim_end())?;
                let offset = outer.start + quote.len();
                (rest == value && value.get(inner.clone()).is_some())
                    .then(|| offset + inner.start..offset + inner.end)
            })
    }
}
