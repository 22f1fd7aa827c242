//! A program that is killed while it builds real images.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::quickstart::started;
use crate::support::vm::{booted_quickstart, processes_naming, variant, wait_until};
use crate::support::{Bench, tool};

#[test]
fn a_kill_leaves_no_vm_and_no_half_file_and_costs_only_the_node_it_was_in() {
    let story = booted_quickstart(1);
    let shared = &story.bench;
    let flavor = "[flavors.killed]\nsteps = [{ inline = \"true\", name = \"nothing\" }]\n";
    let text = variant("killed", flavor).replace("compress = \"none\"", "compress = \"gzip\"\nlevel = 1");
    shared.write("killed.toml", text);
    kill_when(shared, "waiting for ssh");
    wait_until("all VMs to be gone", Duration::from_secs(10), || {
        processes_naming(&shared.path("")).is_empty()
    });
    assert!(!shared.path("out-killed").exists());

    kill_when(shared, "compressing");
    let left: Vec<_> = walk(&shared.path("out-killed"));
    assert!(left.is_empty(), "half files: {left:?}");

    let last = shared.run(&["run", "killed.toml"]);
    assert_eq!(last.code, 0, "{}", last.all());
    let id = "debian12-2G-killed";
    assert_eq!(
        started(shared, &last),
        [format!("package/{id}"), format!("sums/{id}")],
        "{}",
        last.all()
    );
    tool(
        "sha512sum",
        &["--strict", "-c", "SHA512SUM.txt"],
        &shared.path("out-killed"),
    );
    tool(
        "gzip",
        &["-t", &format!("out-killed/{id}/{id}.qcow2.gz")],
        &shared.path(""),
    );
    let scratch = tool("find", &["store/scratch", "-name", "*killed*"], &shared.path(""));
    assert_eq!(scratch, "", "the next run sweeps what a killed one left");
}

/// Runs `killed.toml` and kills the program, as the system would, as soon as it says this.
fn kill_when(bench: &Bench, said: &str) {
    let mut command = bench.command(&["run", "killed.toml", "--progress", "plain"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut seen = String::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        seen.push_str(&line);
        seen.push('\n');
        if line.contains(said) {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(seen.contains(said), "it never said `{said}`:\n{seen}");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path) } else { vec![path] }
        })
        .collect()
}
