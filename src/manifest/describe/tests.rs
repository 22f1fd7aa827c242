//! The description, the reader and the manual say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::tables::TARGETS;
use super::{Kind, TABLES, manual, table};
use crate::manifest::{self, fields::recorder};

/// Has every table, and every kind of those that have kinds.
const ALL: &str = r#"
[pipeline]
name = "all"
[resources]
memory = "8G"
[distros.boot]
family = "debian"
version = "12"
source = { bootstrap = { suite = "bookworm" } }
[distros.image]
family = "debian"
version = "12"
source = { disk = { path = "x", access = { key = "x" } } }
[distros.cd]
family = "debian"
version = "12"
source = { iso = { path = "x", password = { env = "HOME" } } }
[distros.net]
family = "debian"
version = "12"
source = { netboot = { kernel = { path = "x" }, initrd = { path = "x" } } }
[flavors.base]
steps = [{ run = "x" }, { inline = "x" }, { copy = "x", to = "/x" }, { reboot = true }, { install = "vm-bootstrap" }, { ansible = "x" }]
[[images]]
distro = ["boot", "image", "cd", "net"]
flavor = "base"
sizes = ["20G"]
[[checks]]
set = "standard"
[[checks]]
command = "true"
[publish]
[publish.shacache]
[publish.directory]
path = "x"
[publish.http]
url = "http://images.example"
user = "x"
password = { file = "x" }
[publish.s3]
endpoint = "http://images.example"
bucket = "images"
"#;

/// The table that a place in a manifest has.
fn table_at(path: &str) -> &'static str {
    let mut id = "manifest";
    let mut parts = path.split('.').filter(|part| *part != "manifest");
    while let Some(part) = parts.next() {
        let name = part.split('[').next().unwrap();
        let found = table(id).unwrap();
        let Some(key) = found.keys.iter().find(|key| key.name == name) else {
            id = TABLES
                .iter()
                .find(|table| table.id == format!("target_{name}"))
                .unwrap()
                .id;
            continue;
        };
        let mut kind = &key.kind;
        loop {
            kind = match kind {
                Kind::Table(inner) => {
                    id = inner;
                    break;
                }
                Kind::Named(_, inner) => {
                    parts.next();
                    inner
                }
                Kind::List(inner) | Kind::OneOrMore(inner) => inner,
                Kind::Either(kinds) => kinds.iter().find(|kind| matches!(kind, Kind::Table(_))).unwrap(),
                _ => panic!("{path} is no table"),
            };
        }
    }
    id
}

#[test]
fn the_reader_knows_exactly_the_keys_of_the_description() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x"), "#!/bin/sh\n").unwrap();
    let path = folder.path().join("all.toml");
    fs::write(&path, ALL).unwrap();
    recorder::take();
    if let Err(errors) = manifest::load(&path) {
        panic!("{:?}", errors.problems());
    }
    let mut asked: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, keys) in recorder::take() {
        asked.entry(table_at(&path)).or_default().extend(keys);
    }
    for table in TABLES {
        let described: BTreeSet<_> = table.keys.iter().map(|key| key.name).collect();
        assert_eq!(asked.get(table.id), Some(&described), "the table `{}`", table.id);
        for key in table.keys {
            let known = key.beside.iter().all(|name| described.contains(name));
            assert!(known, "{}.{} goes with keys that are there", table.id, key.name);
        }
    }
    assert_eq!(asked.len(), TABLES.len());
    assert!(
        TARGETS
            .iter()
            .all(|name| table(&format!("target_{name}")).is_some())
    );
}

#[test]
fn the_manual_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/manifest.md");
    assert!(
        fs::read_to_string(path).unwrap() == manual(),
        "docs/manifest.md is old: make docs"
    );
}
