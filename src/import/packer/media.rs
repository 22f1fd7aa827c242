//! `iso_url` and its checksum as a medium of the manifest.

use toml_edit::{Array, Value};

use super::build::Build;
use super::go::{self, Piece};
use super::model::{Found, Keys};
use crate::digest::Algorithm;
use crate::import::node::{self, Node};
use crate::import::note::Weight;

/// URLs and paths of a build's medium, in order.
pub fn urls(build: &Build<'_>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for key in ["iso_url", "iso_urls"] {
        let texts = build.option(key).map(Node::items).unwrap_or_default();
        all.extend(
            texts
                .iter()
                .filter_map(Node::text)
                .map(|text| build.resolve(&text)),
        );
    }
    all.retain(|url| !url.is_empty());
    all.dedup();
    all
}

/// The medium, or why there is none.
pub fn read(build: &Build<'_>, urls: &[String]) -> Option<Keys> {
    let (web, local): (Vec<_>, Vec<_>) = urls
        .iter()
        .partition(|url| url.starts_with("http://") || url.starts_with("https://"));
    let mut keys = Keys::new();
    let is_web = !web.is_empty();
    match web.as_slice() {
        [] => {}
        [one] => keys.push(("url", Value::from(one.as_str()), None)),
        all => {
            let list: Array = all.iter().map(|url| url.as_str()).collect();
            keys.push(("urls", Value::from(list), None));
        }
    }
    for place in local {
        if is_web {
            let text = format!(
                "`{place}` is one more place of the medium; its URLs are enough, and the store keeps it once fetched"
            );
            build.note(Weight::Lost, "iso_urls", text);
            continue;
        }
        let plain = place.strip_prefix("file://").unwrap_or(place);
        if plain.contains("://") || plain.contains("::") {
            let text = format!("its medium `{place}` cannot be fetched");
            build.refuse(&text, "name a place by http, https or a path");
            return None;
        }
        let (found, what) = build.find(plain);
        if what == Found::Missing {
            build.note(
                Weight::Todo,
                "iso_url",
                format!(
                    "there is no such file now; put the medium at {}",
                    build.importer.named(&found)
                ),
            );
        }
        keys.push(("path", Value::from(build.importer.named(&found)), None));
        break;
    }
    if keys.is_empty() {
        let (cause, remedy) = unnamed(build);
        build.refuse(&cause, &remedy);
        return None;
    }
    proof(build, is_web, &mut keys);
    Some(keys)
}

/// Why no medium is named, and what to do.
fn unnamed(build: &Build<'_>) -> (String, String) {
    let nodes = ["iso_url", "iso_urls"]
        .into_iter()
        .filter_map(|key| build.option(key));
    for node in nodes.flat_map(Node::items) {
        if let node::Value::Unknown(cause) = &node.value {
            return (
                format!("its medium cannot be known: {cause}"),
                "write its URL into the template".to_owned(),
            );
        }
        for piece in go::pieces(&node.text().unwrap_or_default(), &build.scope) {
            match piece {
                Piece::Env(name) => {
                    let cause =
                        format!("its medium is named by the environment ({name}), which does not say it now");
                    let remedy =
                        format!("`export {name}=…`, or give the variable that takes it: -var NAME=…");
                    return (cause, remedy);
                }
                Piece::Var { name, .. } => {
                    return (
                        format!("its medium is named by the variable `{name}`, which is empty"),
                        format!("give it a value: -var {name}=…"),
                    );
                }
                _ => {}
            }
        }
    }
    (
        "no medium is named, so there is nothing to start from".to_owned(),
        "name one as its `iso_url`".to_owned(),
    )
}

fn proof(build: &Build<'_>, is_needed: bool, keys: &mut Keys) {
    let written = build.text("iso_checksum").unwrap_or_default();
    let older = build.text("iso_checksum_type").unwrap_or_default();
    let list = build
        .text("iso_checksum_url")
        .or_else(|| written.strip_prefix("file:").map(str::to_owned));
    if let Some(list) = list {
        let place = if list.contains("://") {
            list.strip_prefix("file://")
                .map_or(list.clone(), |plain| build.importer.named(&build.find(plain).0))
        } else {
            build.importer.named(&build.find(&list).0)
        };
        if is_needed {
            keys.push(("checksums", Value::from(place), None));
        } else {
            build.note(
                Weight::Lost,
                "iso_checksum",
                "a checksum file goes with a URL only; the medium is a file of this host, taken as it is",
            );
        }
        return;
    }
    let (kind, hex) = written
        .split_once(':')
        .unwrap_or((older.as_str(), written.as_str()));
    let by_name = Algorithm::ALL
        .into_iter()
        .find(|known| known.name() == kind.to_lowercase());
    let by_length = Algorithm::ALL
        .into_iter()
        .find(|known| known.hex_len() == hex.len());
    let fits =
        |known: &Algorithm| known.hex_len() == hex.len() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    match by_name.or(by_length.filter(|_| kind.is_empty())).filter(fits) {
        Some(known) => keys.push((known.name(), Value::from(hex.to_lowercase()), None)),
        None if !is_needed => {
            if !matches!(written.as_str(), "" | "none") {
                build.note(
                    Weight::Lost,
                    "iso_checksum",
                    "not a checksum that is known here (sha256, sha512, md5); the file is taken as it is",
                );
            }
        }
        None => {
            let text = "no checksum that can be used (sha256, sha512, md5): a run stops at the download and says what it got; \
                        put that in the place of the zeroes once you trust it";
            build.note(Weight::Todo, "iso_checksum", text);
            let comment = "TODO: nothing checked this medium; see the end of this file".to_owned();
            keys.push(("sha256", Value::from("0".repeat(64)), Some(comment)));
        }
    }
}
