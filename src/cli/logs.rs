//! `pipeline logs`: what runs left. Without a node it lists, with one it tells all that happened there; `--follow` goes on
//! telling while the run goes on.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, thread};

use clap_complete::ArgValueCandidates;
use globset::GlobSet;
use jiff::tz::TimeZone;

use super::complete;
use super::exit::Exit;
use super::report_error::{fail, out, talk};
use super::runs::{JOURNAL, Run, numbers, read};
use super::table::stdout_style;
use super::target::StoreArgs;
use super::time::moment;
use crate::event::{Event, Outcome, What};
use crate::manifest::glob;
use crate::report::Verbosity;
use crate::report::board::Board;
use crate::report::lines::Lines;
use crate::report::node::{Node, State};
use crate::report::past::{self, Reading};
use crate::report::style::{Role, Style, pad};
use crate::size::{ByteSize, show_seconds};
use crate::store::{RunFolder, Store};

/// How often a journal is looked at for more.
const POLL: Duration = Duration::from_millis(200);
/// Columns of the first word of a line.
const LABEL: usize = 10;

/// Arguments of `pipeline logs`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pipeline logs                                    what the newest run left\n  \
    pipeline logs -f                                 what it does, as it happens\n  \
    pipeline logs provision/debian12-base            all that happened there: phases, steps' output, console\n  \
    pipeline logs 20261124-0912 'check/*'            of an older run\n  \
    less \"$(pipeline logs --path)\"/*/*/console.log")]
pub struct Args {
    /// A run, or the beginning of its id [default: the newest]
    #[arg(add = ArgValueCandidates::new(complete::runs_and_nodes))]
    run: Option<String>,
    /// A node as in provision/debian12-base, or a pattern
    #[arg(add = ArgValueCandidates::new(complete::nodes))]
    node: Option<String>,
    /// Go on telling what happens until the run ends
    #[arg(long, short)]
    follow: bool,
    /// Print only the path of the run's folder
    #[arg(long, conflicts_with = "follow")]
    path: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let store = args.store.look()?;
    let (folder, node) = find(&store, args)?;
    if args.path {
        out(&format!("{}\n", folder.path.display()));
        return Ok(Exit::Ok);
    }
    let style = stdout_style();
    match node {
        None if !args.follow => {
            list(&folder, style);
            Ok(Exit::Ok)
        }
        node => tell(&store, &folder, node.as_deref(), args.follow, style),
    }
}

/// The run and the node. A first word that names no run names a node of the newest one.
fn find(store: &Store, args: &Args) -> Result<(RunFolder, Option<String>), Exit> {
    let is_node = |word: &str| word.contains('/') || word.contains('*');
    match (&args.run, &args.node) {
        (Some(word), None) if is_node(word) => Ok((find_run(store, None)?, Some(word.clone()))),
        (run, node) => Ok((find_run(store, run.as_deref())?, node.clone())),
    }
}

/// The run whose id begins like this; without one, the newest.
pub(super) fn find_run(store: &Store, begin: Option<&str>) -> Result<RunFolder, Exit> {
    let mut runs = store.runs();
    let found = match begin {
        Some(begin) => runs.iter().position(|run| run.id.starts_with(begin)),
        None => newest(&runs),
    };
    match (found, begin) {
        (Some(position), _) => Ok(runs.swap_remove(position)),
        (None, Some(begin)) => {
            let help = "`pipeline runs` lists the runs; a node is named like provision/debian12-base";
            Err(fail(
                Exit::Usage,
                miette::miette!(help = help, "no run is called `{begin}`"),
            ))
        }
        (None, None) => Err(fail(
            Exit::Failed,
            miette::miette!(
                help = "`pipeline run` leaves some; where it used another store, name that: --store or PIPELINE_STORE",
                "no run has left logs in {}",
                store.root().display()
            ),
        )),
    }
}

/// The newest that is a run and was started; what was refused and what `pipeline boot` left only where there is nothing else.
fn newest(runs: &[RunFolder]) -> Option<usize> {
    let run = runs
        .iter()
        .position(|run| past::read(&run.path.join(JOURNAL)).is_run(run.running));
    run.or(if runs.is_empty() { None } else { Some(0) })
}

fn list(folder: &RunFolder, style: Style) {
    let run: Run = read(folder);
    let (word, role) = run.outcome.word();
    let took = run
        .seconds
        .map_or_else(String::new, |seconds| format!(" after {}", show_seconds(seconds)));
    let numbers = Some(numbers(&run)).filter(|text| !text.is_empty());
    let numbers = numbers.map_or_else(String::new, |text| format!(" ({text})"));
    let id = style.paint(Role::Strong, &run.run);
    out(&format!("run {id}: {}{took}{numbers}\n", style.paint(role, word)));
    if let Some(error) = &run.error {
        out(&format!(
            "  {}{error}\n",
            style.paint(Role::Dim, &pad("why", LABEL))
        ));
    }
    let place = folder.path.display().to_string();
    let started = run.started.map_or_else(String::new, moment);
    for (label, text) in [
        ("started", started),
        ("manifest", run.manifest),
        ("folder", place),
    ] {
        if !text.is_empty() {
            out(&format!(
                "  {}{text}\n",
                style.paint(Role::Dim, &pad(label, LABEL))
            ));
        }
    }
    let board = board(&folder.path.join(JOURNAL));
    for (name, path, bytes) in files(&folder.path) {
        if !path.is_dir() {
            out(&format!("  {name:<36}  {}\n", ByteSize(bytes)));
            continue;
        }
        // The first dash of a node's folder stands for its slash; stages have none in their names.
        let node = name.replacen('-', "/", 1);
        let ended = board
            .node(&node)
            .map_or_else(String::new, |node| ended(node, style));
        out(&format!("\n{}{ended}\n", style.paint(Role::Strong, &node)));
        for (name, bytes) in below(&path, "") {
            out(&format!("  {name:<36}  {}\n", ByteSize(bytes)));
        }
    }
}

