//! `pipeline store pin` and `unpin`.

use std::collections::BTreeSet;

use clap_complete::ArgValueCandidates;

use super::target;
use crate::cli::complete;
use crate::cli::exit::Exit;
use crate::cli::report_error::{fail, out, talk};
use crate::cli::target::StoreArgs;
use crate::host::cancel::Cancel;
use crate::store::pins::{of_result, of_run};
use crate::store::{Address, Store, StoreError};

/// Arguments of both.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pipeline store pin install/debian12          the newest result of that node\n  \
    pipeline store pin 20261124-091254-3f9a41c0      a run: its logs, and every result that it took or built")]
pub struct Args {
    /// A result, as in install/debian12 or install/3f9a…, or the id of a run
    #[arg(value_name = "RESULT|RUN", required = true, add = ArgValueCandidates::new(complete::results_and_runs))]
    targets: Vec<String>,
    #[command(flatten)]
    store: StoreArgs,
}

/// A pin's name and what it holds.
struct Wanted {
    name: String,
    shown: String,
    results: BTreeSet<Address>,
}

pub(super) fn pin(args: &Args) -> Result<Exit, Exit> {
    let store = Store::open(&args.store.folder()).map_err(|error| host(&error))?;
    let mut waiting = || talk("waiting: the store is being cleaned up\n");
    let gate = store
        .gate(&Cancel::default(), &mut waiting)
        .map_err(|error| host(&error))?;
    for wanted in all(&store, args)? {
        let new = store
            .pin(&gate, &wanted.name, &wanted.results)
            .map_err(|error| host(&error))?;
        let word = if new { "pinned" } else { "was pinned already" };
        out(&format!("{}: {word}\n", wanted.shown));
    }
    Ok(Exit::Ok)
}

pub(super) fn unpin(args: &Args) -> Result<Exit, Exit> {
    let store = args.store.look()?;
    let mut exit = Exit::Ok;
    for wanted in all(&store, args)? {
        if store.unpin(&wanted.name).map_err(|error| host(&error))? {
            out(&format!("{}: no longer pinned\n", wanted.shown));
        } else {
            exit = Exit::Failed;
            talk(&format!("{}: was not pinned\n", wanted.shown));
        }
    }
    Ok(exit)
}

fn all(store: &Store, args: &Args) -> Result<Vec<Wanted>, Exit> {
    let (results, runs, pins) = (store.results(), store.runs(), store.pins());
    let wanted = |text: &String| {
        if text.contains('/') {
            let address = &target::one(&results, text)?.address;
            return Ok(Wanted {
                name: of_result(address),
                shown: address.short(),
                results: [address.clone()].into(),
            });
        }
        let run = runs.iter().find(|run| run.id == *text);
        let needs = run.and_then(|run| run.needs.clone()).map(|needs| needs.results);
        // A pin outlives the logs that it was made from.
        let results = needs.or_else(|| pins.get(&of_run(text)).cloned());
        let Some(results) = results else {
            let help = "`pipeline runs` lists the runs; a result is named like install/debian12";
            return Err(fail(
                Exit::Usage,
                miette::miette!(help = help, "no run is called `{text}`"),
            ));
        };
        Ok(Wanted {
            name: of_run(text),
            shown: format!("run {text}"),
            results,
        })
    };
    args.targets.iter().map(wanted).collect()
}

fn host(error: &StoreError) -> Exit {
    fail(Exit::Host, miette::miette!("{error}"))
}
