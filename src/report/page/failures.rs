//! What failed and why, each cause once: the lines that decide, the screen, the end of the output.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::event::{CheckOutcome, CheckResult};
use crate::report::causes::Cause;
use crate::report::recorded::Recorded;
use crate::verdict::Verdict;

/// Lines of a message, and of the output behind it, which are shown.
const LINES: usize = 40;
/// Bytes that all pictures may have together.
const PICTURES: usize = 400_000;

#[derive(Serialize)]
pub(super) struct Failure<'a> {
    verdict: String,
    cause: &'a str,
    remedy: &'static str,
    nodes: Vec<&'a str>,
    images: Vec<&'a str>,
    all_images: bool,
    message: String,
    checks: Vec<&'a CheckResult>,
    /// As a `data:` URL.
    picture: Option<String>,
    output: String,
    log: &'a str,
    next: String,
}

pub(super) fn of<'a>(
    run: &'a Recorded,
    causes: &'a [Cause<'a>],
    picture: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Vec<Failure<'a>> {
    let mut room = PICTURES;
    let mut picture = |cause: &Cause<'_>| {
        let png = cause.nodes.iter().find_map(|node| picture(&node.info.id))?;
        room = room.checked_sub(png.len())?;
        Some(format!("data:image/png;base64,{}", STANDARD.encode(png)))
    };
    let wanted = &run.summary.wanted;
    let failure = |cause: &'a Cause<'a>| {
        let first = cause.nodes[0];
        let output = run.spans.get(&first.info.id).map(|spans| {
            let lines: Vec<_> = spans.output.iter().map(String::as_str).collect();
            lines[lines.len().saturating_sub(LINES)..].join("\n")
        });
        let of_machine = |done: &'a crate::report::node::Done| done.failure.as_ref();
        let kept = of_machine(cause.done).is_some_and(|failure| failure.kept);
        let checks = first
            .checks
            .iter()
            .filter(|check| check.outcome == CheckOutcome::Failed);
        Failure {
            verdict: cause
                .verdict
                .map_or_else(|| "failed".to_owned(), |verdict| verdict.to_string()),
            cause: &cause.text,
            remedy: cause.verdict.map_or("", Verdict::remedy),
            nodes: cause.nodes.iter().map(|node| node.info.id.as_str()).collect(),
            images: cause
                .images
                .iter()
                .map(|place| wanted[*place].id.as_str())
                .collect(),
            all_images: cause.images.len() == wanted.len(),
            message: message(cause),
            checks: checks.collect(),
            picture: picture(cause),
            output: output.unwrap_or_default(),
            log: of_machine(cause.done).map_or("", |failure| failure.log.as_str()),
            next: match kept {
                true => format!("pipeline ssh {}", first.info.id),
                false => format!("pipeline logs {} {}", run.run, first.info.id),
            },
        }
    };
    causes.iter().map(failure).collect()
}

/// What the message says beyond the cause.
fn message(cause: &Cause<'_>) -> String {
    let message = cause.done.message.as_deref().unwrap_or_default();
    let mut lines: Vec<&str> = message.lines().collect();
    if lines.first().is_some_and(|first| first.trim() == cause.text) {
        lines.remove(0);
    }
    lines.truncate(LINES);
    lines.join("\n")
}
