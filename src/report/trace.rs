//! A run in the trace format of Chrome, which Perfetto and `chrome://tracing` read: nodes in as many lanes as ran at once, their
//! phases in them, and what they waited for in lanes of its own. Pure text.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::report::critical;
use crate::report::node::State;
use crate::report::recorded::Recorded;

/// The two groups of lanes.
const WORK: u32 = 1;
const WAITING: u32 = 2;

/// The whole trace, as JSON.
pub fn render(run: &Recorded) -> String {
    let critical: BTreeSet<usize> = critical::path(run).into_iter().collect();
    let mut events = vec![
        named(WORK, &format!("{} {}", run.pipeline, run.run)),
        named(WAITING, "waiting"),
    ];
    let mut work = Vec::new();
    let mut waits = Vec::new();
    for (index, node) in run.summary.nodes.iter().enumerate() {
        let Some(spans) = run.spans.get(&node.info.id) else {
            continue;
        };
        if let Some((from, to)) = spans.work {
            let mut arguments = json!({ "critical": critical.contains(&index) });
            if !node.host.is_empty() {
                arguments["host"] = json!(node.host);
            }
            if let State::Done(done) = &node.state {
                arguments["outcome"] = json!(done.outcome);
                arguments["cause"] = match &done.failure {
                    Some(_) => json!(done.why()),
                    None => Value::Null,
                };
            }
            let phases = spans
                .phases
                .iter()
                .map(|phase| (phase.from, phase.to, phase.text.clone(), json!({})));
            let whole = (from, to, node.info.id.clone(), arguments);
            work.push((
                from,
                to,
                node.info.stage.as_str(),
                std::iter::once(whole).chain(phases).collect(),
            ));
        }
        for wait in &spans.waits {
            let name = format!("{}: {}", node.info.id, wait.text);
            let whole = (wait.from, wait.to, name, json!({}));
            waits.push((wait.from, wait.to, "waiting", vec![whole]));
        }
    }
    lanes(WORK, work, &mut events);
    lanes(WAITING, waits, &mut events);
    json!({ "displayTimeUnit": "ms", "traceEvents": events }).to_string()
}

fn named(group: u32, name: &str) -> Value {
    json!({ "ph": "M", "name": "process_name", "pid": group, "tid": 0, "args": { "name": name } })
}

type Piece = (u64, u64, String, Value);
type Item<'a> = (u64, u64, &'a str, Vec<Piece>);

/// Puts each item into the first lane that is free when it begins.
fn lanes(group: u32, mut items: Vec<Item<'_>>, events: &mut Vec<Value>) {
    items.sort_by_key(|(from, ..)| *from);
    let mut free_from: Vec<u64> = Vec::new();
    for (from, to, category, pieces) in items {
        let free = free_from.iter().position(|free| *free <= from);
        let lane = free.unwrap_or_else(|| {
            free_from.push(0);
            free_from.len() - 1
        });
        free_from[lane] = to;
        events.extend(pieces.into_iter().map(|(from, to, name, arguments)| {
            json!({
                "ph": "X", "name": name, "cat": category, "pid": group, "tid": lane + 1,
                "ts": from * 1000, "dur": to.saturating_sub(from) * 1000, "args": arguments,
            })
        }));
    }
}
