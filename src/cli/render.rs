//! `pipeline render`.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use miette::Diagnostic;

use crate::manifest::context::{BuildFacts, answers_context};
use crate::manifest::model::Distro;
use crate::manifest::select::{Selectors, select};
use crate::manifest::template::{TemplateError, render};
use crate::manifest::{self, Manifest};

use super::Exit;
use super::report_error::report_error;

/// Arguments of `pipeline render`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The manifest
    manifest: PathBuf,
    /// Image ids, globs over ids, or distro=, size= and flavor= terms; by default all images
    selectors: Vec<String>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Exit {
    match try_run(args) {
        Ok(text) => {
            // A closed pipe (`| head`) is no mistake.
            let _ = io::stdout().write_all(text.as_bytes());
            Exit::Ok
        }
        Err(error) => {
            report_error(error.as_ref());
            Exit::Usage
        }
    }
}

fn try_run(args: &Args) -> Result<String, Box<dyn Diagnostic>> {
    let manifest = manifest::load(&args.manifest)?;
    let patterns = args.selectors.clone();
    let selectors = Selectors {
        patterns,
        ..Selectors::default()
    };
    let chosen = select(&manifest, &selectors)?;
    Ok(answers(&manifest, &chosen)?)
}

/// The rendered answers of the chosen images' distros; with a head line each where there are several.
fn answers(manifest: &Manifest, chosen: &[usize]) -> Result<String, TemplateError> {
    let names: BTreeSet<_> = chosen
        .iter()
        .map(|index| manifest.images[*index].distro.as_str())
        .collect();
    let distros: Vec<&Distro> = manifest
        .distros
        .iter()
        .filter(|distro| names.contains(distro.name.as_str()))
        .collect();
    let mut text = String::new();
    for distro in &distros {
        let Some(template) = &distro.answers else {
            let _ = writeln!(io::stderr(), "{}: needs no answers", distro.name);
            continue;
        };
        if distros.len() > 1 {
            text.push_str(&format!("==> {}: {} <==\n", distro.name, template.name));
        }
        let facts = BuildFacts::sample(distro);
        text.push_str(&render(template, &answers_context(distro, &facts))?);
    }
    Ok(text)
}
