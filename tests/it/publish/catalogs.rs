//! Catalogs of a place's versions: the programs that they are for find, take and verify the images.

use std::fs;
use std::path::Path;
use std::time::Duration;

use pipeline::internals::digest::sha256_hex;
use serde_json::Value;

use super::formats::{ID, bench, manifest, package_disk};
use super::webdav::nginx;
use super::{says, vagrant, well};
use crate::support::browser::Browser;
use crate::support::python::{program, python};
use crate::support::{Bench, Ran, tool};

const STREAMS: &str = "python-simplestreams==0.1.0.post59 requests==2.32.5";
const PUBLISH: &str = r#"formats = ["qcow2-zlib", "vagrant-libvirt"]
versions = { keep = 2 }

[publish.mirror]
to       = "http"
url      = "http://mirror.invalid"
versions = true
catalogs = ["simplestreams", "vagrant"]
"#;

/// Vagrant goes by the type that a server gives a file.
const SERVER: &str = "types { application/json json; }\nserver {\nlisten 127.0.0.1:PORT;\nroot FOLDER/www;\nlocation / {\n\
                      dav_methods PUT DELETE;\ncreate_full_put_path on;\n}\n}";

/// Simple streams' own client, and what it printed.
fn streams(bench: &Bench, name: &str, words: &[&str]) -> String {
    let output = python(STREAMS)
        .arg(program(STREAMS, name))
        .args(words)
        .current_dir(bench.path(""))
        .env("HOME", bench.path(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name} {words:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// LXD's client, as Incus's: `web` is the place.
fn lxc(bench: &Bench, words: &[&str]) -> String {
    let command = format!("HOME=\"$PWD\" LXD_CONF=\"$PWD/lxd\" lxc {}", words.join(" "));
    tool("sh", &["-ec", &command], &bench.path(""))
}

/// The versions of the box, the newest first.
fn boxes(bench: &Bench) -> Vec<String> {
    let list: Value = serde_json::from_str(&bench.read(&format!("www/versions/{ID}/vagrant.json"))).unwrap();
    let versions = list["versions"].as_array().unwrap().iter();
    versions
        .map(|version| version["version"].as_str().unwrap().to_owned())
        .collect()
}

/// The versions of the disk, the oldest first, as the client lists them.
fn disks(bench: &Bench, url: &str) -> Vec<String> {
    let index = format!("{url}/streams/v1/index.json");
    let words = [
        "--no-verify",
        "--output-format",
        "%(version_name)s",
        &index,
        "ftype=disk1.img",
    ];
    let mut versions: Vec<_> = streams(bench, "sstream-query", &words)
        .lines()
        .map(str::to_owned)
        .collect();
    versions.sort();
    versions
}

/// Another build, in another second.
fn build(bench: &Bench, seed: u64) -> Ran {
    std::thread::sleep(Duration::from_millis(1100));
    package_disk(bench, seed);
    let ran = bench.run(&["run", "m.toml", "--upload"]);
    well(&ran);
    ran
}

fn same_disk(bench: &Bench, file: &Path) {
    let file = file.display().to_string();
    let words = ["compare", "-f", "raw", "-F", "qcow2", "disk.raw", &file];
    tool("qemu-img", &words, &bench.path(""));
}

#[test]
fn lxd_openstack_and_vagrant_find_the_latest_version_and_those_before() {
    let bench = bench(PUBLISH);
    let nginx = nginx(&bench, SERVER);
    let url = nginx.url("");
    let url = url.trim_end_matches('/');
    let text = bench.read("m.toml").replace("http://mirror.invalid", url);
    let text = text.replace("disk    =", "firmware = \"bios+uefi\"\ndisk    =");
    bench.write("m.toml", text);
    package_disk(&bench, 1);
    well(&bench.run(&["run", "m.toml", "--upload"]));

    // What OpenStack's tools mirror from: digests and sizes are verified.
    let base = format!("{url}/");
    let words = [
        "--no-verify",
        "--path",
        "streams/v1/index.json",
        &base,
        "mirrored",
        "ftype=disk1.img",
    ];
    streams(&bench, "sstream-mirror", &words);
    let first = disks(&bench, url);
    assert_eq!(first.len(), 1);
    let mirrored = format!("mirrored/versions/{ID}/{}/{ID}.zlib.qcow2", first[0]);
    same_disk(&bench, &bench.path(&mirrored));

    // What Incus reads too: an image is known by the digest over its two files.
    bench.write(
        "lxd/config.yml",
        format!("remotes:\n  web:\n    addr: {url}\n    protocol: simplestreams\n    public: true\n"),
    );
    let images: Value =
        serde_json::from_str(&lxc(&bench, &["image", "list", "web:", "--format", "json"])).unwrap();
    assert_eq!(images.as_array().unwrap().len(), 1, "{images}");
    let image = &images[0];
    assert_eq!(
        (
            &image["type"],
            &image["architecture"],
            &image["properties"]["release"]
        ),
        (
            &"virtual-machine".into(),
            &"x86_64".into(),
            &"12 & <later>".into()
        )
    );
    assert_eq!(image["properties"]["requirements.secureboot"], "false", "{image}");
    fs::create_dir(bench.path("taken")).unwrap();
    lxc(
        &bench,
        &["image", "export", "--vm", &format!("web:{ID}"), "taken/"],
    );
    let taken = fs::read_dir(bench.path("taken"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let (metadata, disk): (Vec<_>, Vec<_>) =
        taken.partition(|path| path.to_str().unwrap().ends_with(".tar.xz"));
    same_disk(&bench, &disk[0]);
    let both = [&metadata[0], &disk[0]]
        .map(|path| fs::read(path).unwrap())
        .concat();
    assert_eq!(image["fingerprint"], sha256_hex(&both));
    let yaml = tool(
        "tar",
        &["-xJOf", metadata[0].to_str().unwrap(), "metadata.yaml"],
        &bench.path(""),
    );
    let yaml: Value = serde_json::from_str(&yaml).unwrap();
    assert_eq!(yaml["architecture"], "x86_64");

    // Vagrant takes the newest version, and verifies it.
    let home = bench.path("vagrant");
    let list = format!("{url}/versions/{ID}/vagrant.json");
    vagrant(&home, &["box", "add", "--provider", "libvirt", &list]);
    let of = |version: &str| home.join(format!("boxes/{ID}/{version}/libvirt/box.img"));
    same_disk(&bench, &of(&boxes(&bench)[0]));

    // The page for those who download says how.
    well(&bench.run(&["gallery", "m.toml"]));
    let mut browser = Browser::start();
    browser.open(&bench.path("out/index.html"), 820, "light");
    let lines = browser.texts("[...document.querySelectorAll('pre')].map(e => e.textContent)");
    for line in [
        format!("vagrant box add {list}"),
        format!(
            "incus remote add mirror {url} --protocol simplestreams && incus launch mirror:{ID} --vm -c security.secureboot=false"
        ),
    ] {
        assert!(lines.contains(&line), "no {line} in {lines:?}");
    }

    // A new build is offered by both, and the one before it stays.
    build(&bench, 7);
    let (two, pair) = (boxes(&bench), disks(&bench, url));
    assert_eq!((two.len(), pair.len()), (2, 2));
    let outdated = vagrant(&home, &["box", "outdated", "--global"]);
    assert!(
        outdated.contains(&format!(
            "'{ID}' for 'libvirt' is outdated! Current: {}. Latest: {}",
            two[1], two[0]
        )),
        "{outdated}"
    );
    vagrant(&home, &["box", "update", "--box", ID, "--provider", "libvirt"]);
    same_disk(&bench, &of(&two[0]));

    // One that was rolled back is offered no more, until it is promoted.
    well(&bench.run(&["rollback", "m.toml", "--at", "mirror"]));
    assert_eq!((boxes(&bench), disks(&bench, url)), (two[1..].to_vec(), first));
    let again = bench.run(&["run", "m.toml", "--upload"]);
    says(&again, &["nothing was sent"]);
    assert_eq!(boxes(&bench), two[1..]);
    well(&bench.run(&["promote", "m.toml", ID, "--at", "mirror"]));
    assert_eq!((boxes(&bench), disks(&bench, url)), (two.clone(), pair.clone()));

    // What goes away is first taken out of the list, then of the catalogs; then its files go.
    let before = bench.read("access.log").lines().count();
    build(&bench, 8);
    let log = bench.read("access.log");
    let at = |words: &str| {
        log.lines()
            .skip(before)
            .position(|line| line.contains(words))
            .unwrap_or_else(|| panic!("no {words} in {log}"))
    };
    let order = [
        at(&format!("PUT /versions/{ID}/index.json")),
        at(&format!("PUT /streams/v1/{ID}.products.json")),
        at(&format!("PUT /versions/{ID}/vagrant.json")),
        at(&format!("DELETE /versions/{ID}/{}/", pair[0])),
    ];
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!((boxes(&bench).len(), disks(&bench, url).len()), (2, 2));
    let gone = format!("www/versions/{ID}/{}/{ID}.zlib.qcow2", pair[0]);
    assert!(!bench.path(&gone).exists());
}

#[test]
fn catalogs_that_would_be_empty_or_untrue_are_refused() {
    let bench = Bench::new();
    bench.write("base.qcow2", "no disk is read in this story");
    let refused = |publish: &str, expected: &[&str]| {
        bench.write("m.toml", manifest(publish));
        let ran = bench.run(&["validate", "m.toml"]);
        assert_eq!(ran.code, 2, "{}", ran.all());
        says(&ran, expected);
    };
    refused(
        &PUBLISH.replace("versions = true", ""),
        &["this place keeps none", "versions = true"],
    );
    refused(
        &PUBLISH.replace("\"qcow2-zlib\", ", ""),
        &[
            "images have no file that simplestreams lists",
            "formats = [\"qcow2-zlib\"]",
        ],
    );
    refused(
        &PUBLISH.replace(", \"vagrant-libvirt\"", ""),
        &[
            "images have no file that vagrant lists",
            "formats = [\"vagrant-libvirt\"]",
        ],
    );
}
