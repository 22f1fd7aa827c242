//! Which state of the world images are built from: the lock, and how it is moved. Archives are on loopback, written and signed
//! by the stories.

mod built;
mod fleet;
mod moved;
mod snapshots;

use std::process::Stdio;

use pipeline::internals::digest::sha256_hex;

use crate::machine::tiny::{Then, disk};
use crate::support::archive::{Archive, Suite};
use crate::support::shelf::Shelf;
use crate::support::{Bench, Ran};

const OLD: &str = "Package: openssl\nVersion: 3.0.17-1\n\n";
const NEW: &str = "Package: openssl\nVersion: 3.0.17-2\nDescription: another one, longer\n\n";

/// A suite signed as it is to be.
fn good(packages: &str, age: i64) -> Suite<'_> {
    Suite {
        name: "bookworm",
        age,
        valid: 7,
        packages,
        arm64: "",
        key: "archive",
    }
}

/// A distro from this archive.
fn bench_of(archive: &Archive) -> Bench {
    let bench = Bench::new();
    archive.signer.export("archive", &bench.path("archive.gpg"));
    bench.write(
        "m.toml",
        format!(
            "[distros.tiny]\nfamily = \"debian\"\nversion = \"12\"\n\
             source = {{ bootstrap = {{ suite = \"bookworm\", mirror = \"{}\", keyring = \"archive.gpg\" }} }}\n\
             [flavors.base]\nsteps = [{{ inline = \"true\" }}]\n\
             [[images]]\ndistro = \"tiny\"\nflavor = \"base\"\nsizes = [\"3G\"]\n",
            archive.url()
        ),
    );
    bench
}

fn key_of_install(bench: &Bench) -> String {
    let plan = bench.run(&["plan", "m.toml", "--format", "json"]);
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
    let nodes = plan["nodes"].as_array().unwrap();
    let install = nodes.iter().find(|node| node["id"] == "install/tiny").unwrap();
    install["key"].as_str().unwrap().to_owned()
}

fn assert_ran(ran: &Ran, code: i32, said: &[&str]) {
    assert_eq!(ran.code, code, "{}", ran.all());
    let all: String = ran
        .all()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace("│ ", "");
    for words in said {
        assert!(all.contains(words), "{words}: {}", ran.all());
    }
}

#[test]
fn a_run_makes_the_lock_and_builds_from_it_until_it_is_moved() {
    let archive = Archive::start();
    archive.publish(&good(OLD, 3));
    let bench = bench_of(&archive);
    let unlocked = key_of_install(&bench);
    let ran = bench.run(&["run", "m.toml", "--locked"]);
    assert_ran(
        &ran,
        2,
        &[
            "m.lock would have to be moved: tiny is not in it",
            "nothing was started",
        ],
    );
    assert!(!bench.path("m.lock").exists());

    // The archive has no base system: the lock is made before that is found out.
    let ran = bench.run(&["run", "m.toml", "--progress", "plain"]);
    assert_ran(&ran, 1, &["m.lock: 1 new entry", "install tiny: FAILED"]);
    let lock = bench.read("m.lock");
    for line in ["suite = \"bookworm\"", "signed_by = [", "sha256 = \""] {
        assert!(lock.contains(line), "{lock}");
    }
    let old = key_of_install(&bench);
    assert_ne!(old, unlocked);
    archive.asked();
    assert_ran(&bench.run(&["update", "m.toml"]), 0, &["m.lock is up to date"]);
    assert_eq!(archive.asked(), [("GET InRelease".to_owned(), true)]);
    assert_eq!(bench.read("m.lock"), lock);

    archive.publish(&good(NEW, 0));
    assert_eq!(key_of_install(&bench), old, "the lock holds until it is moved");
    let ran = bench.run(&["run", "m.toml", "--locked"]);
    assert_ran(
        &ran,
        2,
        &["would have to be moved: tiny: bookworm 20", "nothing was started"],
    );
    let ran = bench.run(&["update", "m.toml", "--dry-run"]);
    assert_ran(&ran, 0, &["tiny: bookworm 20", "1 would be moved in m.lock"]);
    assert_eq!(bench.read("m.lock"), lock);
    let ran = bench.run(&["update", "m.toml", "tyni"]);
    assert_ran(
        &ran,
        2,
        &["no distro `tyni`", "the only one of the distros is tiny"],
    );
    let ran = bench.run(&["update", "m.toml", "tiny"]);
    assert_ran(&ran, 0, &["1 moved in m.lock"]);
    let new = key_of_install(&bench);
    assert!(new != old && new != unlocked);

    // What is no longer there as the lock has it is built from what is there, and that is reported.
    archive.publish(&good(OLD, -1));
    let ran = bench.run(&["run", "m.toml", "--progress", "plain"]);
    assert_ran(
        &ran,
        1,
        &["m.lock: moved, as the servers no longer have what it had: tiny: bookworm"],
    );
    assert_ne!(key_of_install(&bench), new);

    bench.write("m.lock", bench.read("m.lock").replace("suite", "siute"));
    assert_ran(
        &bench.run(&["plan", "m.toml"]),
        2,
        &["m.lock is damaged", "unknown field `siute`"],
    );
}

