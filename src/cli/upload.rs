//! `pipeline upload`: publishes what is built, and builds nothing.

use super::exit::Exit;
use super::remote::RemoteArgs;
use super::run::{self, AfterError, FailureArgs, Scope, run_scope};
use super::show::ShowArgs;
use super::target::{CheckArgs, Selection, StoreArgs, UploadArgs, WorkArgs};

/// Arguments of `pipeline upload`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline upload images.toml\n  pipeline upload images.toml 'debian12-50G-*'\n\n\
    What is at its place already, and equal, is not sent again. What is sent is read back; only then it is listed in \
    URL.txt and index.json of the output folder."
)]
pub struct Args {
    #[command(flatten)]
    target: Selection,
    /// Only show what would be done and why
    #[arg(long)]
    dry_run: bool,
    /// Uploads at once [default: as many as there are CPUs]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    #[command(flatten)]
    failure: FailureArgs,
    #[command(flatten)]
    show: ShowArgs,
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<Exit, Exit> {
    let args = run::Args {
        target: args.target,
        upload: UploadArgs { upload: true },
        dry_run: args.dry_run,
        work: WorkArgs::default(),
        checks: CheckArgs::default(),
        junit: None,
        report: None,
        locked: false,
        jobs: args.jobs,
        no_layers: false,
        on: None,
        failure: args.failure,
        on_error: AfterError::Abort,
        show: args.show,
        verbose: false,
        remote: args.remote,
        store: args.store,
    };
    run_scope(&args, Scope::Uploads)
}
