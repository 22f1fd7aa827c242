//! What to do about a mistake that Nickel found: what its contract said, or what the description knows about the field.
//! Knows Nickel's words for its own errors.

use super::exchange::Report;
use crate::manifest::describe::{keys, nickel_example, tables};
use crate::manifest::suggest;
use crate::syntax::key::Table;

/// The remedy, where there is one; the notes of a contract of ours are remedies.
pub(super) fn remedy(report: &Report) -> Option<String> {
    let mut lines = Vec::new();
    lines.extend(own(report));
    // Of an unknown field, Nickel's own notes speak of changing the contract.
    if !report.message.contains("extra field") {
        let notes = report.notes.iter().map(|note| note.trim_end().to_owned());
        // The value is underlined already; as Nickel prints it, it comes with all that its contract knows.
        lines.extend(notes.filter(|note| !note.starts_with("evaluated to")));
    }
    if let (true, Some(name)) = (lines.is_empty(), broken(&report.message)) {
        let example = keys(name).find_map(nickel_example);
        lines.extend(example.map(|example| format!("write it like this: {example}")));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The field whose contract is broken.
pub(super) fn broken(message: &str) -> Option<&str> {
    between(message, "contract broken by the value of `", "`")
}

/// The field that no contract knows.
pub(super) fn extra(message: &str) -> Option<&str> {
    between(message, "extra field `", "`").or_else(|| between(message, "extra fields `", "`"))
}

fn own(report: &Report) -> Option<String> {
    let message = report.message.as_str();
    if let Some(name) = between(message, "missing definition for `", "`") {
        return Some(match keys(name).find_map(nickel_example) {
            Some(example) => format!("add, for instance: {example}"),
            None => format!("give `{name}` a value"),
        });
    }
    if message.contains("extra field") {
        let name =
            between(message, "extra field `", "`").or_else(|| between(message, "extra fields `", "`"))?;
        let all = tables().flat_map(Table::keys).map(|key| key.name);
        let all: std::collections::BTreeSet<_> = all.collect();
        let known = "`pipeline schema --format nickel` prints what the contracts know";
        return Some(match suggest::near(name, all).first() {
            Some(best) => format!("did you mean `{best}`? {known}"),
            None => format!("take it out; {known}"),
        });
    }
    if message.contains("could not find import") {
        return Some(
            "imports are relative to the importing file; `import \"pipeline.ncl\"` is always there"
                .to_owned(),
        );
    }
    if message.contains("infinite recursion") {
        return Some(
            "fields of a record see each other, so a field's own name means itself: give what it is made of another \
             name, with `let … = … in` outside of the record"
                .to_owned(),
        );
    }
    if message.contains("unexpected token") || message.contains("unexpected end of file") {
        return Some(
            "look before this place for a bracket, a quote, a comma or an `in` that is missing".to_owned(),
        );
    }
    if message.starts_with("unbound identifier") {
        return Some(
            "is it a field of the library? then write `p.…`, after `let p = import \"pipeline.ncl\" in`"
                .to_owned(),
        );
    }
    if message.contains("non mergeable terms") || message.contains("non mergeable") {
        return Some(
            "both sides give a value: mark one of them `| default`, or the other `| force`".to_owned(),
        );
    }
    None
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = text.split_once(before)?.1;
    rest.split_once(after).map(|(inner, _)| inner)
}
