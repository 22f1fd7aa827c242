//! Compressing and hashing one image: `pipeline` in one pass, against the programs that one would run one after the other;
//! from nothing, and with the package of another size or of an earlier build to take pieces from.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pipeline::internals::digest::{Algorithm, sha256_hex};
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::manifest::model::Compression;
use pipeline::internals::stage::package::{Earlier, Spec, package};

use super::{Plan, input, median};

/// How much faster than `pigz` with the two sums it is to be at least …
const WANTED: f64 = 1.8;
/// … and how much larger its file may be, in percent.
const LARGER: f64 = 1.0;
/// How much faster it is to be where an earlier package has most of the pieces.
const WANTED_AGAIN: f64 = 8.0;
/// How often the time of reading the disk and one digest of its package it may take then.
const MOST_AGAIN: f64 = 1.6;

/// Disks that differ from the first in one cluster of so many. As many pieces are new as were measured on real disks of
/// another size (1.6 to 2.6 %) and after a changed step (5.2 %).
const OTHERS: [(&str, u64); 2] = [("resized", 256), ("changed", 128)];

/// One way to get a .gz (and, but for `pigz` alone, its two digests).
struct Contender {
    name: &'static str,
    run: fn(&Path),
}

const CONTENDERS: [Contender; 7] = [
    Contender {
        name: "pipeline: gzip 6 + sha512 + md5 (+ sha256), synced",
        run: ours,
    },
    Contender {
        name: "gzip -6, then sha512sum, then md5sum",
        run: |folder| {
            sh(
                folder,
                "gzip -6 -nc disk >disk.gz; sha512sum disk.gz; md5sum disk.gz",
            );
        },
    },
    Contender {
        name: "pigz -6, then sha512sum, then md5sum",
        run: |folder| {
            sh(
                folder,
                "pigz -6 -nc disk >disk.gz; sha512sum disk.gz; md5sum disk.gz",
            );
        },
    },
    Contender {
        name: "pigz -6 alone",
        run: |folder| sh(folder, "pigz -6 -nc disk >disk.gz"),
    },
    Contender {
        name: "pipeline: another size, after the first",
        run: |folder| again(folder, OTHERS[0].0),
    },
    Contender {
        name: "pipeline: the same size, after a changed step",
        run: |folder| again(folder, OTHERS[1].0),
    },
    Contender {
        name: "reading that disk, then sha512sum of its package alone",
        run: |folder| {
            sh(
                folder,
                "cat changed >/dev/null; cp --reflink=auto earlier.gz disk.gz; sha512sum earlier.gz",
            );
        },
    },
];

/// Where `pigz` with the two sums stands among them, those that take from an earlier package, and the least that these do.
const PIGZ: usize = 2;
const AGAIN: [usize; 2] = [4, 5];
const LEAST: usize = 6;

