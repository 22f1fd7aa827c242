//! The description and the reader say the same.

use std::collections::BTreeSet;
use std::{fs, ptr};

use super::key::{Group, Key};
use super::tables;
use super::text::{Sha256, Sha512, TextForm};
use crate::manifest::{self, fields::recorder};

/// Has every table, and every kind of those that have kinds.
const ALL: &str = r#"
families = ["own.toml"]
[pipeline]
name = "all"
[resources]
memory = "8G"
[distros.boot]
family = "debian"
version = "12"
source = { bootstrap = { suite = "bookworm" } }
max_age = "30d"
archives = [{ url = "http://m.example/debian", suites = ["bookworm"], keyring = "x" }]
[distros.image]
family = "debian"
version = "12"
source = { disk = { url = "http://x.example/x", sha512 = "DIGEST", access = { key = "x" } } }
disk = "1G"
arch = "x86_64"
firmware = "bios+uefi"
secure_boot = true
tpm = true
[distros.cd]
family = "debian"
version = "12"
source = { iso = { urls = ["http://x.example/x"], checksums = "x", signature = "x", keyring = "x", suite = "bookworm", archive_keyring = "x", password = { env = "HOME" } } }
[distros.newest]
family = "debian"
version = "12"
source = { iso = { latest = "debian-12", variant = "netinst", from = "http://m.example", keyring = "x" } }
[distros.net]
family = "debian"
version = "12"
source = { netboot = { kernel = { path = "x", sha256 = "SHORT" }, initrd = { path = "x", md5 = "098f6bcd4621d373cade4e832627b4f6" } } }
[flavors.base]
steps = [{ run = "x" }, { inline = "x" }, { copy = "x", to = "/x" }, { reboot = true }, { install = "vm-bootstrap" }, { ansible = "x" }]
[[images]]
distro = ["boot", "image", "cd", "net", "newest"]
flavor = "base"
sizes = ["20G"]
firmware = ["bios"]
[[checks]]
set = "standard"
[[checks]]
boots_within = "5m"
[[checks]]
login_prompt = true
[[checks]]
network = true
[[checks]]
port = 80
[[checks]]
root_size = true
[[checks]]
no_failed_units = true
[[checks]]
identity = true
[[checks]]
no_traces = true
[[checks]]
agent = true
[[checks]]
command = "true"
[[checks]]
started_by = "bios"
[[checks]]
tpm = true
[[checks]]
polite = "hello"
[report]
file = "report.html"
[[hooks]]
after = "image"
command = "true"
[publish]
versions = { keep = 5, hold = true }
formats = ["vagrant-libvirt", { form = "raw", compress = "zstd", file = "{{ id }}.raw" }]
provenance = true
sign = [{ openpgp = { env = "HOME" }, password = { env = "HOME" } }, { ssh = "x" }, { minisign = { file = "x" } }]
[publish.shacache]
[publish.directory]
path = "x"
versions = true
catalogs = ["vagrant"]
[publish.http]
url = "http://images.example"
user = "x"
password = { file = "x" }
[publish.s3]
endpoint = "http://images.example"
bucket = "images"
[publish.attic]
shelf = "x"
"#;

/// A file of families, so that the row of its key is read.
const OWN: &str = "[family.own]\nuser = \"own\"\n";

/// A key that is never read would be taken for one that works.
#[test]
fn every_key_is_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x"), "#!/bin/sh\n").unwrap();
    fs::write(folder.path().join("own.toml"), OWN).unwrap();
    let path = folder.path().join("all.toml");
    fs::write(
        &path,
        ALL.replace("DIGEST", Sha512::FORM.example)
            .replace("SHORT", Sha256::FORM.example),
    )
    .unwrap();
    recorder::take();
    if let Err(errors) = manifest::load(&path) {
        panic!("{:?}", errors.problems());
    }
    let read = recorder::take();
    let is_read = |key: &Key| read.iter().any(|other| ptr::eq(*other, key));
    let all = tables().flat_map(|table| table.keys().map(|key| (table.id, key)));
    let unread: Vec<_> = all
        .filter(|(_, key)| !is_read(key))
        .map(|(table, key)| format!("{table}.{}", key.name))
        .collect();
    assert!(unread.is_empty(), "keys that are never read: {unread:?}");
}

#[test]
fn no_key_is_there_twice_and_company_is_of_the_same_table() {
    for table in tables() {
        let names: BTreeSet<_> = table.keys().map(|key| key.name).collect();
        assert_eq!(names.len(), table.keys().count(), "{}", table.id);
        let company = table
            .keys()
            .flat_map(|key| [key.companions(), key.needs()].concat());
        let groups = table.groups.iter().flat_map(Group::names);
        for name in company.chain(groups) {
            assert!(names.contains(name), "{}.{name}", table.id);
        }
    }
}
