//! The description as contracts of the Nickel library, before what is written by hand in `library.ncl`.

use super::key::{Key, Kind, Table};
use super::row::Word;
use super::text::FORMS;
use super::{manual, tables};
use crate::manifest::export::{nickel_key, nickel_text};
use crate::places::PlaceKind;

/// What is not a contract of a table: checks of texts, constructors.
const BY_HAND: &str = include_str!("library.ncl");
/// The line in it that the contracts take the place of.
const HERE: &str = "  # contracts of all tables";

/// The whole library, `pipeline.ncl`.
pub fn library() -> String {
    let mut contracts = String::new();
    for form in FORMS {
        contracts.push_str(&format!(
            "  {}\n    | doc {}\n    = text_contract {} {} {},\n",
            form.name,
            nickel_text(&format!(
                "{}, such as \"{}\"",
                manual::capital(form.what),
                form.example
            )),
            nickel_text(form.what),
            nickel_text(form.pattern),
            nickel_text(form.example),
        ));
    }
    for table in tables() {
        contracts.push_str(&contract(table));
    }
    BY_HAND.replace(&format!("{HERE}\n"), &contracts)
}

fn contract(table: &Table) -> String {
    let mut fields = String::new();
    for key in table.keys_here() {
        fields.push_str(&field(&key));
    }
    // Names that are free need the rest of the record.
    if table.others.is_some() {
        fields.push_str("      ..\n");
    }
    let record = format!("{{\n{fields}    }}");
    let mut parts = vec![record];
    for group in table.groups {
        let names: Vec<_> = group.names().into_iter().map(nickel_text).collect();
        let function = if group.needed {
            "exactly_one"
        } else {
            "at_most_one"
        };
        parts.push(format!("({function} [{}])", names.join(", ")));
    }
    if table.others.is_some() {
        let known: Vec<_> = table.keys().map(|key| nickel_text(key.name)).collect();
        let contract = |kind: &PlaceKind| format!("{} = {}", kind.word(), name(kind.table().id));
        let contracts: Vec<_> = PlaceKind::ALL.iter().map(contract).collect();
        parts.push(format!(
            "(places [{}] {{ {} }})",
            known.join(", "),
            contracts.join(", ")
        ));
    }
    let body = match parts.as_slice() {
        [only] => only.clone(),
        all => format!("std.contract.Sequence [{}]", all.join(", ")),
    };
    let name = name(table.id);
    let doc = nickel_text(table.doc);
    format!("  {name}\n    | doc {doc}\n    = {body},\n")
}

fn field(key: &Key) -> String {
    let mut doc = format!("{}.", manual::capital(key.doc));
    if let Some(default) = key.default {
        doc.push_str(&format!("\n\nDefault: {default}."));
    }
    if let Some(example) = manual::nickel_example(key) {
        doc.push_str(&format!("\n\nExample: `{example}`"));
    }
    let optional = if key.needed { "" } else { "\n        | optional" };
    format!(
        "      {}\n        | {}\n        | doc {}{optional},\n",
        nickel_key(key.name),
        kind(&key.kind),
        nickel_text(&doc),
    )
}

fn kind(of: &Kind) -> String {
    match of {
        Kind::Text(form) => form.name.to_owned(),
        Kind::Choice(words) => {
            let words: Vec<_> = words().into_iter().map(nickel_text).collect();
            format!("(one_of_the_words [{}])", words.join(", "))
        }
        Kind::Whole(least, most) => format!("(whole_number {least} {most})"),
        Kind::Yes => "Yes".to_owned(),
        Kind::Variable => "VariableValue".to_owned(),
        Kind::List(item) => format!("Array {}", kind(item)),
        Kind::OneOrMore(item) => format!("(one_or_more {})", kind(item)),
        Kind::Table(id) => name(id),
        Kind::Named(_, value) => format!("{{ _ | {} }}", kind(value)),
        Kind::Either(kinds) => {
            let kinds: Vec<_> = kinds.iter().map(kind).collect();
            format!("(std.contract.any_of [{}])", kinds.join(", "))
        }
    }
}

/// `target_s3`: `TargetS3`.
fn name(id: &str) -> String {
    id.split('_').map(manual::capital).collect()
}
