//! Versions: every build stays for a while, and `latest` names a whole one, whatever is killed.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use pipeline::internals::digest::{Algorithm, sha256_hex};
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::host::fs::hash_file;
use pipeline::internals::stage::error::StageError;
use pipeline::internals::stage::versions::{VersionFile, Versions};
use serde_json::Value;

use super::{SMALL, bench, file, noise, package, says, well};
use crate::support::{Bench, tool};

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

/// A version of two files.
fn add(versions: &Versions, version: &str) {
    let texts = ["disk", "formats/disk.raw"].map(|path| (path, format!("{path} of {version}").repeat(1000)));
    let files = texts.each_ref().map(|(path, text)| VersionFile {
        path: path.into(),
        sha256: sha256_hex(text.as_bytes()),
    });
    let mut place = |number: usize, to: &Path| -> Result<(), StageError> {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, &texts[number].1).unwrap();
        Ok(())
    };
    versions
        .add(version, &files, (9, true), &mut place, &Cancel::default())
        .unwrap();
}

/// All versions are whole, and `latest` names one of them.
fn assert_whole(folder: &Path, versions: &Versions, what: &str) {
    let all = versions.list().unwrap();
    let latest = versions.latest().unwrap();
    assert!(all.contains(&latest), "{what}: {latest} of {all:?}");
    for version in all {
        let folder = folder.join(&version);
        let sums = fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
        assert_eq!(sums.lines().count(), 2, "{what}: {version}");
        for line in sums.lines() {
            let (hex, path) = line.split_once("  ").unwrap();
            let digests = hash_file(&folder.join(path), &[Algorithm::Sha256], &Cancel::default());
            assert_eq!(digests.unwrap()[0].hex, hex, "{what}: {version}/{path}");
        }
    }
}

/// Two hundred kills, each near the moment at which the verb changes something: that is searched for, as it goes.
#[test]
fn latest_names_a_whole_version_through_two_hundred_kills() {
    let bench = bench(KEEP, 1000);
    let folder = bench.path(&format!("out/versions/{SMALL}"));
    let versions = Versions::of(&bench.path("out"), SMALL);
    let names = ["20260101T000000Z", "20260102T000000Z", "20260103T000000Z"];
    names.iter().for_each(|name| add(&versions, name));
    versions.promote(None, &Cancel::default()).unwrap();

    let verbs: [&[&str]; 4] = [
        &["promote", "m.toml", SMALL, names[0]],
        &["promote", "m.toml", SMALL, names[2]],
        &["rollback", "m.toml", SMALL],
        &["prune", "m.toml", SMALL, "--keep", "1"],
    ];
    let started = Instant::now();
    well(&bench.run(verbs[1]));
    let whole = started.elapsed();
    let (mut delay, mut killed, mut changed) = (whole, 0, 0);
    for round in 0..200u32 {
        let verb = verbs[round as usize % verbs.len()];
        let before = (versions.list().unwrap(), versions.latest());
        let mut child = bench.command(verb);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // A little earlier or later than what was just at the moment.
        let jitter = whole / 64 * (round * 7 % 9);
        std::thread::sleep(delay.saturating_sub(whole / 16) + jitter);
        let is_over = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_whole(&folder, &versions, &format!("round {round}, {verb:?}"));
        let is_changed = (versions.list().unwrap(), versions.latest()) != before;
        killed += u32::from(!is_over);
        changed += u32::from(is_changed);
        delay = if is_over || is_changed {
            delay.mul_f64(0.95)
        } else {
            delay.mul_f64(1.05)
        };
        names
            .iter()
            .filter(|name| !folder.join(name).exists())
            .for_each(|name| add(&versions, name));
    }
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
