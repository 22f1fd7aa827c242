//! `pipeline run`: builds what is not built yet.

use std::sync::mpsc;
use std::thread;

use jiff::Zoned;

use super::Exit;
use super::plan::{Format, print};
use super::report_error::{report_error, talk};
use super::target::{RebuildArgs, StoreArgs, Target};
use crate::event::Emitter;
use crate::host::cancel::Cancel;
use crate::host::facts;
use crate::host::fs::private_dir;
use crate::report::{self, Options, Progress, Verbosity};
use crate::run::error::RunError;
use crate::run::execute::Shared;
use crate::run::prepare::{Prepared, budget, preflight, verify_inputs};
use crate::run::signals;
use crate::run::workers::{OnFailure, Tally, carry_out};
use crate::store::Store;

/// Arguments of `pipeline run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline run images.toml\n  pipeline run images.toml 'debian12-50G-*'\n  \
    pipeline run images.toml --size 50G --jobs 2\n  pipeline run images.toml --rebuild install/debian12\n\n\
    A second run does nothing that is done already; a killed one goes on after its last finished node.\n\
    Ctrl-C stops VMs in order, a second Ctrl-C kills them."
)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Only show what would be done and why, as `pipeline plan` does
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    rebuild: RebuildArgs,
    /// Nodes at once [default: as many as there are CPUs]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    /// Stop everything at the first failure instead of only what hangs on it
    #[arg(long)]
    fail_fast: bool,
    /// How to show progress: bars on a terminal, plain lines elsewhere
    #[arg(long, value_name = "auto|bars|plain|json", default_value = "auto")]
    progress: Progress,
    /// Show consoles' and steps' output too (plain lines only)
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Times that a run plans anew because a stored result turned out damaged.
const PLANS: usize = 3;

/// Runs the verb.
pub fn run(args: &Args) -> Exit {
    match build(args) {
        Ok(tally) if tally.interrupted => Exit::Interrupted,
        Ok(tally) if tally.failed > 0 || tally.skipped > 0 => Exit::Failed,
        Ok(_) => Exit::Ok,
        Err(exit) => exit,
    }
}

fn build(args: &Args) -> Result<Tally, Exit> {
    let (manifest, selected) = args.target.load()?;
    let folder = args.store.folder();
    if args.dry_run {
        let prepared = args
            .rebuild
            .prepare(&manifest, &selected, &Store::peek(&folder))?;
        return print(&prepared, Format::Text).map(|()| Tally::default());
    }
    let store = Store::open(&folder).map_err(|error| refuse(&error.into()))?;
    let mut prepared = args.rebuild.prepare(&manifest, &selected, &store)?;
    preflight(&prepared).map_err(|error| refuse(&error))?;

    let id = run_id();
    let logs = store.run_folder(&id);
    private_dir(&logs).map_err(|error| refuse(&RunError::Store(error.into())))?;
    let scratch = store.scratch(&id).map_err(|error| refuse(&error.into()))?;
    let (sender, receiver) = mpsc::channel();
    let emit = Emitter::new(sender);
    let cancel = Cancel::default();
    let listening = signals::listen(&cancel, &emit).map_err(|error| refuse(&RunError::Signals(error)))?;
    let verbosity = if args.verbose {
        Verbosity::Verbose
    } else {
        Verbosity::Normal
    };
    let mut options = Options::detect(args.progress, verbosity, |name| std::env::var(name).ok());
    options.journal = Some(logs.join("events.jsonl"));
    let style = options.style;
    let reader = thread::spawn(move || report::run(&receiver, options));

    let mut sound = false;
    for _ in 0..PLANS {
        sound = verify_inputs(&prepared, &store, &cancel, &emit).map_err(|error| refuse(&error))?;
        if sound {
            break;
        }
        prepared = args.rebuild.prepare(&manifest, &selected, &store)?;
    }
    if !sound {
        emit.warn("the store keeps coming back damaged; look at its disk");
    }
    let result = carry(args, &manifest, &prepared, &id, &store, &scratch, &cancel, &emit);
    drop(listening);
    drop(emit);
    drop(scratch);
    if let Ok(summary) = reader.join()
        && result.is_ok()
        && args.progress != Progress::Json
    {
        talk(&summary.render(style));
    }
    result.map_err(|error| refuse(&error))
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parts of a run, brought together once"
)]
fn carry(
    args: &Args,
    manifest: &crate::manifest::model::Manifest,
    prepared: &Prepared,
    id: &str,
    store: &Store,
    scratch: &crate::store::Scratch,
    cancel: &Cancel,
    emit: &Emitter,
) -> Result<Tally, RunError> {
    let budget = budget(manifest, args.jobs.map(|jobs| jobs as usize), store.root());
    let accel = facts::accelerator();
    if let Some(warning) = accel.warning()
        && prepared.todo().any(|(_, node)| node.cost.machines > 0)
    {
        emit.warn(warning);
    }
    let order: Vec<_> = manifest.images.iter().map(|image| image.file.clone()).collect();
    let logs = store.run_folder(id);
    let shared = Shared {
        store,
        scratch,
        logs: &logs,
        pipeline: &manifest.name,
        accel: (&accel).into(),
        cpus: budget.cpus,
        order: &order,
        cancel,
    };
    let on_failure = if args.fail_fast {
        OnFailure::FailFast
    } else {
        OnFailure::KeepGoing
    };
    carry_out(prepared, id, budget, on_failure, &shared, emit)
}

/// Says why a run does not start.
fn refuse(error: &RunError) -> Exit {
    report_error(error);
    match error {
        RunError::Missing { .. }
        | RunError::Output(_)
        | RunError::TooLarge(_)
        | RunError::Store(_)
        | RunError::Signals(_) => Exit::Host,
        RunError::Secret(_) | RunError::Plan(_) => Exit::Usage,
    }
}

/// An id that sorts by time and tells two runs of one second apart.
pub fn run_id() -> String {
    format!(
        "{}-{}",
        Zoned::now().strftime("%Y%m%d-%H%M%S"),
        std::process::id()
    )
}
