//! `pipeline runs`: the runs whose logs are there, newest first.

use jiff::Timestamp;
use serde::Serialize;

use super::exit::Exit;
use super::report_error::{out, talk};
use super::show::OutputFormat;
use super::table::{Table, stdout_style, stdout_width};
use super::target::StoreArgs;
use super::time::age;
use crate::report::past::{self, Past};
use crate::report::style::Role;
use crate::size::{ByteSize, show_seconds};
use crate::store::{RunFolder, Store};

/// File with the events of a run.
pub(super) const JOURNAL: &str = "events.jsonl";

/// Arguments of `pipeline runs`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline runs\n  pipeline runs --limit 1 --format json\n\n\
    `pipeline logs RUN` shows what a run left. `pipeline gc --keep-runs N` removes the logs of older ones."
)]
pub struct Args {
    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    limit: usize,
    /// How to print it
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
    #[command(flatten)]
    store: StoreArgs,
}

/// How a run ended, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// It goes on.
    Running,
    /// All was done.
    Done,
    /// Something failed.
    Failed,
    /// It was stopped.
    Interrupted,
    /// It ended without a word: killed, or the host went down.
    Killed,
    /// It was no run but a machine of `pipeline boot`.
    Machine,
}

impl Outcome {
    pub(super) fn word(self) -> (&'static str, Role) {
        match self {
            Self::Running => ("running", Role::Busy),
            Self::Done => ("done", Role::Good),
            Self::Failed => ("failed", Role::Bad),
            Self::Interrupted => ("interrupted", Role::Attention),
            Self::Killed => ("killed", Role::Bad),
            Self::Machine => ("machine", Role::Dim),
        }
    }
}

/// A run. The serialised form is an interface.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Run {
    pub(super) run: String,
    pub(super) outcome: Outcome,
    pub(super) started: Option<Timestamp>,
    /// Wall time; of one that goes on or was killed, until its last word.
    pub(super) seconds: Option<f64>,
    pub(super) pipeline: String,
    pub(super) manifest: String,
    pub(super) nodes: usize,
    pub(super) built: usize,
    pub(super) cached: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
    pub(super) folder: std::path::PathBuf,
    /// Bytes of its logs.
    pub(super) bytes: u64,
}

/// Reads what a run's folder says.
pub(super) fn read(folder: &RunFolder) -> Run {
    let past = past::read(&folder.path.join(JOURNAL));
    let outcome = match past.end {
        _ if folder.running => Outcome::Running,
        Some(end) if end.interrupted => Outcome::Interrupted,
        Some(end) if end.failed + end.skipped > 0 => Outcome::Failed,
        Some(_) => Outcome::Done,
        None if past.started.is_none() && folder.needs.is_none() => Outcome::Machine,
        None => Outcome::Killed,
    };
    let Past {
        started, last, end, ..
    } = past;
    let last = if folder.running {
        Some(Timestamp::now())
    } else {
        last
    };
    let so_far = || Some(last?.duration_since(started?).as_secs_f64());
    let number = |of: fn(past::End) -> usize| end.map_or(0, of);
    Run {
        run: folder.id.clone(),
        outcome,
        started,
        seconds: end.map(|end| end.seconds).or_else(so_far),
        pipeline: past.pipeline,
        manifest: past.manifest,
        nodes: past.nodes,
        built: number(|end| end.built),
        cached: number(|end| end.cached),
        failed: number(|end| end.failed),
        skipped: number(|end| end.skipped),
        folder: folder.path.clone(),
        bytes: folder.bytes,
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Exit {
    let store = Store::peek(&args.store.folder());
    let runs: Vec<_> = store.runs().iter().take(args.limit).map(read).collect();
    if args.format == OutputFormat::Json {
        out(&format!(
            "{:#}\n",
            serde_json::json!({ "version": 1, "runs": runs })
        ));
        return Exit::Ok;
    }
    if runs.is_empty() {
        talk("no run has left logs here yet\n");
        return Exit::Ok;
    }
    let mut table = Table::new(
        &[
            "run", "outcome", "started", "took", "pipeline", "nodes", "logs", "manifest",
        ],
        3,
    );
    let now = Timestamp::now();
    for run in &runs {
        let plain = |text: String| (Role::Plain, text);
        let (word, role) = run.outcome.word();
        table.row(vec![
            plain(run.run.clone()),
            (role, word.to_owned()),
            plain(
                run.started
                    .map_or_else(String::new, |at| format!("{} ago", age(at, now))),
            ),
            plain(run.seconds.map_or_else(String::new, show_seconds)),
            plain(run.pipeline.clone()),
            plain(numbers(run)),
            plain(ByteSize(run.bytes).to_string()),
            (Role::Dim, run.manifest.clone()),
        ]);
    }
    out(&table.render(stdout_style(), stdout_width()));
    Exit::Ok
}

/// `3 built, 2 failed`; of what there was nothing to do for, so many in the store.
pub(super) fn numbers(run: &Run) -> String {
    let parts = [
        (run.built, "built"),
        (run.failed, "failed"),
        (run.skipped, "not done"),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    match (parts.is_empty(), run.cached) {
        (false, _) => parts.join(", "),
        (true, 0) => String::new(),
        (true, cached) => format!("{cached} in the store"),
    }
}
