//! What can become of a job: each is done to one by Slurm's own means or by a signal, and has its outcome in the run.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Instant;

use super::*;
use crate::support::slurm::has_groups;
use crate::support::tool;

const SIZES: [&str; 6] = ["40M", "44M", "48M", "52M", "56M", "60M"];

/// A job whose work is held.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    size: &'static str,
    job: String,
    /// The process that Slurm started, and Slurm's own in front of it.
    worker: i32,
    stepd: i32,
}

impl Held {
    fn kill(process: i32) {
        kill_process(Pid::from_raw(process).unwrap(), Signal::KILL).unwrap();
    }
}

impl Fleet {
    fn act(&self, size: &str, what: &str) -> PathBuf {
        self.bench.path(&format!("acts/tiny-{size}-base{what}"))
    }

    fn hold(&self, size: &str) {
        std::fs::write(self.act(size, ""), "").unwrap();
    }

    fn release(&self, size: &str) {
        std::fs::remove_file(self.act(size, "")).unwrap();
    }

    /// The job of an image, once it is held for the so many-th time.
    fn held(&self, size: &'static str, times: usize) -> Held {
        let mut found = None;
        wait_until(&format!("{size} to be held {times} times"), SOON, || {
            let text = std::fs::read_to_string(self.act(size, ".held")).unwrap_or_default();
            found = text.lines().nth(times - 1).map(|line| {
                let mut words = line.split(' ');
                let mut next = || words.next().unwrap();
                Held {
                    size,
                    job: next().to_owned(),
                    worker: next().parse().unwrap(),
                    stepd: next().parse().unwrap(),
                }
            });
            found.is_some()
        });
        found.unwrap()
    }

    /// Jobs in this state.
    fn numbers(&self, state: &str) -> BTreeSet<String> {
        let state = format!("--states={state}");
        let seen = self.lab.ask("squeue", &["--noheader", &state, "--format=%i"]);
        seen.split_whitespace().map(str::to_owned).collect()
    }

    /// Where a job runs.
    fn place(&self, job: &str) -> String {
        let seen = self
            .lab
            .ask("squeue", &["--noheader", "--jobs", job, "--format=%N"]);
        seen.trim().to_owned()
    }
}

fn ends(output: &Output, size: &str) -> Vec<Value> {
    let images = format!("tiny-{size}-base");
    let all = events(output).into_iter();
    all.filter(|event| event["event"] == "node_finished")
        .filter(|event| event["node"].as_str().unwrap_or_default().ends_with(&images))
        .collect()
}

