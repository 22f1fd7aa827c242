//! Peak memory of packaging an input twice as large as that of the speed table. Each measurement is a process of its
//! own, for the kernel's high-water mark (`VmHWM`, proc(5)) never falls.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pipeline::internals::digest::Algorithm;
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::manifest::model::Compression;
use pipeline::internals::stage::package::{Spec, package};

use super::Plan;

/// First argument of the process that is measured.
pub const CHILD: &str = "--peak-memory-of";
/// What the design allows, in MiB.
const ALLOWED: u64 = 256;

/// Measures, and prints the table.
pub fn section(folder: &Path, plan: &Plan) {
    super::input::made(folder, plan);
    let disk = folder.join(super::input::NAME);
    let twice = folder.join("twice");
    fs::copy(&disk, &twice).unwrap();
    let mut file = fs::File::options().append(true).open(&twice).unwrap();
    std::io::copy(&mut fs::File::open(&disk).unwrap(), &mut file).unwrap();
    println!(
        "\nPeak memory, {} MiB of input, {ALLOWED} MiB allowed\n",
        plan.mib * 2
    );
    println!("| what | threads | peak MiB | |");
    println!("| --- | ---: | ---: | --- |");
    for (name, level, threads) in [
        ("gzip", 6, 2),
        ("gzip", 6, 64),
        ("zstd", 3, 2),
        ("zstd", 3, 64),
        ("none", 0, 2),
    ] {
        eprintln!("peak memory of {name} with {threads} threads");
        let peak = measure(&twice, folder, name, level, threads);
        let verdict = super::verdict(peak <= ALLOWED);
        println!("| {name} {level} + sha512 + md5 + sha256 | {threads} | {peak} | {verdict} |");
    }
}

fn measure(input: &Path, folder: &Path, name: &str, level: u32, threads: usize) -> u64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([CHILD, name, &level.to_string()])
        .args([input, &folder.join("twice.out")])
        .env("RAYON_NUM_THREADS", threads.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("the measured process failed: {text}{complaint}"))
}

/// Packages, and prints the peak of this process in MiB.
pub fn child(args: &[String]) {
    let [name, level, input, output] = args else {
        panic!("{CHILD} COMPRESSION LEVEL INPUT OUTPUT");
    };
    let compression = match name.as_str() {
        "gzip" => Compression::Gzip,
        "zstd" => Compression::Zstd,
        "xz" => Compression::Xz,
        _ => Compression::None,
    };
    let level: u32 = level.parse().unwrap();
    let spec = Spec {
        compression,
        level: (compression != Compression::None).then_some(level),
        algorithms: vec![Algorithm::Sha512, Algorithm::Md5],
        earlier: Vec::new(),
        index: None,
    };
    let (input, output) = (PathBuf::from(input), PathBuf::from(output));
    package(&input, &output, &spec, &Cancel::default(), &mut |_, _| {}).unwrap();
    println!("{}", peak_mib());
}

/// The most memory that this process ever had, in MiB.
pub fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    kib.div_ceil(1024)
}
