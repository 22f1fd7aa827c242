//! Packer templates, and the Ansible playbook around them, turned into one manifest: [`import`].
//!
//! The way of the data: `legacy` and `hcl` read templates into one plain form ([`template`]); `playbook` says which
//! builds are made of them; `distro`, `steps` and `publish` say what a build is in a manifest; `fold` makes one distro
//! of builds that differ by size alone; `write` writes it all down. What cannot be written down becomes a note.

mod answers;
mod build;
mod distro;
mod fold;
mod go;
mod hcl;
mod legacy;
mod media;
pub mod options;
mod playbook;
mod publish;
mod steps;
mod system;
mod template;
mod typed;
mod vars;
mod write;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use self::build::{Build, Desk};
use self::fold::Made;
use self::playbook::Plan;
use self::template::Template;
use super::node::Place;
use super::note::{Notes, Weight};
use super::path;

/// Largest file that is read, in bytes.
pub const LARGEST_FILE: usize = 256 * 1024;
/// Builds of one import.
const MOST_BUILDS: usize = 1000;

/// A file that the user named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// As the user named it.
    pub shown: String,
    /// Absolute, without `..`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// A template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// An old JSON one.
    Json(Input),
    /// An HCL2 one, of several files in one folder.
    Hcl {
        /// As the user named it.
        shown: String,
        /// Its folder, absolute.
        folder: String,
        /// Its files, in the order of their names.
        files: Vec<Input>,
    },
}

/// What is to be imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Templates.
    pub configs: Vec<Config>,
    /// `-var NAME=VALUE`, in order.
    pub vars: Vec<(String, String)>,
    /// `--var-file`, in order; they count less than `vars`.
    pub var_files: Vec<Input>,
    /// The playbook that runs Packer.
    pub playbook: Option<Input>,
    /// The working directory, absolute: Packer's relative paths start here.
    pub folder: String,
    /// Where the manifest will be, absolute.
    pub manifest: String,
    /// The time, in seconds since 1970: for `isotime`.
    pub now: i64,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A file, with its text.
    Text(String),
    /// A file without a text of a reasonable size.
    Bytes,
    /// A folder.
    Folder,
    /// Nothing.
    Missing,
}

/// Looks at an absolute path.
pub type Look<'a> = &'a dyn Fn(&str) -> Found;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The manifest's text.
    pub manifest: String,
    /// Files that it needs beside it, with their texts.
    pub files: BTreeMap<String, String>,
    /// What there is to tell.
    pub notes: Notes,
    /// Number of distros.
    pub distros: usize,
    /// Number of images.
    pub images: usize,
}

/// Why nothing came of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{cause}", place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default())]
pub struct Fault {
    /// Where.
    pub place: Option<Place>,
    /// What is wrong.
    pub cause: String,
    /// What to do.
    pub remedy: String,
}

impl Fault {
    fn new(place: &Place, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            place: Some(place.clone()),
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }
}

/// Values that are given from outside a template.
#[derive(Clone, Debug, Default)]
struct Overrides {
    /// Plain ones; the last one of a name counts.
    texts: Vec<(String, String)>,
    /// HCL files of variables, name and text.
    hcl_files: Vec<(Arc<str>, Arc<str>)>,
}

impl Overrides {
    fn value(&self, name: &str) -> Option<String> {
        let found = self.texts.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    }

    fn new(files: &[Input], vars: &[(String, String)]) -> Result<Self, Vec<Fault>> {
        let mut all = Self::default();
        for file in files {
            let shown = Arc::from(file.shown.as_str());
            if file.path.ends_with(".json") {
                let values = legacy::variable_file(&shown, &file.text).map_err(|fault| vec![fault])?;
                all.texts.extend(values);
            } else {
                all.hcl_files.push((shown, Arc::from(file.text.as_str())));
            }
        }
        all.texts.extend(vars.iter().cloned());
        Ok(all)
    }
}

/// Imports templates. Every key of theirs is in the manifest, or in a note.
///
/// # Errors
/// Whatever keeps a template from being understood at all, or when nothing is left to build.
pub fn import(request: &Request, look: Look<'_>) -> Result<Imported, Vec<Fault>> {
    let desk = Desk {
        request,
        look,
        notes: RefCell::default(),
        files: RefCell::default(),
    };
    let mut faults = Vec::new();
    let plan = match &request.playbook {
        Some(playbook) => Some(playbook::read(playbook, &desk)?),
        None => None,
    };
    let jobs = jobs(request, plan.as_ref(), &desk)?;
    let mut templates: Vec<(usize, Template)> = Vec::new();
    for job in &jobs {
        match read(job, &desk) {
            Ok(template) => templates.push((job.config, template)),
            Err(more) => faults.extend(more),
        }
    }
    faults.dedup();
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut builds = Vec::new();
    for (config, template) in &templates {
        for (at, builder) in template.builders.iter().enumerate() {
            if builder.kind == "qemu" {
                builds.push(((*config, at), Build::new(&desk, template, builder)));
            } else {
                desk.note(
                    Weight::Lost,
                    Some(&builder.options.place),
                    format!("builder {}", builder.kind),
                    "only images for qemu are built here; nothing of it is in the manifest",
                );
            }
        }
    }
    if builds.len() > MOST_BUILDS {
        return Err(vec![Fault {
            place: None,
            cause: format!(
                "{} builds are more than the {MOST_BUILDS} that one manifest should have",
                builds.len()
            ),
            remedy: "import fewer templates at once".to_owned(),
        }]);
    }
    let kept = vars::keep(&mut builds, &desk);
    let made: Vec<Made> = builds
        .iter()
        .filter_map(|(key, build)| fold::made(*key, build))
        .collect();
    if made.is_empty() {
        let notes = desk.notes.borrow();
        let why = notes.iter().find(|note| note.weight == Weight::Todo);
        return Err(vec![Fault {
            place: why.and_then(|note| note.place.clone()),
            cause: why.map_or("there is nothing to build".to_owned(), |note| {
                format!("{}: {}", note.subject, note.text)
            }),
            remedy: "name templates with a builder of the type `qemu`".to_owned(),
        }]);
    }
    let fleet = fold::fold(made, kept, &desk);
    let publish = publish::publish(&fleet, &builds, plan.as_ref(), &desk);
    if let Some(plan) = &plan {
        playbook::compare(plan, &fleet, &desk);
    }
    let manifest = write::manifest(&fleet, &publish, &desk);
    Ok(Imported {
        manifest,
        distros: fleet.distros.len(),
        images: fleet
            .images
            .iter()
            .map(|images| images.sizes.len() * images.distros.len())
            .sum(),
        files: desk.files.into_inner(),
        notes: desk.notes.into_inner(),
    })
}

