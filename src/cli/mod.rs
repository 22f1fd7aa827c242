//! The command line: one verb a file. Each calls what it needs and prints; stdout is for data, stderr for talk.

mod attach;
pub mod boot;
pub mod check;
pub mod check_urls;
pub mod ci;
mod complete;
mod computer;
pub mod diff;
pub mod doctor;
mod exit;
mod explain;
pub mod export;
pub mod farm;
pub mod gallery;
pub mod gc;
mod hooks;
#[cfg(feature = "import-packer")]
pub mod import;
pub mod init;
pub mod job;
mod left;
mod located;
pub mod logs;
pub mod ls;
mod matrix;
mod nushell;
pub mod on;
pub mod outdated;
pub mod packages;
pub mod plan;
pub mod reference;
pub mod releases;
mod remote;
pub mod render;
pub mod report;
pub mod report_error;
pub mod run;
pub mod runs;
mod sarif;
pub mod schema;
mod session;
mod shell;
pub mod show;
pub mod ssh;
pub mod store;
mod table;
pub mod target;
mod time;
pub mod update;
pub mod upload;
pub mod upload_file;
pub mod validate;
pub mod verify;
pub mod versions;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::CompleteEnv;

use self::exit::Exit;
use crate::machine::door::relay;
#[cfg(feature = "nickel")]
use crate::manifest::nickel;
use crate::manifest::suggest;
use crate::report::style::{self, Choice};
use crate::run::process;

/// Builds VM images from one manifest: one install for each distro, every size derived from it, nothing done twice.
#[derive(Debug, Parser)]
#[command(name = "pipeline", version = env!("PIPELINE_VERSION"), propagate_version = true, max_term_width = 100)]
struct Cli {
    /// When to use colours [auto: on a terminal, unless NO_COLOR says no or FORCE_COLOR or CLICOLOR_FORCE says yes]
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = Choice::Auto, hide_default_value = true)]
    color: Choice,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build what is not built yet
    Run(run::Args),
    /// Show what a run would do and why
    Plan(plan::Args),
    /// Say what a node's key is made of and what has changed since it was last built
    Explain(explain::Args),
    /// List the images of a manifest as they are now
    Ls(ls::Args),
    /// List the packages of images, also as a bill of materials
    Packages(packages::Args),
    /// Compare two builds of an image, or two images: packages and files
    Diff(diff::Args),
    /// Say what has moved since the images were built: archives, media, packages
    Outdated(outdated::Args),
    /// Print a pipeline for a CI system: a job for each part of the plan
    Ci(ci::Args),
    /// Move the lock to what package archives and publishers have now
    Update(update::Args),
    /// List past and present runs
    Runs(runs::Args),
    /// Show what happened in a run, or in one node of it
    Logs(logs::Args),
    /// Write what happened in a run as a page for a browser
    Report(report::Args),
    /// Enter a VM of a run that goes on, or one that was kept after a failure
    Ssh(ssh::Args),
    /// Look into the store of results: list, verify, pin; share them with other hosts
    Store(store::Args),
    /// Set up what hosts share: the key that signs results
    Farm(farm::Args),
    /// Remove results and logs that are not needed any more
    Gc(gc::Args),
    /// Publish what is built, without building anything
    Upload(upload::Args),
    /// Write a page about the images for those who download them, and a feed
    Gallery(gallery::Args),
    /// Make a version of an image the latest
    Promote(versions::Promote),
    /// Make the version before the latest one the latest
    Rollback(versions::Rollback),
    /// Remove old versions of images
    Prune(versions::Prune),
    /// Verify published images; report missing or changed files
    CheckUrls(check_urls::Args),
    /// Verify a folder of images, here or on a server: checksums, and who signed them
    Verify(verify::Args),
    /// Upload one file to a shacache by hand
    UploadFile(upload_file::Args),
    /// Look up the newest media of a distribution's release
    Releases(releases::Args),
    /// Check a manifest and everything it names, and report all mistakes at once
    Validate(validate::Args),
    /// Print a manifest's data in another language
    Export(export::Args),
    /// Make a small manifest to start from
    Init(init::Args),
    /// Print what a manifest may say: a JSON Schema for editors, the library for Nickel
    Schema(schema::Args),
    /// Print what a distro's system is configured with: its answer template, rendered
    Render(render::Args),
    #[cfg(feature = "import-packer")]
    /// Make a manifest of what another tool builds its images from
    Import(import::Args),
    /// For qemu only: one connection of a guest's to its HTTP door
    #[command(name = relay::VERB, hide = true)]
    DoorRelay {
        /// Socket of the server
        socket: PathBuf,
    },
    /// For runs only: does the work of one node, as standard input describes it
    #[command(name = process::VERB, hide = true)]
    ExecuteNode {
        /// Its id, for those who look at the list of processes
        node: String,
    },
    /// For jobs of an engine only: runs one chain of a run that another host planned
    #[command(name = on::VERB, hide = true)]
    RunJob(job::Args),
    /// For `.ncl` manifests only: evaluates one, bounded in time and memory
    #[cfg(feature = "nickel")]
    #[command(name = nickel::VERB, hide = true)]
    EvaluateNickel,
    /// Boot an image from anywhere, and check what an image must do
    Check(check::Args),
    /// Start an image in a machine of its own, to look at it or to see its boot script run
    Boot(boot::Args),
    /// Look whether this host can build images, and print what to do where it cannot
    Doctor(doctor::Args),
    /// Print completions for a shell
    Completions(reference::Completions),
    /// Write man pages
    Man(reference::Man),
    /// For `make docs`: docs/cli.md
    #[command(hide = true)]
    Reference,
}

