//! `pipeline plan`: what a run would do, and why. Changes nothing.

use super::exit::Exit;
use super::report_error::{fail, out};
use super::target::{CheckArgs, RebuildArgs, Selection, StoreArgs, UploadArgs, wanted};
use crate::plan::show::{dot, json, text};
use crate::store::Store;

/// Arguments of `pipeline plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  pipeline plan images.toml\n  \
    pipeline plan images.toml 'debian12-*' --size 50G\n  \
    pipeline plan images.toml --format dot | dot -Tsvg > plan.svg\n\n\
    With --format json, `cost` of a node says what it takes of the host while it runs: `machines` (virtual machines that\n\
    it boots, one after the other), `memory` (bytes), `cpus` (virtual CPUs) and `scratch` (bytes of disk, at most).")]
pub struct Args {
    #[command(flatten)]
    target: Selection,
    #[command(flatten)]
    upload: UploadArgs,
    #[command(flatten)]
    rebuild: RebuildArgs,
    #[command(flatten)]
    checks: CheckArgs,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    store: StoreArgs,
}

/// How a plan is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A tree for people
    Text,
    /// For programs
    Json,
    /// For Graphviz
    Dot,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let (manifest, selected) = args.target.load()?;
    let store = Store::peek(&args.store.folder());
    let wanted = wanted(&args.checks, &args.upload);
    let prepared = args.rebuild.prepare(&manifest, &selected, &store, wanted)?;
    print(&prepared, args.format)?;
    Ok(Exit::Ok)
}

/// Prints a prepared plan on stdout.
///
/// # Errors
/// [`Exit::Failed`] when it cannot be serialised.
pub fn print(prepared: &crate::run::prepare::Prepared, format: Format) -> Result<(), Exit> {
    let (plan, verdicts) = (&prepared.plan, &prepared.verdicts);
    match format {
        Format::Text => out(&text(plan, verdicts)),
        Format::Dot => out(&dot(plan, verdicts)),
        Format::Json => {
            let json = json(plan, verdicts).map_err(|error| {
                fail(
                    Exit::Failed,
                    miette::miette!("the plan cannot be written as JSON: {error}"),
                )
            })?;
            out(&(json + "\n"));
        }
    }
    Ok(())
}
