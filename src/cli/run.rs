//! `pipeline run`: builds what is not built yet.

mod over;
mod refused;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use jiff::{Timestamp, Zoned};

use self::over::{call_hooks, leave_files, page, report_file};
use self::refused::{Stop, absolute, refusal, refuse};
use super::exit::Exit;
use super::left::{ready_for, write_report};
use super::on;
use super::plan::{Format, Length, print};
use super::remote::{RemoteArgs, warn, with_fingerprint_key};
use super::report_error::{note, talk};
use super::shell;
use super::show::ShowArgs;
use super::target::{CheckArgs, Selection, StoreArgs, UploadArgs, WorkArgs, wanted};
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::host::fs::private_dir;
use crate::host::{facts, random};
use crate::manifest::model::Manifest;
use crate::remote::Remote;
use crate::report::{self, Progress, Verbosity, junit};
use crate::run::elsewhere::Elsewhere;
use crate::run::error::RunError;
use crate::run::execute::Shared;
use crate::run::lock::Keeper;
use crate::run::outputs;
use crate::run::prepare::{Prepared, budget, preflight, verify_inputs};
use crate::run::share;
use crate::run::signals;
use crate::run::workers::{OnFailure, Tally, carry_out};
use crate::stage::Order;
use crate::stage::aftermath::OnError;
use crate::store::{Scratch, Store};

/// Arguments of `pipeline run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline run images.toml\n  pipeline run images.toml 'debian12-50G-*'\n  \
    pipeline run images.toml --size 50G --jobs 2\n  pipeline run images.toml --rebuild install/debian12\n  \
    pipeline run images.toml --upload\n\n\
    A second run does nothing that is done already; a killed one goes on after its last finished node. \
    Ctrl-C stops VMs in order, a second Ctrl-C kills them."
)]
pub struct Args {
    #[command(flatten)]
    pub(super) target: Selection,
    #[command(flatten)]
    pub(super) upload: UploadArgs,
    /// Only show what would be done and why, as `pipeline plan` does
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) work: WorkArgs,
    #[command(flatten)]
    pub(super) checks: CheckArgs,
    /// Write the results to this file, as JUnit's XML: a suite for each image, with its checks and with what kept it from
    /// being built
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub(super) junit: Option<PathBuf>,
    /// Write what happened to this file, as a page for a browser (see `pipeline report`)
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub(super) report: Option<PathBuf>,
    /// Refuse to make or move the lock: build from exactly what it has, or nothing
    #[arg(long)]
    pub(super) locked: bool,
    /// Nodes at once [default: as many as there are CPUs]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) jobs: Option<u32>,
    /// Run all steps of a guest from the first one, and keep no layers to start from later
    #[arg(long)]
    pub(super) no_layers: bool,
    /// Have other hosts build, started by this engine; this host plans, follows and delivers (docs/farm.md)
    #[arg(long, value_enum, value_name = "ENGINE", conflicts_with_all = ["dry_run", "rebuild", "until", "facts", "on_error"])]
    pub(super) on: Option<on::Engine>,
    #[command(flatten)]
    pub(super) failure: FailureArgs,
    /// What to do with a VM whose step failed (VMs of installers and checks cannot be kept)
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = AfterError::Abort, conflicts_with = "dry_run")]
    pub(super) on_error: AfterError,
    #[command(flatten)]
    pub(super) show: ShowArgs,
    /// Show consoles' and steps' output too (plain lines only)
    #[arg(long, short)]
    pub(super) verbose: bool,
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
    #[command(flatten)]
    pub(super) store: StoreArgs,
}

/// What a failure does to the rest.
#[derive(Debug, Default, clap::Args)]
pub struct FailureArgs {
    /// After a failure, keep building everything that does not depend on it; the default
    #[arg(long, overrides_with = "fail_fast")]
    keep_going: bool,
    /// Stop everything at the first failure instead of only what depends on it
    #[arg(long, overrides_with = "keep_going")]
    fail_fast: bool,
}

