//! `[[checks]]`, and the `checks` of flavors and images: what is asserted of booted images.

use std::time::Duration;

use globset::GlobSet;
use regex::Regex;

use crate::manifest::assertion::{Assertion, Check, CheckSet, CommandCheck};
use crate::manifest::error::Span;
use crate::manifest::fields::{Field, Fields};
use crate::manifest::glob;
use crate::manifest::parse::Value;
use crate::manifest::script;
use crate::size::parse_duration;

use super::Spot;

/// Time for one command in the guest: a question, no work.
const TIMEOUT: Duration = Duration::from_secs(60);

const KINDS: &[&str] = &[
    "set",
    "boots_within",
    "login_prompt",
    "network",
    "port",
    "root_size",
    "no_failed_units",
    "identity",
    "no_traces",
    "agent",
    "command",
];
/// Keys of one kind or another, and those of all.
const BESIDE_KIND: &[&str] = &[
    "images",
    "flavors",
    "distros",
    "name",
    "exit_code",
    "output",
    "matches",
    "timeout",
];

/// One `[[checks]]` table.
#[derive(Debug)]
pub struct CheckDraft {
    /// What it asserts.
    pub what: Checks,
    /// Where its name stands, or what stands for one.
    pub span: Span,
    /// Which images it is for; nothing means all.
    pub images: Vec<Pattern>,
    /// Which flavors.
    pub flavors: Vec<Pattern>,
    /// Which distros.
    pub distros: Vec<Pattern>,
}

/// A single check or a set of them.
#[derive(Debug)]
pub enum Checks {
    /// One of the user's own.
    One(Check),
    /// A built-in set.
    Set(CheckSet),
}

/// A name or a glob over names.
#[derive(Debug)]
pub struct Pattern {
    /// As written.
    pub spot: Spot,
    /// The same, compiled.
    pub glob: GlobSet,
}

pub(super) fn read_all(root: &Fields<'_>) -> Vec<CheckDraft> {
    let items = root
        .get("checks")
        .and_then(|field| field.list("[{ set = \"standard\" }]; or a table: [[checks]]"));
    let items = items.unwrap_or_default();
    items.iter().filter_map(read).collect()
}

/// `checks = ["standard"]` of a flavor or an image.
pub(super) fn read_sets(table: &Fields<'_>) -> Vec<CheckSet> {
    let items = table
        .get("checks")
        .and_then(|field| field.list("[\"standard\"]"))
        .unwrap_or_default();
    let mut sets = Vec::new();
    for item in items {
        match item.choice(&CheckSet::ALL) {
            Some(set) if sets.contains(&set) => item.bad("the set is there twice", "take one of them out"),
            set => sets.extend(set),
        }
    }
    sets
}

fn read(field: &Field<'_>) -> Option<CheckDraft> {
    let table = field.table("{ set = \"standard\" }")?;
    let one = table.one_of(KINDS, BESIDE_KIND);
    let images = patterns(&table, "images", "\"web-*\"");
    let flavors = patterns(&table, "flavors", "\"base\"");
    let distros = patterns(&table, "distros", "\"debian12\"");
    let (what, span) = match &one {
        // A set has no name of its own: its checks do.
        Some(one) if one.key == "set" => (one.choice(&CheckSet::ALL).map(Checks::Set), one.key_span),
        Some(one) => {
            let name = table.get("name");
            let text = name.as_ref().and_then(one_line);
            let check = assertion(one, &table).map(|assertion| Check {
                name: text.unwrap_or_else(|| assertion.default_name()),
                assertion,
            });
            (
                check.map(Checks::One),
                name.map_or(one.key_span, |name| name.span()),
            )
        }
        None => {
            // Which kind it was meant to be is unknown; the keys of all kinds are then right.
            table.know(BESIDE_KIND);
            (None, field.key_span)
        }
    };
    table.finish();
    Some(CheckDraft {
        what: what?,
        span: span.clone(),
        images,
        flavors,
        distros,
    })
}

