//! `pipeline run`: builds what is not built yet.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use jiff::Zoned;

use super::Exit;
use super::plan::{Format, print};
use super::report_error::{report_error, talk};
use super::target::{CheckArgs, RebuildArgs, StoreArgs, Target, UploadArgs, wanted};
use crate::event::Emitter;
use crate::host::cancel::Cancel;
use crate::host::facts;
use crate::host::fs::{private_dir, write_atomic};
use crate::report::summary::RunSummary;
use crate::report::{self, Options, Progress, Verbosity, junit};
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
    pipeline run images.toml --size 50G --jobs 2\n  pipeline run images.toml --rebuild install/debian12\n  \
    pipeline run images.toml --upload\n\n\
    A second run does nothing that is done already; a killed one goes on after its last finished node.\n\
    Ctrl-C stops VMs in order, a second Ctrl-C kills them."
)]
pub struct Args {
    #[command(flatten)]
    pub(super) target: Target,
    #[command(flatten)]
    pub(super) upload: UploadArgs,
    /// Only show what would be done and why, as `pipeline plan` does
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) rebuild: RebuildArgs,
    #[command(flatten)]
    pub(super) checks: CheckArgs,
    /// Write the results of the checks to this file, as JUnit's XML
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub(super) junit: Option<PathBuf>,
    /// Nodes at once [default: as many as there are CPUs]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) jobs: Option<u32>,
    /// Stop everything at the first failure instead of only what hangs on it
    #[arg(long)]
    pub(super) fail_fast: bool,
    /// How to show progress: bars on a terminal, plain lines elsewhere
    #[arg(long, value_name = "auto|bars|plain|json", default_value = "auto")]
    pub(super) progress: Progress,
    /// Show consoles' and steps' output too (plain lines only)
    #[arg(long, short)]
    pub(super) verbose: bool,
    #[command(flatten)]
    pub(super) store: StoreArgs,
}

/// Times that a run plans anew because a stored result turned out damaged.
const PLANS: usize = 3;

/// What of a plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of it.
    Everything,
    /// Only the publication of what is built.
    Uploads,
}

/// Runs the verb.
pub fn run(args: &Args) -> Exit {
    run_scope(args, Scope::Everything)
}

/// Runs all or a part of what the arguments ask for.
pub(super) fn run_scope(args: &Args, scope: Scope) -> Exit {
    match build(args, scope) {
        Ok(tally) if tally.interrupted => Exit::Interrupted,
        Ok(tally) if tally.failed > 0 || tally.skipped > 0 => Exit::Failed,
        Ok(_) => Exit::Ok,
        Err(exit) => exit,
    }
}

fn build(args: &Args, scope: Scope) -> Result<Tally, Exit> {
    let (manifest, selected) = args.target.load()?;
    let prepare = |store: &Store| {
        let wanted = wanted(&args.checks, &args.upload);
        let mut prepared = args.rebuild.prepare(&manifest, &selected, store, wanted)?;
        if scope == Scope::Uploads {
            prepared.only_uploads().map_err(|error| refuse(&error))?;
        }
        Ok(prepared)
    };
    let folder = args.store.folder();
    if args.dry_run {
        let prepared = prepare(&Store::peek(&folder))?;
        return print(&prepared, Format::Text).map(|()| Tally::default());
    }
    if let Some(path) = &args.junit {
        ready_for_junit(path)?;
    }
    let store = Store::open(&folder).map_err(|error| refuse(&error.into()))?;
    let mut prepared = prepare(&store)?;
    let warnings = preflight(&prepared).map_err(|error| refuse(&error))?;

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

    for warning in warnings {
        emit.warn(warning);
    }
    let mut sound = false;
    for _ in 0..PLANS {
        sound = verify_inputs(&prepared, &store, &cancel, &emit).map_err(|error| refuse(&error))?;
        if sound {
            break;
        }
        prepared = prepare(&store)?;
    }
    if !sound {
        emit.warn("the store keeps coming back damaged; look at its disk");
    }
    let result = carry(args, &manifest, &prepared, &id, &store, &scratch, &cancel, &emit);
    drop(listening);
    drop(emit);
    drop(scratch);
    let summary = reader.join().ok().filter(|_| result.is_ok());
    if let Some(summary) = &summary
        && args.progress != Progress::Json
    {
        talk(&summary.render(style));
    }
    if let (Some(path), Some(summary)) = (&args.junit, &summary) {
        write_junit(path, summary)?;
    }
    result.map_err(|error| refuse(&error))
}

/// Makes sure, before an hour of work, that the file can be written after it.
fn ready_for_junit(path: &Path) -> Result<(), Exit> {
    let refused = |cause: &str| {
        report_error(miette::miette!("--junit {}: {cause}; nothing was started", path.display()).as_ref());
        Exit::Usage
    };
    if path.is_dir() {
        return Err(refused("this is a folder; name a file"));
    }
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => std::fs::create_dir_all(folder).map_err(|error| refused(&error.to_string())),
        None => Ok(()),
    }
}

fn write_junit(path: &Path, summary: &RunSummary) -> Result<(), Exit> {
    write_atomic(path, junit::render(summary).as_bytes()).map_err(|error| {
        report_error(miette::miette!("--junit {}: {error}", path.display()).as_ref());
        Exit::Failed
    })
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
    let ids: Vec<_> = manifest.images.iter().map(|image| image.id.clone()).collect();
    let logs = store.run_folder(id);
    // Asked once, at the start: the file may be replaced while a long run goes on.
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("pipeline"));
    let shared = Shared {
        store,
        scratch,
        logs: &logs,
        pipeline: &manifest.name,
        accel: (&accel).into(),
        cpus: budget.cpus,
        program: &program,
        order: &order,
        ids: &ids,
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
        RunError::NotBuilt { .. } => Exit::Failed,
        RunError::Secret(_) | RunError::Target(_) | RunError::NoTarget | RunError::Plan(_) => Exit::Usage,
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
