//! Versions: every build stays for a while, and `latest` names a whole one, whatever is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use pipeline::internals::digest::{Algorithm, sha256_hex};
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::host::fs::hash_file;
use pipeline::internals::places::Keep;
use pipeline::internals::places::versions::{Version, VersionFile};
use pipeline::internals::stage::error::StageError;
use pipeline::internals::stage::versions::Versions;
use serde_json::{Value, json};

use super::webdav::nginx;
use super::{SMALL, bench, catalog, file, noise, package, says, well};
use crate::support::browser::Browser;
use crate::support::{Bench, tool};

const NAMES: [&str; 3] = ["20260101T000000Z", "20260102T000000Z", "20260103T000000Z"];
const KEEP: &str = "[publish]\nversions = { keep = 2 }\n";

/// What `ls --versions` prints of the small image: the versions, and the number of the one that is latest.
fn listed(bench: &Bench) -> (Vec<String>, Option<usize>) {
    let ran = bench.run(&["ls", "m.toml", SMALL, "--versions"]);
    well(&ran);
    let lines: Vec<_> = ran
        .stdout
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .collect();
    let latest = lines.iter().position(|words| words.get(2) == Some(&"latest"));
    (lines.iter().map(|words| words[1].to_owned()).collect(), latest)
}

/// Builds the small image from other bytes, in another second.
fn build(bench: &Bench, seed: u64, more: &[&str]) {
    std::thread::sleep(Duration::from_millis(1100));
    package(bench, SMALL, &noise(50_000, seed));
    well(&bench.run(&[&["run", "m.toml", SMALL], more].concat()));
}