/// What to do with a VM whose step failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AfterError {
    /// It is ended; its console, screen and logs are kept
    #[default]
    Abort,
    /// Its disk and key are kept too: `pipeline ssh` starts it again, until `pipeline gc` removes it
    Keep,
    /// Open a shell in it, on this terminal; the run continues, with the node failed, after you exit
    Shell,
}

/// Times that a run plans again because a stored result turned out damaged.
const PLANS: usize = 3;

/// How long a result is not read back again when the manifest does not say.
const REREAD: Duration = Duration::from_secs(24 * 3600);

impl Args {
    fn verbosity(&self) -> Verbosity {
        if self.verbose {
            Verbosity::Verbose
        } else {
            Verbosity::Normal
        }
    }
}

/// What of a plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of it.
    Everything,
    /// What leads to some nodes, or what another host plans: whoever sees to all of it writes the report and calls hooks.
    Part,
    /// Only the publication of what is built.
    Uploads,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let is_part = args.work.is_part();
    run_scope(args, if is_part { Scope::Part } else { Scope::Everything })
}

/// Runs all or a part of what the arguments ask for.
pub(super) fn run_scope(args: &Args, scope: Scope) -> Result<Exit, Exit> {
    let tally = build(args, scope)?;
    Ok(match tally {
        _ if tally.interrupted => Exit::Interrupted,
        _ if tally.failed > 0 || tally.skipped > 0 => Exit::Failed,
        _ => Exit::Ok,
    })
}

