//! `pipeline runs`: the runs whose logs are there, newest first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::exit::Exit;
use super::report_error::{out, talk};
use super::show::OutputFormat;
use super::table::{Table, stdout_style, stdout_width};
use super::target::StoreArgs;
use super::time::age;
use crate::report::past::{self, Past};
use crate::report::style::{Role, Style};
use crate::size::{ByteSize, show_seconds};
use crate::store::{RunFolder, Store};
use crate::verdict::Verdict;

/// Columns for why a run failed.
const WHY: usize = 40;

/// File with the events of a run.
pub(super) const JOURNAL: &str = "events.jsonl";

/// Arguments of `pipeline runs`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline runs\n  pipeline runs --failed --manifest images.toml\n  pipeline runs --limit 1 --format json\n\n\
    `pipeline logs RUN` shows what a run left. `pipeline gc --keep-runs N` removes the logs of older ones."
)]
pub struct Args {
    /// Only runs in which something failed
    #[arg(long)]
    failed: bool,
    /// Only runs of this manifest
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
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
    /// It was not started: something was in its way.
    Refused,
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
            Self::Refused => ("refused", Role::Attention),
            Self::Killed => ("killed", Role::Bad),
            Self::Machine => ("machine", Role::Dim),
        }
    }
}

/// Why nodes of a run failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Cause {
    verdict: Verdict,
    cause: String,
    nodes: Vec<String>,
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
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// Why nodes failed, each cause once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) causes: Vec<Cause>,
    pub(super) folder: PathBuf,
    /// Bytes of its logs.
    pub(super) bytes: u64,
}

/// Reads what a run's folder says.
pub(super) fn read(folder: &RunFolder) -> Run {
    let past = past::read(&folder.path.join(JOURNAL));
    let outcome = match past.end {
        _ if folder.running => Outcome::Running,
        None if past.interrupted => Outcome::Interrupted,
        None if past.refused.is_some() => Outcome::Refused,
        Some(end) if end.interrupted => Outcome::Interrupted,
        Some(end) if end.failed + end.skipped > 0 => Outcome::Failed,
        Some(_) => Outcome::Done,
        None if past.last.is_none() && folder.needs.is_none() => Outcome::Machine,
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
        error: past.refused,
        causes: Vec::new(),
        folder: folder.path.clone(),
        bytes: folder.bytes,
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let store = args.store.look()?;
    let manifest = args
        .manifest
        .as_ref()
        .map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    let is_meant = |run: &Run| {
        let of_manifest = manifest
            .as_ref()
            .is_none_or(|manifest| *manifest == Path::new(&run.manifest));
        of_manifest && (!args.failed || run.failed > 0)
    };
    let all = store.runs();
    let mut runs: Vec<_> = all.iter().map(read).filter(is_meant).take(args.limit).collect();
    let causes = causes(&store);
    for run in &mut runs {
        run.causes = causes.get(&run.run).cloned().unwrap_or_default();
    }
    if args.format == OutputFormat::Json {
        out(&format!(
            "{:#}\n",
            serde_json::json!({ "version": 1, "runs": runs })
        ));
        return Ok(Exit::Ok);
    }
    if runs.is_empty() {
        let any = all.is_empty();
        talk(if any {
            "no run has left logs here yet\n"
        } else {
            "no such run has left logs here\n"
        });
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(
        &[
            "run", "outcome", "started", "took", "pipeline", "nodes", "why", "logs", "manifest",
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
            plain(why(run)),
            plain(ByteSize(run.bytes).to_string()),
            (Role::Dim, run.manifest.clone()),
        ]);
    }
    out(&table.render(stdout_style(), stdout_width()));
    Ok(Exit::Ok)
}

/// Why nodes failed, by run.
fn causes(store: &Store) -> BTreeMap<String, Vec<Cause>> {
    let mut runs: BTreeMap<String, Vec<Cause>> = BTreeMap::new();
    for attempt in store.attempts() {
        let Some(failure) = attempt.failure else { continue };
        let node = format!("{}/{}", attempt.stage, attempt.subject);
        let causes = runs.entry(attempt.run).or_default();
        let known = causes
            .iter_mut()
            .find(|known| known.verdict == failure.verdict && known.cause == failure.cause);
        match known {
            Some(known) => known.nodes.push(node),
            None => causes.push(Cause {
                verdict: failure.verdict,
                cause: failure.cause,
                nodes: vec![node],
            }),
        }
    }
    runs
}

/// The kinds of failure, or why it was refused, in a few words.
fn why(run: &Run) -> String {
    if let Some(error) = &run.error {
        return Style::PLAIN.cut(error.lines().next().unwrap_or_default(), WHY);
    }
    let kinds: BTreeSet<_> = run.causes.iter().map(|cause| cause.verdict.to_string()).collect();
    let kinds: Vec<_> = kinds.into_iter().collect();
    Style::PLAIN.cut(&kinds.join(", "), WHY)
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
