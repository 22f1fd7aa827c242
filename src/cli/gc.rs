//! `pipeline gc`: removes what is not needed any more, and says what and why.

mod remote;

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::complete;
use super::exit::Exit;
use super::report_error::{fail, out, talk};
use super::show::OutputFormat;
use super::table::{Table, counted, stdout_style, stdout_width};
use super::target::StoreArgs;
use super::time::age;
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::report::style::Role;
use crate::run::signals;
use crate::size::{ByteSize, parse_duration};
use crate::store::gc::{Doomed, Policy, Why, select};
use crate::store::{Store, StoreError};

/// Runs of each pipeline that are kept by default.
const KEEP_RUNS: usize = 5;

/// Arguments of `pipeline gc`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pipeline gc --dry-run                  what would go\n  \
    pipeline gc --max-size 50G             the least recently used, until 50 GiB are left\n  \
    pipeline gc --older-than 30d --keep-runs 3\n  \
    pipeline gc --remote --older-than 90d --keep images.toml --dry-run\n\n\
    What a run that goes on, a pin (pipeline store pin) or a kept VM needs is never removed, and a run may start at any \
    moment. Published images are not touched: they lie in output folders. Without any of the three limits, --keep-runs \
    is 5: what the last 5 runs of each manifest needed stays, and the last good result of each of its images.\n\n\
    With --remote the same is done to the bucket that hosts share: files and uploads that belong to no result go, \
    results only by --older-than and --max-size, and nothing that was put there within 3 days (docs/farm.md).")]
pub struct Args {
    /// Remove the least recently used results until they take no more than this
    #[arg(long, value_name = "SIZE")]
    max_size: Option<ByteSize>,
    /// Remove logs of all but the newest N runs of each manifest, and results that neither those nor the newest run of all
    /// images need; the last good result of every image stays
    #[arg(long, value_name = "N", conflicts_with = "remote")]
    keep_runs: Option<usize>,
    /// Remove results that no run needed for this long, and logs that old: 12h, 30d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    older_than: Option<Duration>,
    /// Remove results of another version's format too, which stay otherwise
    #[arg(long)]
    other_versions: bool,
    /// Clean the store that hosts share instead: that of the settings, or this one
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    remote: Option<String>,
    /// With --remote: keep what this manifest needs now, however old it is
    #[arg(long, value_name = "MANIFEST", requires = "remote", add = complete::manifests())]
    keep: Vec<PathBuf>,
    /// Only show what would go
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let failed = |error: &dyn std::fmt::Display| fail(Exit::Failed, miette::miette!("{error}"));
    if let Some(url) = &args.remote {
        return remote::run(args, url);
    }
    let folder = args.store.folder();
    if !folder.join("CACHEDIR.TAG").is_file() {
        talk(&format!("there is no store in {}\n", folder.display()));
        return Ok(Exit::Ok);
    }
    let policy = policy(args, Timestamp::now());
    let mut show = |doomed: &Doomed| match args.format {
        OutputFormat::Text => out(&text(doomed, args.dry_run)),
        OutputFormat::Json => out(&json(doomed, args.dry_run)),
    };
    let doomed = if args.dry_run {
        let doomed = select(&args.store.look()?.inventory(), policy);
        show(&doomed);
        doomed
    } else {
        let store = Store::open(&folder).map_err(|error| failed(&error))?;
        let cancel = Cancel::default();
        let (unheard, _) = mpsc::channel();
        let _listening = signals::listen(&cancel, &Emitter::new(unheard)).map_err(|error| failed(&error))?;
        let mut waiting = || talk("waiting: a run is just starting\n");
        match store.collect(policy, &cancel, &mut waiting, &mut show) {
            Ok(doomed) => doomed,
            Err(StoreError::Cancelled) => return Ok(Exit::Interrupted),
            Err(error) => return Err(failed(&error)),
        }
    };
    if doomed.others > 0 {
        talk(&format!(
            "{} in the format of another version of pipeline left alone; --other-versions removes them\n",
            counted(doomed.others, "result")
        ));
    }
    if doomed.over > 0 {
        let over = ByteSize(doomed.over);
        talk(&format!(
            "{over} more than --max-size are in use: by runs that go on, kept runs, pins or kept VMs\n"
        ));
    }
    Ok(Exit::Ok)
}