#[test]
fn a_list_that_may_not_be_believed_moves_nothing_and_says_why() {
    let archive = Archive::start();
    archive.publish(&good(OLD, 3));
    let bench = bench_of(&archive);
    assert_ran(
        &bench.run(&["update", "m.toml"]),
        0,
        &["tiny: bookworm is locked at 20"],
    );
    let lock = bench.read("m.lock");
    let refused = |words: &str| {
        let ran = bench.run(&["update", "m.toml"]);
        let suite = "tiny: suite bookworm of http://127.0.0.1:";
        assert_ran(&ran, 1, &[suite, words, "nothing was moved in the lock"]);
        assert_eq!(bench.read("m.lock"), lock);
    };
    archive.publish(&Suite {
        key: "stranger",
        ..good(NEW, 0)
    });
    refused("its signature is not good");
    archive.publish(&Suite {
        valid: -1,
        ..good(NEW, 2)
    });
    refused("its release file was valid until 20");
    archive.publish(&good(NEW, 9));
    refused("it is older than what the lock has");
    archive.put(
        "bookworm",
        "InRelease",
        b"<!DOCTYPE html>\n<title>Please log in</title>\n",
    );
    refused("is no release file: it begins with `<!DOCTYPE html>`");
    archive.publish(&good(NEW, 0));
    archive.put("bookworm", "main/binary-amd64/Packages.xz", b"still the old one");
    refused("the mirror is being updated");
    archive.shelf.remove("/debian/dists/bookworm/InRelease");
    refused("there is no `InRelease`");

    // A first run does not take it either.
    std::fs::remove_file(bench.path("m.lock")).unwrap();
    archive.publish(&Suite {
        key: "stranger",
        ..good(NEW, 0)
    });
    let ran = bench.run(&["run", "m.toml"]);
    assert_ran(&ran, 2, &["its signature is not good"]);
    assert!(
        !bench.path("m.lock").exists() && !ran.stderr.contains("install tiny"),
        "{}",
        ran.all()
    );
}

