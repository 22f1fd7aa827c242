//! Kills at random moments of all who take part: workers, whoever submits, Slurm's daemons. Images are made all the same, in
//! the remote store nothing is half there, and no process is left.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::*;
use crate::chaos::Dice;

const SIZES: [&str; 8] = ["40M", "44M", "48M", "52M", "56M", "60M", "64M", "68M"];
/// Kills where `KILLS` in the environment says nothing else, and those that one set of images gets.
const KILLS: u64 = 100;
const A_ROUND: u64 = 10;
const SEED: u64 = 23;
/// How long a run may take that no one disturbs, before an operator starts the hosts' daemons again and has them take jobs: Slurm
/// may take half an hour to find out that a job has no process, when both that and the one in front of it were killed, and it
/// drains a host (`Duplicate jobid`) that it gives a job of which a process still lives.
const STALL: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Submitter,
    /// What a job is.
    Worker,
    /// Slurm's process in front of it.
    Stepd,
    /// Any process that a job started.
    Inner,
    Host(&'static str),
    Controller,
}

const VICTIMS: [Victim; 9] = [
    Victim::Submitter,
    Victim::Submitter,
    Victim::Worker,
    Victim::Worker,
    Victim::Stepd,
    Victim::Inner,
    Victim::Host("n1"),
    Victim::Host("n2"),
    Victim::Controller,
];

/// A process of a job.
struct Process {
    id: i32,
    parent: i32,
    words: String,
}

/// What jobs of this fleet run on its hosts.
fn processes(fleet: &Fleet) -> Vec<Process> {
    let mark = format!("PIPELINE_STORE={}", fleet.bench.path("n").display());
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let read =
        |path: PathBuf| std::fs::read(path).map(|text| String::from_utf8_lossy(&text).replace('\0', "\n"));
    all.filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let environment = read(entry.path().join("environ")).ok()?;
        environment.lines().find(|line| line.starts_with(&mark))?;
        let status = read(entry.path().join("status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        Some(Process {
            id,
            parent: parent.trim().parse().ok()?,
            words: read(entry.path().join("cmdline")).ok()?,
        })
    })
    .collect()
}

fn kill(process: i32) -> bool {
    kill_process(Pid::from_raw(process).unwrap(), Signal::KILL).is_ok()
}

/// Runs whose output goes into files, one after the other.
struct Submitter<'f> {
    store: String,
    runs: usize,
    run: Option<Child>,
    folder: &'f Path,
}

impl Submitter<'_> {
    /// Starts the next run, unless one lives. False: the last one came to a good end.
    fn goes_on(&mut self, fleet: &Fleet) -> bool {
        if let Some(run) = &mut self.run {
            match run.try_wait().unwrap() {
                None => return true,
                Some(status) if status.success() => return false,
                Some(_) => {}
            }
        }
        self.runs += 1;
        let log = File::create(self.folder.join(format!("run{}", self.runs))).unwrap();
        let mut command = fleet.run(&self.store);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.run = Some(command.spawn().unwrap());
        true
    }

    fn last_said(&self) -> String {
        std::fs::read_to_string(self.folder.join(format!("run{}", self.runs))).unwrap()
    }
}

/// Kills one; false: there is none.
fn strike(fleet: &mut Fleet, submitter: &mut Submitter<'_>, victim: Victim, dice: &mut Dice) -> bool {
    match victim {
        Victim::Submitter => {
            let mut run = submitter.run.take().unwrap();
            run.kill().unwrap();
            !run.wait().unwrap().success()
        }
        Victim::Worker | Victim::Stepd | Victim::Inner => {
            let all = processes(fleet);
            let is_worker = |process: &&Process| process.words.contains("\nrun-job\n");
            let these = all.iter().filter(|process| match victim {
                Victim::Inner => !is_worker(process),
                _ => is_worker(process),
            });
            let these: Vec<_> = these.collect();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
            let at = (dice.unit() * these.len() as f64) as usize;
            let Some(process) = these.get(at) else {
                return false;
            };
            match victim {
                // Its parent may be gone already.
                Victim::Stepd => process.parent > 1 && kill(process.parent),
                _ => kill(process.id),
            }
        }
        Victim::Host(name) => {
            fleet.lab.signal(name, Signal::KILL);
            fleet.lab.host(name);
            true
        }
        Victim::Controller => {
            fleet.lab.signal("slurmctld", Signal::KILL);
            fleet.lab.controller();
            true
        }
    }
}

