//! `pipeline packages`: what is inside images. Changes nothing.

use super::exit::Exit;
use super::report_error::{fail, note, out};
use super::table::{Table, stdout_style, stdout_width};
use super::target::{Selection, StoreArgs};
use crate::packages::{Bom, Inside, Subject};
use crate::plan::graph::PlannedImage;
use crate::report::style::Role;
use crate::run::builds::builds;
use crate::run::prepare::{Ask, prepare};
use crate::stage::provision::inside;
use crate::stage::result::Given;

/// Arguments of `pipeline packages`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline packages images.toml debian12-50G-base\n  \
    pipeline packages images.toml 'debian12-*' --format json\n  \
    pipeline packages images.toml debian12-50G-base --format spdx > debian12.spdx.json\n\n\
    The guest was asked when it was provisioned; all sizes of a flavor have the same packages. What differs between two builds \
    is said by `pipeline diff`."
)]
pub struct Args {
    #[command(flatten)]
    target: Selection,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    store: StoreArgs,
}

/// How packages are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A table for people
    Text,
    /// For programs
    Json,
    /// A bill of materials of one system: SPDX 2.3
    Spdx,
    /// The same as CycloneDX 1.6
    Cyclonedx,
}

/// A system, and the images that have it.
struct System {
    name: String,
    images: Vec<String>,
    built: Given,
    inside: Inside,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let (manifest, selected) = args.target.load()?;
    let store = args.store.look()?;
    let prepared = prepare(&manifest, &selected, &store, Ask::default(), &note)
        .map_err(|error| fail(Exit::Usage, error))?;
    let plan = &prepared.plan;
    let mut systems: Vec<System> = Vec::new();
    for image in &plan.images {
        let name = plan.node(image.provision).subject.clone();
        if let Some(known) = systems.iter_mut().find(|system| system.name == name) {
            known.images.push(image.id.clone());
            continue;
        }
        let built = builds(&store, plan, image).into_iter().next();
        let built = built.ok_or_else(|| not_built(image))?;
        let inside = inside(&built).ok_or_else(|| not_recorded(image, &built))?;
        let images = vec![image.id.clone()];
        systems.push(System {
            name,
            images,
            built,
            inside,
        });
    }
    match args.format {
        Format::Text => systems.iter().for_each(print),
        Format::Json => {
            let systems = systems.iter().map(|system| {
                serde_json::json!({
                    "images": system.images, "built": system.built.created, "inside": system.inside,
                })
            });
            let all = serde_json::json!({
                "version": 1, "pipeline": manifest.name, "systems": systems.collect::<Vec<_>>(),
            });
            out(&format!("{all:#}\n"));
        }
        Format::Spdx | Format::Cyclonedx => {
            let form = match args.format {
                Format::Spdx => Bom::Spdx,
                _ => Bom::Cyclonedx,
            };
            let [system] = systems.as_slice() else {
                let names: Vec<_> = systems.iter().map(|system| system.name.as_str()).collect();
                let help = "select images of one flavor of one distro";
                let names = names.join(", ");
                let error = miette::miette!(
                    help = help,
                    "a bill of materials is of one system; these are {names}"
                );
                return Err(fail(Exit::Usage, error));
            };
            let subject = Subject {
                name: &system.name,
                key: key(&system.built),
                created: system.built.created,
                file: None,
            };
            let document = form.document(&system.inside, subject);
            out(&format!("{document:#}\n"));
        }
    }
    Ok(Exit::Ok)
}

fn print(system: &System) {
    let style = stdout_style();
    let inside = &system.inside;
    let mut table = Table::new(&["package", "version", "architecture", "source"], 2);
    for package in &inside.packages {
        let source = Some(&package.source).filter(|source| **source != package.name);
        table.row(vec![
            (Role::Strong, package.name.clone()),
            (Role::Plain, package.version.clone()),
            (Role::Dim, package.arch.clone()),
            (Role::Dim, source.cloned().unwrap_or_default()),
        ]);
    }
    out(&format!("{}\n", table.render(style, stdout_width())));
    out(&format!(
        "{}: {} packages in {}\n",
        inside.os_name(),
        inside.packages.len(),
        system.images.join(", ")
    ));
}

/// The key of a build.
fn key(built: &Given) -> &str {
    built
        .folder
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

pub(super) fn not_built(image: &PlannedImage) -> Exit {
    let help = format!("build it: pipeline run MANIFEST {}", image.id);
    fail(
        Exit::Failed,
        miette::miette!(help = help, "`{}` is not in the store", image.id),
    )
}

pub(super) fn not_recorded(image: &PlannedImage, built: &Given) -> Exit {
    let help = format!(
        "build it again: pipeline run MANIFEST {} --rebuild {}",
        image.id, built.node
    );
    fail(
        Exit::Failed,
        miette::miette!(
            help = help,
            "the packages of `{}` were not recorded when it was built",
            image.id
        ),
    )
}
