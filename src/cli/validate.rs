//! `pipeline validate`.

use std::io::Write;

use crate::manifest::Manifest;

use super::exit::Exit;
use super::report_error::report_error;
use super::table::counted;
use super::target::ManifestArgs;

/// Arguments of `pipeline validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: ManifestArgs,
    /// Print the id of every image instead of a summary, one a line
    #[arg(long)]
    list: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let manifest = args.source.load()?;
    for warning in &manifest.warnings {
        report_error(warning);
    }
    let text = if args.list {
        manifest
            .images
            .iter()
            .map(|image| format!("{}\n", image.id))
            .collect()
    } else {
        summary(&manifest)
    };
    // A closed pipe (`| head`) is no mistake of the manifest.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(Exit::Ok)
}

fn summary(manifest: &Manifest) -> String {
    let end = match manifest.warnings.len() {
        0 => "all good".to_owned(),
        count => counted(count, "warning"),
    };
    let imports = match manifest.imports.len() {
        0 => String::new(),
        count => format!(" (with {})", counted(count, "imported file")),
    };
    format!(
        "{}{imports}: {}, {}, {}, {end}\n",
        manifest.path.display(),
        counted(manifest.distros.len(), "distro"),
        counted(manifest.flavors.len(), "flavor"),
        counted(manifest.images.len(), "image"),
    )
}