/// Runs the program.
pub fn main() -> ExitCode {
    // Asked by a shell, this answers and ends the process.
    CompleteEnv::with_factory(Cli::command)
        .shells(nushell::SHELLS)
        .complete();
    let arguments = std::env::args_os();
    #[cfg(feature = "import-packer")]
    let arguments = import::with_two_dashes(arguments);
    let cli = Cli::try_parse_from(arguments).unwrap_or_else(|error| with_near_verb(error).exit());
    style::choose(cli.color);
    let done = match cli.verb {
        Verb::Run(args) => run::run(&args),
        Verb::Plan(args) => plan::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Ls(args) => ls::run(&args),
        Verb::Packages(args) => packages::run(&args),
        Verb::Diff(args) => diff::run(&args),
        Verb::Outdated(args) => outdated::run(&args),
        Verb::Update(args) => update::run(&args),
        Verb::Runs(args) => runs::run(&args),
        Verb::Logs(args) => logs::run(&args),
        Verb::Report(args) => report::run(&args),
        Verb::Ssh(args) => ssh::run(&args),
        Verb::Farm(args) => farm::run(&args),
        Verb::Store(args) => store::run(&args),
        Verb::Gc(args) => gc::run(&args),
        Verb::Upload(args) => upload::run(args),
        Verb::Gallery(args) => gallery::run(&args),
        Verb::Promote(args) => versions::promote(&args),
        Verb::Rollback(args) => versions::roll_back(&args),
        Verb::Prune(args) => versions::prune(&args),
        Verb::Ci(args) => ci::run(&args),
        Verb::CheckUrls(args) => check_urls::run(&args),
        Verb::Verify(args) => verify::run(&args),
        Verb::UploadFile(args) => upload_file::run(&args),
        Verb::Releases(args) => releases::run(&args),
        Verb::Validate(args) => validate::run(&args),
        Verb::Export(args) => export::run(&args),
        Verb::Init(args) => init::run(&args),
        Verb::Schema(args) => Ok(schema::run(&args)),
        Verb::Render(args) => render::run(&args),
        #[cfg(feature = "import-packer")]
        Verb::Import(args) => import::run(&args),
        // Whoever reads our standard error is the guest: nothing is said, the code is enough.
        Verb::DoorRelay { socket } => Ok(relay::relay(&socket).map_or(Exit::Failed, |()| Exit::Ok)),
        // The run reads how it ended.
        Verb::ExecuteNode { .. } => Ok(process::serve().map_or(Exit::Failed, |()| Exit::Ok)),
        Verb::RunJob(args) => job::run(&args),
        // The parent reads standard error where the answer is not whole.
        #[cfg(feature = "nickel")]
        Verb::EvaluateNickel => Ok(nickel::serve().map_or(Exit::Failed, |()| Exit::Ok)),
        Verb::Check(args) => check::run(&args),
        Verb::Boot(args) => boot::run(&args),
        Verb::Doctor(args) => Ok(doctor::run(&args)),
        Verb::Completions(args) => Ok(reference::completions(&args)),
        Verb::Man(args) => Ok(reference::man(&args, Cli::command())),
        Verb::Reference => Ok(reference::reference(&mut Cli::command())),
    };
    let (Ok(exit) | Err(exit)) = done;
    ExitCode::from(exit as u8)
}

/// Of a verb that does not exist, the error with the one that the user most likely meant.
fn with_near_verb(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) {
        let cli = Cli::command();
        let verbs = cli.get_subcommands().filter(|verb| !verb.is_hide_set());
        let near = suggest::near(word, verbs.map(clap::Command::get_name));
        let near = near.first().map(|&verb| verb.to_owned());
        error.insert(
            ContextKind::SuggestedSubcommand,
            ContextValue::Strings(near.into_iter().collect()),
        );
    }
    error
}