#[expect(
    clippy::too_many_lines,
    reason = "the parts of a run, in the order in which they happen"
)]
fn build(args: &Args, scope: Scope) -> Result<Tally, Exit> {
    let (manifest, selected) = args.target.load()?;
    let wanted = wanted(&args.checks, &args.upload)?;
    let remote = args.remote.open()?;
    let remote = remote.as_ref();
    let asked = on::asked(args, remote)?;
    let prepare = |store: &Store| {
        let mut prepared = args.work.prepare(&manifest, &selected, store, remote, wanted)?;
        if scope == Scope::Uploads {
            prepared.only_uploads().map_err(|error| refuse(&error))?;
        }
        Ok(prepared)
    };
    let folder = args.store.folder();
    if args.dry_run {
        let prepared = prepare(&args.store.look()?)?;
        if let Some(remote) = remote {
            warn(remote);
        }
        return print(&prepared, Format::Text, Length::Fitting, remote.is_some()).map(|()| Tally::default());
    }
    let report = report_file(args, &manifest, scope);
    for (option, path) in [("--junit", args.junit.as_deref()), ("--report", report)] {
        path.map_or(Ok(()), |path| ready_for(option, path))?;
    }
    let on_error = shell::on_error(args.on_error)?;
    let store = Store::open(&folder).map_err(|error| refuse(&error.into()))?;
    let store = with_fingerprint_key(store)?;
    let cancel = Cancel::default();
    // From what is looked up here until it is declared, it must not be removed.
    let gate = || {
        let mut waiting = || talk("waiting: the store is being cleaned up\n");
        store
            .gate(&cancel, &mut waiting)
            .map_err(|error| refuse(&error.into()))
    };
    let held = gate()?;
    let mut prepared = prepare(&store)?;

    let id = run_id();
    let logs = store.run_folder(&id);
    private_dir(&logs).map_err(|error| refuse(&RunError::Store(error.into())))?;
    let scratch = store.scratch(&id).map_err(|error| refuse(&error.into()))?;
    let (sender, receiver) = mpsc::channel();
    let emit = Emitter::new(sender);
    let listening = signals::listen(&cancel, &emit).map_err(|error| refuse(&RunError::Signals(error)))?;
    let mut options = args.show.options(args.verbosity());
    let silent = options.progress == Progress::None;
    options.journal = Some(logs.join("events.jsonl"));
    let style = options.style;
    let reader = thread::spawn(move || report::run(&receiver, options));

    let keeper = keeper(args, &manifest, &selected, &store, &cancel);
    let reread = manifest.resources.reread.unwrap_or(REREAD);
    let mut moved = Vec::new();
    let go = || -> Result<Tally, Stop> {
        // Facts have a lock in them.
        if scope != Scope::Uploads && !args.work.has_facts() {
            let kept = keeper.keep(&prepared, &emit, &|| prepare(&store).map_err(Stop::from))?;
            moved = kept.moved;
            prepared = kept.again.unwrap_or(prepared);
        }
        let away = match (asked, remote) {
            (Some(asked), Some(remote)) => asked.cut(
                (&manifest, &prepared),
                on::arguments(args, (&manifest, &selected)),
                remote,
                (&store, &scratch),
                &emit,
                &cancel,
            )?,
            _ => None,
        };
        let here = |planned: &Prepared| match &away {
            Some(away) => away.rest(planned),
            None => planned.clone(),
        };
        let look = |planned: &Prepared| {
            let here = here(planned);
            look_before(args, &manifest, &selected, &here, &store, &cancel, &emit)
        };
        look(&prepared)?;
        store.declare(&held, &id, &prepared.needs())?;
        drop(held);
        let again = || -> Result<Prepared, Stop> {
            let held = gate()?;
            let prepared = prepare(&store)?;
            store.declare(&held, &id, &prepared.needs())?;
            Ok(prepared)
        };
        if let Some(remote) = remote {
            share::warn(remote, &emit);
            let bring =
                |planned: &Prepared| share::bring(&here(planned), remote, &store, &scratch, &emit, &cancel);
            prepared = with_shared(prepared, &bring, &again, &look)?;
        }
        let mut sound = false;
        for _ in 0..PLANS {
            sound = verify_inputs(&here(&prepared), &store, reread, &cancel, &emit)?;
            if sound {
                break;
            }
            prepared = again()?;
        }
        if !sound {
            emit.warn("store entries keep failing verification; check the disk");
        }
        let crew = away
            .as_ref()
            .map(|away| away.crew(&prepared, (&store, &scratch), (&emit, &cancel, &listening)));
        let is_over = Cancel::default();
        thread::scope(|scope| {
            if let Some(crew) = &crew {
                scope.spawn(|| crew.drive(&is_over));
            }
            let elsewhere = crew.as_ref().map(|crew| crew as &dyn Elsewhere);
            let carried = carry(
                args,
                &manifest,
                &prepared,
                elsewhere,
                &id,
                (&store, remote),
                &scratch,
                on_error,
                &cancel,
                &emit,
            );
            is_over.cancel();
            Ok(carried?)
        })
    };
    let result = go();
    if let Err(Stop::Refused(error)) = &result {
        emit.emit(refusal(&manifest, error));
    }
    drop(listening);
    drop(emit);
    drop(scratch);
    let summary = reader.join().ok().filter(|_| result.is_ok());
    if let Some(summary) = &summary
        && !silent
    {
        // It may be hours since that was a warning.
        moved.iter().for_each(|text| talk(&format!("{text}\n")));
        talk(&summary.render(&page(style, &args.store)));
    }
    let left = leave_files(args, summary.as_ref(), report, &store, &id);
    let (summary, stop) = (summary.as_ref(), result.as_ref().err());
    let hooked = call_hooks(&manifest, scope, &id, &logs, (summary, stop), &cancel);
    let tally = result.map_err(Stop::exit)?;
    left.and(hooked).map(|()| tally)
}

/// Takes what other hosts have built, and plans again with it.
fn with_shared(
    mut prepared: Prepared,
    bring: &dyn Fn(&Prepared) -> Result<Option<bool>, RunError>,
    again: &dyn Fn() -> Result<Prepared, Stop>,
    look: &dyn Fn(&Prepared) -> Result<(), RunError>,
) -> Result<Prepared, Stop> {
    while let Some(all) = bring(&prepared)? {
        prepared = again()?;
        if !all {
            look(&prepared)?;
        }
    }
    Ok(prepared)
}