/// Every entry has all its files, and every file is what its name says.
fn is_whole(remote: &Path) -> usize {
    let tool = |what: &str| crate::support::tool("find", &[".", "-name", what, "-type", "f"], remote);
    let mut digests = BTreeSet::new();
    for path in tool("*.zst").lines().filter(|path| path.contains("/blobs/")) {
        let mut plain = Vec::new();
        let packed = File::open(remote.join(path)).unwrap();
        zstd::Decoder::new(packed)
            .unwrap()
            .read_to_end(&mut plain)
            .unwrap();
        let digest: String = Sha256::digest(&plain)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert!(
            path.ends_with(&format!("/sha256/{digest}.zst")),
            "{path} is {digest}"
        );
        digests.insert(format!("sha256:{digest}"));
    }
    let entries = tool("entry.json");
    for path in entries.lines() {
        let envelope: Value = serde_json::from_slice(&std::fs::read(remote.join(path)).unwrap()).unwrap();
        let entry: Value = serde_json::from_str(envelope["entry"].as_str().unwrap()).unwrap();
        for (name, file) in entry["files"].as_object().unwrap() {
            let mut all = file["digests"].as_array().unwrap().iter();
            let is_there = all.any(|digest| digests.contains(digest.as_str().unwrap()));
            assert!(is_there, "{path}: {name} is not there");
        }
    }
    entries.lines().count()
}

#[derive(Debug, Default)]
struct Tally {
    kills: BTreeMap<Victim, u64>,
    runs: usize,
    images: usize,
    built: usize,
    stalls: usize,
    entries: usize,
}

/// Makes all images once, with at most so many kills on the way.
fn round(kills: u64, dice: &mut Dice, tally: &mut Tally) {
    let mut fleet = Fleet::new(&SIZES, "MinJobAge=2\n");
    let folder = fleet.bench.path("runs");
    std::fs::create_dir_all(&folder).unwrap();
    let store = fleet.house.folder.join("store").display().to_string();
    let mut submitter = Submitter {
        store,
        runs: 0,
        run: None,
        folder: &folder,
    };
    let mut left = kills;
    while left > 0 && submitter.goes_on(&fleet) {
        std::thread::sleep(Duration::from_secs_f64(2.0 * dice.unit()));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let victim = VICTIMS[((dice.unit() * VICTIMS.len() as f64) as usize).min(VICTIMS.len() - 1)];
        if submitter.goes_on(&fleet) && strike(&mut fleet, &mut submitter, victim, dice) {
            *tally.kills.entry(victim).or_default() += 1;
            left -= 1;
        }
    }
    // A run may fail where jobs were killed twice; the next one goes on.
    let (mut tries, mut began) = (0, Instant::now());
    while submitter.goes_on(&fleet) {
        let code = loop {
            if let Some(status) = submitter.run.as_mut().unwrap().try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > STALL {
                tally.stalls += 1;
                began = Instant::now();
                for host in ["n1", "n2"] {
                    fleet.lab.signal(host, Signal::KILL);
                    fleet.lab.host(host);
                }
                fleet.lab.resume();
            }
            assert!(tally.stalls < 20, "{}", submitter.last_said());
            std::thread::sleep(Duration::from_millis(100));
        };
        tries += 1;
        assert!(code.success() || tries < 4, "{}", submitter.last_said());
    }
    let end = Instant::now() + SOON;
    let mut living = processes(&fleet);
    while !living.is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
        living = processes(&fleet);
    }
    let living: Vec<_> = living.into_iter().map(|process| process.words).collect();
    assert!(living.is_empty(), "{living:?}");
    fleet.is_good(&SIZES);
    tally.entries += is_whole(&fleet.bench.path("www/farm"));
    // A host that has nothing gets the same bytes, and builds none.
    let third = mini::house(&fleet.bench.path("third"), &SIZES);
    let before = fleet.built("package");
    let ran = fleet
        .run_in(&third, &third.folder.join("store").display().to_string())
        .output()
        .unwrap();
    well(&ran);
    assert_eq!(fleet.built("package"), before);
    for size in SIZES {
        let read = |house: &House| std::fs::read(house.folder.join(mini::packed(size))).unwrap();
        assert!(read(&fleet.house) == read(&third), "{size}");
    }
    tally.images += SIZES.len();
    tally.built += before;
    tally.runs += submitter.runs;
}

#[test]
#[ignore = "takes minutes: `make chaos-farm`"]
#[expect(clippy::print_stderr, reason = "it takes minutes: say what goes on")]
fn kills_of_workers_submitters_and_daemons_lose_nothing() {
    let number = |name: &str, default| {
        let text = std::env::var(name).ok().filter(|text| !text.is_empty());
        text.map_or(default, |text| text.parse::<u64>().unwrap())
    };
    let (kills, seed) = (number("KILLS", KILLS), number("SEED", SEED));
    let mut dice = Dice::new(seed);
    let mut tally = Tally::default();
    let began = Instant::now();
    while tally.kills.values().sum::<u64>() < kills {
        let done = tally.kills.values().sum::<u64>();
        round(A_ROUND.min(kills - done), &mut dice, &mut tally);
        eprintln!("seed {seed}, {:.0?}: {tally:?}", began.elapsed());
    }
}
