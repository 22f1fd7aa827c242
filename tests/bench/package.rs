//! Compressing and hashing one image: `pipeline` in one pass, against the programs that one would run one after the other.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pipeline::internals::digest::Algorithm;
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::manifest::model::Compression;
use pipeline::internals::stage::package::{Spec, package};

use super::{Plan, input, median};

/// How much faster than `pigz` with the two sums it is to be at least …
const WANTED: f64 = 1.6;
/// … and how much larger its file may be, in percent.
const LARGER: f64 = 1.0;

/// One way to get a .gz (and, but for `pigz` alone, its two digests).
struct Contender {
    name: &'static str,
    run: fn(&Path),
}

const CONTENDERS: [Contender; 4] = [
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
];

/// Where `pigz` with the two sums stands among them.
const PIGZ: usize = 2;

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
    let spec = Spec {
        compression: Compression::Gzip,
        level: Some(6),
        algorithms: vec![Algorithm::Sha512, Algorithm::Md5],
    };
    let (from, to) = (folder.join("disk"), folder.join("disk.gz"));
    package(&from, &to, &spec, &Cancel::default(), &mut |_, _| {}).unwrap();
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