/// One command of Packer's.
#[derive(Clone, Debug)]
struct Job<'r> {
    /// Which template.
    config: usize,
    template: std::borrow::Cow<'r, Config>,
    vars: Vec<(String, String)>,
    var_files: Vec<Input>,
}

fn jobs<'r>(request: &'r Request, plan: Option<&Plan>, desk: &Desk<'_>) -> Result<Vec<Job<'r>>, Vec<Fault>> {
    use std::borrow::Cow;
    let Some(plan) = plan else {
        let plain = |(config, template)| Job {
            config,
            template: Cow::Borrowed(template),
            vars: request.vars.clone(),
            var_files: request.var_files.clone(),
        };
        return Ok(request.configs.iter().enumerate().map(plain).collect());
    };
    let mut known: Vec<(String, Cow<'r, Config>)> = Vec::new();
    for config in &request.configs {
        let at = match config {
            Config::Json(input) => input.path.clone(),
            Config::Hcl { folder, .. } => folder.clone(),
        };
        known.push((at, Cow::Borrowed(config)));
    }
    let (mut jobs, mut faults, mut used) = (Vec::new(), Vec::new(), Vec::new());
    for command in &plan.builds {
        let found = command.templates.iter().find_map(|path| {
            let fits = |(at, config): &(String, Cow<'_, Config>)| {
                at == path
                    || matches!(config.as_ref(), Config::Hcl { files, .. } if files.iter().any(|file| file.path == *path))
            };
            known.iter().position(fits)
        });
        let at = found.or_else(|| {
            let read = |path: &String| desk.text(path).map(|text| (path.clone(), text));
            let (path, text) = command.templates.iter().find_map(read)?;
            let shown = path::relative(&request.folder, &path);
            let input = Input {
                shown: shown.clone(),
                path: path.clone(),
                text,
            };
            let config = if path.ends_with(".hcl") {
                let (folder, files) = (path::folder(&path), vec![input]);
                Config::Hcl { shown, folder, files }
            } else {
                Config::Json(input)
            };
            known.push((path, Cow::Owned(config)));
            Some(known.len() - 1)
        });
        let Some(at) = at else {
            faults.push(Fault::new(
                &command.place,
                format!("packer builds `{}`, which is not there", command.written),
                "name the template, or its folder, beside the playbook",
            ));
            continue;
        };
        let mut vars = command.vars.clone();
        vars.extend(request.vars.iter().cloned());
        let mut var_files = command.var_files.clone();
        var_files.extend(request.var_files.iter().cloned());
        used.push(at);
        jobs.push(Job {
            config: at,
            template: known[at].1.clone(),
            vars,
            var_files,
        });
    }
    for (at, (path, _)) in known.iter().enumerate() {
        if !used.contains(&at) {
            desk.note(
                Weight::Lost,
                None,
                path::relative(&request.folder, path),
                "the playbook does not build this template, so it is left out; import it by itself if it is wanted",
            );
        }
    }
    if faults.is_empty() { Ok(jobs) } else { Err(faults) }
}

fn read(job: &Job<'_>, desk: &Desk<'_>) -> Result<Template, Vec<Fault>> {
    let overrides = Overrides::new(&job.var_files, &job.vars)?;
    let mut notes = Notes::default();
    let template = match job.template.as_ref() {
        Config::Json(input) => {
            let shown = Arc::from(input.shown.as_str());
            legacy::read(
                &shown,
                &input.text,
                &path::folder(&input.path),
                &overrides,
                &mut notes,
            )
        }
        Config::Hcl { shown, folder, files } => {
            let texts: Vec<_> = files
                .iter()
                .map(|file| (Arc::from(file.shown.as_str()), Arc::from(file.text.as_str())))
                .collect();
            hcl::read(&Arc::from(shown.as_str()), &texts, folder, &overrides, &mut notes)
        }
    };
    desk.notes.borrow_mut().extend(notes);
    let template = template?;
    for (name, _) in &job.vars {
        if !template.variables.iter().any(|variable| variable.name == *name) {
            let place = template.builders.first().map(|builder| &builder.options.place);
            desk.note(
                Weight::Lost,
                place,
                format!("-var {name}=…"),
                "the template has no such variable (Packer would refuse it)",
            );
        }
    }
    Ok(template)
}
