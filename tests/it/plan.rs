//! Plans: what would be done, and why. Nothing here builds anything.

use std::collections::BTreeMap;

use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::store::{Claim, Store};
use serde_json::{Value, json};

use crate::support::Bench;

const MANIFEST: &str = r#"
[pipeline]
name = "fleet"

[distros.debian12]
family  = "debian"
version = "12"
source  = { bootstrap = { suite = "bookworm", mirror = "http://mirror.invalid/debian" } }

[distros.cloud]
family  = "debian"
version = "13"
source  = { disk = { urls = ["https://a.invalid/c.qcow2", "https://b.invalid/c.qcow2"], sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" } }

[flavors.base]
steps = [{ run = "update.sh", env = { LEVEL = "full" } }]

[[images]]
distro = ["debian12", "cloud"]
flavor = "base"
sizes  = ["5G", "20G"]
"#;

/// A bench with the manifest and its script.
fn bench(manifest: &str) -> Bench {
    let bench = Bench::new();
    bench.write("update.sh", "#!/bin/sh\napt-get update\n");
    bench.write("m.toml", manifest);
    bench
}

fn plan(bench: &Bench, args: &[&str]) -> Value {
    let ran = bench.run(&[&["plan", "m.toml", "--format", "json"], args].concat());
    assert_eq!(ran.code, 0, "{}", ran.all());
    serde_json::from_str(&ran.stdout).unwrap()
}

fn keys(plan: &Value) -> BTreeMap<String, String> {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    plan["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| (text(&n["id"]), text(&n["key"])))
        .collect()
}

/// Ids of the nodes whose keys differ.
fn changed(before: &Value, after: &Value) -> Vec<String> {
    let before = keys(before);
    keys(after)
        .into_iter()
        .filter(|(id, key)| before.get(id) != Some(key))
        .map(|(id, _)| id)
        .collect()
}

#[test]
fn one_install_a_distro_one_provision_a_flavor_one_size_an_image() {
    let bench = bench(MANIFEST);
    let ran = bench.run(&["plan", "m.toml"]);
    insta::assert_snapshot!(ran.all(), @r#"
code: 0
--- stdout
debian12-5G-base  5 nodes to do
  ├─ install   debian12                     to do: never built
  ├─ provision debian12-base                to do: never built
  ├─ size      debian12-5G-base             to do: never built
  ├─ package   debian12-5G-base             to do: never built
  └─ sums      debian12-5G-base             to do: out/debian12-5G-base/debian12-5G-base.qcow2.gz is not there yet
debian12-20G-base  5 nodes to do
  ├─ install   debian12                     to do, as above
  ├─ provision debian12-base                to do, as above
  ├─ size      debian12-20G-base            to do: never built
  ├─ package   debian12-20G-base            to do: never built
  └─ sums      debian12-20G-base            to do: out/debian12-20G-base/debian12-20G-base.qcow2.gz is not there yet
cloud-5G-base  6 nodes to do
  ├─ fetch     cloud                        to do: never built; from https://a.invalid/c.qcow2, else 1 other place
  ├─ install   cloud                        to do: never built
  ├─ provision cloud-base                   to do: never built
  ├─ size      cloud-5G-base                to do: never built
  ├─ package   cloud-5G-base                to do: never built
  └─ sums      cloud-5G-base                to do: out/cloud-5G-base/cloud-5G-base.qcow2.gz is not there yet
cloud-20G-base  6 nodes to do
  ├─ fetch     cloud                        to do, as above
  ├─ install   cloud                        to do, as above
  ├─ provision cloud-base                   to do, as above
  ├─ size      cloud-20G-base               to do: never built
  ├─ package   cloud-20G-base               to do: never built
  └─ sums      cloud-20G-base               to do: out/cloud-20G-base/cloud-20G-base.qcow2.gz is not there yet

17 to do, 0 cached; 2 VMs to boot; no time estimate for 17 of them (never built).
--- stderr
"#);
    assert!(!bench.path("store").exists(), "planning must not make anything");
}

#[test]
fn json_tells_every_node_with_its_needs() {
    let plan = plan(&bench(MANIFEST), &["debian12-5G-base"]);
    let ids: Vec<_> = keys(&plan).into_keys().collect();
    assert_eq!(
        ids,
        [
            "install/debian12",
            "package/debian12-5G-base",
            "provision/debian12-base",
            "size/debian12-5G-base",
            "sums/debian12-5G-base",
        ]
    );
    let node = &plan["nodes"][2];
    assert_eq!(node["id"], "size/debian12-5G-base");
    assert_eq!(node["stage"], "size");
    assert_eq!(node["subject"], "debian12-5G-base");
    assert_eq!(node["state"], "todo");
    assert_eq!(node["reason"], "never built");
    assert_eq!(node["needs"], serde_json::json!(["provision/debian12-base"]));
    assert_eq!(node["key"].as_str().unwrap().len(), 64);
    assert_eq!(plan["totals"]["machines"], 1);
    let costs = |id: &str| {
        let nodes = plan["nodes"].as_array().unwrap();
        nodes.iter().find(|node| node["id"] == id).unwrap()["cost"].clone()
    };
    // The disk of an install is there up to three times: as folder, raw and qcow2.
    let install =
        serde_json::json!({ "machines": 0, "memory": 512 << 20, "cpus": 1, "scratch": 6_u64 << 30 });
    assert_eq!(costs("install/debian12"), install);
    let sums = serde_json::json!({ "machines": 0, "memory": 0, "cpus": 0, "scratch": 0 });
    assert_eq!(costs("sums/debian12-5G-base"), sums);
}

/// A medium without a digest is known by its bytes, wherever it lies and whenever it was copied there.
#[test]
fn equal_local_media_give_equal_keys_on_every_host() {
    let manifest = |digest: &str| {
        let url = MANIFEST.find("urls = [").unwrap();
        let end = url + MANIFEST[url..].find(" }").unwrap();
        format!(
            "{}path = \"base.qcow2\"{digest}{}",
            &MANIFEST[..url],
            &MANIFEST[end..]
        )
    };
    let keys_of = |bench: &Bench| keys(&plan(bench, &["cloud-5G-base"]));
    let host = |digest: &str, bytes: &str| {
        let bench = bench(&manifest(digest));
        bench.write("base.qcow2", bytes);
        bench
    };
    let one = host("", "bytes");
    let first = keys_of(&one);
    assert_eq!(keys_of(&host("", "bytes")), first, "another file");
    let digest = pipeline::internals::digest::sha256_hex(b"bytes");
    let declared = host(&format!(", sha256 = \"{digest}\""), "bytes");
    assert_eq!(keys_of(&declared), first, "as the manifest may say it");
    let other = keys_of(&host("", "other"));
    assert!(first.iter().all(|(id, key)| other[id] != *key), "{other:#?}");
    // In a store it is noted, and the note is good for as long as the file is as it was.
    Store::open(&one.path("store")).unwrap();
    assert_eq!(keys_of(&one), first);
    assert!(one.read("store/media.json").contains(&digest));
    one.write("base.qcow2", "other");
    assert_eq!(keys_of(&one), other);
}

/// A root that only grows mounted leaves its guest unsealed: the size stage enters it once more, by the key that the install node
/// keeps next to its disk. Clean-ups may take that away before the provisioned disk.
#[test]
fn an_unsealed_guest_is_installed_and_provisioned_again_when_the_key_to_it_has_gone() {
    let bench = bench(MANIFEST);
    let of = |id: &str| {
        let plan = plan(&bench, &["debian12-5G-base"]);
        let nodes = plan["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["id"] == id).unwrap().clone();
        let text = |name: &str| node[name].as_str().unwrap_or_default().to_owned();
        (text("key"), text("state"), text("reason"))
    };
    let store = Store::open(&bench.path("store")).unwrap();
    let cancel = Cancel::default();
    let scratch = store.scratch("earlier").unwrap();
    let put = |id: &str, facts: Value| {
        let stage = id.split('/').next().unwrap();
        let claim = store.claim(stage, &of(id).0, &scratch, true, &cancel, &mut || {});
        let Claim::Miss(slot) = claim.unwrap() else {
            panic!("it is made again")
        };
        for file in ["disk", "key"] {
            std::fs::write(slot.path(file), id).unwrap();
        }
        slot.commit(json!({}), facts, &cancel).unwrap();
    };
    let (install, provision) = ("install/debian12", "provision/debian12-base");
    let states = || (of(install).1, of(provision).1);
    let words = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    put(provision, json!({ "root": null, "sealed": true }));
    assert_eq!(states(), words("unneeded", "cached"));
    put(provision, json!({ "root": null, "sealed": false }));
    assert_eq!(states(), words("todo", "todo"));
    assert_eq!(
        of(provision).2,
        "the key that opens its guest has gone from the store with the installed disk"
    );
    put(install, json!({}));
    assert_eq!(states(), words("cached", "cached"));
}

#[test]
fn a_key_changes_with_what_matters_and_with_nothing_else() {
    let bench = bench(MANIFEST);
    let first = plan(&bench, &[]);
    let noise = MANIFEST.replace(
        "[flavors.base]",
        "# a comment\n[resources]\nmemory = \"9G\"\njobs = 7\n\n[flavors.base]",
    );
    bench.write("m.toml", noise);
    assert_eq!(changed(&first, &plan(&bench, &[])), Vec::<String>::new());

    bench.write("update.sh", "#!/bin/sh\napt-get update \n");
    let downstream = changed(&first, &plan(&bench, &[]));
    assert!(
        !downstream
            .iter()
            .any(|id| id.starts_with("install/") || id.starts_with("fetch/")),
        "{downstream:?}"
    );
    assert_eq!(
        downstream
            .iter()
            .filter(|id| id.starts_with("provision/"))
            .count(),
        2
    );
    assert_eq!(downstream.len(), 2 + 4 * 3, "{downstream:?}");

    bench.write("update.sh", "#!/bin/sh\napt-get update\n");
    bench.write("m.toml", MANIFEST.replace("\"20G\"", "\"21G\""));
    let resized = changed(&first, &plan(&bench, &["--distro", "debian12"]));
    assert_eq!(
        resized,
        [
            "package/debian12-21G-base",
            "size/debian12-21G-base",
            "sums/debian12-21G-base"
        ]
    );
}

#[test]
fn paths_are_no_inputs() {
    let (one, other) = (bench(MANIFEST), bench(MANIFEST));
    assert_eq!(
        changed(&plan(&one, &[]), &plan(&other, &[])),
        Vec::<String>::new()
    );
}

#[test]
fn two_disks_of_one_length_that_were_written_at_one_moment_are_two_disks() {
    let manifest = ["one", "two"].map(|name| {
        format!(
            "[distros.{name}]\nfamily = \"debian\"\nversion = \"12\"\n\
             source = {{ disk = {{ path = \"{name}.raw\", user = \"root\" }} }}\n\
             [[images]]\ndistro = \"{name}\"\nflavor = \"base\"\nsizes = [\"1G\"]\n"
        )
    });
    let bench = bench(&format!("[flavors.base]\nsteps = []\n{}", manifest.concat()));
    for (name, byte) in [("one.raw", 1), ("two.raw", 2)] {
        let file = std::fs::File::options()
            .append(true)
            .open(bench.write(name, [byte; 4096]))
            .unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    }
    let keys = keys(&plan(&bench, &[]));
    assert_ne!(keys["install/one"], keys["install/two"], "{keys:?}");
}

#[test]
fn a_secret_changes_the_key_and_is_not_to_be_seen_in_it() {
    let manifest = MANIFEST.replace("LEVEL = \"full\"", "TOKEN = { env = \"TOKEN\" }");
    let bench = bench(&manifest);
    // A first run makes the store's own key; a plan alone does not.
    Store::open(&bench.path("store"))
        .unwrap()
        .fingerprint(b"")
        .unwrap();
    let with = |token: &str| {
        let mut command = bench.command(&["plan", "m.toml", "--format", "json", "--distro", "debian12"]);
        let output = command.env("TOKEN", token).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let (one, again, other) = (with("hunter2-one"), with("hunter2-one"), with("hunter2-other"));
    assert!(!one.contains("hunter2"));
    assert_eq!(changed(&parse(&one), &parse(&again)), Vec::<String>::new());
    assert!(changed(&parse(&one), &parse(&other)).contains(&"provision/debian12-base".to_owned()));
}

#[test]
fn dot_is_a_graph_of_the_same_nodes() {
    let ran = bench(MANIFEST).run(&["plan", "m.toml", "--format", "dot", "--distro", "cloud"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(ran.stdout.starts_with("digraph {"), "{}", ran.stdout);
    // A package takes its size and the provisioned disk that this is a layer over.
    assert_eq!(ran.stdout.matches("->").count(), 2 + 2 * 4, "{}", ran.stdout);
}

#[test]
fn an_unmatched_selector_or_rebuild_names_what_is_near() {
    let bench = bench(MANIFEST);
    let ran = bench.run(&["plan", "m.toml", "debian12-5G-bsae"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("debian12-5G-base"), "{}", ran.all());
    let ran = bench.run(&["plan", "m.toml", "--rebuild", "instal/debian12"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("matches no node"), "{}", ran.all());
}

#[test]
fn nothing_is_published_before_its_check_unless_that_is_left_out() {
    let checked = MANIFEST.replace("[flavors.base]\n", "[flavors.base]\nchecks = [\"standard\"]\n");
    let plain = plan(&bench(MANIFEST), &[]);
    let bench = bench(&checked);
    let before = plan(&bench, &[]);
    let needs = |plan: &Value, id: &str| -> Value {
        let nodes = plan["nodes"].as_array().unwrap();
        nodes.iter().find(|node| node["id"] == id).unwrap()["needs"].clone()
    };
    assert_eq!(
        needs(&before, "sums/debian12-5G-base"),
        serde_json::json!(["check/debian12-5G-base", "package/debian12-5G-base"])
    );
    assert_eq!(
        needs(&before, "check/debian12-5G-base"),
        serde_json::json!(["package/debian12-5G-base"])
    );
    let without = plan(&bench, &["--no-check"]);
    assert_eq!(keys(&without), keys(&plain), "as if there were none");

    let published = format!("{checked}\n[publish.directory]\npath = \"published\"\n");
    bench.write("m.toml", published);
    assert_eq!(
        needs(&plan(&bench, &["--upload"]), "upload/debian12-5G-base@directory"),
        serde_json::json!(["check/debian12-5G-base", "package/debian12-5G-base"])
    );
    let ran = bench.run(&["run", "m.toml", "--upload", "--no-check"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.stderr.contains("--no-check"), "{}", ran.all());

    bench.write(
        "m.toml",
        checked.replace(
            "[[images]]",
            "[[checks]]\nport = 80\nimages = \"cloud-5G-*\"\n\n[[images]]",
        ),
    );
    let after = plan(&bench, &[]);
    assert_eq!(
        changed(&before, &after),
        ["check/cloud-5G-base", "sums/cloud-5G-base"]
    );
}
