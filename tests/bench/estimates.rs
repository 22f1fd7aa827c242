//! How far off the estimates of remaining time are: recorded runs are replayed, each with what the runs before it in its
//! store teach, and the estimate at three moments is compared with the time that was really left.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use pipeline::internals::event::{Event, NodeInfo, Outcome, What};
use pipeline::internals::report::board::Board;
use pipeline::internals::took::{Job, Times};

/// When a run is asked, in parts of its whole time.
const MOMENTS: [f64; 3] = [0.25, 0.5, 0.75];
/// What half of the estimates may be off at most, in hundredths of the time left.
const OFF: f64 = 30.0;

/// Prints how far off each run's estimates were. `runs` has a folder for each store, with the journals of its runs in the
/// order of their names; a store's own `runs` is such a folder too.
pub fn section(runs: Option<&str>) {
    let recorded = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/runs");
    let root = PathBuf::from(runs.unwrap_or(recorded));
    println!("\nEstimates of remaining time, off by so much of the time left (recorded runs)\n");
    println!("| run | took | at 25 % | at 50 % | at 75 % |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    let mut off = Vec::new();
    for store in sorted(&root).into_iter().filter(|path| path.is_dir()) {
        let mut times = Times::default();
        for journal in sorted(&store) {
            let name = journal.strip_prefix(&root).unwrap().display().to_string();
            let events = read(&journal);
            let Some((took, errors)) = replay(&events, &times) else {
                continue;
            };
            let cells =
                errors.map(|error| error.map_or("no claim".to_owned(), |error| format!("{error:.0} %")));
            println!("| {name} | {took:.0} s | {} |", cells.join(" | "));
            off.extend(errors.into_iter().flatten());
            learn(&events, &mut times);
        }
    }
    off.sort_by(f64::total_cmp);
    let middle = off.get(off.len() / 2).copied().unwrap_or(f64::INFINITY);
    let verdict = super::verdict(middle <= OFF);
    println!(
        "\n  median of {} estimates: {middle:.0} %   under {OFF} %: {verdict}",
        off.len()
    );
}

/// How long the run took, and how far off its estimates were, in hundredths of what was left; none where nothing was claimed.
fn replay(events: &[Event], times: &Times) -> Option<(f64, [Option<f64>; 3])> {
    let start = events.first()?.at;
    let What::RunFinished { seconds, .. } = events.last()?.what else {
        return None;
    };
    let errors = MOMENTS.map(|moment| {
        let now: Timestamp = start + Duration::from_secs_f64(seconds * moment);
        let mut board = Board::default();
        for event in events.iter().filter(|event| event.at <= now) {
            let mut event = event.clone();
            if let What::RunStarted { nodes, .. } = &mut event.what {
                nodes.iter_mut().for_each(|node| expect(node, times));
            }
            board.apply(&event);
        }
        let left = seconds * (1.0 - moment);
        board
            .eta(now)
            .map(|eta| (eta.as_secs_f64() - left).abs() / left * 100.0)
    });
    Some((seconds, errors))
}

fn job(node: &NodeInfo) -> Job<'_> {
    Job {
        stage: &node.stage,
        subject: &node.subject,
        alike: &node.alike,
    }
}

fn expect(node: &mut NodeInfo, times: &Times) {
    let expected = times.expected(job(node));
    node.expected_seconds = expected.map(|expected| expected.seconds);
    node.expected_by = expected.map(|expected| expected.by);
}

/// What a run teaches the next one.
fn learn(events: &[Event], times: &mut Times) {
    let mut nodes = BTreeMap::new();
    for event in events {
        match &event.what {
            What::RunStarted { nodes: all, .. } => {
                nodes.extend(all.iter().map(|node| (node.id.clone(), node)));
            }
            What::NodeFinished { outcome, seconds, .. } => {
                let node = event.node.as_ref().and_then(|id| nodes.get(id));
                let is_done = *outcome == Outcome::Built;
                if let Some(node) = node.filter(|_| is_done || *outcome == Outcome::Failed) {
                    times.learn(job(node), *seconds, is_done);
                }
            }
            _ => {}
        }
    }
}

fn read(journal: &Path) -> Vec<Event> {
    let journal = if journal.is_dir() {
        journal.join("events.jsonl")
    } else {
        journal.to_owned()
    };
    let text = fs::read_to_string(journal).unwrap_or_default();
    let events = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    let events = events.skip_while(|event: &Event| !matches!(event.what, What::RunStarted { .. }));
    events.collect()
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut all: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}
