//! Functions that write values in other forms, read such forms, and make digests.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hcl::Value;
use hcl::eval::FuncArgs;
use sha1::Digest as _;

use super::arguments::{Function, Given, first, on_text, text};
use crate::digest::{Algorithm, Hasher, hex};
use crate::import::node::{self, Node};
use crate::import::packer::uuid;
use crate::import::yaml;

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("base64decode", |args| {
        let bytes = BASE64_STANDARD
            .decode(text(&args, 0)?)
            .map_err(|e| e.to_string())?;
        String::from_utf8(bytes)
            .map(Value::from)
            .map_err(|_| "not a text".to_owned())
    }),
    ("base64encode", |args| {
        on_text(&args, |text| BASE64_STANDARD.encode(text))
    }),
    ("csvdecode", |args| {
        let mut rows = rows(&text(&args, 0)?).into_iter();
        let names = rows.next().ok_or("there are no names")?;
        let row = |row: Vec<String>| match row.len() == names.len() {
            true => Ok(Value::Object(
                names
                    .iter()
                    .cloned()
                    .zip(row.into_iter().map(Value::from))
                    .collect(),
            )),
            false => Err("a line has not as many values as there are names".to_owned()),
        };
        rows.map(row).collect::<Result<Vec<_>, _>>().map(Value::from)
    }),
    ("jsondecode", |args| {
        serde_json::from_str::<Value>(&text(&args, 0)?).map_err(|e| e.to_string())
    }),
    ("jsonencode", |args| json(&args)),
    ("md5", |args| digest(&args, Algorithm::Md5)),
    ("sha1", |args| {
        on_text(&args, |text| hex(&sha1::Sha1::digest(text)))
    }),
    ("sha256", |args| digest(&args, Algorithm::Sha256)),
    ("sha512", |args| digest(&args, Algorithm::Sha512)),
    ("urlencode", |args| {
        on_text(&args, |text| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        })
    }),
    ("uuidv5", |args| {
        let namespace = uuid::namespace(&text(&args, 0)?).ok_or("no such namespace")?;
        Ok(uuid::uuid(&[namespace, text(&args, 1)?.into_bytes()].concat(), 5).into())
    }),
    ("yamldecode", |args| {
        let root = yaml::read(&Arc::from("yamldecode"), &text(&args, 0)?);
        root.map(|root| plain(&root)).map_err(|error| error.cause)
    }),
    // JSON is YAML.
    ("yamlencode", |args| json(&args)),
];

fn digest(args: &FuncArgs, algorithm: Algorithm) -> Given {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(text(args, 0)?.as_bytes());
    Ok(hasher.finish().hex.into())
}

fn json(args: &FuncArgs) -> Given {
    let text = serde_json::to_string(&first(args)?);
    text.map(Value::from).map_err(|error| error.to_string())
}

fn plain(node: &Node) -> Value {
    match &node.value {
        node::Value::Null | node::Value::Unknown(_) => Value::Null,
        node::Value::Bool(flag) => (*flag).into(),
        node::Value::Number(text) => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(number), _) => number.into(),
            (_, Ok(number)) => number.into(),
            _ => text.as_str().into(),
        },
        node::Value::Text(text) => text.as_str().into(),
        node::Value::List(items) => items.iter().map(plain).collect(),
        node::Value::Map(entries) => {
            let entries = entries.iter().map(|(key, node)| (key.clone(), plain(node)));
            Value::Object(entries.collect())
        }
    }
}

/// The lines of a CSV file (RFC 4180).
fn rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut is_quoted = false;
    let mut chars = text.chars().filter(|c| *c != '\r').chain(['\n']).peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => row.push(std::mem::take(&mut cell)),
            '\n' if !is_quoted => {
                row.push(std::mem::take(&mut cell));
                // An empty line is none.
                rows.extend(Some(std::mem::take(&mut row)).filter(|row| row.len() > 1 || !row[0].is_empty()));
            }
            c => cell.push(c),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_csv() {
        let cells = rows("a,\"b \"\"x\"\", y\"\r\n\n1,\"2\n3\"");
        assert_eq!(cells, [["a", "b \"x\", y"], ["1", "2\n3"]]);
    }
}
