//! Where the time went: a bar for each node that ran, with its phases and what it waited for; the critical path; and the same as
//! a table, with why each node ran. Positions are in ten-thousandths of the run.

use std::collections::BTreeSet;

use serde::Serialize;

use super::groups::{Groups, sorted};
use super::{Mark, took};
use crate::event::Outcome;
use crate::report::critical;
use crate::report::node::{Node, State};
use crate::report::recorded::{Recorded, Span, Spans};
use crate::size::{ByteSize, write_duration};

/// The whole width.
const WIDTH: u64 = 10_000;
/// The least width of what is drawn.
const THIN: u64 = 20;
/// Marks on the axis, at most.
const TICKS: u64 = 6;
/// Seconds that may lie between two of them.
const STEPS: [u64; 14] = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200];
/// Groups are open where there are no more bars than this.
const OPEN: usize = 120;

#[derive(Serialize)]
pub(super) struct Timeline<'a> {
    ticks: Vec<Tick>,
    groups: Vec<TimeGroup<'a>>,
    critical: Vec<Step<'a>>,
    critical_took: String,
    took: String,
}

#[derive(Serialize)]
struct Tick {
    /// In hundredths.
    at: String,
    label: String,
}

#[derive(Serialize)]
struct TimeGroup<'a> {
    name: &'a str,
    is_open: bool,
    bars: Vec<Bar<'a>>,
    /// Nodes whose results the store had.
    cached: Vec<&'a str>,
    /// All nodes.
    rows: Vec<Row<'a>>,
}

/// A node of the critical path.
#[derive(Serialize)]
struct Step<'a> {
    node: &'a str,
    took: String,
    /// Its share of the path, in hundredths.
    share: u64,
}

#[derive(Serialize)]
struct Bar<'a> {
    node: &'a str,
    is_critical: bool,
    is_failed: bool,
    parts: Vec<Part>,
    took: String,
}

#[derive(Serialize)]
struct Part {
    x: u64,
    width: u64,
    class: &'static str,
    /// `waited 12s for memory: …`, `booting 35s`.
    words: String,
}

#[derive(Serialize)]
struct Row<'a> {
    node: &'a str,
    mark: Mark,
    why: String,
    waited: String,
    took: String,
    size: String,
}

pub(super) fn of<'a>(run: &'a Recorded, groups: &Groups<'a>) -> Timeline<'a> {
    let nodes = &run.summary.nodes;
    let path = critical::path(run);
    let worked = |place: &usize| run.spans.get(&nodes[*place].info.id).map_or(0, Spans::worked);
    let total: u64 = path.iter().map(worked).sum();
    let step = |place: &usize| Step {
        node: &nodes[*place].info.id,
        took: took(worked(place)),
        share: worked(place) * 100 / total.max(1),
    };
    let critical = path.iter().map(step).collect();
    let on_path: BTreeSet<usize> = path.into_iter().collect();
    let all = nodes
        .iter()
        .enumerate()
        .map(|(place, node)| (groups.node(&node.info.id), (place, node)));
    let bars = nodes
        .iter()
        .filter(|node| run.spans.get(&node.info.id).is_some_and(is_drawn))
        .count();
    let group = |(name, members): (&'a str, Vec<(usize, &'a Node)>)| {
        let is_cached = |node: &&Node| matches!(node.state, State::Cached);
        let drawn = members.iter().filter_map(|(place, node)| {
            let spans = run.spans.get(&node.info.id).filter(|spans| is_drawn(spans))?;
            Some((
                begin(spans),
                bar(node, spans, on_path.contains(place), run.millis),
            ))
        });
        let mut drawn: Vec<_> = drawn.collect();
        drawn.sort_by_key(|(begin, _)| *begin);
        TimeGroup {
            name,
            is_open: bars <= OPEN,
            bars: drawn.into_iter().map(|(_, bar)| bar).collect(),
            cached: members
                .iter()
                .map(|(_, node)| *node)
                .filter(is_cached)
                .map(|node| node.info.id.as_str())
                .collect(),
            rows: members
                .iter()
                .map(|(_, node)| row(node, run.spans.get(&node.info.id)))
                .collect(),
        }
    };
    Timeline {
        ticks: ticks(run.millis),
        groups: sorted(all).into_iter().map(group).collect(),
        critical,
        critical_took: took(total),
        took: took(run.millis),
    }
}

