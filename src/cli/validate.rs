//! `pipeline validate`.

use miette::Diagnostic;
use serde_json::json;

use super::exit::Exit;
use super::located::Located;
use super::report_error::{out, report_error};
use super::sarif;
use super::table::counted;
use super::target::ManifestArgs;
use crate::manifest::Manifest;

/// Arguments of `pipeline validate`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline validate images.toml\n  pipeline validate --strict images.toml\n  \
    pipeline validate images.toml --format json | jq -r '.problems[] | \"\\(.file):\\(.line): \\(.message)\"'\n  \
    pipeline validate images.toml --format sarif > images.sarif\n\n\
    On GitHub (GITHUB_ACTIONS=true) every verb annotates the lines that are wrong."
)]
pub struct Args {
    #[command(flatten)]
    source: ManifestArgs,
    /// Print the id of every image instead of a summary, one a line
    #[arg(long, conflicts_with = "format")]
    list: bool,
    /// Exit with 2 on warnings too
    #[arg(long)]
    strict: bool,
    /// How to print what is wrong: json and sarif are one object on standard output, with file, line and column of each mistake
    #[arg(long, value_enum, default_value_t = ProblemFormat::Text)]
    format: ProblemFormat,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ProblemFormat {
    /// For people
    Text,
    /// For programs
    Json,
    /// SARIF 2.1.0, for code scanning and editors
    Sarif,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let loaded = args.source.try_load();
    let warned = loaded
        .as_ref()
        .is_ok_and(|manifest| !manifest.warnings.is_empty());
    let exit = match &loaded {
        Err(_) => Exit::Usage,
        Ok(_) if warned && args.strict => Exit::Usage,
        Ok(_) => Exit::Ok,
    };
    if args.format != ProblemFormat::Text {
        let problems: Vec<_> = match &loaded {
            Ok(manifest) => manifest.warnings.iter().map(|one| Located::of(one)).collect(),
            Err(errors) => errors.problems().iter().map(|one| Located::of(one)).collect(),
        };
        let images = loaded.as_ref().map_or(0, |manifest| manifest.images.len());
        let all = match args.format {
            ProblemFormat::Sarif => sarif::log(&problems),
            ProblemFormat::Text | ProblemFormat::Json => json!({
                "version": 1, "manifest": args.source.path(), "images": images, "problems": problems,
            }),
        };
        out(&format!("{all:#}\n"));
        return Ok(exit);
    }
    let manifest = match loaded {
        Ok(manifest) => manifest,
        Err(errors) => {
            report_error(&errors as &dyn Diagnostic);
            return Ok(exit);
        }
    };
    for warning in &manifest.warnings {
        report_error(warning);
    }
    if args.list {
        let ids = manifest.images.iter().map(|image| format!("{}\n", image.id));
        out(&ids.collect::<String>());
    } else {
        out(&summary(&manifest));
    }
    Ok(exit)
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
