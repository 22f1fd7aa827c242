//! What follows a run that is over: files that others read, hooks, the last lines on the screen.

use std::path::Path;
use std::sync::mpsc;

use super::refused::{Stop, refuse};
use super::{Args, Scope};
use crate::cli::exit::Exit;
use crate::cli::left::{tell_programs, write_junit};
use crate::cli::target::StoreArgs;
use crate::cli::{hooks, report};
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::host::terminal;
use crate::manifest::model::Manifest;
use crate::report::style::Style;
use crate::report::summary::{Page, RunSummary};
use crate::run::error::RunError;
use crate::run::signals;
use crate::store::Store;

/// Where the page of the run goes: an option wins over the manifest.
pub(super) fn report_file<'a>(args: &'a Args, manifest: &'a Manifest, scope: Scope) -> Option<&'a Path> {
    let of_manifest = manifest.report.as_deref().filter(|_| scope == Scope::Everything);
    args.report.as_deref().or(of_manifest)
}

/// What others read of a run that is over.
pub(super) fn leave_files(
    args: &Args,
    summary: Option<&RunSummary>,
    report: Option<&Path>,
    store: &Store,
    run: &str,
) -> Result<(), Exit> {
    if let (Some(path), Some(summary)) = (&args.junit, summary) {
        write_junit(path, summary)?;
    }
    if let Some(path) = report {
        report::write(store, run, path)?;
    }
    if let Some(summary) = summary {
        tell_programs(summary, args.show.is_text());
    }
    Ok(())
}

/// Calls the hooks of a run that is over, unless it was stopped; Ctrl-C stops them too.
pub(super) fn call_hooks(
    manifest: &Manifest,
    scope: Scope,
    run: &str,
    logs: &Path,
    (summary, stop): (Option<&RunSummary>, Option<&Stop>),
    cancel: &Cancel,
) -> Result<(), Exit> {
    let ended = match (summary, stop) {
        _ if manifest.hooks.is_empty() || scope != Scope::Everything => return Ok(()),
        (Some(summary), _) => Ok(summary),
        (None, Some(Stop::Refused(error))) => Err(error),
        (None, _) => return Ok(()),
    };
    let emit = Emitter::new(mpsc::channel().0);
    let _listening = signals::listen(cancel, &emit).map_err(|error| refuse(&RunError::Signals(error)))?;
    let over = hooks::Over {
        manifest,
        run,
        logs,
        ended,
    };
    hooks::call_all(&over, cancel)
}

pub(super) fn page(style: Style, store: &StoreArgs) -> Page {
    Page {
        style,
        width: terminal::stderr_size().map(|(columns, _)| columns),
        store: store.as_typed(),
    }
}
