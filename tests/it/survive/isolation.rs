//! Nodes that start machines run in processes of their own: what happens to one of those costs its node alone.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::machine::tiny::{self, Then};
use crate::support::vm::wait_until;
use crate::support::{Bench, tool};

const SECRET: &str = "a-token-that-must-not-be-seen";

/// A distro for each name, with a guest that says hello and then nothing more.
fn bench(names: &[&str]) -> Bench {
    let bench = Bench::new();
    let mut text = format!(
        "[resources]\njobs = {count}\ncpus = {count}\nscratch = \"64G\"\n\
         [flavors.base]\nsteps = [{{ inline = \"true\", env = {{ TOKEN = {{ env = \"STORY_TOKEN\" }} }} }}]\n",
        count = names.len()
    );
    for name in names {
        // Equal disks would be one node.
        let hello = format!("hello from {name}\r\n");
        bench.write(&format!("{name}.raw"), tiny::disk(&hello, Then::Halt));
        text += &format!(
            "[distros.{name}]\nfamily = \"debian\"\nversion = \"12\"\nmemory = \"64M\"\ncpus = 1\n\
             source = {{ disk = {{ path = \"{name}.raw\", user = \"root\" }} }}\n\
             [[images]]\ndistro = \"{name}\"\nflavor = \"base\"\nsizes = [\"1G\"]\n"
        );
    }
    bench.write("m.toml", text);
    bench
}

/// The process with these words in its command line, if there is one.
fn process(words: &[&str]) -> Option<PathBuf> {
    let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let fits = |process: &PathBuf| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        words.iter().all(|word| line.contains(word))
    };
    all.into_iter().find(fits)
}

fn parent(process: &Path) -> String {
    let status = fs::read_to_string(process.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
    line.unwrap().to_owned()
}

fn signal(signal: &str, process: &Path) {
    let id = process.file_name().unwrap().to_str().unwrap();
    tool("kill", &[signal, id], Path::new("/"));
}

/// Four guests run at once. The processes of three nodes are killed, crash, and are asked to stop from outside: their machines go
/// with them, the fourth guest is not touched and its node ends by itself. On the way a secret is in no command line and in
/// no environment.
#[test]
fn a_node_whose_process_is_killed_or_crashes_costs_that_node_alone() {
    let struck = [
        ("killed", "-KILL", "killed", "was killed by signal 9"),
        ("crashed", "-ABRT", "bug", "crashed: it was killed by signal 6"),
        ("stopped", "-TERM", "killed", "was stopped by a signal"),
    ];
    let names: Vec<_> = struck.iter().map(|one| one.0).chain(["spared"]).collect();
    let bench = bench(&names);
    let mut command = bench.command(&["run", "m.toml", "--format=json"]);
    let mut child = command
        .env("STORY_TOKEN", SECRET)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (run, stdout) = (child.id().to_string(), child.stdout.take().unwrap());
    let scratch = bench.path("store/scratch").display().to_string();
    let machine = |name: &str| process(&["qemu-system", &scratch, &format!("provision-{name}-base")]);
    // The parent of a machine is the process of its node, and this run's process is the parent of that.
    let worker = |name: &str| {
        let worker = Path::new("/proc").join(parent(&machine(name).expect("its machine runs")));
        assert_eq!(parent(&worker), run);
        worker
    };
    let (mut up, mut machines, mut failed) = (0, Vec::new(), BTreeMap::new());
    for line in BufReader::new(stdout).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let node = event["node"].as_str().unwrap_or_default();
        if event["text"]
            .as_str()
            .is_some_and(|text| text.starts_with("hello from "))
        {
            up += 1;
            if up == names.len() {
                for (name, with, ..) in struck {
                    let (worker, machine) = (worker(name), machine(name).unwrap());
                    let line = fs::read(worker.join("cmdline")).unwrap();
                    let line = String::from_utf8_lossy(&line).into_owned();
                    assert!(
                        line.contains(&format!("execute-node\0provision/{name}-base")),
                        "{line}"
                    );
                    for shown in [&worker, &machine] {
                        for file in ["cmdline", "environ"] {
                            let bytes = fs::read(shown.join(file)).unwrap();
                            assert!(
                                !String::from_utf8_lossy(&bytes).contains(SECRET),
                                "{shown:?} {file}"
                            );
                        }
                    }
                    signal(with, &worker);
                    machines.push(machine);
                }
            }
        }
        if event["event"] == "node_finished" && event["outcome"] == "failed" {
            failed.insert(
                node.to_owned(),
                (event["verdict"].clone(), event["message"].clone()),
            );
            if failed.len() == struck.len() {
                // Only the machine of the spared node is taken away from it.
                worker("spared");
                signal("-KILL", &machine("spared").unwrap());
            }
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(1), "{failed:#?}");
    let spared = ("spared", "", "guest_died", "qemu was killed by signal 9");
    for (name, _, verdict, words) in struck.into_iter().chain([spared]) {
        let (found, message) = &failed[&format!("provision/{name}-base")];
        assert_eq!(found, verdict, "{message}");
        assert!(message.as_str().unwrap().contains(words), "{message}");
    }
    // The kernel ends a machine with the process that started it, but takes a moment.
    wait_until("the machines to be gone", Duration::from_secs(10), || {
        !machines.iter().any(|machine| machine.join("exe").exists())
    });
    let left: Vec<_> = fs::read_dir(&scratch).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Requests are JSON, which is text.
#[test]
fn a_store_whose_path_is_not_text_is_refused_before_anything_starts() {
    let bench = bench(&["x"]);
    let mut command = bench.command(&["run", "m.toml"]);
    command.env("STORY_TOKEN", SECRET);
    command.env(
        "PIPELINE_STORE",
        bench.path("").join(OsStr::from_bytes(b"st\xffre")),
    );
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("is not text (UTF-8)") && said.contains("nothing was started"),
        "{said}"
    );
    assert!(!said.contains("install x: "), "{said}");
}
