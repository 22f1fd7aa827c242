//! The description as a JSON Schema, for editors. Draft 7, which all of them and taplo know. It says what a schema can
//! say about one file; names that refer to others, files and templates are for `pipeline validate`.

use serde_json::{Map, Value, json};

use super::key::{Form, Group, Key, Kind, Table};
use super::row::Word;
use super::tables;
use crate::places::PlaceKind;

/// Where editors may look for another copy; nothing is ever fetched from there.
const ID: &str = "pipeline:manifest";

/// The whole schema.
pub fn schema() -> Value {
    let mut definitions = Map::new();
    for table in tables().filter(|table| table.id != "manifest") {
        definitions.insert(table.id.to_owned(), table_schema(table));
    }
    definitions.insert("target".to_owned(), any_target());
    definitions.insert(
        "variable".to_owned(),
        json!({ "anyOf": [
            { "type": ["string", "number", "boolean"] },
            { "type": "array", "items": { "$ref": "#/definitions/variable" } },
        ] }),
    );
    let mut root = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": ID,
        "title": "Manifest of `pipeline`",
    });
    let manifest = super::table("manifest").map(table_schema).unwrap_or_default();
    for (key, value) in [manifest, json!({ "definitions": definitions })]
        .iter()
        .flat_map(Value::as_object)
        .flatten()
    {
        root[key] = value.clone();
    }
    root
}

fn table_schema(table: &Table) -> Value {
    let mut properties = Map::new();
    let mut beside = Map::new();
    for key in table.keys_here() {
        properties.insert(key.name.to_owned(), key_schema(&key));
        let companions: Vec<_> = key.companions().into_iter().map(required).collect();
        if !companions.is_empty() {
            beside.insert(key.name.to_owned(), json!({ "anyOf": companions }));
        }
        let needs = key.needs();
        if !needs.is_empty() {
            beside.insert(key.name.to_owned(), json!({ "required": needs }));
        }
    }
    let mut schema = json!({ "type": "object", "description": table.doc });
    if let Some((names, kind)) = &table.others {
        // A table with the name of a kind of place is of that kind, unless it says otherwise.
        for kind in PlaceKind::ALL {
            properties.insert(
                kind.word().to_owned(),
                json!({ "anyOf": [
                    { "$ref": reference(kind.table()) },
                    { "$ref": "#/definitions/target" },
                ] }),
            );
        }
        schema["additionalProperties"] = kind_schema(kind);
        schema["propertyNames"] = json!({ "pattern": names.pattern });
    } else {
        schema["additionalProperties"] = false.into();
    }
    schema["properties"] = properties.into();
    let needed: Vec<_> = table
        .keys()
        .filter(|key| key.needed)
        .map(|key| key.name)
        .collect();
    if !needed.is_empty() {
        schema["required"] = json!(needed);
    }
    if !beside.is_empty() {
        schema["dependencies"] = beside.into();
    }
    let groups: Vec<_> = table.groups.iter().map(group).collect();
    if !groups.is_empty() {
        schema["allOf"] = json!(groups);
    }
    schema
}

fn required(name: &str) -> Value {
    json!({ "required": [name] })
}

fn reference(table: &Table) -> String {
    format!("#/definitions/{}", table.id)
}

fn group(group: &Group) -> Value {
    let each: Vec<_> = group.names().into_iter().map(required).collect();
    if group.needed {
        return json!({ "oneOf": each });
    }
    let none = json!({ "not": { "anyOf": each } });
    let choices: Vec<_> = each.into_iter().chain([none]).collect();
    json!({ "oneOf": choices })
}

fn key_schema(key: &Key) -> Value {
    let mut text = format!("{}.", super::manual::capital(key.doc));
    if let Some(default) = key.default {
        text.push_str(&format!("\n\nDefault: {default}."));
    }
    let kind = kind_schema(&key.kind);
    // Next to a reference, draft 7 ignores every other word.
    let mut schema = if kind.get("$ref").is_some() {
        json!({ "allOf": [kind] })
    } else {
        kind
    };
    schema["description"] = text.into();
    if let Ok(example) = super::manual::example(key) {
        schema["examples"] = json!([example]);
    }
    schema
}

fn kind_schema(kind: &Kind) -> Value {
    match kind {
        Kind::Text(form) => form_schema(form),
        Kind::Choice(words) => json!({ "type": "string", "enum": words() }),
        Kind::Whole(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::Yes => json!({ "type": "boolean", "const": true }),
        Kind::Variable => json!({ "$ref": "#/definitions/variable" }),
        Kind::List(item) => json!({ "type": "array", "items": kind_schema(item) }),
        Kind::OneOrMore(item) => json!({ "anyOf": [
            kind_schema(item),
            { "type": "array", "items": kind_schema(item), "minItems": 1 },
        ] }),
        Kind::Table(id) => json!({ "$ref": format!("#/definitions/{id}") }),
        Kind::Named(names, value) => json!({
            "type": "object",
            "propertyNames": { "pattern": names.pattern },
            "additionalProperties": kind_schema(value),
        }),
        Kind::Either(kinds) => json!({ "anyOf": kinds.iter().map(kind_schema).collect::<Vec<_>>() }),
    }
}

fn form_schema(form: &Form) -> Value {
    if form.pattern.is_empty() {
        json!({ "type": "string" })
    } else {
        json!({ "type": "string", "pattern": form.pattern })
    }
}

/// A place of any kind, which it has to name.
fn any_target() -> Value {
    let each: Vec<_> = PlaceKind::ALL
        .iter()
        .map(|kind| json!({ "$ref": reference(kind.table()) }))
        .collect();
    json!({ "type": "object", "required": ["to"], "anyOf": each })
}
