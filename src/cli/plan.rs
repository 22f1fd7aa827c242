//! `pipeline plan`: what a run would do, and why. Changes nothing.

use std::path::PathBuf;

use super::exit::Exit;
use super::matrix::{Spot, causes, legend, matrix};
use super::remote::{RemoteArgs, warn};
use super::report_error::{fail, out};
use super::table::{overflows_stdout, stdout_style, stdout_width};
use super::target::{CheckArgs, Selection, StoreArgs, UploadArgs, WorkArgs, wanted};
use crate::host::fs::write_atomic;
use crate::plan::assess::{LastFailure, State};
use crate::plan::show::{dot, json, text, totals, totals_text, unshared_text};
use crate::report::style::wrap;
use crate::run::prepare::Prepared;

/// Arguments of `pipeline plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  pipeline plan images.toml\n  \
    pipeline plan images.toml 'debian12-*' --size 50G\n  \
    pipeline plan images.toml --format dot | dot -Tsvg > plan.svg\n\n\
    With --format json, `cost` of a node says what it takes of the host while it runs: `machines` (virtual machines that \
    it boots; a check has two at once where there is memory for both), `memory` (bytes), `cpus` (virtual CPUs) and `scratch` (bytes of disk, at most). \
    `unshared` says why no other host takes a node's result.")]
pub struct Args {
    #[command(flatten)]
    target: Selection,
    #[command(flatten)]
    upload: UploadArgs,
    #[command(flatten)]
    work: WorkArgs,
    #[command(flatten)]
    checks: CheckArgs,
    /// Exit with 4 if a run would do something, and with 0 only if there is nothing to do
    #[arg(long)]
    detailed_exitcode: bool,
    /// Only the numbers, by distro and flavor [default: where the tree is longer than the terminal]
    #[arg(long, conflicts_with = "full")]
    summary: bool,
    /// Every node of every image, however many there are
    #[arg(long)]
    full: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write what the plan takes from this host to a file, for `--facts` on others
    #[arg(long, value_name = "FILE")]
    write_facts: Option<PathBuf>,
    #[command(flatten)]
    remote: RemoteArgs,
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

/// How much of a plan is printed for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// All of it where that fits on the terminal, else a summary.
    Fitting,
    Summary,
    Full,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let (manifest, selected) = args.target.load()?;
    let store = args.store.look()?;
    let wanted = wanted(&args.checks, &args.upload)?;
    let remote = args.remote.open()?;
    let prepared = args
        .work
        .prepare(&manifest, &selected, &store, remote.as_ref(), wanted)?;
    if let Some(remote) = &remote {
        warn(remote);
    }
    let length = match (args.summary, args.full) {
        (true, _) => Length::Summary,
        (_, true) => Length::Full,
        _ => Length::Fitting,
    };
    if let Some(path) = &args.write_facts {
        write_atomic(path, prepared.facts.as_json().as_bytes()).map_err(|error| {
            let error = miette::miette!("--write-facts {}: {error}", path.display());
            fail(Exit::Failed, error)
        })?;
    }
    print(&prepared, args.format, length, remote.is_some())?;
    Ok(match prepared.todo().next() {
        Some(_) if args.detailed_exitcode => Exit::Todo,
        _ => Exit::Ok,
    })
}

/// Prints a prepared plan on stdout, and for people what other hosts do not take of it, where there are any.
///
/// # Errors
/// [`Exit::Failed`] when it cannot be serialised.
pub fn print(prepared: &Prepared, format: Format, length: Length, has_others: bool) -> Result<(), Exit> {
    let (plan, assessments) = (&prepared.plan, &prepared.assessments);
    let unshared = match has_others {
        true => unshared_text(plan, assessments, &prepared.unshared),
        false => String::new(),
    };
    match format {
        Format::Text => {
            let text = text(plan, assessments);
            let is_long = length == Length::Fitting && overflows_stdout(text.lines().count());
            if length == Length::Summary || is_long {
                out(&summary(prepared));
                out(&unshared);
                return Ok(());
            }
            let (style, width) = (stdout_style(), stdout_width().unwrap_or(usize::MAX));
            let text = text + &unshared;
            for line in text.lines() {
                out(&format!("{}\n", style.cut(line, width)));
            }
        }
        Format::Dot => out(&dot(plan, assessments)),
        Format::Json => {
            let json = json(plan, assessments, &prepared.unshared).map_err(|error| {
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

/// The images by distro and flavor, why the last attempts failed, and the sums.
fn summary(prepared: &Prepared) -> String {
    let (plan, assessments) = (&prepared.plan, &prepared.assessments);
    let (style, width) = (stdout_style(), stdout_width());
    let ways: Vec<_> = plan
        .images
        .iter()
        .map(|image| (image, plan.way_to(image)))
        .collect();
    let spots = ways.iter().map(|(image, way)| Spot {
        distro: &image.distro,
        flavor: &image.flavor,
        is_current: way.iter().all(|node| assessments[node].state != State::Todo),
        has_failed: way.iter().any(|node| assessments[node].failed.is_some()),
    });
    let mut text = matrix(spots, style, width) + "\n" + &legend(style);
    let failed = plan
        .nodes()
        .filter_map(|(index, _)| assessments[&index].failed.as_ref());
    text += &causes(failed.map(LastFailure::why), "node", style, width);
    text += "`--full` shows every node\n\n";
    text + &wrap(
        &totals_text(&totals(plan, assessments)),
        width.unwrap_or(usize::MAX),
        0,
    )
}
