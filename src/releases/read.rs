//! Readers of the lists in which publishers say what they publish. What they say is taken as it stands; which of it is
//! wanted is decided elsewhere. Pure.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::Form;
use crate::checksum_list::{lines, parse, text};
use crate::digest::{Algorithm, Digest};

/// What a list says of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its path or URL, as the list has it.
    pub path: String,
    /// The best first; no MD5.
    pub digests: Vec<Digest>,
    pub size: Option<u64>,
}

/// Files of a list; of one in JSON or YAML, those whose fields are as `select` has them. `item` is the file that is wanted of
/// each version in simplestreams.
///
/// # Errors
/// What is wrong with the list.
pub(super) fn files(
    form: Form,
    list: &[u8],
    select: &BTreeMap<String, String>,
    item: &str,
) -> Result<Vec<Listed>, String> {
    if is_page(list) {
        return Err("it is a web page, as portals and proxies answer".to_owned());
    }
    match form {
        Form::Sums => sums(list),
        Form::Simplestreams => simplestreams(list, select, item),
        Form::Fedora => fedora(list, select),
        Form::Alpine => Ok(alpine(list, select)),
    }
}

/// Whether it is HTML.
fn is_page(list: &[u8]) -> bool {
    let start = list.trim_ascii_start();
    let start = String::from_utf8_lossy(&start[..start.len().min(1024)]).to_ascii_lowercase();
    start.starts_with('<') && (start.contains("<html") || start.contains("<!doctype"))
}

/// Names that a listing of a folder links to; those of folders end with a slash.
pub(super) fn names(listing: &[u8]) -> Vec<String> {
    let listing = String::from_utf8_lossy(listing);
    let links = listing.split("href=").skip(1).filter_map(|rest| {
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        rest[1..].split(quote).next()
    });
    let name = |link: &str| {
        let link = link.split(['?', '#']).next().unwrap_or_default();
        let (link, slash) = match link.strip_suffix('/') {
            Some(link) => (link, "/"),
            None => (link, ""),
        };
        let name = link.rsplit('/').next().unwrap_or_default();
        let name = percent_decode_str(name).decode_utf8_lossy();
        (!name.is_empty()).then(|| format!("{name}{slash}"))
    };
    links.filter_map(name).collect()
}

/// Checksum lists. Some have a comment with the size of each file: `# NAME: 1045430272 bytes`.
fn sums(list: &[u8]) -> Result<Vec<Listed>, String> {
    let text = text(list);
    let mut sizes = BTreeMap::new();
    let mut files: Vec<Listed> = Vec::new();
    for line in lines(&text) {
        let words = std::str::from_utf8(line).unwrap_or_default();
        if let Some(comment) = words.strip_prefix("# ")
            && let Some((name, size)) = comment.split_once(": ")
        {
            let size = size.strip_suffix(" bytes").and_then(|size| size.parse().ok());
            sizes.extend(size.map(|size: u64| (name.to_owned(), size)));
        }
        let Some(line) = parse(line).filter(|line| line.digest.algorithm != Algorithm::Md5) else {
            continue;
        };
        let path = String::from_utf8_lossy(&line.name);
        let path = path.trim_start_matches("./").to_owned();
        let known = files.iter_mut().find(|file| file.path == path);
        let Some(file) = known else {
            files.push(Listed {
                size: None,
                path,
                digests: vec![line.digest],
            });
            continue;
        };
        let same = |digest: &&Digest| digest.algorithm == line.digest.algorithm;
        match file.digests.iter().find(same) {
            Some(digest) if *digest != line.digest => {
                return Err(format!("it has two digests for {path}"));
            }
            Some(_) => {}
            None => file.digests.push(line.digest),
        }
    }
    for file in &mut files {
        file.digests.sort_by(|one, other| other.cmp(one));
        file.size = sizes.get(&file.path).copied();
    }
    Ok(files)
}

/// The digest in a file that has nothing else, or that of a name: `NAME.sha256`.
pub(super) fn digest_of(list: &[u8], url: &str) -> Result<Option<Digest>, String> {
    if is_page(list) {
        return Err("it is a web page, as portals and proxies answer".to_owned());
    }
    let found = crate::checksum_list::digest_of(list, url).ok();
    Ok(found.filter(|digest| digest.algorithm != Algorithm::Md5))
}

fn simplestreams(list: &[u8], select: &BTreeMap<String, String>, item: &str) -> Result<Vec<Listed>, String> {
    let list: Value = serde_json::from_slice(list).map_err(not_json)?;
    let products = list.get("products").and_then(Value::as_object);
    let products = products.ok_or("it has no `products`")?;
    let products = products.values().filter_map(Value::as_object);
    let versions = products
        .filter(|product| is_selected(product, select))
        .filter_map(|product| product.get("versions")?.as_object());
    let items = versions.flat_map(Map::values).filter_map(|version| {
        let item = version.get("items")?.get(item)?.as_object()?;
        listed(item, "path")
    });
    Ok(items.collect())
}

fn fedora(list: &[u8], select: &BTreeMap<String, String>) -> Result<Vec<Listed>, String> {
    let list: Vec<Map<String, Value>> = serde_json::from_slice(list).map_err(not_json)?;
    let files = list.iter().filter(|file| is_selected(file, select));
    Ok(files.filter_map(|file| listed(file, "link")).collect())
}

/// YAML of one kind: a list of flat tables, each begun by a line with a dash.
fn alpine(list: &[u8], select: &BTreeMap<String, String>) -> Vec<Listed> {
    let mut files: Vec<Map<String, Value>> = Vec::new();
    for line in String::from_utf8_lossy(list).lines() {
        let line = match line.strip_prefix('-') {
            Some(rest) if !rest.starts_with('-') => {
                files.push(Map::new());
                rest
            }
            _ => line,
        };
        if let (Some(file), Some((key, value))) = (files.last_mut(), line.trim().split_once(": ")) {
            let value = value.trim_matches(['"', '\'']);
            file.insert(key.to_owned(), value.into());
        }
    }
    let files = files.iter().filter(|file| is_selected(file, select));
    files.filter_map(|file| listed(file, "file")).collect()
}

fn is_selected(fields: &Map<String, Value>, select: &BTreeMap<String, String>) -> bool {
    let mut select = select.iter();
    select.all(|(key, wanted)| fields.get(key).and_then(Value::as_str) == Some(wanted))
}

/// A file as tables describe it; none without a digest.
fn listed(fields: &Map<String, Value>, path: &str) -> Option<Listed> {
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    let digests = ["sha512", "sha256"].into_iter().filter_map(|name| {
        let digest: Digest = text(name)?.parse().ok()?;
        (digest.algorithm.name() == name).then_some(digest)
    });
    let digests: Vec<_> = digests.collect();
    let size = fields.get("size");
    let size = size.and_then(|size| size.as_u64().or_else(|| size.as_str()?.parse().ok()));
    let path = text(path)?.to_owned();
    (!digests.is_empty()).then_some(Listed { path, digests, size })
}

fn not_json(error: serde_json::Error) -> String {
    format!("it is not the JSON that it should be: {error}")
}