#[test]
fn a_bad_build_is_rolled_back_and_old_ones_go() {
    let bench = bench(KEEP, 50_000);
    well(&bench.run(&["run", "m.toml"]));
    let folder = bench.path(&format!("out/versions/{SMALL}"));
    let name = Path::new(&file(SMALL)).file_name().unwrap().to_owned();
    let latest = || fs::read(folder.join("latest").join(&name)).unwrap();
    assert!(latest() == noise(50_000, 1));
    assert_eq!(listed(&bench).1, Some(0));
    tool(
        "sha256sum",
        &["--quiet", "--check", "--strict", "SHA256SUMS"],
        &folder.join("latest"),
    );
    well(&bench.run(&["run", "m.toml"]));
    assert_eq!(
        listed(&bench).0.len(),
        1,
        "nothing was built, and there is no new version"
    );

    build(&bench, 5, &[]);
    let (versions, at) = listed(&bench);
    assert_eq!((versions.len(), at), (2, Some(0)));
    assert!(latest() == noise(50_000, 5));
    let ran = bench.run(&["rollback", "m.toml", SMALL]);
    well(&ran);
    assert_eq!(ran.stdout, format!("{SMALL} {} latest\n", versions[1]));
    assert!(latest() == noise(50_000, 1));
    is_offered(&bench, &versions, 1);
    let plain = fs::read(bench.path(&format!("out/{}", file(SMALL)))).unwrap();
    assert!(
        plain == noise(50_000, 5),
        "its own name is the newest build, as without versions"
    );
    let ran = bench.run(&["rollback", "m.toml", SMALL]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    says(&ran, &["has no version before"]);

    // What is latest is kept, however old it is; a new version that is held is not latest.
    build(&bench, 6, &["-D", "publish.versions.hold=true"]);
    assert_eq!((listed(&bench).0.len(), listed(&bench).1), (3, Some(2)));
    assert!(latest() == noise(50_000, 1));
    let index: Value = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["latest"], versions[1]);
    let newest = &index["versions"][0]["files"][0];
    assert_eq!(
        (&newest["file"], &newest["bytes"]),
        (&name.to_str().unwrap().into(), &50_000.into())
    );
    assert_eq!(newest["sha256"], sha256_hex(&noise(50_000, 6)));

    let ran = bench.run(&["promote", "m.toml", SMALL, "20200101T000000Z"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    says(&ran, &["there is no version 20200101T000000Z", &versions[1]]);
    well(&bench.run(&["promote", "m.toml", SMALL]));
    assert!(latest() == noise(50_000, 6));
    let dry = bench.run(&["prune", "m.toml", SMALL, "--keep", "1", "--dry-run"]);
    let pruned = bench.run(&["prune", "m.toml", SMALL, "--keep", "1"]);
    well(&pruned);
    assert_eq!((dry.stdout.lines().count(), &dry.stdout), (2, &pruned.stdout));
    assert_eq!((listed(&bench).0.len(), listed(&bench).1), (1, Some(0)));

    let ran = bench.run(&["rollback", "m.toml", "-D", "publish={}"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    says(&ran, &["keeps no versions", "versions = { keep = 5 }"]);
}

/// Those who download see all versions, which one is latest, and where each is.
fn is_offered(bench: &Bench, versions: &[String], latest: usize) {
    well(&bench.run(&["gallery", "m.toml", SMALL]));
    let mut browser = Browser::start();
    browser.open(&bench.path("out/index.html"), 390, "light");
    let shown = browser.texts("[...document.querySelectorAll('tbody li a')].map(e => e.textContent)");
    assert_eq!(shown, versions);
    let marked = browser.texts("[...document.querySelectorAll('li:has(strong) a')].map(e => e.textContent)");
    assert_eq!(marked, [versions[latest].as_str()]);
    for link in browser.texts("[...document.querySelectorAll('tbody li a')].map(e => e.href)") {
        assert!(
            Path::new(link.strip_prefix("file://").unwrap()).is_file(),
            "{link}"
        );
    }
}

/// A version of two files.
fn add(versions: &Versions, version: &str) {
    let texts = ["disk", "formats/disk.raw"].map(|path| (path, format!("{path} of {version}").repeat(1000)));
    let files = texts.each_ref().map(|(path, text)| VersionFile {
        path: path.into(),
        bytes: text.len() as u64,
        sha256: sha256_hex(text.as_bytes()),
        form: None,
        combined: None,
    });
    let version = Version {
        name: version.to_owned(),
        files: files.to_vec(),
    };
    let keep = Keep { keep: 9, hold: true };
    let mut put = |number: usize, to: &Path| -> Result<(), StageError> {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, &texts[number].1).unwrap();
        Ok(())
    };
    versions
        .add(&version, keep, &mut put, &Cancel::default())
        .unwrap();
}

/// All of these versions are whole, and `latest` names one of them.
fn assert_whole(folder: &Path, (latest, all): &(String, Vec<String>), files: usize, what: &str) {
    assert!(all.contains(latest), "{what}: {latest} of {all:?}");
    for version in all {
        let folder = folder.join(version);
        let sums = fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
        assert_eq!(sums.lines().count(), files, "{what}: {version}");
        for line in sums.lines() {
            let (hex, path) = line.split_once("  ").unwrap();
            let digests = hash_file(&folder.join(path), &[Algorithm::Sha256], &Cancel::default());
            assert_eq!(digests.unwrap()[0].hex, hex, "{what}: {version}/{path}");
        }
    }
}

/// Kills verbs near the moment at which they change something: that is searched for, as it goes. Gives how many were killed,
/// and how many changed something.
fn kill<S: PartialEq>(
    bench: &Bench,
    verbs: &[&[&str]],
    rounds: u32,
    state: &mut dyn FnMut() -> S,
    after: &mut dyn FnMut(&str),
) -> (u32, u32) {
    let started = Instant::now();
    well(&bench.run(verbs[1]));
    let whole = started.elapsed();
    after("before any kill");
    let (mut delays, mut killed, mut changed) = (vec![whole; verbs.len()], 0, 0);
    for round in 0..rounds {
        let which = round as usize % verbs.len();
        let (verb, delay) = (verbs[which], &mut delays[which]);
        let before = state();
        let mut child = bench.command(verb);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // A little earlier or later than what was just at the moment.
        let jitter = whole / 64 * (round * 7 % 9);
        std::thread::sleep(delay.saturating_sub(whole / 16) + jitter);
        let is_over = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        let is_changed = state() != before;
        killed += u32::from(!is_over);
        changed += u32::from(is_changed);
        *delay = delay.mul_f64(if is_over || is_changed { 0.95 } else { 1.05 });
        after(&format!("round {round}, {verb:?}"));
    }
    (killed, changed)
}

#[test]
fn latest_names_a_whole_version_through_two_hundred_kills() {
    let bench = bench(KEEP, 1000);
    let folder = bench.path(&format!("out/versions/{SMALL}"));
    let versions = Versions::of(&bench.path("out"), SMALL);
    NAMES.iter().for_each(|name| add(&versions, name));
    let there = |versions: &Versions| {
        let list = versions.list().unwrap();
        (list.latest.clone().unwrap_or_default(), list.names())
    };
    let verbs: [&[&str]; 4] = [
        &["promote", "m.toml", SMALL, NAMES[0]],
        &["promote", "m.toml", SMALL, NAMES[2]],
        &["rollback", "m.toml", SMALL],
        &["prune", "m.toml", SMALL, "--keep", "1"],
    ];
    let (killed, changed) = kill(&bench, &verbs, 200, &mut || there(&versions), &mut |what| {
        assert_whole(&folder, &there(&versions), 2, what);
        let missing = NAMES.iter().filter(|name| !folder.join(name).exists());
        missing.for_each(|name| add(&versions, name));
    });
    assert!(
        killed >= 60 && changed >= 30,
        "{killed} were killed, {changed} changed something"
    );
    well(&bench.run(verbs[1]));
    let left: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    let hidden = left
        .iter()
        .filter(|name| name.to_str().unwrap().starts_with('.') && *name != ".lock");
    assert_eq!(hidden.count(), 0, "{left:?}");
}

/// What a list says: `latest`, and all versions.
fn list_of(folder: &Path) -> (String, Vec<String>) {
    let list: Value = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let versions = list["versions"].as_array().unwrap().iter();
    let names = versions.map(|version| version["version"].as_str().unwrap().to_owned());
    (list["latest"].as_str().unwrap().to_owned(), names.collect())
}

/// The three versions that a place has, written as the manual says.
fn fill(folder: &Path) {
    if folder.exists() {
        fs::remove_dir_all(folder).unwrap();
    }
    let name = Path::new(&file(SMALL))
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let mut versions = Vec::new();
    for version in NAMES.iter().rev() {
        let text = format!("the image of {version}").repeat(500);
        let sha256 = sha256_hex(text.as_bytes());
        fs::create_dir_all(folder.join(version)).unwrap();
        fs::write(folder.join(version).join(&name), &text).unwrap();
        fs::write(
            folder.join(version).join("SHA256SUMS"),
            format!("{sha256}  {name}\n"),
        )
        .unwrap();
        let files = json!([{ "file": name, "bytes": text.len(), "sha256": sha256 }]);
        versions.push(json!({ "version": version, "files": files }));
    }
    let list = json!({ "version": 1, "image": SMALL, "latest": NAMES[2], "versions": versions });
    fs::write(folder.join("index.json"), list.to_string()).unwrap();
}

/// Uploads, promotions, rollbacks and removals at a place, each killed near the moment at which it changes something. Its files
/// are below `root`.
fn kill_at_place(bench: &Bench, root: PathBuf, rounds: u32) {
    let folder = root.join("versions").join(SMALL);
    fill(&folder);
    let verbs: [&[&str]; 5] = [
        &["promote", "m.toml", SMALL, NAMES[0], "--at", "mirror"],
        &["upload", "m.toml", SMALL],
        &["rollback", "m.toml", SMALL, "--at", "mirror"],
        &["prune", "m.toml", SMALL, "--keep", "1", "--at", "mirror"],
        &["promote", "m.toml", SMALL, NAMES[1], "--at", "mirror"],
    ];
    let (killed, changed) = kill(bench, &verbs, rounds, &mut || list_of(&folder), &mut |what| {
        assert_whole(&folder, &list_of(&folder), 1, what);
        if list_of(&folder).1 != NAMES.map(str::to_owned).into_iter().rev().collect::<Vec<_>>() {
            fill(&folder);
        }
    });
    assert!(
        killed >= rounds / 8 && changed >= rounds / 10,
        "{killed} were killed, {changed} changed something"
    );
    // What a killed process left half removed is removed by the next one: here one that had written the list.
    fill(&folder);
    let mut list: Value = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let oldest = list["versions"].as_array_mut().unwrap().pop().unwrap();
    list["removing"] = json!([oldest]);
    fs::write(folder.join("index.json"), list.to_string()).unwrap();
    well(&bench.run(&["prune", "m.toml", SMALL, "--keep", "3", "--at", "mirror"]));
    assert!(!folder.join(NAMES[0]).join("SHA256SUMS").exists());
    assert!(
        !fs::read_to_string(folder.join("index.json"))
            .unwrap()
            .contains("removing")
    );
}

#[test]
fn latest_of_a_shared_folder_names_a_whole_version_whatever_is_killed() {
    let bench = bench(
        "[publish]\nversions = { keep = 3 }\n[publish.mirror]\nto = \"directory\"\npath = \"share\"\nversions = true\n",
        5000,
    );
    fs::create_dir(bench.path("share")).unwrap();
    kill_at_place(&bench, bench.path("share"), 100);
}

#[test]
fn latest_of_a_web_server_names_a_whole_version_whatever_is_killed() {
    let bench = bench(
        "[publish]\nversions = { keep = 3 }\n[publish.mirror]\nto = \"http\"\nurl = \"http://mirror.invalid\"\nversions = true\n",
        5000,
    );
    let nginx = nginx(&bench, DAV);
    let text = bench
        .read("m.toml")
        .replace("http://mirror.invalid", &nginx.url(""));
    bench.write("m.toml", text);
    kill_at_place(&bench, bench.path("www"), 100);
}

const DAV: &str = "server {\nlisten 127.0.0.1:PORT;\nroot FOLDER/www;\nlocation / {\ndav_methods PUT DELETE;\n\
                   create_full_put_path on;\n}\n}";

#[test]
fn a_place_keeps_versions_and_is_rolled_back_without_the_output_folder() {
    let bench = bench(
        "[publish]\nversions = { keep = 2 }\n[publish.mirror]\nto = \"directory\"\npath = \"share\"\nversions = true\n",
        50_000,
    );
    fs::create_dir(bench.path("share")).unwrap();
    let folder = bench.path(&format!("share/versions/{SMALL}"));
    let name = Path::new(&file(SMALL)).file_name().unwrap().to_owned();
    let at = |version: &str| fs::read(folder.join(version).join(&name)).unwrap();
    well(&bench.run(&["run", "m.toml", SMALL, "--upload"]));
    let (first, all) = list_of(&folder);
    assert_eq!(all, [first.as_str()]);
    assert!(at(&first) == noise(50_000, 1));
    assert!(
        !bench.path(&format!("share/{}", file(SMALL))).exists(),
        "each build has a name of its own there"
    );
    let place = &catalog(&bench)[0]["urls"]["mirror"];
    assert_eq!(place["version"], first);
    let url = |rest: &str| format!("file://{}/{rest}", folder.display());
    assert_eq!(place["versions"], url("index.json"));
    assert_eq!(place["url"], url(&format!("{first}/{}", name.display())));
    well(&bench.run(&["check-urls", "m.toml", SMALL]));

    build(&bench, 5, &["--upload"]);
    let (second, all) = list_of(&folder);
    assert_eq!(all, [second.as_str(), first.as_str()]);
    let ran = bench.run(&["rollback", "m.toml", SMALL, "--at", "mirror"]);
    well(&ran);
    assert_eq!(ran.stdout, format!("{SMALL} {first} latest\n"));
    assert_eq!(list_of(&folder).0, first);
    let here = bench.run(&["ls", "m.toml", SMALL, "--versions"]).stdout;
    assert!(here.starts_with(&format!("{SMALL} {second} latest\n")), "{here}");

    // What is published already is not promoted by being published once more.
    let again = bench.run(&["run", "m.toml", SMALL, "--upload"]);
    well(&again);
    says(&again, &["nothing was sent"]);
    assert_eq!(list_of(&folder).0, first);

    // What `latest` names stays, however old it is; one that is held waits.
    build(&bench, 6, &["--upload", "-D", "publish.versions.hold=true"]);
    build(&bench, 7, &["--upload", "-D", "publish.versions.hold=true"]);
    let there = bench
        .run(&["ls", "m.toml", SMALL, "--versions", "--at", "mirror"])
        .stdout;
    let lines: Vec<_> = there.lines().collect();
    assert_eq!(
        (lines.len(), lines[2]),
        (3, format!("{SMALL} {first} latest").as_str()),
        "{there}"
    );
    assert!(
        !folder.join(&second).exists(),
        "the folder goes with the last file"
    );
    well(&bench.run(&["promote", "m.toml", SMALL, "--at", "mirror"]));
    let pruned = bench.run(&["prune", "m.toml", SMALL, "--keep", "1", "--at", "mirror"]);
    well(&pruned);
    assert_eq!(pruned.stdout.lines().count(), 2);
    let (latest, all) = list_of(&folder);
    assert_eq!(all, [latest.as_str()]);
    assert!(at(&latest) == noise(50_000, 7));

    let ran = bench.run(&["promote", "m.toml", SMALL, "20200101T000000Z", "--at", "mirror"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    says(&ran, &["there is no version 20200101T000000Z", &latest]);
    let ran = bench.run(&["rollback", "m.toml", "--at", "nowhere"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    says(
        &ran,
        &["keeps no versions at a place `nowhere`", "versions = true"],
    );
    let text = bench.read("m.toml").replace("versions = { keep = 2 }\n", "");
    bench.write("m.toml", text);
    let ran = bench.run(&["validate", "m.toml"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    says(
        &ran,
        &["does not say how many are kept", "versions = { keep = 5 }"],
    );
}
