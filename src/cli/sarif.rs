//! Mistakes as SARIF 2.1.0 (OASIS): the form that code scanning and editors import.

use std::collections::BTreeSet;
use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use url::Url;

use super::located::{Located, Place};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// What a relative reference may have as it is (RFC 3986).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A log of one run of this program.
pub(super) fn log(problems: &[Located]) -> Value {
    let rules: BTreeSet<_> = problems.iter().filter_map(|one| one.code.as_deref()).collect();
    let rules: Vec<_> = rules.into_iter().map(|id| json!({ "id": id })).collect();
    let results: Vec<_> = problems.iter().map(result).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "pipeline", "semanticVersion": env!("CARGO_PKG_VERSION"), "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(problem: &Located) -> Value {
    let help = problem.help.iter().map(|help| format!("\n{help}"));
    let text: String = std::iter::once(problem.message.clone()).chain(help).collect();
    let mut result = json!({ "level": problem.severity, "message": { "text": text } });
    if let Some(code) = &problem.code {
        result["ruleId"] = code.as_str().into();
    }
    if let Some(place) = &problem.place {
        result["locations"] = json!([location(place)]);
    }
    result
}

fn location(place: &Place) -> Value {
    let path = Path::new(&place.file);
    let uri = Url::from_file_path(path).map_or_else(
        |()| utf8_percent_encode(&place.file, PLAIN).to_string(),
        String::from,
    );
    json!({ "physicalLocation": {
        "artifactLocation": { "uri": uri },
        "region": {
            "startLine": place.line, "startColumn": place.column,
            "endLine": place.end_line, "endColumn": place.end_column,
        },
    } })
}
