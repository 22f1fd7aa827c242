//! What is built where the archive has moved past the lock: the locked state from a snapshot, or what there is now.

use jiff::{SignedDuration, Timestamp};
use pipeline::internals::digest::sha256_hex;

use super::{NEW, OLD, assert_ran, bench_of, good};
use crate::support::archive::{Archive, Suite};
use crate::support::{Bench, Ran};

/// Keeps the present state of the archive as a service would that saw it so long after a date.
fn keep(archive: &Archive, date: Timestamp, hours: i64) -> String {
    let at = date + SignedDuration::from_hours(hours);
    let folder = format!("/snapshots/debian/{}", at.strftime("%Y%m%dT%H%M%SZ"));
    for file in ["InRelease", "main/binary-amd64/Packages.xz"] {
        let path = format!("/dists/bookworm/{file}");
        let bytes = archive.shelf.file(&format!("/debian{path}")).unwrap();
        archive.shelf.put(&format!("{folder}{path}"), &bytes);
    }
    folder
}

/// The value of a key of the lock's only entry.
fn locked(bench: &Bench, key: &str) -> String {
    let lock = bench.read("m.lock");
    let (_, rest) = lock.split_once(&format!("\n{key} = \"")).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

/// What apt was given by the server; forgets it.
fn fetched(archive: &Archive) -> Vec<String> {
    let asked = archive.shelf.asked();
    archive.shelf.forget_asked();
    let by_apt = asked
        .into_iter()
        .filter(|one| one.header("user-agent").is_some_and(|by| by.contains("APT")));
    by_apt.map(|one| one.line).collect()
}

#[test]
fn what_has_moved_past_the_lock_is_built_from_a_snapshot_of_it() {
    let archive = Archive::start();
    archive.publish(&good(OLD, 5));
    let bench = bench_of(&archive);
    let template = archive.shelf.url("/snapshots/{archive}/{timestamp}/");
    let manifest = bench.read("m.toml");
    let with = |template: &str| {
        let key = format!("snapshot = \"{template}\", keyring");
        bench.write("m.toml", manifest.replace("keyring", &key));
    };
    with(&template);
    let run = |options: &[&str]| -> Ran {
        archive.shelf.forget_asked();
        bench.run(&[&["run", "m.toml", "--progress", "plain"], options].concat())
    };
    assert_ran(&run(&[]), 1, &["m.lock: 1 new entry"]);
    assert!(
        fetched(&archive)
            .iter()
            .all(|line| line.starts_with("GET /debian/"))
    );

    // What is locked has run out, as all states of the past have.
    archive.publish(&Suite {
        valid: -1,
        ..good(OLD, 5)
    });
    let text = archive.shelf.file("/debian/dists/bookworm/InRelease").unwrap();
    let lock = bench
        .read("m.lock")
        .replace(&locked(&bench, "sha256"), &sha256_hex(&text));
    bench.write("m.lock", &lock);
    let date = locked(&bench, "date").parse().unwrap();
    // Seen 18 hours after its date; the service has nothing of the time before.
    let old = keep(&archive, date, 18);
    archive.publish(&good(NEW, 4));
    keep(&archive, date, 36);
    archive.publish(&good(NEW, 0));
    for options in [&["--locked"][..], &[]] {
        let ran = run(options);
        let from = format!(
            "m.lock: holds by snapshots: tiny: bookworm of {} from {}",
            &date.to_string()[..10],
            archive.shelf.url(&old)
        );
        // The archive has no base system: what it was to be made from is seen before that.
        assert_ran(&ran, 1, &[&from, "install tiny: FAILED"]);
        assert_eq!(bench.read("m.lock"), lock);
        let fetched = fetched(&archive);
        let list = format!("GET {old}/dists/bookworm/main/binary-amd64/Packages.xz");
        assert!(
            fetched.contains(&list) && fetched.iter().all(|line| line.contains(&old)),
            "{fetched:?}\n{}",
            ran.all()
        );
    }

    // A mirror that is being updated is no reason to stop: the snapshot has what is locked.
    archive.publish(&good(OLD, 0));
    archive.put("bookworm", "main/binary-amd64/Packages.xz", b"still the old one");
    assert_ran(
        &bench.run(&["update", "m.toml"]),
        1,
        &["the mirror is being updated"],
    );
    let ran = run(&["--locked"]);
    assert_ran(
        &ran,
        1,
        &[
            "m.lock: holds by snapshots: tiny: bookworm of ",
            "install tiny: FAILED",
        ],
    );
    assert_eq!(bench.read("m.lock"), lock);
    archive.publish(&good(NEW, 0));

    // A service that does not answer is no reason to move the lock; one that does not have the state is.
    with("http://127.0.0.1:1/{timestamp}");
    let ran = run(&[]);
    assert_ran(
        &ran,
        2,
        &[
            "tiny: snapshots of suite bookworm: ",
            "nothing was moved in the lock",
        ],
    );
    with(&template);
    archive.shelf.remove(&format!("{old}/dists/bookworm/InRelease"));
    let lacking = "tiny: bookworm of ";
    let ran = run(&["--locked"]);
    assert_ran(
        &ran,
        2,
        &[
            "would have to be moved: tiny: bookworm",
            lacking,
            "is not among the snapshots of",
            "nothing was started",
        ],
    );
    assert_eq!(
        (bench.read("m.lock"), fetched(&archive)),
        (lock.clone(), Vec::new())
    );
    let ran = run(&[]);
    let moved = "warning: m.lock: moved, as the servers no longer have what it had: tiny: bookworm";
    assert_ran(&ran, 1, &[lacking, "is not among the snapshots of", moved]);
    assert!(
        ran.stderr.contains("\nm.lock: moved, as the servers"),
        "in the summary too: {}",
        ran.all()
    );
    assert_ne!(bench.read("m.lock"), lock);
}
