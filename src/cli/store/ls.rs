//! `pipeline store ls`.

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::report_error::out;
use crate::cli::show::OutputFormat;
use crate::cli::table::{Table, counted, stdout_style, stdout_width};
use crate::cli::time::age;
use crate::report::style::Role;
use crate::size::ByteSize;
use crate::store::{Condition, Inventory, Store};

/// A result. The serialised form is an interface.
#[derive(Serialize)]
struct Listed<'a> {
    stage: &'a str,
    key: &'a str,
    pipeline: Option<&'a str>,
    subject: Option<&'a str>,
    bytes: u64,
    own_bytes: u64,
    created: Option<Timestamp>,
    used: Timestamp,
    whole: bool,
    condition: Condition,
    pins: Vec<&'a str>,
}

pub(super) fn run(store: &Store, format: OutputFormat) -> Result<Exit, Exit> {
    let inventory = store.inventory();
    match format {
        OutputFormat::Json => json(store, &inventory),
        OutputFormat::Text => text(store, &inventory),
    }
    Ok(Exit::Ok)
}

fn json(store: &Store, inventory: &Inventory) {
    let results: Vec<_> = inventory
        .results
        .iter()
        .map(|result| {
            let built_for = result.built_for.as_ref();
            Listed {
                stage: &result.address.stage,
                key: &result.address.key,
                pipeline: built_for.map(|(pipeline, _)| pipeline.as_str()),
                subject: built_for.map(|(_, subject)| subject.as_str()),
                bytes: result.bytes,
                own_bytes: result.own_bytes,
                created: result.created,
                used: result.used,
                whole: result.condition == Condition::Whole,
                condition: result.condition,
                pins: inventory.pins_of(&result.address).collect(),
            }
        })
        .collect();
    let runs: u64 = inventory.runs.iter().map(|run| run.bytes).sum();
    let kept: u64 = inventory.kept.iter().map(|kept| kept.bytes).sum();
    let all = serde_json::json!({
        "version": 1, "store": store.root(), "results": results, "result_bytes": inventory.result_bytes(),
        "log_bytes": runs, "kept_bytes": kept,
    });
    out(&format!("{all:#}\n"));
}

fn text(store: &Store, inventory: &Inventory) {
    let mut table = Table::new(&["result", "of", "size", "used", "", "pipeline"], 4);
    let now = Timestamp::now();
    for result in &inventory.results {
        let plain = |text: &str| (Role::Plain, text.to_owned());
        let (pipeline, subject) = result
            .built_for
            .as_ref()
            .map_or(("", ""), |(p, s)| (p.as_str(), s.as_str()));
        let note = match inventory.pins_of(&result.address).next() {
            _ if result.condition == Condition::Broken => (Role::Bad, "not whole".to_owned()),
            _ if result.condition == Condition::Other => (Role::Dim, "other version".to_owned()),
            Some(_) => (Role::Good, "pinned".to_owned()),
            None => plain(""),
        };
        table.row(vec![
            plain(&result.address.short()),
            plain(subject),
            plain(&ByteSize(result.own_bytes).to_string()),
            plain(&format!("{} ago", age(result.used, now))),
            note,
            (Role::Dim, pipeline.to_owned()),
        ]);
    }
    if !inventory.results.is_empty() {
        out(&table.render(stdout_style(), stdout_width()));
        out("\n");
    }
    let (runs, kept) = (&inventory.runs, &inventory.kept);
    let mut line = format!(
        "{}, {}; logs of {}, {}",
        counted(inventory.results.len(), "result"),
        ByteSize(inventory.result_bytes()),
        counted(runs.len(), "run"),
        ByteSize(runs.iter().map(|run| run.bytes).sum()),
    );
    if !kept.is_empty() {
        let bytes = kept.iter().map(|kept| kept.bytes).sum();
        line += &format!("; {}, {}", counted(kept.len(), "kept VM"), ByteSize(bytes));
    }
    out(&format!("{line}\nin {}\n", store.root().display()));
}