#[test]
fn each_loss_of_a_job_has_its_outcome() {
    let mut fleet = Fleet::new(&SIZES, "MinJobAge=2\n");
    let store = fleet.house.folder.join("store").display().to_string();
    SIZES.iter().for_each(|size| fleet.hold(size));
    let first = fleet.run(&store).spawn().unwrap();
    let held = SIZES.map(|size| fleet.held(size, 1));
    let host = fleet.place(&held[0].job);
    let (here, there): (Vec<_>, Vec<_>) = held.iter().partition(|held| fleet.place(&held.job) == host);
    let [timed, cancelled, hungry] = here.as_slice() else {
        panic!("{here:?}")
    };
    let [killed, orphaned, other] = there.as_slice() else {
        panic!("{there:?}")
    };

    // Its time is over.
    let job = format!("JobId={}", timed.job);
    fleet
        .lab
        .ask("scontrol", &["update", &job, "TimeLimit=1", "EndTime=now"]);
    // Others need the host more.
    let there = fleet.place(&killed.job);
    let urgent = [
        "--partition=urgent",
        "--exclusive",
        "--nodelist",
        &there,
        "--output=/dev/null",
        "--wrap=true",
    ];
    fleet.lab.ask("sbatch", &urgent);
    // An operator cancels it; it takes more memory than it may.
    fleet.lab.ask("scancel", &[&cancelled.job]);
    std::fs::write(fleet.act(hungry.size, ".hungry"), "").unwrap();
    // Those that were taken from their host start again; then the process of one and Slurm's own of another are killed.
    for before in [killed, orphaned, other] {
        let again = fleet.held(before.size, 2);
        assert_eq!(again.job, before.job);
        if before == killed {
            Held::kill(again.worker);
        } else if before == orphaned {
            Held::kill(again.stepd);
        }
    }
    for before in [killed, orphaned] {
        let again = fleet.held(before.size, 3);
        // Whether Slurm starts a job again that lost its own process, or the run has to queue it, depends on who looks first.
        assert!(again.job != before.job || before == orphaned, "{again:?}");
        wait_until("the earlier process to end", SOON, || {
            std::fs::read(format!("/proc/{}/cmdline", before.worker)).is_err()
        });
    }
    for size in [killed, orphaned, other].map(|held| held.size) {
        fleet.release(size);
    }
    let ran = first.wait_with_output().unwrap();
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    for held in [killed, orphaned, other] {
        let ends = ends(&ran, held.size);
        let outcomes: Vec<_> = ends.iter().map(|end| end["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["built", "built", "built"], "{ends:#?}");
    }
    let memory = if has_groups() {
        (
            "host_out_of_memory",
            "raise `slurm.memory_headroom`",
            "(OUT_OF_MEMORY",
        )
    } else {
        (
            "killed",
            "the job failed twice before it could say why",
            "(FAILED",
        )
    };
    for (held, (verdict, ours, engines)) in [
        (
            timed,
            ("timed_out", "`slurm.time` in farm.toml", "(TIMEOUT, TimeLimit)"),
        ),
        (cancelled, ("killed", "the job was cancelled", "(CANCELLED)")),
        (hungry, memory),
    ] {
        let ends = ends(&ran, held.size);
        let said = ends[0]["message"].as_str().unwrap();
        assert_eq!(ends[0]["verdict"], verdict, "{ends:#?}");
        assert!(said.contains(ours) && said.contains(engines), "{said}");
    }

    // Ctrl-C stops in order what this run queued; another one kills what does not stop.
    let all = [timed, cancelled, hungry].map(|held| held.size);
    std::fs::remove_file(fleet.act(hungry.size, ".hungry")).unwrap();
    for size in all {
        let _ = std::fs::remove_file(fleet.act(size, ".held"));
    }
    let deaf = all[0];
    std::fs::write(fleet.act(deaf, ".deaf"), "").unwrap();
    let mut second = fleet.run(&store).spawn().unwrap();
    let held = all.map(|size| fleet.held(size, 1));
    signal(&second, Signal::INT);
    wait_until("only the deaf job to run", SOON, || {
        fleet.numbers("RUNNING") == BTreeSet::from([held[0].job.clone()])
    });
    assert!(second.try_wait().unwrap().is_none(), "it waits for what it stops");
    let asked = Instant::now();
    signal(&second, Signal::INT);
    assert_eq!(second.wait().unwrap().code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    wait_until("the deaf job to be killed", Duration::from_secs(10), || {
        std::fs::read(format!("/proc/{}/cmdline", held[0].worker)).is_err()
    });
    std::fs::remove_file(fleet.act(deaf, ".deaf")).unwrap();
    let mut said = String::new();
    second.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    second.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("stopping in order"), "{said}");

    // Who submitted sleeps while a job is killed and forgotten, and the host of the others dies with its processes.
    for size in all {
        std::fs::remove_file(fleet.act(size, ".held")).unwrap();
    }
    let third = fleet.run(&store).spawn().unwrap();
    let held = all.map(|size| fleet.held(size, 1));
    signal(&third, Signal::STOP);
    Held::kill(held[0].worker);
    wait_until("the killed job to be over", SOON, || {
        !fleet.numbers("RUNNING").contains(&held[0].job)
    });
    let host = fleet.place(&held[1].job);
    let daemon = if host.starts_with("n1") { "n1" } else { "n2" };
    fleet.lab.signal(daemon, Signal::KILL);
    for held in &held[1..] {
        Held::kill(held.stepd);
        Held::kill(held.worker);
    }
    wait_until("the killed job to be forgotten", SOON, || {
        !fleet.numbers("all").contains(&held[0].job)
    });
    signal(&third, Signal::CONT);
    // Another host submits the same meanwhile.
    let other = mini::house(&fleet.bench.path("there"), &SIZES);
    let fourth = fleet
        .run_in(&other, other.folder.join("store").to_str().unwrap())
        .spawn()
        .unwrap();
    let again = all.map(|size| fleet.held(size, 2));
    assert_ne!(again[0].job, held[0].job);
    assert_eq!([&again[1].job, &again[2].job], [&held[1].job, &held[2].job]);
    all.iter().for_each(|size| fleet.release(size));
    let (third, fourth) = (
        third.wait_with_output().unwrap(),
        fourth.wait_with_output().unwrap(),
    );
    well(&third);
    well(&fourth);
    fleet.is_good(&SIZES);
    for size in SIZES {
        mini::has_content(&other, &mini::packed(size));
        let digest = |house: &House| {
            let image = house.folder.join(mini::packed(size));
            tool("sha256sum", &[image.to_str().unwrap()], &house.folder)[..64].to_owned()
        };
        assert_eq!(digest(&fleet.house), digest(&other));
    }
    assert_eq!(fleet.built("package"), SIZES.len());
}

/// The server that hosts share results through goes away while jobs end, and takes their events before their results when it is
/// back: what they built is waited for, and nothing is built or queued again.
#[test]
fn a_remote_store_that_is_away_decides_nothing_about_a_job() {
    const TWO: [&str; 2] = ["40M", "44M"];
    let mut fleet = Fleet::new(&TWO, "");
    let store = fleet.house.folder.join("store").display().to_string();
    TWO.iter().for_each(|size| fleet.hold(size));
    let run = fleet.run(&store).spawn().unwrap();
    TWO.iter().for_each(|size| drop(fleet.held(size, 1)));
    fleet.remote.stop();
    fleet.release(TWO[0]);
    wait_until("an image to be packaged", SOON, || {
        let mut hosts = ["n1", "n2"].iter();
        hosts.any(|host| !fleet.results(host, "package").is_empty())
    });
    // Longer than both ends ask before they leave a server alone.
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(fleet.numbers("RUNNING").len(), 2);
    let closed = fleet.bench.write("www/closed", "");
    fleet.remote.start_again(&fleet.bench.path("nginx.log"));
    wait_until("the image to be reported", SOON, || {
        let events = tool("find", &["www/farm/runs", "-type", "f"], &fleet.bench.path(""));
        let mut events = events.lines().map(|path| fleet.bench.read(path));
        events.any(|text| text.contains("\"package/tiny-40M-base\",\"event\":\"node_finished\""))
    });
    // Longer than the run needs to hear of it.
    std::thread::sleep(Duration::from_secs(5));
    std::fs::remove_file(closed).unwrap();
    fleet.release(TWO[1]);
    let ran = run.wait_with_output().unwrap();
    well(&ran);
    fleet.is_good(&TWO);
    assert_eq!(fleet.lab.jobs().len(), 2, "{:?}", fleet.lab.jobs());
    assert_eq!(fleet.built("package"), 2);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(
        said.contains("the jobs go on, and their events come later"),
        "{said}"
    );
}

/// A host that fails when a job is to start: Slurm takes no more jobs there, and holds the one that it could not start.
#[test]
fn a_job_that_its_host_could_not_start_is_queued_again() {
    let prolog = Bench::new();
    let failed = prolog.path("failed");
    let path = prolog.write(
        "prolog",
        format!("#!/bin/sh\n! mkdir {} 2>/dev/null\n", failed.display()),
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let fleet = Fleet::new(&["40M"], &format!("Prolog={}\n", path.display()));
    let store = fleet.house.folder.join("store").display().to_string();
    let ran = fleet.run(&store).output().unwrap();
    well(&ran);
    assert!(failed.exists());
    fleet.is_good(&["40M"]);
    let waits = events(&ran)
        .into_iter()
        .filter(|event| event["event"] == "node_waiting");
    let reasons: Vec<_> = waits.map(|event| event["reason"].to_string()).collect();
    let states: Vec<_> = fleet.lab.jobs().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, ["CANCELLED", "COMPLETED"], "{reasons:?}");
}