fn policy(args: &Args, now: Timestamp) -> Policy {
    let since = args.older_than.map(|age| {
        let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
        now.checked_sub(age).unwrap_or(Timestamp::MIN)
    });
    let limited = args.max_size.is_some() || since.is_some();
    Policy {
        keep_runs: args.keep_runs.or(if limited { None } else { Some(KEEP_RUNS) }),
        unused_since: since,
        max_bytes: args.max_size.map(|size| size.0),
        other_versions: args.other_versions,
    }
}

fn word(why: Why) -> &'static str {
    match why {
        Why::Broken => "not whole",
        Why::Other => "another version's format",
        Why::Unneeded => "no kept run needs it",
        Why::Unused => "not used for long",
        Why::Space => "least recently used",
    }
}

fn text(doomed: &Doomed, dry: bool) -> String {
    if doomed.is_empty() {
        return "nothing to remove\n".to_owned();
    }
    let now = Timestamp::now();
    let mut table = Table::new(&["what", "of", "size", "why", "used"], 4);
    let plain = |text: String| (Role::Plain, text);
    for (result, why) in &doomed.results {
        let subject = result.built_for.as_ref().map(|(_, subject)| subject.clone());
        table.row(vec![
            plain(result.address.short()),
            plain(subject.unwrap_or_default()),
            plain(ByteSize(result.own_bytes).to_string()),
            (Role::Dim, word(*why).to_owned()),
            plain(format!("{} ago", age(result.used, now))),
        ]);
    }
    for run in &doomed.runs {
        table.row(vec![
            plain("logs".to_owned()),
            plain(run.id.clone()),
            plain(ByteSize(run.bytes).to_string()),
            (Role::Dim, "older run".to_owned()),
            plain(format!("{} ago", age(run.changed, now))),
        ]);
    }
    for kept in &doomed.kept {
        table.row(vec![
            plain("kept VM".to_owned()),
            plain(kept.node.clone()),
            plain(ByteSize(kept.bytes).to_string()),
            (Role::Dim, "its run's logs go".to_owned()),
        ]);
    }
    let word = if dry { "would become free" } else { "freed" };
    format!(
        "{}\n{} {word}: {}, logs of {}, {}\n",
        table.render(stdout_style(), stdout_width()),
        ByteSize(doomed.bytes()),
        counted(doomed.results.len(), "result"),
        counted(doomed.runs.len(), "run"),
        counted(doomed.kept.len(), "kept VM"),
    )
}

fn json(doomed: &Doomed, dry: bool) -> String {
    let results: Vec<_> = doomed
        .results
        .iter()
        .map(|(result, why)| {
            let subject = result.built_for.as_ref().map(|(_, subject)| subject);
            json!({
                "stage": result.address.stage, "key": result.address.key, "subject": subject,
                "bytes": result.own_bytes, "used": result.used, "why": word(*why),
            })
        })
        .collect();
    let runs: Vec<_> = doomed
        .runs
        .iter()
        .map(|run| json!({ "run": run.id, "bytes": run.bytes }))
        .collect();
    let kept: Vec<_> = doomed
        .kept
        .iter()
        .map(|kept| json!({ "run": kept.run, "node": kept.node, "bytes": kept.bytes }))
        .collect();
    let all = json!({
        "version": 1, "dry_run": dry, "bytes": doomed.bytes(), "over_bytes": doomed.over,
        "other_versions": doomed.others, "results": results,
        "runs": runs, "kept": kept,
    });
    format!("{all:#}\n")
}
