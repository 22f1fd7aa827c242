//! Steps that are not done again: a flavor goes on where the one that it extends ended, and a build goes on where the last one
//! failed or was killed. A real guest with an sshd, and a log of what was done in it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::support::inside::read;
use crate::support::mount_namespace::{inside, mount};
use crate::support::small_guest::small_disk;
use crate::support::{Bench, tool};

const MANIFEST: &str = r#"
[pipeline]
name = "layered"
[distros.small]
family = "debian"
version = "12"
disk = "64M"
memory = "128M"
cpus = 1
source = { disk = { path = "small.raw", access = { key = "small-key" } } }
[flavors.base]
steps = [
  { inline = "echo one >> /root/log; sleep 3", name = "one" },
  { inline = "echo two >> /root/log", name = "two" },
]
[flavors.app]
extends = "base"
steps = [
  { inline = "echo three >> /root/log", name = "three", checkpoint = true },
  { inline = "FOUR", name = "four" },
]
[[images]]
distro = "small"
flavor = ["base", "app"]
sizes = ["128M"]
"#;
const APP: &str = "small-128M-app";

fn fourth_step(bench: &Bench, script: &str) {
    bench.write("layered.toml", MANIFEST.replace("FOUR", script));
}

/// What was done in the published guest.
fn done(bench: &Bench) -> String {
    let line = format!(
        "gzip -dc out/{APP}/{APP}.qcow2.gz > app.qcow2 && qemu-img convert -O raw app.qcow2 app.raw && rm app.qcow2"
    );
    tool("sh", &["-c", &line], &bench.path(""));
    read(&bench.path("app.raw"), "/root/log", bench)
}

/// The layer after so many steps.
fn layer(bench: &Bench, steps: usize) -> PathBuf {
    let layers = fs::read_dir(bench.path("store/results/layer")).unwrap();
    let mut layers = layers.map(|entry| entry.unwrap().path());
    let wanted = format!("\"steps\": {steps},");
    let found = layers.find(|path| {
        fs::read_to_string(path.join("entry.json"))
            .unwrap()
            .contains(&wanted)
    });
    found.unwrap()
}

#[test]
fn steps_that_were_done_are_not_done_again() {
    let bench = Bench::new();
    small_disk(&bench, "small");

    // Two flavors at once: the first steps, which both have, run in one guest.
    fourth_step(&bench, "exit 3");
    let ran = bench.run(&["run", "layered.toml", "--no-check", "--jobs", "2"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(
        ran.stderr.contains("step `four` exited with code 3"),
        "{}",
        ran.all()
    );
    let logs = tool(
        "sh",
        &["-c", "ls -d store/runs/*/provision-small-*/one.log"],
        &bench.path(""),
    );
    assert_eq!(logs.lines().count(), 1, "{logs}");

    // The failed step is where the next build begins.
    fourth_step(&bench, "echo four >> /root/log");
    let plan = bench.run(&["plan", "layered.toml"]);
    assert!(
        plan.stdout
            .contains("; from layer: step 3; the last attempt failed"),
        "{}",
        plan.all()
    );
    let explained = bench.run(&["explain", "layered.toml", "provision/small-app"]);
    assert!(
        explained.stdout.contains("starts from the layer after step 3"),
        "{}",
        explained.all()
    );
    let ran = bench.run(&["run", "layered.toml", "--no-check", "--verbose"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(ran.stderr.contains("step 4/4: four"), "{}", ran.all());
    assert!(!ran.stderr.contains("step 3/4"), "{}", ran.all());
    assert_eq!(done(&bench), "one\ntwo\nthree\nfour\n");

    // The same without layers.
    let words = [
        "run",
        "layered.toml",
        "--no-check",
        "--no-layers",
        "--rebuild",
        "provision/small-app",
        "--verbose",
    ];
    let ran = bench.run(&words);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(ran.stderr.contains("step 1/4: one"), "{}", ran.all());
    assert_eq!(done(&bench), "one\ntwo\nthree\nfour\n");

    // A damaged layer is reported, and the one below it is taken.
    let damaged = fs::OpenOptions::new()
        .write(true)
        .open(layer(&bench, 3).join("disk"))
        .unwrap();
    damaged.write_all_at(b"damage", 70_000).unwrap();
    drop(damaged);
    fourth_step(&bench, "echo 4 >> /root/log; sleep 600");
    let mut run = bench.command(&["run", "layered.toml", "--no-check"]);
    let mut run = run.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(run.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains("step 4/4: four") {
        assert!(said.read_line(&mut seen).unwrap() > 0, "{seen}");
    }
    assert!(
        seen.contains("it is removed, and its steps are done again"),
        "{seen}"
    );
    assert!(
        seen.contains("step 3/4: three") && !seen.contains("step 2/4"),
        "{seen}"
    );
    // Killed while its last step runs, it costs that step.
    run.kill().unwrap();
    run.wait().unwrap();
    said.read_to_string(&mut seen).unwrap();
    let plan = bench.run(&["plan", "layered.toml"]);
    assert!(plan.stdout.contains("; from layer: step 3"), "{}", plan.all());

    let listed = bench.run(&["store", "ls"]);
    let mut of_app = listed.stdout.lines().filter(|line| line.starts_with("layer/"));
    assert!(
        of_app.any(|line| line.contains("  small-app.3 ")),
        "{}",
        listed.all()
    );
}

/// The store's disk is full while a layer is taken: the run ends in words, and the next one goes on from the layer before.
#[test]
fn a_full_disk_costs_the_layer_that_was_being_taken() {
    if !inside("daily::layered::a_full_disk_costs_the_layer_that_was_being_taken") {
        return;
    }
    let bench = Bench::new();
    small_disk(&bench, "small");
    let store = bench.path("store");
    fs::create_dir(&store).unwrap();
    mount(&store, "size=400m");
    let filler = store.join("filler");

    // Only the layer of the first two steps is there when the disk fills up, in the middle of the third step.
    fourth_step(&bench, "echo four >> /root/log");
    let manifest = fs::read_to_string(bench.path("layered.toml")).unwrap();
    let manifest = manifest
        .replace("name = \"two\" }", "name = \"two\", checkpoint = true }")
        .replace(
            "echo three >> /root/log",
            "echo three >> /root/log; sync; sleep 4",
        );
    bench.write(
        "layered.toml",
        format!("{manifest}[resources]\nscratch = \"1G\"\n"),
    );
    let mut run = bench.command(&["run", "layered.toml", APP, "--no-check"]);
    let mut run = run.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(run.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains("step 3/4: three") {
        assert!(said.read_line(&mut seen).unwrap() > 0, "{seen}");
    }
    fill(&filler);
    said.read_to_string(&mut seen).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(1), "{seen}");
    assert!(seen.to_lowercase().contains("no space left"), "{seen}");

    fs::remove_file(&filler).unwrap();
    let plan = bench.run(&["plan", "layered.toml"]);
    assert!(plan.stdout.contains("; from layer: step 2"), "{}", plan.all());
    let ran = bench.run(&["run", "layered.toml", APP, "--no-check", "--verbose"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(
        ran.stderr.contains("step 3/4: three") && !ran.stderr.contains("step 2/4"),
        "{}",
        ran.all()
    );
    assert_eq!(done(&bench), "one\ntwo\nthree\nfour\n");
}

/// Writes until there is no room left.
fn fill(file: &Path) {
    let mut file = fs::File::create(file).unwrap();
    for block in [1 << 20, 4096, 1] {
        while file.write_all(&vec![0x55; block]).is_ok() {}
    }
}
