//! Tables to data, section by section. What cannot be read is reported and stands in as something harmless, so that one
//! mistake does not cause others. Names are not resolved here.

mod check;
mod distro;
mod image;
mod installer;
mod step;
mod target;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use crate::size::{ByteSize, MIB};

pub use self::check::{CheckDraft, Checks, Pattern};

pub use self::target::TargetDraft;
use super::assertion::CheckSet;
use super::context::RESERVED;
use super::error::{ProblemKind, Problems, Span};
use super::fields::{Field, Fields};
use super::files::{FileError, Files};
use super::model::{Distro, Publish, Resources, Step};
use super::names;
use super::parse::{Node, Value};

/// What every section needs.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The manifest's text.
    pub text: &'a str,
    /// Where mistakes go.
    pub problems: &'a Problems,
    /// The files that the manifest names.
    pub files: &'a Files,
}

/// `[pipeline]`.
#[derive(Debug, Default)]
pub struct Pipeline {
    /// `pipeline.name`.
    pub name: Option<String>,
    /// `pipeline.output`.
    pub output: Option<PathBuf>,
}

/// A text and where it stands.
#[derive(Clone, Debug)]
pub struct Spot {
    /// Dotted place in the manifest.
    pub path: String,
    /// The value.
    pub text: String,
    /// Its place.
    pub span: Span,
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
    /// `[publish.*]`; its targets stand in `publish` too.
    pub targets: Vec<TargetDraft>,
}

/// Names with their values.
pub type Vars = BTreeMap<String, serde_json::Value>;

/// A distro and the places that cross-checks point at.
#[derive(Debug)]
pub struct DistroDraft {
    /// As read.
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
    /// Templates in its source: what is typed, arguments of a kernel.
    pub source_templates: Vec<Spot>,
}

/// A flavor's own part.
#[derive(Debug)]
pub struct FlavorDraft {
    /// Table name.
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
}

impl Spot {
    fn new(field: &Field<'_>, text: &str) -> Self {
        Self {
            path: field.path.clone(),
            text: text.to_owned(),
            span: field.span().clone(),
        }
    }
}

/// Reads `[pipeline]`, which tells where things are.
pub fn pipeline(reading: Reading<'_>, root: &Fields<'_>) -> Pipeline {
    let mut pipeline = Pipeline::default();
    let table = root
        .get("pipeline")
        .and_then(|field| field.table("{ name = \"images\" }"));
    let Some(table) = table else { return pipeline };
    if let Some(field) = table.get("name")
        && let Some(text) = field.text("\"images\"")
    {
        reading.file_name(field.span(), "the name of a pipeline", text);
        pipeline.name = Some(text.to_owned());
    }
    if let Some(field) = table.get("output") {
        pipeline.output = field.text("\"out\"").map(PathBuf::from);
    }
    table.finish();
    pipeline
}

/// Reads everything else.
pub fn draft(reading: Reading<'_>, root: &Fields<'_>) -> Draft {
    let vars = reading.vars(root);
    let resources = resources(root);
    let distros = distro::read_all(reading, root, &vars);
    let flavors = step::read_all(reading, root);
    let images = image::read_all(root);
    let checks = check::read_all(root);
    let (publish, file, targets) = image::read_publish(reading, root);
    Draft {
        vars,
        resources,
        distros,
        flavors,
        images,
        checks,
        publish,
        file,
        targets,
    }
}

fn resources(root: &Fields<'_>) -> Resources {
    let mut resources = Resources::default();
    let table = root
        .get("resources")
        .and_then(|field| field.table("{ memory = \"4G\" }"));
    let Some(table) = table else { return resources };
    resources.memory = table.get("memory").and_then(|field| size(&field, "\"4G\""));
    resources.cpus = table.get("cpus").and_then(|field| cpus(&field));
    resources.scratch = table.get("scratch").and_then(|field| size(&field, "\"20G\""));
    let jobs = table.get("jobs").and_then(|field| field.whole(1..=1024, "2"));
    resources.jobs = jobs.and_then(|jobs| usize::try_from(jobs).ok());
    table.finish();
    resources
}

/// A size of a disk or of memory.
fn size(field: &Field<'_>, example: &str) -> Option<ByteSize> {
    let size = field.parsed(example, ByteSize::from_str)?;
    if size.0 < MIB {
        let text = field.text(example)?;
        field.bad(
            format!("{size} is too small"),
            format!("did you mean \"{text}G\"?"),
        );
        return None;
    }
    if !size.0.is_multiple_of(512) {
        field.bad(
            format!("{} bytes are not a whole number of sectors", size.0),
            "write a multiple of 512 bytes",
        );
        return None;
    }
    Some(size)
}

fn cpus(field: &Field<'_>) -> Option<u32> {
    let number = field.whole(1..=512, "2")?;
    u32::try_from(number).ok()
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

    fn file_problem(&self, field: &Field<'_>, error: &FileError, remedy: String) {
        let (path, cause) = (field.path.clone(), error.to_string());
        field.report(ProblemKind::File { path, cause, remedy });
    }

    /// `vars` of the manifest or of a distro.
    fn vars(&self, fields: &Fields<'_>) -> Vars {
        let table = fields
            .get("vars")
            .and_then(|field| field.table("{ keymap = \"fr\" }"));
        let mut vars = Vars::new();
        for field in table.iter().flat_map(Fields::all) {
            self.variable_name(field.key_span, field.key);
            if RESERVED.contains(&field.key) {
                let (path, name) = (field.path.clone(), field.key.to_owned());
                self.problems
                    .add(field.key_span, ProblemKind::Reserved { path, name });
                continue;
            }
            // A value that is no good still defines its name.
            let value = var(&field, field.node).unwrap_or_default();
            vars.insert(field.key.to_owned(), value);
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

fn var(field: &Field<'_>, node: &Node) -> Option<serde_json::Value> {
    Some(match &node.value {
        Value::Text(text) | Value::Date(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Boolean(flag) => (*flag).into(),
        Value::Float(number) if number.is_finite() => (*number).into(),
        Value::List(items) => items
            .iter()
            .map(|item| var(field, item))
            .collect::<Option<Vec<_>>>()?
            .into(),
        Value::Float(_) | Value::Table(_) => {
            field.report(ProblemKind::WrongType {
                path: field.path.clone(),
                found: node.type_name(),
                wanted: "a text, a number, true or false, or a list of those",
                example: format!("{} = \"fr\"", field.key),
            });
            return None;
        }
    })
}