fn one_line(field: &Field<'_>) -> Option<String> {
    let name = field.text("\"answers\"")?;
    if name.contains(char::is_control) {
        field.bad("a name is one line", "write it like this: name = \"answers\"");
    }
    Some(name.to_owned())
}

fn assertion(one: &Field<'_>, table: &Fields<'_>) -> Option<Assertion> {
    Some(match one.key {
        "boots_within" => Assertion::BootsWithin(one.parsed("\"5m\"", time)?),
        "port" => Assertion::Port(u16::try_from(one.whole(1..=65535, "22")?).ok()?),
        "command" => return command(one, table).map(Assertion::Command),
        "login_prompt" => yes(one, Assertion::LoginPrompt),
        "network" => yes(one, Assertion::Network),
        "root_size" => yes(one, Assertion::RootSize),
        "no_failed_units" => yes(one, Assertion::NoFailedUnits),
        "identity" => yes(one, Assertion::Identity),
        "no_traces" => yes(one, Assertion::NoTraces),
        _ => yes(one, Assertion::Agent),
    })
}

/// For kinds that are switched on: anything but `true` would be a check that checks nothing.
fn yes(one: &Field<'_>, assertion: Assertion) -> Assertion {
    if !matches!(one.node.value, Value::Boolean(true)) {
        one.bad(
            "a check that checks nothing",
            format!("write {} = true, or take the check out", one.key),
        );
    }
    assertion
}

fn command(one: &Field<'_>, table: &Fields<'_>) -> Option<CommandCheck> {
    // The other keys first: a wrong command must not hide what is wrong with them.
    let exit_code = table
        .get("exit_code")
        .and_then(|field| field.whole(0..=255, "0"))
        .and_then(|code| i32::try_from(code).ok());
    let text = |key, example| table.get(key).and_then(|field: Field<'_>| field.text(example));
    let output = text("output", "\"Welcome\"").map(str::to_owned);
    let matches = table
        .get("matches")
        .and_then(|field| field.parsed("\"^OpenSSH_[0-9]+\"", pattern));
    let timeout = table
        .get("timeout")
        .and_then(|field| field.parsed("\"1m\"", time));
    let command = one.text("\"systemctl is-active nginx\"")?.to_owned();
    if let Some(fault) = script::fault(&command, Some("sh")) {
        one.bad(format!("this command {fault}"), script::REMEDY_INLINE);
    }
    Some(CommandCheck {
        command,
        exit_code: exit_code.unwrap_or(0),
        output,
        matches,
        timeout: timeout.unwrap_or(TIMEOUT),
    })
}

fn time(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("nothing happens in no time".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

fn pattern(text: &str) -> Result<String, String> {
    match Regex::new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            // The last line says what is wrong; those before draw it.
            let error = error.to_string();
            let cause = error.lines().last().unwrap_or_default();
            Err(format!(
                "`{text}` is no regular expression: {}",
                cause.trim_start_matches("error: ")
            ))
        }
    }
}

fn patterns(table: &Fields<'_>, key: &'static str, example: &str) -> Vec<Pattern> {
    let Some(field) = table.get(key) else {
        return Vec::new();
    };
    let items = field.one_or_list();
    if items.is_empty() {
        field.bad(
            "the list is empty",
            format!("name at least one, or take `{key}` out to mean all"),
        );
    }
    let pattern = |field: &Field<'_>| {
        let glob = field.parsed(example, |text| {
            glob::compile(text).map_err(|cause| format!("`{text}` is not a pattern: {cause}"))
        })?;
        Some(Pattern {
            spot: Spot::new(field, field.text(example)?),
            glob,
        })
    };
    items.iter().filter_map(pattern).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_regular_expression_says_what_is_wrong_in_one_line() {
        assert_eq!(
            pattern("a(b").unwrap_err(),
            "`a(b` is no regular expression: unclosed group"
        );
        assert!(pattern("^a+$").is_ok() && time("0s").is_err() && time("5m").is_ok());
    }
}
