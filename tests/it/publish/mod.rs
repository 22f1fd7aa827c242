//! Publishing: images whose packages are in the store already go to real servers on loopback, and come back.

mod catalogs;
mod directory;
mod faults;
mod formats;
mod hooks;
mod kept;
mod object_store;
mod provenance;
mod redirects;
pub mod reference;
mod root_tar;
mod sbom;
mod signed;
mod tls;
mod verified;
mod versions;
pub mod webdav;
mod words;

use std::path::{Path, PathBuf};
use std::process::Command;

use pipeline::internals::digest::Algorithm;
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::host::fs::hash_file;
use pipeline::internals::store::{Claim, Store};
use serde_json::{Value, json};

use crate::support::{Bench, Ran, noise};

const SMALL: &str = "debian12-3G-base";
const LARGE: &str = "debian12-20G-base";

/// A manifest of two images, with this below its `[publish]`.
fn manifest(targets: &str) -> String {
    format!(
        r#"
[pipeline]
name = "house"

[distros.debian12]
family  = "debian"
version = "12"
source  = {{ disk = {{ path = "base.qcow2" }} }}

[flavors.base]
steps = [{{ inline = "true", name = "nothing" }}]

[[images]]
distro = "debian12"
flavor = "base"
sizes  = ["3G", "20G"]

{targets}
"#
    )
}

/// A bench with that manifest, whose images are packaged: the store has these bytes for them.
fn bench(targets: &str, bytes: usize) -> Bench {
    let bench = Bench::new();
    bench.write("base.qcow2", "no disk is read in these stories");
    bench.write("m.toml", manifest(targets));
    for (id, seed) in [(SMALL, 1), (LARGE, 2)] {
        package(&bench, id, &noise(bytes, seed));
    }
    bench
}

/// Puts a packaged image into the store, under the key that the plan gives it.
fn package(bench: &Bench, id: &str, bytes: &[u8]) {
    store_result(bench, &format!("package/{id}"), &[("image", bytes)]);
}

/// Puts the result of a node into the store, under the key that the plan gives it.
fn store_result(bench: &Bench, id: &str, files: &[(&str, &[u8])]) {
    let ran = bench.run(&["plan", "m.toml", "--format", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let plan: Value = serde_json::from_str(&ran.stdout).unwrap();
    let nodes = plan["nodes"].as_array().unwrap();
    let node = nodes.iter().find(|node| node["id"] == id).unwrap();
    let store = Store::open(&bench.path("store")).unwrap();
    let scratch = store.scratch("seed").unwrap();
    let (key, cancel) = (node["key"].as_str().unwrap(), Cancel::default());
    let (stage, _) = id.split_once('/').unwrap();
    let claim = store
        .claim(stage, key, &scratch, true, &cancel, &mut || {})
        .unwrap();
    let Claim::Miss(mut slot) = claim else {
        panic!("it is to be replaced")
    };
    let mut facts = json!({});
    for (name, bytes) in files {
        let path = slot.path(name);
        std::fs::write(&path, bytes).unwrap();
        let digests = hash_file(&path, &Algorithm::ALL, &cancel).unwrap();
        slot.set_digests(name, digests.clone());
        facts = json!({ "digests": digests });
    }
    slot.commit(json!({}), facts, &cancel).unwrap();
}

/// Name of an image's file.
fn file(id: &str) -> String {
    format!("{id}/{id}.qcow2.gz")
}

/// The catalog, or nothing.
fn catalog(bench: &Bench) -> Vec<Value> {
    let Ok(text) = std::fs::read(bench.path("out/index.json")) else {
        return Vec::new();
    };
    let catalog: Value = serde_json::from_slice(&text).unwrap();
    catalog["images"].as_array().unwrap().clone()
}

/// Ids of the images that are listed.
fn listed(bench: &Bench) -> Vec<String> {
    let id = |image: &Value| image["id"].as_str().unwrap().to_owned();
    catalog(bench).iter().map(id).collect()
}

/// Runs Vagrant with a folder of its own, and gives what it printed.
fn vagrant(home: &Path, words: &[&str]) -> String {
    std::fs::create_dir_all(home).unwrap();
    let output = Command::new("vagrant")
        .args(words)
        .current_dir(home)
        .env("VAGRANT_HOME", home)
        .env("VAGRANT_CHECKPOINT_DISABLE", "1")
        .output()
        .unwrap_or_else(|error| panic!("vagrant: {error}; `make setup` installs what the tests need"));
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
    assert!(
        output.status.success(),
        "vagrant {words:?}: {}{}",
        said[0],
        said[1]
    );
    said.concat()
}

pub fn well(ran: &Ran) {
    assert_eq!(ran.code, 0, "{}", ran.all());
}

/// Asserts that it said all of this on standard error.
pub fn says(ran: &Ran, all: &[&str]) {
    // Messages before a run are broken into lines with a bar in front.
    let unbroken = ran.stderr.replace("\n  │ ", " ");
    for expected in all {
        assert!(unbroken.contains(expected), "no `{expected}` in\n{}", ran.all());
    }
}

/// A file of the golden vector.
fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/shacache")
        .join(name)
}
