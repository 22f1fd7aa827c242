//! Packer templates, and the Ansible playbook around them, turned into one manifest: [`import`].
//!
//! The way of the data: `jobs` says which templates are read with which variables (`playbook` knows more of them);
//! `legacy` and `hcl` read each into one plain form, the `Template` of `model`; `distro`, `steps` and `publish` say what a build is in a manifest; `fold` makes one distro
//! of builds that differ by size alone; `write` writes it all down. What cannot be written down becomes a note.

mod answers;
mod build;
mod distro;
mod feed;
mod fold;
mod go;
mod hcl;
mod jobs;
mod legacy;
mod machine;
mod makefile;
mod matrix;
mod media;
mod model;
mod options;
mod playbook;
mod publish;
mod seed;
mod shell_words;
mod steps;
mod system;
mod times;
mod typed;
mod uuid;
mod vars;
mod write;

use std::cell::RefCell;

pub use self::jobs::{add, configs, input};
pub use self::model::{Config, Fault, Found, Imported, Input, LARGEST_FILE, Look, Request, System};
pub use self::system::written as system;

use self::build::{Build, Importer};
use self::fold::Made;
use self::model::Template;
use super::note::Weight;

/// What an answer file becomes, where vars do not say all of it: a template that extends the built-in one.
pub fn answers(program: &str, text: &str, parent: &str) -> Option<String> {
    let built_in = crate::manifest::builtin::template(parent).unwrap_or_default();
    answers::convert(program, text, answers::Quote::File, built_in, "ann").template(parent)
}

/// Builds of one import.
const MOST_BUILDS: usize = 1000;

/// Imports templates. Every key of theirs is in the manifest, or in a note.
///
/// # Errors
/// Whatever keeps a template from being understood at all, or when nothing is left to build.
pub fn import(request: &Request, look: Look<'_>) -> Result<Imported, Vec<Fault>> {
    let importer = Importer {
        request,
        look,
        notes: RefCell::default(),
        refusals: RefCell::default(),
        files: RefCell::default(),
    };
    let plan = match &request.playbook {
        Some(playbook) => Some(playbook::read(playbook, &importer)?),
        None => None,
    };
    let jobs = jobs::jobs(request, plan.as_ref(), &importer)?;
    let mut templates: Vec<(usize, Template)> = Vec::new();
    for job in &jobs {
        match jobs::read(job, &importer) {
            Ok(template) => templates.push((job.config, template)),
            // It costs this template alone.
            Err(faults) => {
                for fault in faults {
                    let text = format!("is left out: {}; {}", fault.cause, fault.remedy);
                    importer.note(Weight::Todo, fault.place.as_ref(), "template", text);
                    importer.refused(fault);
                }
            }
        }
    }
    let mut builds = Vec::new();
    for (config, template) in &templates {
        for (at, builder) in template.builders.iter().enumerate() {
            if builder.kind == "qemu" {
                builds.push(((*config, at), Build::new(&importer, template, builder)));
            } else {
                let subject = format!("builder {}", builder.kind);
                let text = match builder.kind.as_str() {
                    "file" => "wrote a file before the build; of such files, answers alone are taken over",
                    _ => "only images for qemu are built here; nothing of it is in the manifest",
                };
                importer.note(Weight::Lost, Some(&builder.options.place), subject, text);
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
    let kept = vars::keep(&mut builds, &importer);
    let made: Vec<Made> = builds
        .iter()
        .filter_map(|(key, build)| fold::made(*key, build))
        .collect();
    if made.is_empty() {
        let mut refusals = importer.refusals.into_inner();
        if refusals.is_empty() {
            refusals.push(Fault {
                place: None,
                cause: "there is nothing to build".to_owned(),
                remedy: match templates.is_empty() || request.only.is_empty() {
                    true => "name templates with a builder of the type `qemu`".to_owned(),
                    false => format!(
                        "--only {}: name builds that the templates have",
                        request.only.join(" ")
                    ),
                },
            });
        }
        return Err(refusals);
    }
    let fleet = fold::fold(made, kept, &importer);
    let publish = publish::publish(&fleet, &builds, plan.as_ref(), &importer);
    if let Some(plan) = &plan {
        matrix::compare(plan, &fleet, &importer);
    }
    let manifest = write::manifest(&fleet, &publish, &importer);
    Ok(Imported {
        manifest,
        distros: fleet.distros.len(),
        images: fleet
            .images
            .iter()
            .map(|images| images.sizes.len() * images.distros.len())
            .sum(),
        files: importer.files.into_inner(),
        notes: importer.notes.into_inner(),
    })
}