/// Measures, and prints the table.
pub fn section(folder: &Path, plan: &Plan) {
    for program in ["gzip", "pigz", "sha512sum", "md5sum"] {
        let found = Command::new(program).arg("--version").output();
        assert!(
            found.is_ok_and(|output| output.status.success()),
            "{program} is needed to measure against; on Debian: apt-get install gzip pigz coreutils"
        );
    }
    let input = input::made(folder, plan);
    for (name, every) in OTHERS {
        input::differing(folder, name, every);
    }
    packed(folder, input::NAME, "earlier.gz", None);
    let mut times: [Vec<Duration>; CONTENDERS.len()] = Default::default();
    let mut cpu = [0.0; CONTENDERS.len()];
    let mut sizes = [0; CONTENDERS.len()];
    for round in 1..=plan.rounds {
        for (number, contender) in CONTENDERS.iter().enumerate() {
            eprintln!("round {round} of {}: {}", plan.rounds, contender.name);
            drop(fs::remove_file(folder.join("disk.gz")));
            // What the one before wrote must not be written while this one runs.
            rustix::fs::sync();
            let (started, cpu_before) = (Instant::now(), cpu_seconds());
            (contender.run)(folder);
            times[number].push(started.elapsed());
            cpu[number] += (cpu_seconds() - cpu_before) / plan.rounds as f64;
            sizes[number] = fs::metadata(folder.join("disk.gz")).unwrap().len();
        }
    }
    let threads = std::thread::available_parallelism().unwrap();
    println!(
        "\nPackage: {input}; {threads} threads, median of {} in turn\n",
        plan.rounds
    );
    println!(
        "| what | seconds | MiB/s | pipeline is faster by | CPU seconds | and by CPU | size | pipeline's size against it |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let ours = median(&times[0]).as_secs_f64();
    for (number, contender) in CONTENDERS.iter().enumerate() {
        let seconds = median(&times[number]).as_secs_f64();
        println!(
            "| {} | {seconds:.2} | {:.1} | {:.2} x | {:.2} | {:.2} x | {} | {:+.2} % |",
            contender.name,
            plan.mib as f64 / seconds,
            seconds / ours,
            cpu[number],
            cpu[number] / cpu[0],
            sizes[number],
            (sizes[0] as f64 / sizes[number] as f64 - 1.0) * 100.0
        );
    }
    let ratio = median(&times[PIGZ]).as_secs_f64() / ours;
    let larger = (sizes[0] as f64 / sizes[PIGZ] as f64 - 1.0) * 100.0;
    println!(
        "\nwanted: at least {WANTED} x the speed of pigz with the sums: {}; at most {LARGER} % larger: {}",
        super::verdict(ratio >= WANTED),
        super::verdict(larger <= LARGER)
    );
    for number in AGAIN {
        let seconds = |number: usize| median(&times[number]).as_secs_f64();
        let ratio = seconds(PIGZ) / seconds(number);
        let least = seconds(number) / seconds(LEAST);
        println!(
            "{}: wanted {WANTED_AGAIN} x the speed of pigz with the sums, it is {ratio:.1} x: {}; at most {MOST_AGAIN} x the \
             time of reading and one sum, it is {least:.2} x: {}",
            CONTENDERS[number].name,
            super::verdict(ratio >= WANTED_AGAIN),
            super::verdict(least <= MOST_AGAIN)
        );
    }
}

/// The kernel's clock ticks in a second, as it shows them to programs on every architecture (`USER_HZ`).
const TICKS: f64 = 100.0;

/// CPU time of this process and of its children so far. On a busy machine it tells more than the clock on the wall.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // Behind the name, which may hold anything: utime, stime, cutime, cstime are fields 14 to 17 (proc(5)), in ticks.
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks: f64 = fields
        .skip(11)
        .take(4)
        .map(|field| field.parse::<f64>().unwrap())
        .sum();
    ticks / TICKS
}

fn ours(folder: &Path) {
    packed(folder, input::NAME, "disk.gz", None);
}

/// Packages another disk with the pieces of the first.
fn again(folder: &Path, disk: &str) {
    let index = folder.join("earlier.pieces");
    let digest = format!("sha256:{}", sha256_hex(&fs::read(&index).unwrap()));
    let earlier = Earlier {
        package: folder.join("earlier.gz"),
        index,
        digest: digest.parse().unwrap(),
    };
    packed(folder, disk, "disk.gz", Some(earlier));
}

/// As a run packages: all digests, and an index of the pieces.
fn packed(folder: &Path, disk: &str, output: &str, earlier: Option<Earlier>) {
    let to = folder.join(output);
    let spec = Spec {
        compression: Compression::Gzip,
        level: Some(6),
        algorithms: vec![Algorithm::Sha512, Algorithm::Md5],
        earlier: earlier.into_iter().collect(),
        index: Some(to.with_extension("pieces")),
    };
    package(&folder.join(disk), &to, &spec, &Cancel::default(), &mut |_, _| {}).unwrap();
}

fn sh(folder: &Path, script: &str) {
    let output = Command::new("sh")
        .args(["-euc", script])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
