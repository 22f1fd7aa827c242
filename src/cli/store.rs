//! `pipeline store`: looks into the store, proves what is in it, pins what is to stay, shares results with other hosts.

mod ls;
mod pin;
mod share;
mod target;
mod verify;

use clap_complete::ArgValueCandidates;

use super::complete;
use super::exit::Exit;
use super::report_error::out;
use super::show::OutputFormat;
use super::target::StoreArgs;
use crate::store::Store;

/// Arguments of `pipeline store`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the results: what they are of, their size, their last use
    #[command(
        after_help = "A result's size counts what the store alone has of it: an image that is linked into an output \
        folder costs nothing here."
    )]
    Ls {
        /// How to print it
        #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
        format: OutputFormat,
        /// List the results of the store that hosts share instead: that of the settings, or this one
        #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
        remote: Option<String>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Read results back and compare them with their digests
    #[command(after_help = "A run reads back what it builds from by itself, and rebuilds a damaged result.")]
    Verify {
        /// Results, as in install/debian12 or install/3f9a…; all when absent
        #[arg(value_name = "RESULT", add = ArgValueCandidates::new(complete::results))]
        results: Vec<String>,
        /// Take damaged ones out, so that the next run rebuilds them
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Keep a result, or a run with all that it needs, from every clean-up
    Pin(pin::Args),
    /// Undo `pin`
    Unpin(pin::Args),
    /// Put results into the store that hosts share
    Push(share::PushArgs),
    /// Take results from there
    Pull(share::PullArgs),
    /// Print the folder of a result, or of the store
    Path {
        /// A result, as in package/debian12-50G-base or install/3f9a…; the store itself when absent
        #[arg(value_name = "RESULT", add = ArgValueCandidates::new(complete::results))]
        result: Option<String>,
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    match &args.verb {
        Verb::Ls {
            format,
            remote: Some(url),
            ..
        } => share::list(url, *format),
        Verb::Ls { format, store, .. } => ls::run(&store.look()?, *format),
        Verb::Verify {
            results,
            remove,
            store,
        } => verify::run(&store.look()?, results, *remove),
        Verb::Pin(args) => pin::pin(args),
        Verb::Unpin(args) => pin::unpin(args),
        Verb::Push(args) => share::push(args),
        Verb::Pull(args) => share::pull(args),
        Verb::Path { result, store } => path(&store.look()?, result.as_deref()),
    }
}

fn path(store: &Store, result: Option<&str>) -> Result<Exit, Exit> {
    let path = match result {
        None => store.root().to_owned(),
        Some(text) => store.result_path(&target::one(&store.results(), text)?.address),
    };
    out(&format!("{}\n", path.display()));
    Ok(Exit::Ok)
}
