//! Runs over several hosts: a real Slurm on loopback, a real nginx that they share results through, a store for each host. Their
//! images need no machine.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::chaos::House;
use crate::chaos::mini::{self, MANIFEST};
use crate::publish::webdav::nginx;
use crate::support::Bench;
use crate::support::daemon::Daemon;
use crate::support::slurm::Lab;
use crate::support::vm::wait_until;

mod kills;
mod losses;

/// Long enough for a job on a busy machine.
const SOON: Duration = Duration::from_secs(90);

/// A host that submits, two that build, and what they share.
pub struct Fleet {
    pub lab: Lab,
    /// The host that submits.
    pub house: House,
    pub bench: Bench,
    pub remote: Daemon,
}

impl Fleet {
    fn new(sizes: &[&str], slurm: &str) -> Self {
        Self::of(Bench::new(), |folder| mini::house(folder, sizes), slurm)
    }

    pub fn of(bench: Bench, house: impl FnOnce(&Path) -> House, slurm: &str) -> Self {
        let remote = nginx(
            &bench,
            "server {\nlisten 127.0.0.1:PORT;\nroot FOLDER/www;\nlocation / {\ndav_methods PUT;\n\
             create_full_put_path on;\n}\nlocation ~ ^/farm/(results|blobs)/ {\nif (-f FOLDER/www/closed) {\nreturn 503;\n}\n\
             dav_methods PUT;\ncreate_full_put_path on;\n}\n}",
        );
        let house = house(&bench.path("here"));
        let made = house.command(&["farm", "key", "../farm.key"]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        // What a host of Slurm's has of its own: a store. And a tool of it waits where a story holds the job of an image.
        let folder = bench.path("").display().to_string();
        let folder = folder.trim_end_matches('/');
        let executable = |name: &str, text: String| {
            let path = bench.write(name, text);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let path = executable(
            "program",
            format!(
                "#!/bin/sh\nexport HOME={folder} PIPELINE_FARM={folder}/farm.toml TMPDIR={folder}/tmp\n\
                 export PIPELINE_STORE={folder}/${{SLURMD_NODENAME%-*}} PATH={folder}/bin:$PATH JOB=\"$SLURM_JOB_ID $$ $PPID\"\n\
                 for word; do case $word in package/*=*) word=${{word#*/}}; export ACT={folder}/acts/${{word%%=*}};; esac; done\n\
                 if [ -e \"$ACT.deaf\" ]; then trap '' TERM; echo $JOB >>\"$ACT.held\"; while :; do sleep 1; done; fi\n\
                 exec {} \"$@\"\n",
                env!("CARGO_BIN_EXE_pipeline")
            ),
        );
        executable(
            "bin/e2fsck",
            "#!/bin/sh\n[ ! -e \"$ACT\" ] || echo $JOB >>\"$ACT.held\"\n\
             while [ -e \"$ACT\" ]; do [ ! -e \"$ACT.hungry\" ] || exec dd if=/dev/zero of=/dev/null bs=1500M; sleep 0.1; done\n\
             exec /usr/sbin/e2fsck \"$@\"\n"
                .to_owned(),
        );
        std::fs::create_dir(bench.path("acts")).unwrap();
        bench.write(
            "farm.toml",
            format!(
                "[remote]\nurl = \"{}\"\nsign_key = {{ file = \"{}\" }}\n\
                 [slurm]\npoll = \"1s\"\nprogram = \"{}\"\nmemory_headroom = \"64M\"\ntime = \"30m\"\n",
                remote.url("/farm"),
                bench.path("farm.key").display(),
                path.display()
            ),
        );
        let lab = Lab::start(&bench.path("slurm"), slurm);
        Self {
            lab,
            house,
            bench,
            remote,
        }
    }

    /// A run over them, by a host with this store.
    fn run(&self, store: &str) -> Command {
        self.run_in(&self.house, store)
    }

    pub fn run_in(&self, house: &House, store: &str) -> Command {
        let mut args: Vec<_> = house.args[..2].iter().map(String::as_str).collect();
        args.extend(["--on", "slurm", "--format", "json"]);
        let mut command = house.command(&args);
        command
            .env("SLURM_CONF", self.lab.conf())
            .env("PIPELINE_FARM", self.bench.path("farm.toml"))
            .env("PIPELINE_STORE", self.bench.path(store))
            .env("TOKEN", "planted-token")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Results of a stage in a store.
    pub fn results(&self, store: &str, stage: &str) -> BTreeSet<String> {
        let folder = self.bench.path(store).join("results").join(stage);
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// How often nodes of a stage were built on the hosts of Slurm.
    pub fn built(&self, stage: &str) -> usize {
        let attempts = ["n1", "n2"].map(|host| self.bench.path(host).join("attempts.jsonl"));
        let lines = attempts.map(|path| std::fs::read_to_string(path).unwrap_or_default());
        let wanted = format!("\"stage\":\"{stage}\"");
        let lines = lines.iter().flat_map(|text| text.lines());
        lines.filter(|line| line.contains(&wanted)).count()
    }

    fn is_good(&self, sizes: &[&str]) {
        for size in sizes {
            mini::has_content(&self.house, &mini::packed(size));
        }
        let out = self.house.folder.join("out");
        crate::support::tool("sh", &["-c", "find . -name SHA512SUM.txt | grep -q ."], &out);
        let verify = "find . -name SHA512SUM.txt -execdir sha512sum --quiet -c {} +";
        crate::support::tool("sh", &["-c", verify], &out);
    }
}

pub fn events(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub fn well(output: &Output) {
    assert!(
        output.status.success(),
        "{:?}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn signal(child: &Child, signal: Signal) {
    let id = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(id, signal).unwrap();
}

#[test]
fn where_other_hosts_cannot_work_nothing_is_begun() {
    let bench = Bench::new();
    let house = mini::house(&bench.path("here"), &["64M"]);
    let refused = |settings: &str, code: i32, words: &str| {
        let farm = bench.write("farm.toml", settings);
        let mut command = house.command(&["run", MANIFEST, "--on", "slurm"]);
        command
            .env("PIPELINE_FARM", farm)
            .env("PIPELINE_STORE", bench.path("store"))
            .env("PATH", "/nowhere")
            .env("PIPELINE_SBIN", "/nowhere");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(
            said.contains(words) && said.contains("nothing was started"),
            "{said}"
        );
        assert!(!bench.path("store").exists(), "{said}");
    };
    let made = house.command(&["farm", "key", "../farm.key"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    refused("", 2, "--on needs a remote store that this host may write to");
    let public = String::from_utf8(made.stdout).unwrap();
    let remote = "[remote]\nurl = \"http://127.0.0.1:9/farm\"\n";
    let reads = format!("{remote}trust = [\"{}\"]\n", public.trim());
    refused(&reads, 2, "--on needs a remote store that this host may write to");
    let key = bench.path("farm.key");
    let writes = format!("{remote}sign_key = {{ file = \"{}\" }}\n", key.display());
    refused(
        &writes,
        3,
        "`sbatch` is missing: --on slurm queues its jobs by it",
    );
}

#[test]
fn other_hosts_build_and_this_one_delivers() {
    const SIZES: [&str; 2] = ["40M", "48M"];
    let fleet = Fleet::new(&SIZES, "");
    let store = fleet.house.folder.join("store");
    let ran = fleet.run(store.to_str().unwrap()).output().unwrap();
    well(&ran);
    fleet.is_good(&SIZES);
    let events = events(&ran);
    let stages = |kind: &str| {
        let all = events.iter().filter(|event| event["event"] == kind);
        let far = all.filter(|event| event["host"].as_str().is_some_and(|host| host.starts_with('n')));
        let stages = far.filter_map(|event| event["node"].as_str()?.split('/').next());
        stages.collect::<BTreeSet<_>>()
    };
    for kind in ["node_started", "node_finished"] {
        assert_eq!(
            stages(kind),
            BTreeSet::from(["package", "size"]),
            "{kind}: {events:#?}"
        );
    }
    // The journal and the trace say so too.
    let mut report = fleet
        .house
        .command(&["report", "--format", "trace", "--output", "-"]);
    let trace = report.output().unwrap();
    let trace: Value = serde_json::from_slice(&trace.stdout).unwrap_or_else(|e| panic!("{e}: {trace:?}"));
    let far = trace["traceEvents"].as_array().unwrap().iter();
    assert_eq!(
        far.filter(|event| event["args"]["host"].is_string()).count(),
        4,
        "{trace:#}"
    );
    // One job an image, and nothing was built twice.
    assert_eq!(fleet.lab.jobs().len(), 2, "{:?}", fleet.lab.jobs());
    assert_eq!(fleet.built("package"), 2);
    let all: BTreeSet<_> = ["n1", "n2"]
        .iter()
        .flat_map(|host| fleet.results(host, "package"))
        .collect();
    assert_eq!(all.len(), 2);
    // Nothing of the environment is on the controller's disk.
    let found = Command::new("grep")
        .args(["-rl", "planted-token"])
        .arg(fleet.bench.path("slurm"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");

    // All is there: no job is asked for.
    let again = fleet.run(store.to_str().unwrap()).output().unwrap();
    well(&again);
    assert_eq!(fleet.lab.jobs().len(), 2);
}

/// A controller that does not answer, a worker and a submitter that are killed: the images are the same, and none is built twice.
#[test]
fn whatever_dies_the_next_run_goes_on_from_what_is_there() {
    const SIZES: [&str; 3] = ["40M", "48M", "56M"];
    let mut fleet = Fleet::new(&SIZES, "MinJobAge=2\n");
    let store = fleet.house.folder.join("store").display().to_string();

    // The controller does not answer while jobs are queued: a job that was queued all the same is found by its name.
    fleet.lab.signal("slurmctld", Signal::STOP);
    let mut first = fleet.run(&store).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(6));
    fleet.lab.signal("slurmctld", Signal::CONT);
    fleet.lab.waiting_for("jobs to be queued", |jobs| jobs.len() >= 3);

    // A worker is killed, and then who submitted it. The next run follows the other jobs and queues this one.
    let runs = || {
        fleet
            .lab
            .ask("squeue", &["--noheader", "--states=RUNNING", "--format=%i"])
    };
    wait_until("a job to run", SOON, || !runs().trim().is_empty());
    let victim = runs();
    let victim = victim.lines().next().unwrap();
    fleet
        .lab
        .ask("scancel", &["--signal=KILL", "--batch", victim.trim()]);
    signal(&first, Signal::KILL);
    first.wait().unwrap();
    let second = fleet.run(&store).spawn().unwrap();
    let ran = second.wait_with_output().unwrap();
    well(&ran);
    fleet.is_good(&SIZES);
    assert_eq!(fleet.built("package"), 3);
}
