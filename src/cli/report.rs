//! `pipeline report`: a run as a page for a browser, or as a trace.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use clap_complete::ArgValueCandidates;

use super::complete;
use super::exit::Exit;
use super::logs::find_run;
use super::report_error::{fail, out};
use super::runs::JOURNAL;
use super::target::StoreArgs;
use crate::event::node_folder;
use crate::host::fs::write_atomic;
use crate::machine::qemu::SCREEN_FILE;
use crate::report::page::{self, Material};
use crate::report::recorded::Recorded;
use crate::report::{past, trace};
use crate::run::builds::package_changes;
use crate::store::Store;

/// Standard output, as a file.
const STDOUT: &str = "-";
/// Pictures of a screen are smaller.
const LARGEST_PICTURE: u64 = 1 << 20;
/// Folders of machines are so deep below a node's.
const DEPTH: usize = 2;

/// Arguments of `pipeline report`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline report                          of the newest run, to report.html\n  \
    pipeline report 20261124-0912 -o -       of an older one, to standard output\n  \
    pipeline report --format trace           to trace.json, for ui.perfetto.dev or chrome://tracing\n\n\
    The page is one file that needs no script and no network. `pipeline run --report FILE` writes it after the run."
)]
pub struct Args {
    /// A run, or the beginning of its id [default: the newest]
    #[arg(add = ArgValueCandidates::new(complete::runs))]
    run: Option<String>,
    /// Where to write it; - is standard output [default: report.html, or trace.json]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Html)]
    format: Format,
    #[command(flatten)]
    store: StoreArgs,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A page for a browser
    Html,
    /// The trace format of Chrome, as JSON
    Trace,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let store = args.store.look()?;
    let folder = find_run(&store, args.run.as_deref())?;
    let journal = folder.path.join(JOURNAL);
    let recorded = read(&journal).map_err(|error| {
        let help = "only runs have a journal; the folder has the rest";
        fail(
            Exit::Failed,
            miette::miette!(help = help, "{}: {error}", journal.display()),
        )
    })?;
    let (text, usual) = match args.format {
        Format::Html => (html(&store, &folder.id, &recorded)?, "report.html"),
        Format::Trace => (trace::render(&recorded), "trace.json"),
    };
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(usual));
    if path == Path::new(STDOUT) {
        out(&text);
    } else {
        save(&path, &text)?;
        out(&format!("{}\n", path.display()));
    }
    Ok(Exit::Ok)
}

/// Writes the page of a run that is over. One that left no journal has none: why is on the screen.
pub(super) fn write(store: &Store, run: &str, path: &Path) -> Result<(), Exit> {
    let journal = store.run_folder(run).join(JOURNAL);
    if !journal.exists() {
        return Ok(());
    }
    let recorded =
        read(&journal).map_err(|error| failed(path, &format!("{}: {error}", journal.display())))?;
    save(path, &html(store, run, &recorded)?)
}

fn html(store: &Store, run: &str, recorded: &Recorded) -> Result<String, Exit> {
    let before = before(store, run, &recorded.manifest);
    let folder = store.run_folder(run);
    let picture = |node: &str| picture(&folder.join(node_folder(node)), DEPTH);
    let started = recorded.started.unwrap_or_default();
    let took = jiff::SignedDuration::from_millis(i64::try_from(recorded.millis).unwrap_or(i64::MAX));
    let during = started..=started.saturating_add(took).unwrap_or(started);
    let packages = package_changes(store, &recorded.pipeline, &during);
    let material = Material {
        run: recorded,
        before: before.as_ref(),
        packages: &packages,
        picture: &picture,
    };
    page::render(&material).map_err(|error| fail(Exit::Failed, miette::miette!("{error}")))
}

fn read(journal: &Path) -> std::io::Result<Recorded> {
    let lines = BufReader::new(File::open(journal)?).lines();
    let lines = lines.map_while(Result::ok);
    Ok(Recorded::of(lines.filter_map(|line| past::event(&line))))
}

/// The run before one, of the same manifest, that reached its end.
fn before(store: &Store, run: &str, manifest: &str) -> Option<Recorded> {
    let older = store
        .runs()
        .into_iter()
        .skip_while(|folder| folder.id != run)
        .skip(1);
    let journals = older.map(|folder| folder.path.join(JOURNAL));
    let mut comparable = journals.filter(|journal| {
        let past = past::read(journal);
        past.manifest == manifest && past.end.is_some()
    });
    read(&comparable.next()?).ok()
}

/// The newest picture of a screen in a folder or below it.
fn picture(folder: &Path, depth: usize) -> Option<Vec<u8>> {
    let newest = newest_picture(folder, depth)?;
    let length = newest.metadata().ok()?.len();
    std::fs::read(newest).ok().filter(|_| length <= LARGEST_PICTURE)
}

fn newest_picture(folder: &Path, depth: usize) -> Option<PathBuf> {
    let own = folder.join(SCREEN_FILE);
    let own = own.is_file().then_some(own);
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let below = entries.filter(|entry| depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let below = below.filter_map(|entry| newest_picture(&entry.path(), depth - 1));
    let changed = |path: &PathBuf| path.metadata().and_then(|found| found.modified()).ok();
    own.into_iter().chain(below).max_by_key(changed)
}

fn save(path: &Path, text: &str) -> Result<(), Exit> {
    write_atomic(path, text.as_bytes()).map_err(|error| failed(path, &error.to_string()))
}

fn failed(path: &Path, cause: &str) -> Exit {
    fail(
        Exit::Failed,
        miette::miette!("the report {}: {cause}", path.display()),
    )
}