fn is_drawn(spans: &Spans) -> bool {
    spans.work.is_some() || !spans.waits.is_empty()
}

fn begin(spans: &Spans) -> u64 {
    let waited = spans.waits.first().map(|wait| wait.from);
    let worked = spans.work.map(|(from, _)| from);
    waited.into_iter().chain(worked).min().unwrap_or_default()
}

fn bar<'a>(node: &'a Node, spans: &Spans, is_critical: bool, millis: u64) -> Bar<'a> {
    let is_failed = matches!(&node.state, State::Done(done) if done.outcome == Outcome::Failed);
    let part = |span: &Span, class, words: String| Part {
        x: place(span.from, millis).min(WIDTH - THIN),
        width: (place(span.to, millis) - place(span.from, millis)).max(THIN),
        class,
        words: format!("{words} {}", took(span.to.saturating_sub(span.from))),
    };
    let mut parts: Vec<Part> = spans
        .waits
        .iter()
        .map(|wait| part(wait, "wait", format!("waiting for {}:", wait.text)))
        .collect();
    if let Some((from, to)) = spans.work {
        let first = spans.phases.first().map_or(to, |phase| phase.from);
        // What came before the first phase, and the whole of what has none.
        let before = Span {
            from,
            to: first,
            text: String::new(),
        };
        if first > from {
            parts.push(part(&before, "even", "running".to_owned()));
        }
        for (number, phase) in spans.phases.iter().enumerate() {
            let class = if number % 2 == 0 { "odd" } else { "even" };
            parts.push(part(phase, class, phase.text.clone()));
        }
    }
    if let (true, Some(last)) = (is_failed, parts.last_mut()) {
        last.class = "failed";
    }
    Bar {
        node: &node.info.id,
        is_critical,
        is_failed,
        parts,
        took: took(spans.worked()),
    }
}

fn place(at: u64, millis: u64) -> u64 {
    at.min(millis) * WIDTH / millis.max(1)
}

fn row<'a>(node: &'a Node, spans: Option<&Spans>) -> Row<'a> {
    let (mark, message, bytes) = match &node.state {
        State::Cached => (Mark::idle("in the store"), String::new(), None),
        State::Pending | State::Waiting { .. } => (Mark::idle("not started"), String::new(), None),
        State::Running(_) => (Mark::idle("no end"), String::new(), None),
        State::Done(done) => {
            let mark = match done.outcome {
                Outcome::Built => Mark::good("built"),
                Outcome::Present => Mark::idle("there already"),
                Outcome::Shared => Mark::good("built by another"),
                Outcome::Failed => Mark::bad("failed"),
                Outcome::Skipped => Mark::idle("not started"),
                Outcome::Cancelled => Mark::idle("stopped"),
            };
            let message = match done.outcome {
                Outcome::Failed => done.why(),
                Outcome::Skipped => done.message.clone().unwrap_or_default(),
                _ => String::new(),
            };
            (mark, message, done.bytes)
        }
    };
    let time = |of: fn(&Spans) -> u64| {
        spans
            .map(of)
            .filter(|millis| *millis > 0)
            .map_or_else(String::new, took)
    };
    let why = if message.is_empty() {
        node.info.reason.clone()
    } else {
        message
    };
    Row {
        node: &node.info.id,
        mark,
        why: match node.host.as_str() {
            "" => why,
            host => format!("{why}; on {host}"),
        },
        waited: time(Spans::waited),
        took: time(Spans::worked),
        size: bytes.map_or_else(String::new, |bytes| ByteSize(bytes).to_string()),
    }
}

/// Round times on the axis.
fn ticks(millis: u64) -> Vec<Tick> {
    let fits = |step: &u64| millis / 1000 / step <= TICKS;
    let day = 86_400;
    let step = STEPS
        .into_iter()
        .find(fits)
        .unwrap_or_else(|| (millis / 1000 / TICKS).div_ceil(day) * day);
    let last = (millis / 1000).checked_div(step).unwrap_or_default();
    let tick = |number: u64| {
        let seconds = number * step;
        let at = place(seconds * 1000, millis);
        Tick {
            at: format!("{}.{:02}", at / 100, at % 100),
            label: write_duration(std::time::Duration::from_secs(seconds)),
        }
    };
    // A label at the very end has no room.
    (0..=last)
        .filter(|number| place(number * step * 1000, millis) <= WIDTH * 19 / 20)
        .map(tick)
        .collect()
}
