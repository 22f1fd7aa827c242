//! Speed, as ratios against what a user would run instead, measured in turn on one machine in one run. A plain program:
//! `cargo bench --bench speed`, or with `-- --mib 256 --rounds 1` for a short look, `--only upload` for one section,
//! `--only estimates --runs FOLDER` for recorded runs of your own. Tables go to standard output, what
//! is going on to standard error.
#![expect(clippy::print_stdout, reason = "the tables are what this program is for")]
#![expect(clippy::print_stderr, reason = "it takes minutes: say what goes on")]
#![expect(
    clippy::unwrap_used,
    reason = "a measurement that cannot go on should stop there"
)]

mod estimates;
mod input;
mod memory;
mod package;
mod planning;
mod upload;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whether something was worse than it was meant to be.
static WORSE: AtomicBool = AtomicBool::new(false);

/// What to measure, and how long.
struct Plan {
    /// Size of the input in MiB.
    mib: u64,
    /// How often each contender runs.
    rounds: usize,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == memory::CHILD) {
        memory::child(&args[1..]);
        return ExitCode::SUCCESS;
    }
    if args.first().is_some_and(|arg| arg == upload::CHILD) {
        upload::child(&args[1..]);
        return ExitCode::SUCCESS;
    }
    let plan = Plan {
        mib: option(&args, "--mib").unwrap_or(1024),
        rounds: usize::try_from(option(&args, "--rounds").unwrap_or(3))
            .unwrap()
            .max(1),
    };
    let folder = tempfile::Builder::new()
        .prefix("pipeline-bench-")
        .tempdir_in(std::env::temp_dir())
        .unwrap();
    let only = args.iter().skip_while(|arg| *arg != "--only").nth(1);
    let wanted = |name: &str| only.is_none_or(|only| only == name);
    if wanted("package") {
        package::section(folder.path(), &plan);
    }
    if wanted("memory") {
        memory::section(folder.path(), &plan);
    }
    if wanted("upload") {
        upload::section(folder.path(), &plan);
    }
    if wanted("planning") {
        planning::section(folder.path());
    }
    if wanted("estimates") {
        estimates::section(
            args.iter()
                .skip_while(|arg| *arg != "--runs")
                .nth(1)
                .map(String::as_str),
        );
    }
    ExitCode::from(u8::from(WORSE.load(Ordering::Relaxed)))
}

/// What stands next to a figure that was to be so good; the program ends with 1 when one was not.
fn verdict(good: bool) -> &'static str {
    if good {
        return "ok";
    }
    WORSE.store(true, Ordering::Relaxed);
    "NOT GOOD ENOUGH"
}

/// The number behind an option. Cargo adds `--bench`, which is passed over.
fn option(args: &[String], name: &str) -> Option<u64> {
    let at = args.iter().position(|arg| arg == name)?;
    let value = args
        .get(at + 1)
        .unwrap_or_else(|| panic!("{name} needs a number"));
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} needs a number, not `{value}`")),
    )
}

/// The middle one of some durations.
fn median(durations: &[Duration]) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort();
    sorted[sorted.len() / 2]
}