fn keeper<'a>(
    args: &Args,
    manifest: &'a Manifest,
    selected: &'a [usize],
    store: &'a Store,
    cancel: &'a Cancel,
) -> Keeper<'a> {
    Keeper {
        manifest,
        selected,
        store,
        is_held: args.locked,
        is_dry: false,
        cancel,
        say: &note,
    }
}

/// Finds what is wrong before anything starts, and warns. A report has whatever is refused.
fn look_before(
    args: &Args,
    manifest: &Manifest,
    selected: &[usize],
    prepared: &Prepared,
    store: &Store,
    cancel: &Cancel,
    emit: &Emitter,
) -> Result<(), RunError> {
    let checked = preflight(prepared, store, cancel, emit);
    if let (Err(error), Some(path)) = (&checked, &args.junit) {
        let ids = selected.iter().filter_map(|&index| manifest.images.get(index));
        let ids = ids.map(|image| image.id.as_str());
        // What the run was refused for says more than why no report has it.
        let _ = write_report(path, &junit::refused(ids, &error.to_string(), Timestamp::now()));
    }
    for warning in checked?
        .into_iter()
        .chain(outputs::claim(manifest, selected, store))
    {
        emit.warn(warning);
    }
    Ok(())
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parts of a run, brought together once"
)]
fn carry(
    args: &Args,
    manifest: &Manifest,
    prepared: &Prepared,
    elsewhere: Option<&dyn Elsewhere>,
    id: &str,
    (store, remote): (&Store, Option<&Remote>),
    scratch: &Scratch,
    on_error: OnError,
    cancel: &Cancel,
    emit: &Emitter,
) -> Result<Tally, RunError> {
    let budget = budget(manifest, args.jobs.map(|jobs| jobs as usize), store.root());
    let accel = facts::accelerator();
    let is_far = |index| elsewhere.is_some_and(|elsewhere| elsewhere.has(index));
    let here = prepared.todo().filter(|(index, _)| !is_far(*index));
    let machines = here.filter(|(_, node)| node.cost.machines > 0);
    let platforms = machines.filter_map(|(_, node)| node.work.platform());
    let processors = platforms.map(|platform| platform.hardware().emulator.processor);
    for processor in processors.collect::<BTreeSet<_>>() {
        if let Some(warning) = facts::accelerator_for(processor).warning() {
            emit.warn(warning);
        }
    }
    let order = Arc::new(Order {
        files: manifest.images.iter().map(|image| image.file.clone()).collect(),
        ids: manifest.images.iter().map(|image| image.id.clone()).collect(),
    });
    let logs = store.run_folder(id);
    let path = absolute(&manifest.path);
    // Asked once, at the start: the file may be replaced while a long run goes on.
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("pipeline"));
    let shared = Shared {
        store,
        remote,
        scratch,
        run: id,
        on_error,
        layers: !args.no_layers,
        reread: manifest.resources.reread.unwrap_or(REREAD),
        attend: &shell::show,
        logs: &logs,
        pipeline: &manifest.name,
        history: &prepared.plan.history,
        manifest: &path,
        accel: (&accel).into(),
        cpus: budget.cpus,
        program: &program,
        order: &order,
        cancel,
    };
    let on_failure = if args.failure.fail_fast {
        OnFailure::FailFast
    } else {
        OnFailure::KeepGoing
    };
    carry_out(prepared, id, budget, on_failure, elsewhere, &shared, emit)
}

/// An id that sorts by time and tells two runs of one second apart, on whatever hosts they are.
pub fn run_id() -> String {
    format!("{}-{}", Zoned::now().strftime("%Y%m%d-%H%M%S"), random::word())
}

#[cfg(test)]
mod tests {
    use super::run_id;

    /// Two containers share process ids and a second.
    #[test]
    fn ids_of_runs_differ_whatever_process_they_are_in() {
        assert_ne!(run_id(), run_id());
    }
}