/// All that a journal says.
fn board(journal: &Path) -> Board {
    let mut board = Board::default();
    if let Ok(mut reading) = Reading::open(journal) {
        reading.more().iter().for_each(|event| board.apply(event));
    }
    board
}

/// How a node ended, or what it does.
fn ended(node: &Node, style: Style) -> String {
    let done = match &node.state {
        State::Done(done) => done,
        State::Running(work) => {
            let phase = work
                .phase
                .as_ref()
                .map_or_else(String::new, |phase| format!(": {phase}"));
            return format!("  {}{phase}", style.paint(Role::Busy, "running"));
        }
        State::Pending | State::Cached | State::Waiting { .. } => return String::new(),
    };
    let (role, word) = match done.outcome {
        Outcome::Built => (Role::Good, "done"),
        Outcome::Present => (Role::Good, "there already"),
        Outcome::Shared => (Role::Good, "made meanwhile by another"),
        Outcome::Failed => (Role::Bad, "failed"),
        Outcome::Skipped => (Role::Attention, "not started"),
        Outcome::Cancelled => (Role::Attention, "stopped"),
    };
    let why = match done.outcome {
        Outcome::Failed => format!(": {}", done.why()),
        _ => String::new(),
    };
    format!(
        "  {} after {}{why}",
        style.paint(role, word),
        show_seconds(done.seconds)
    )
}

/// What is in a folder, files first.
fn files(folder: &Path) -> Vec<(String, PathBuf, u64)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            Some((
                entry.file_name().into_string().ok()?,
                entry.path(),
                entry.metadata().ok()?.len(),
            ))
        })
        .collect();
    found.sort_by_key(|(name, path, _)| (path.is_dir(), name.clone()));
    found
}

/// Files in a folder and below it, by their path from there.
fn below(folder: &Path, prefix: &str) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for (name, path, bytes) in files(folder) {
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            found.extend(below(&path, &format!("{name}/")));
        } else {
            found.push((name, bytes));
        }
    }
    found
}

/// Tells what happened, from the run's journal.
fn tell(
    store: &Store,
    folder: &RunFolder,
    node: Option<&str>,
    follow: bool,
    style: Style,
) -> Result<Exit, Exit> {
    let journal = folder.path.join(JOURNAL);
    let mut reading = Reading::open(&journal).map_err(|error| {
        let help = "only runs have a journal; the folder has the rest";
        fail(
            Exit::Failed,
            miette::miette!(help = help, "{}: {error}", journal.display()),
        )
    })?;
    let wanted = node.map(matcher).transpose()?;
    let mut teller = Teller {
        board: Board::default(),
        lines: Lines::new(style, Verbosity::Verbose, TimeZone::system()),
        wanted,
        shown: 0,
        over: false,
    };
    loop {
        // Asked before the journal is read: what the run wrote until its end is then in it.
        let running = follow && store.is_running(&folder.id);
        for event in reading.more() {
            teller.take(&event);
        }
        if !running || teller.over {
            break;
        }
        thread::sleep(POLL);
    }
    if let (0, Some(node), false) = (teller.shown, node, follow) {
        let ids: Vec<_> = teller
            .board
            .nodes
            .iter()
            .map(|node| node.info.id.clone())
            .collect();
        let help = match ids.is_empty() {
            true => "the run's journal names no nodes".to_owned(),
            false => format!("its nodes are: {}", ids.join(", ")),
        };
        let error = miette::miette!(
            help = help,
            "nothing happened in a node `{node}` of run {}",
            folder.id
        );
        return Err(fail(Exit::Failed, error));
    }
    if let Some(glob) = &teller.wanted
        && !follow
    {
        for (name, path, _) in files(&folder.path) {
            if path.is_dir() && matches(glob, &name.replacen('-', "/", 1)) {
                talk(&format!("files: {}\n", path.display()));
            }
        }
    }
    Ok(Exit::Ok)
}

fn matcher(node: &str) -> Result<GlobSet, Exit> {
    glob::compile(node)
        .map_err(|cause| fail(Exit::Usage, miette::miette!("`{node}` is not a pattern: {cause}")))
}

fn matches(glob: &GlobSet, id: &str) -> bool {
    glob.is_match(id)
        || id
            .split_once('/')
            .is_some_and(|(_, subject)| glob.is_match(subject))
}

struct Teller {
    board: Board,
    lines: Lines,
    wanted: Option<GlobSet>,
    shown: usize,
    over: bool,
}

impl Teller {
    fn take(&mut self, event: &Event) {
        self.board.apply(event);
        let lines = self.lines.event(&self.board, event);
        let is_wanted = match (&self.wanted, &event.node) {
            (None, _) => true,
            (Some(glob), Some(id)) => matches(glob, id),
            (Some(_), None) => false,
        };
        if is_wanted {
            self.shown += 1;
            lines.iter().for_each(|line| out(&format!("{line}\n")));
        }
        self.over |= matches!(event.what, What::RunFinished { .. });
    }
}
