//! The hidden verb that an engine starts on another host: runs one chain of a run there.

use std::path::PathBuf;

use rustix::process::{Signal, set_parent_process_death_signal};

use super::exit::Exit;
use super::report_error::fail;
use super::target::default_store;
use crate::emit::Emitter;
use crate::farm::job::{Description, TakeError};
use crate::farm::pieces::Writer;
use crate::farm::slurm;
use crate::farm::work::{Order, refused, while_writing, work};
use crate::host::cancel::Cancel;
use crate::remote::Remote;
use crate::remote::settings::{RemoteSettings, Settings};
use crate::run::signals;

/// Arguments of the hidden verb.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The job's name
    name: String,
    /// SHA-256 of its description in the remote store
    description: String,
    /// The last nodes of its chain, with their keys: ID=KEY
    ends: Vec<String>,
}

/// Runs the verb.
///
/// # Errors
/// [`Exit`], after saying why; where the remote store can be written to, there too.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    // Without the engine's own process no one asks us to stop any more.
    let tied = set_parent_process_death_signal(Some(Signal::TERM));
    tied.map_err(|error| fail(Exit::Host, miette::miette!("cannot follow the engine: {error}")))?;
    let job = slurm::own_job(&|name| std::env::var(name).ok());
    let (ticket, start, host) = job.ok_or_else(|| {
        fail(
            Exit::Usage,
            miette::miette!("this verb is for jobs of Slurm only"),
        )
    })?;
    let settings = Settings::load(None).map_err(|error| fail(Exit::Usage, miette::miette!("{error}")))?;
    let remote =
        Remote::open(&settings.remote).map_err(|error| fail(Exit::Usage, miette::miette!("{error}")))?;
    let remote = remote.ok_or_else(|| fail(Exit::Usage, miette::miette!("this host has no remote store")))?;
    let cancel = Cancel::default();
    let unheard = Emitter::new(std::sync::mpsc::channel().0);
    let _listening = signals::listen(&cancel, &unheard)
        .map_err(|error| fail(Exit::Host, miette::miette!("cannot listen for signals: {error}")))?;
    let writer = Writer::new(&remote, &args.name, ticket, start, &host);
    let is_well = while_writing(&writer, &cancel, || {
        match build(args, &settings.remote, &remote, &writer, &cancel) {
            Ok(is_well) => is_well,
            Err(error) => {
                writer.add(&refused(&error.to_string(), cancel.is_cancelled()));
                false
            }
        }
    });
    Ok(match is_well {
        _ if cancel.is_cancelled() => Exit::Interrupted,
        true => Exit::Ok,
        false => Exit::Failed,
    })
}

fn build(
    args: &Args,
    settings: &RemoteSettings,
    remote: &Remote,
    writer: &Writer<'_>,
    cancel: &Cancel,
) -> Result<bool, TakeError> {
    let folder = tempfile::tempdir().map_err(TakeError::Folder)?;
    let description = Description::take(&args.description, remote, cancel)?;
    let (manifest, facts) = description.unpack(remote, folder.path(), cancel)?;
    let ends: Vec<_> = args.ends.iter().filter_map(|end| end.split_once('=')).collect();
    let ends: Vec<_> = ends
        .into_iter()
        .map(|(id, key)| (id.to_owned(), key.to_owned()))
        .collect();
    let order = Order {
        manifest,
        facts,
        arguments: &description.arguments,
        ends: &ends,
        program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("pipeline")),
        store: &default_store(),
        settings,
    };
    Ok(work(&order, writer, cancel))
}
