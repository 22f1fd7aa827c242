//! `pipeline store push`, `pull`, and `ls --remote`.

use std::sync::mpsc;

use clap_complete::ArgValueCandidates;
use jiff::Timestamp;
use serde::Serialize;

use super::target;
use crate::cli::complete;
use crate::cli::exit::Exit;
use crate::cli::remote::{RemoteArgs, failed, warn};
use crate::cli::report_error::{fail, out, talk};
use crate::cli::run::run_id;
use crate::cli::show::OutputFormat;
use crate::cli::table::{Table, counted, stdout_style, stdout_width};
use crate::cli::target::StoreArgs;
use crate::cli::time::age;
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::remote::Pushed;
use crate::remote::contents::{Condition, Contents};
use crate::report::style::Role;
use crate::run::signals;
use crate::size::ByteSize;
use crate::stage::stays;
use crate::store::{Address, Store};

/// Arguments of `pipeline store push`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A run puts what it builds there by itself.")]
pub struct PushArgs {
    /// Results, as in package/debian12-50G-base or package/3f9a…
    #[arg(value_name = "RESULT", required = true, add = ArgValueCandidates::new(complete::results))]
    results: Vec<String>,
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// Arguments of `pipeline store pull`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A run takes what it needs by itself.")]
pub struct PullArgs {
    /// Addresses: a stage and a whole key, as `pipeline plan --format json` has them
    #[arg(value_name = "ADDRESS", required = true)]
    addresses: Vec<Address>,
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) fn push(args: &PushArgs) -> Result<Exit, Exit> {
    let store = args.store.look()?;
    let results = store.results();
    let addresses = args
        .results
        .iter()
        .map(|text| Ok(target::one(&results, text)?.address.clone()));
    let addresses: Vec<Address> = addresses.collect::<Result<_, Exit>>()?;
    for address in &addresses {
        let entry = store.lookup(&address.stage, &address.key);
        if let Some(why) = entry.and_then(|entry| stays(&address.stage, entry.facts())) {
            return Err(fail(
                Exit::Usage,
                miette::miette!("{} never leaves this host: {why}", address.short()),
            ));
        }
    }
    let remote = args.remote.need()?;
    let cancel = Cancel::default();
    let emit = Emitter::new(mpsc::channel().0);
    let _listening =
        signals::listen(&cancel, &emit).map_err(|error| fail(Exit::Host, miette::miette!("{error}")))?;
    for address in &addresses {
        let pushed = remote
            .push(address, &store, &|_| true, &emit, &cancel)
            .map_err(|error| failed(&error))?;
        let word = match pushed {
            Pushed::New => "pushed",
            Pushed::There => "was there already",
            Pushed::Lost => "other bytes of it were there first; `pipeline store pull` takes them",
        };
        out(&format!("{}: {word}\n", address.short()));
    }
    warn(&remote);
    Ok(Exit::Ok)
}

pub(super) fn pull(args: &PullArgs) -> Result<Exit, Exit> {
    let remote = args.remote.need()?;
    let host = |error: &dyn std::fmt::Display| fail(Exit::Host, miette::miette!("{error}"));
    let store = Store::open(&args.store.folder()).map_err(|error| host(&error))?;
    let cancel = Cancel::default();
    let emit = Emitter::new(mpsc::channel().0);
    let _listening = signals::listen(&cancel, &emit).map_err(|error| host(&error))?;
    let scratch = store.scratch(&run_id()).map_err(|error| host(&error))?;
    let mut exit = Exit::Ok;
    for address in &args.addresses {
        let pulled = remote.pull(address, &store, &scratch, true, &emit, &cancel);
        match pulled.map_err(|error| failed(&error))? {
            Some(_) => out(&format!("{}: taken\n", address.short())),
            None => {
                exit = Exit::Failed;
                talk(&format!("{}: not there\n", address.short()));
            }
        }
    }
    warn(&remote);
    Ok(exit)
}

/// A result of the store that hosts share. The serialised form is an interface.
#[derive(Serialize)]
struct Shared<'a> {
    stage: &'a str,
    key: &'a str,
    pipeline: Option<&'a str>,
    subject: Option<&'a str>,
    bytes: u64,
    stored_bytes: u64,
    created: Option<Timestamp>,
    put: Timestamp,
    signer: Option<&'a str>,
    condition: Condition,
}

/// Lists what the store that hosts share has.
pub(super) fn list(url: &str, format: OutputFormat) -> Result<Exit, Exit> {
    let remote = RemoteArgs::of(url).need()?;
    let contents = remote.contents(&Cancel::default());
    let contents = contents.map_err(|error| failed(&error))?;
    match format {
        OutputFormat::Json => {
            let results = contents.results.iter().map(|result| {
                let built_for = result.built_for.as_ref();
                Shared {
                    stage: &result.address.stage,
                    key: &result.address.key,
                    pipeline: built_for.map(|(pipeline, _)| pipeline.as_str()),
                    subject: built_for.map(|(_, subject)| subject.as_str()),
                    bytes: result.bytes,
                    stored_bytes: result.stored_bytes,
                    created: result.created,
                    put: result.put,
                    signer: result.signer.as_deref(),
                    condition: result.condition,
                }
            });
            let results: Vec<_> = results.collect();
            let all = serde_json::json!({
                "version": 1, "remote": remote.url(), "results": results, "stored_bytes": contents.stored_bytes(),
            });
            out(&format!("{all:#}\n"));
        }
        OutputFormat::Text => text(&contents, remote.url()),
    }
    Ok(Exit::Ok)
}

fn text(contents: &Contents, url: &str) {
    let mut table = Table::new(
        &["result", "of", "size", "put there", "", "signed by", "pipeline"],
        4,
    );
    for result in &contents.results {
        let (pipeline, subject) = match &result.built_for {
            Some((pipeline, subject)) => (pipeline.as_str(), subject.as_str()),
            None => ("", ""),
        };
        let note = match result.condition {
            Condition::Whole => (Role::Plain, ""),
            Condition::Broken => (Role::Bad, "not whole"),
            Condition::Foreign => (Role::Attention, "not trusted"),
            Condition::Other => (Role::Dim, "other version"),
        };
        let plain = |text: &str| (Role::Plain, text.to_owned());
        table.row(vec![
            plain(&result.address.short()),
            plain(subject),
            plain(&ByteSize(result.stored_bytes).to_string()),
            plain(&format!("{} ago", age(result.put, contents.now))),
            (note.0, note.1.to_owned()),
            plain(result.signer.as_deref().unwrap_or_default()),
            (Role::Dim, pipeline.to_owned()),
        ]);
    }
    if !contents.results.is_empty() {
        out(&(table.render(stdout_style(), stdout_width()) + "\n"));
    }
    out(&format!(
        "{}, {}\nin {url}\n",
        counted(contents.results.len(), "result"),
        ByteSize(contents.stored_bytes()),
    ));
}
