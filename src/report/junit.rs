//! The results of checks in JUnit's XML, for CI systems and viewers: a suite for each image, a case for each check. Pure
//! text, in the form of Apache Ant's schema, the one that all readers take.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::event::{CheckOutcome, CheckResult, Outcome};
use crate::report::node::{Node, State};
use crate::report::summary::RunSummary;

/// Stage of the nodes that check.
const STAGE: &str = "check";

/// The whole document. Images whose checks an earlier run found out are in it too.
pub fn render(summary: &RunSummary) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let started = summary.started.unwrap_or_default();
    let nodes = summary.nodes.iter().filter(|node| node.info.stage == STAGE);
    for (id, node) in nodes.enumerate() {
        suite(&mut xml, id, node, started);
    }
    xml.push_str("</testsuites>\n");
    xml
}

/// What a case says in addition to its name.
enum Case<'a> {
    Passed,
    Skipped(&'a str),
    Failed(String, String),
    /// Not a check that failed: the check could not be made.
    Broken(&'a str),
}

fn suite(xml: &mut String, id: usize, node: &Node, started: Timestamp) {
    let image = &node.info.subject;
    let mut cases: Vec<(&str, f64, Case<'_>)> = node
        .checks
        .iter()
        .map(|r| (r.check.as_str(), r.seconds, case(r)))
        .collect();
    let mut seconds: f64 = node.checks.iter().map(|result| result.seconds).sum();
    if let State::Done(done) = &node.state {
        seconds = done.seconds;
        let message = done.message.as_deref().unwrap_or("the run was stopped");
        let failed = node
            .checks
            .iter()
            .any(|result| result.outcome == CheckOutcome::Failed);
        match done.outcome {
            Outcome::Skipped | Outcome::Cancelled => cases.push((STAGE, 0.0, Case::Skipped(message))),
            Outcome::Failed if !failed => cases.push((STAGE, done.seconds, Case::Broken(message))),
            Outcome::Failed | Outcome::Built | Outcome::Present | Outcome::Shared => {}
        }
    }
    let number = |wanted: fn(&Case<'_>) -> bool| cases.iter().filter(|(_, _, case)| wanted(case)).count();
    // The schema wants a time without its zone.
    let timestamp = started.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S");
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{}\" package=\"pipeline\" id=\"{id}\" timestamp=\"{timestamp}\" hostname=\"localhost\" \
         tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{seconds:.3}\">\n    <properties/>",
        escape(image),
        cases.len(),
        number(|case| matches!(case, Case::Failed(..))),
        number(|case| matches!(case, Case::Broken(_))),
        number(|case| matches!(case, Case::Skipped(_))),
    );
    for (name, seconds, case) in &cases {
        let _ = write!(
            xml,
            "    <testcase name=\"{}\" classname=\"{}\" time=\"{seconds:.3}\"",
            escape(name),
            escape(image)
        );
        let inner = match case {
            Case::Passed => {
                xml.push_str("/>\n");
                continue;
            }
            Case::Skipped(why) => format!("<skipped message=\"{}\"/>", escape(why)),
            Case::Failed(message, text) => format!(
                "<failure type=\"check\" message=\"{}\">{}</failure>",
                escape(message),
                escape(text)
            ),
            Case::Broken(text) => format!(
                "<error type=\"pipeline\" message=\"{}\">{}</error>",
                escape(text.lines().next().unwrap_or_default()),
                escape(text)
            ),
        };
        let _ = writeln!(xml, ">{inner}</testcase>");
    }
    xml.push_str("    <system-out/>\n    <system-err/>\n  </testsuite>\n");
}

fn case(result: &CheckResult) -> Case<'_> {
    match result.outcome {
        CheckOutcome::Passed => Case::Passed,
        CheckOutcome::Skipped => Case::Skipped(&result.seen),
        CheckOutcome::Failed => {
            let seen = result.seen.lines().next().unwrap_or_default();
            Case::Failed(
                format!("expected {}, seen {seen}", result.expected),
                format!("expected: {}\nseen: {}", result.expected, result.seen),
            )
        }
    }
}

/// For text and for attributes. What XML 1.0 cannot carry at all (§2.2: most control characters) becomes a question mark.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\n' => safe.push_str("&#10;"),
            '\t' => safe.push_str("&#9;"),
            '\u{0}'..'\u{20}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => safe.push('?'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_carry_is_replaced_and_the_rest_survives() {
        assert_eq!(
            escape("a<b> & \"c\"\n\u{1b}[1m é"),
            "a&lt;b&gt; &amp; &quot;c&quot;&#10;?[1m é"
        );
    }
}