#[test]
fn updates_at_once_leave_one_whole_lock() {
    let archive = Archive::start();
    archive.publish(&good(OLD, 3));
    let bench = bench_of(&archive);
    let update = || {
        let mut command = bench.command(&["update", "m.toml"]);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let all: Vec<_> = (0..6).map(|_| update()).collect();
    let outputs = all.into_iter().map(|child| child.wait_with_output().unwrap());
    let moved = outputs.filter(|output| {
        assert!(output.status.success(), "{output:?}");
        !output.stdout.is_empty()
    });
    assert_eq!(
        moved.count(),
        1,
        "the first makes it, and the others find it made"
    );
    assert_eq!(bench.read("m.lock").matches("[[archive]]").count(), 1);
    let left: Vec<_> = bench
        .path("")
        .read_dir()
        .unwrap()
        .flatten()
        .map(|one| one.file_name())
        .collect();
    assert!(
        left.iter().all(|name| !name.to_string_lossy().contains("tmp")),
        "{left:?}"
    );
}

#[test]
fn what_has_moved_is_found_by_conditional_requests_and_nothing_is_moved() {
    let archive = Archive::start();
    archive.publish(&good(OLD, 3));
    let bench = bench_of(&archive);
    bench.run(&["run", "m.toml"]);
    let lock = bench.read("m.lock");
    archive.asked();
    let get = |file: &str, with_validator: bool| (format!("GET {file}"), with_validator);
    assert_ran(&bench.run(&["outdated", "m.toml"]), 0, &["Nothing has moved"]);
    assert_eq!(
        archive.asked(),
        [get("InRelease", true), get("Packages.xz", false)]
    );
    assert_ran(&bench.run(&["outdated", "m.toml"]), 0, &["Nothing has moved"]);
    assert_eq!(archive.asked(), [get("InRelease", true)]);

    archive.publish(&good(NEW, 0));
    let ran = bench.run(&["outdated", "m.toml", "--format", "json"]);
    assert_eq!(ran.code, 4, "{}", ran.all());
    let found: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let tiny = &found["distros"][0];
    assert_eq!(
        (&tiny["distro"], &tiny["moved"][0]["what"]),
        (&"tiny".into(), &"bookworm".into())
    );
    assert_eq!(tiny["images"][0], "tiny-3G-base");
    archive.publish(&Suite {
        key: "stranger",
        ..good(NEW, 0)
    });
    assert_ran(
        &bench.run(&["outdated", "m.toml"]),
        1,
        &["its signature is not good"],
    );
    assert_eq!(bench.read("m.lock"), lock);
}

#[test]
fn a_publishers_list_is_followed_when_that_is_asked_for_and_old_results_are_renewed() {
    let (bench, shelf) = (Bench::new(), Shelf::start());
    let image = disk("hello\r\n", Then::PowerOff);
    let list = |bytes: &[u8]| {
        let line = format!("{}  tiny.raw\n", sha256_hex(bytes));
        shelf.put("/SHA256SUMS", line.as_bytes());
    };
    shelf.put("/tiny.raw", &image);
    list(&image);
    let manifest = format!(
        "[distros.tiny]\nfamily = \"debian\"\nversion = \"12\"\n#max_age = \"1s\"\n\
         source = {{ disk = {{ url = \"{}\", checksums = \"{}\", user = \"root\" }} }}\n\
         [flavors.base]\nsteps = [{{ inline = \"true\" }}]\n\
         [[images]]\ndistro = \"tiny\"\nflavor = \"base\"\nsizes = [\"3G\"]\n",
        shelf.url("/tiny.raw"),
        shelf.url("/SHA256SUMS"),
    );
    bench.write("m.toml", &manifest);
    // Nothing can log in to this guest: what comes before that is in the store.
    assert_ran(&bench.run(&["run", "m.toml"]), 1, &["m.lock: 1 new entry"]);
    let state = |id: &str| {
        let plan = bench.run(&["plan", "m.toml", "--format", "json"]).stdout;
        let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
        let node = plan["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|node| node["id"] == id)
            .unwrap();
        (
            node["state"].as_str().unwrap().to_owned(),
            node["reason"].as_str().unwrap().to_owned(),
        )
    };
    shelf.forget_asked();
    list(b"the next one");
    assert_eq!(state("install/tiny").0, "cached");
    assert_eq!(shelf.lines(), [""; 0], "the lock is enough");
    let ran = bench.run(&["update", "m.toml"]);
    assert_ran(&ran, 0, &["tiny: medium sha256:", "1 moved in m.lock"]);
    let (fetch, why) = state("fetch/tiny");
    assert!(
        fetch == "todo" && why.contains("digest changed from sha256:"),
        "{fetch} {why}"
    );
    list(&image);
    assert_ran(&bench.run(&["update", "m.toml"]), 0, &["1 moved in m.lock"]);
    assert_eq!(state("install/tiny").0, "cached");

    bench.write("m.toml", manifest.replace("#max_age", "max_age"));
    // A quiet machine needs less than that second for all of it.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let (install, why) = state("install/tiny");
    assert!(
        install == "todo" && why.contains("longer ago than its max_age of 1s"),
        "{install} {why}"
    );
}
