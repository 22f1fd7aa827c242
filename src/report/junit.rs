//! The results of a run in JUnit's XML, for CI systems and viewers: a suite for each image, a case for each check and for
//! whatever kept the image from being built. Pure text, in the form of Apache Ant's schema, the one that all readers take.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::event::{CheckOutcome, CheckResult, Outcome};
use crate::report::node::{Node, State};
use crate::report::summary::RunSummary;

/// Stage of the nodes that check.
const CHECK: &str = "check";
/// Stage of the nodes that put an image into the output folder: each image has one.
const DELIVERY: &str = "sums";
/// The case of an image by itself.
const BUILD: &str = "build";

/// The whole document. Images that an earlier run checked, and those that could not be built, are in it too.
pub fn render(summary: &RunSummary) -> String {
    let started = summary.started.unwrap_or_default();
    let mut images: Vec<&str> = Vec::new();
    let of_images = |node: &&Node| node.info.stage == CHECK || node.info.stage == DELIVERY;
    for node in summary.nodes.iter().filter(of_images) {
        if !images.contains(&node.info.subject.as_str()) {
            images.push(&node.info.subject);
        }
    }
    let suites = images.into_iter().enumerate();
    document(suites.map(|(id, image)| suite(id, image, &cases(image, &summary.nodes), started)))
}

/// The document of a run that was refused before it began: none of its images was built.
pub fn refused<'a>(images: impl IntoIterator<Item = &'a str>, why: &str, now: Timestamp) -> String {
    let suites = images.into_iter().enumerate();
    document(suites.map(|(id, image)| suite(id, image, &[(BUILD.to_owned(), 0.0, Case::Broken(why))], now)))
}

fn document(suites: impl Iterator<Item = String>) -> String {
    let suites: String = suites.collect();
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n{suites}</testsuites>\n")
}

type Cases<'a> = [(String, f64, Case<'a>)];

/// The checks of an image, and whatever kept it from being built or published.
fn cases<'a>(image: &str, nodes: &'a [Node]) -> Vec<(String, f64, Case<'a>)> {
    let places = format!("{image}@");
    let own = nodes
        .iter()
        .filter(|node| node.info.subject == image || node.info.subject.starts_with(&places));
    let mut found = Vec::new();
    let mut lacking = None;
    for node in own {
        found.extend(node.checks.iter().map(|r| (r.check.clone(), r.seconds, case(r))));
        let State::Done(done) = &node.state else { continue };
        let message = done.message.as_deref().unwrap_or("the run was stopped");
        match done.outcome {
            // The checks that failed are there already.
            Outcome::Failed if node.checks.iter().any(|r| r.outcome == CheckOutcome::Failed) => {}
            Outcome::Failed => found.push((node.info.id.clone(), done.seconds, Case::Broken(message))),
            Outcome::Cancelled => lacking = Some(Case::Skipped(message)),
            Outcome::Skipped => lacking = lacking.or(Some(root(message, nodes))),
            Outcome::Built | Outcome::Present | Outcome::Shared => {}
        }
    }
    let is_bad = |(_, _, case): &(String, f64, Case<'_>)| matches!(case, Case::Broken(_) | Case::Failed(..));
    match lacking {
        Some(case) if !found.iter().any(is_bad) => found.push((BUILD.to_owned(), 0.0, case)),
        _ if found.is_empty() => found.push((BUILD.to_owned(), 0.0, Case::Passed)),
        _ => {}
    }
    found
}

/// Why a node was not started: the failure of the one that its message names.
fn root<'a>(message: &'a str, nodes: &'a [Node]) -> Case<'a> {
    let failed = nodes.iter().filter_map(|node| match &node.state {
        State::Done(done) if done.outcome == Outcome::Failed => Some((node, done.message.as_deref()?)),
        _ => None,
    });
    let mut named = failed.filter(|(node, _)| message.contains(&node.info.id));
    named
        .next()
        .map_or(Case::Skipped(message), |(_, message)| Case::Broken(message))
}

/// What a case says in addition to its name.
enum Case<'a> {
    Passed,
    Skipped(&'a str),
    Failed(String, String),
    /// Not a check that failed: the check could not be made.
    Broken(&'a str),
}

fn suite(id: usize, image: &str, cases: &Cases<'_>, started: Timestamp) -> String {
    let mut xml = String::new();
    let seconds: f64 = cases.iter().map(|(_, seconds, _)| seconds).sum();
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
    for (name, seconds, case) in cases {
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
    xml
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
