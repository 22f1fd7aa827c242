//! The quickstart from nothing by two hosts of a real Slurm, each with a store of its own; a third store takes what they built.

use std::path::Path;
use std::process::Output;
use std::time::Instant;

use crate::chaos::House;
use crate::farm::{Fleet, events, well};
use crate::support::deadline::WITH_GUESTS;
use crate::support::{Bench, tool};

/// What a second host may move, of the packages' bytes.
const MOST: f64 = 1.05;

fn house(folder: &Path) -> House {
    std::fs::create_dir_all(folder).unwrap();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/quickstart.toml");
    std::fs::copy(manifest, folder.join("quickstart.toml")).unwrap();
    House::new(folder, &["run", "quickstart.toml"], &["out"])
}

/// Stages of the nodes that a run built.
fn built(ran: &Output) -> Vec<String> {
    let all = events(ran).into_iter();
    let ended = all.filter(|event| event["event"] == "node_finished" && event["outcome"] == "built");
    let mut stages: Vec<_> = ended
        .map(|event| {
            event["node"]
                .as_str()
                .unwrap()
                .split('/')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    stages.sort();
    stages
}

/// How many bytes the remote store has sent, and how often something was put there.
fn moved(fleet: &Fleet) -> (u64, usize) {
    let log = fleet.bench.read("access.log");
    // Like `… "GET /farm/… HTTP/1.1" 200 4711 "-" "-"`.
    let lines = log.lines().filter_map(|line| {
        let mut parts = line.split('"').skip(1);
        let (request, answer) = (parts.next()?, parts.next()?);
        Some((
            request.starts_with("PUT"),
            answer.split_whitespace().nth(1)?.parse::<u64>().ok()?,
        ))
    });
    lines.fold((0, 0), |(bytes, puts), (is_put, sent)| {
        (bytes + sent, puts + usize::from(is_put))
    })
}

fn sums(house: &House) -> String {
    let out = house.folder.join("out");
    tool("sha512sum", &["--strict", "-c", "SHA512SUM.txt"], &out);
    tool("md5sum", &["--strict", "-c", "MD5SUM.txt"], &out);
    std::fs::read_to_string(out.join("SHA512SUM.txt")).unwrap()
}

/// Bytes of the images.
fn packages(house: &House) -> u64 {
    let sizes = tool(
        "sh",
        &["-c", "find out -name '*.gz' -exec stat -L -c %s {} +"],
        &house.folder,
    );
    sizes.lines().map(|size| size.parse::<u64>().unwrap()).sum()
}

#[test]
#[ignore = "boots Debians on two hosts: `make test-farm`"]
#[expect(clippy::print_stderr, reason = "it is run for its numbers")]
fn two_hosts_build_the_quickstart_and_a_third_store_takes_it() {
    let fleet = Fleet::of(Bench::lasting(WITH_GUESTS), house, "");
    let store = |house: &House| house.folder.join("store").display().to_string();
    let began = Instant::now();
    let ran = fleet.run_in(&fleet.house, &store(&fleet.house)).output().unwrap();
    well(&ran);
    let took = began.elapsed();
    let all = built(&ran);
    for (stage, count) in [
        ("install", 1),
        ("provision", 1),
        ("package", 2),
        ("check", 2),
        ("sums", 2),
    ] {
        assert_eq!(
            all.iter().filter(|built| *built == stage).count(),
            count,
            "{stage}: {all:?}"
        );
    }
    assert!(
        fleet.lab.jobs().iter().all(|(_, state)| state == "COMPLETED"),
        "{:?}",
        fleet.lab.jobs()
    );
    // The submitter has what it delivers, and no disk of the build.
    let of_submitter = |stage| fleet.results(&store(&fleet.house), stage).len();
    assert_eq!(
        ["install", "provision", "size", "package"].map(of_submitter),
        [0, 0, 0, 2]
    );
    let first = sums(&fleet.house);
    assert_eq!(first.lines().count(), 2);

    let third = house(&fleet.bench.path("third"));
    let (jobs, before, began) = (fleet.lab.jobs().len(), moved(&fleet), Instant::now());
    let again = fleet.run_in(&third, &store(&third)).output().unwrap();
    well(&again);
    let after = moved(&fleet);
    assert_eq!(built(&again), ["sums", "sums"]);
    assert_eq!(fleet.lab.jobs().len(), jobs);
    assert_eq!(sums(&third), first);
    let (bytes, packages) = (after.0 - before.0, packages(&third));
    eprintln!(
        "built in {took:.0?}; taken in {:.1?}: {bytes} bytes sent for packages of {packages}, {} objects put there",
        began.elapsed(),
        after.1 - before.1
    );
    assert!(
        bytes as f64 <= MOST * packages as f64,
        "{bytes} bytes for {packages}"
    );
}
