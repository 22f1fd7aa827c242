//! Chaos: a running pipeline is killed with SIGKILL again and again, at moments that a seed decides, and must come to the
//! same good end as if nothing had happened. After each kill: no process of it lives on, every finished result is still
//! there and is never built again, and whatever has its real name in the output is whole.

mod kill;
mod look;
pub mod mini;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub use look::tool;

pub use kill::Dice;
use kill::{Calm, Hit, Moment};
use look::Snapshot;

/// The variable by which whatever a run started is known, however deep.
const MARK: &str = "PIPELINE_CHAOS_MARK";
/// How long children may take to follow their parent: the kernel kills them at once, and a busy host takes its time.
const FOLLOW: Duration = Duration::from_secs(5);

/// A pipeline in a folder of its own: store, output and temporary files are below it.
pub struct House {
    pub folder: PathBuf,
    /// Arguments of `pipeline`.
    pub args: Vec<String>,
    /// Folders in which nothing but whole files may be seen.
    pub places: Vec<&'static str>,
    /// Whom to ask for the process that belong to this house.
    mark: String,
}

/// What came of it.
pub struct Report {
    seed: u64,
    took: Duration,
    /// By where the kill hit, then by how: how often.
    hits: BTreeMap<(usize, String), BTreeMap<Moment, u32>>,
    finished: usize,
    images: usize,
    pub kills: u32,
    pub lost: Vec<String>,
    pub orphans: Vec<String>,
    pub halves: Vec<String>,
}

impl House {
    pub fn new(folder: &Path, args: &[&str], places: &[&'static str]) -> Self {
        std::fs::create_dir_all(folder.join("tmp")).unwrap();
        Self {
            folder: folder.to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            places: places.to_vec(),
            mark: format!("{}-{}", std::process::id(), folder.display()),
        }
    }

    /// The real program in this house, with nothing of the caller's environment but PATH.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pipeline"));
        command.args(args).current_dir(&self.folder).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command
            .env("HOME", &self.folder)
            .env("TMPDIR", self.folder.join("tmp"))
            .env("PIPELINE_STORE", self.folder.join("store"))
            .env("NO_COLOR", "1")
            .env(MARK, &self.mark)
            .stdin(Stdio::null());
        command
    }

    fn run(&self) -> Command {
        let mut args: Vec<_> = self.args.iter().map(String::as_str).collect();
        args.push("--format=json");
        self.command(&args)
    }
}

/// Kills runs in `house` so many times, then lets one end, and looks at everything. `calm` is the same pipeline, which is
/// run once without a kill, to know how long its nodes take. `say` hears what goes on.
pub fn unleash(house: &House, calm: &House, kills: u32, seed: u64, say: &mut dyn FnMut(&str)) -> Report {
    say(&format!(
        "seed {seed}: first a run without a kill, to know how long things take"
    ));
    let calm = Calm::measure(calm);
    say(&format!("it took {:.0?}", calm.took));
    let began = Instant::now();
    let mut dice = Dice::new(seed);
    let mut report = Report {
        seed,
        took: Duration::ZERO,
        hits: BTreeMap::new(),
        finished: 0,
        images: 0,
        kills: 0,
        lost: Vec::new(),
        orphans: Vec::new(),
        halves: Vec::new(),
    };
    let mut before = Snapshot::take(house);
    let mut built = BTreeMap::<String, u32>::new();
    let mut quota = kill::Quota::default();
    while report.kills < kills {
        let Hit {
            place,
            moment,
            killed,
            finished,
        } = kill::once(house, &calm, &mut quota, kills - report.kills, &mut dice);
        for node in finished {
            *built.entry(node).or_default() += 1;
        }
        if killed {
            report.kills += 1;
            let stage = calm.position(&place);
            let row = report.hits.entry((stage, place.clone())).or_default();
            *row.entry(moment).or_default() += 1;
        }
        report.orphans.extend(look::orphans(&house.mark, FOLLOW));
        let now = Snapshot::take(house);
        report.lost.extend(now.lost_since(&before));
        report.halves.extend(now.halves(house, &before));
        before = now;
        if report.kills.is_multiple_of(20) && killed {
            say(&format!(
                "{} of {kills} kills in {:.0?}; {} results finished; the last one hit {place}, {moment}",
                report.kills,
                began.elapsed(),
                before.results(),
            ));
        }
    }
    say("now one run to its end");
    let ended = kill::to_the_end(house);
    assert_eq!(
        ended.code,
        Some(0),
        "the run after all kills failed: {}",
        ended.said
    );
    for node in ended.built {
        *built.entry(node).or_default() += 1;
    }
    let again = built.iter().filter(|(_, count)| **count > 1);
    report
        .lost
        .extend(again.map(|(node, count)| format!("{node} was built {count} times")));
    let last = Snapshot::take(house);
    report.lost.extend(last.lost_since(&before));
    report.halves.extend(last.halves(house, &Snapshot::default()));
    report.halves.extend(look::leftovers(house));
    report.orphans.extend(look::orphans(&house.mark, FOLLOW));
    report.finished = last.results();
    report.images = look::images(house);
    let idle = kill::to_the_end(house);
    assert_eq!(idle.code, Some(0), "{}", idle.said);
    report.lost.extend(
        idle.built
            .into_iter()
            .map(|node| format!("{node} was built once more by a run that had nothing to do")),
    );
    report.took = began.elapsed();
    report
}

impl Report {
    /// Whether all held.
    pub fn is_good(&self) -> bool {
        self.lost.is_empty() && self.orphans.is_empty() && self.halves.is_empty() && self.images > 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}, {} kills in {:.0?}\n",
            self.seed, self.kills, self.took
        )?;
        write!(f, "{:42}", "killed while")?;
        for moment in Moment::ALL {
            write!(f, "{:>14}", moment.to_string())?;
        }
        writeln!(f)?;
        for ((_, place), row) in &self.hits {
            write!(f, "{place:42}")?;
            for moment in Moment::ALL {
                write!(f, "{:>14}", row.get(&moment).copied().unwrap_or(0))?;
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "\nresults finished {}, lost {}; orphans {}; half files {}; images whole {}",
            self.finished,
            self.lost.len(),
            self.orphans.len(),
            self.halves.len(),
            self.images,
        )?;
        for (what, all) in [
            ("lost", &self.lost),
            ("orphan", &self.orphans),
            ("half", &self.halves),
        ] {
            for one in all {
                writeln!(f, "{what}: {one}")?;
            }
        }
        Ok(())
    }
}
