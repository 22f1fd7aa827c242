//! Every story has a deadline. One that does not end is named on standard error and ends the whole test run, with every
//! process that was started from it: a test run that hangs says nothing about any story.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::sync::{Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use pipeline::internals::size::show_duration;

/// For a story without a full guest: far more than the slowest takes on a busy machine.
pub const STORY: Duration = Duration::from_secs(20 * 60);
/// For one with full guests, from the moment at which they may start.
pub const WITH_GUESTS: Duration = Duration::from_secs(40 * 60);
/// How often the watching thread looks.
const LOOK: Duration = Duration::from_secs(1);

/// The time that a story has; over when dropped.
pub struct Deadline(u64);

struct Running {
    story: String,
    begun: Instant,
    limit: Duration,
}

static RUNNING: Mutex<(u64, BTreeMap<u64, Running>)> = Mutex::new((0, BTreeMap::new()));

impl Deadline {
    /// For the story of this thread.
    pub fn begin(limit: Duration) -> Self {
        static WATCH: Once = Once::new();
        WATCH.call_once(|| drop(thread::spawn(watch)));
        let story = story();
        let begun = Instant::now();
        let (last, running) = &mut *RUNNING.lock().unwrap();
        *last += 1;
        running.insert(*last, Running { story, begun, limit });
        Self(*last)
    }
}

/// The name of the story that this thread runs.
pub fn story() -> String {
    thread::current()
        .name()
        .unwrap_or("a thread of a story")
        .to_owned()
}

impl Drop for Deadline {
    fn drop(&mut self) {
        RUNNING.lock().unwrap().1.remove(&self.0);
    }
}

fn watch() {
    loop {
        thread::sleep(LOOK);
        let running = RUNNING.lock().unwrap();
        let late = running
            .1
            .values()
            .find(|story| story.begun.elapsed() > story.limit);
        if let Some(Running { story, limit, .. }) = late {
            let said = format!("\nstory `{story}` did not end within {}", show_duration(*limit));
            end(&said);
        }
    }
}

#[expect(clippy::exit, reason = "a thread that hangs cannot be ended in any other way")]
fn end(said: &str) -> ! {
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "{said}; these processes were running and are killed now:");
    for (process, line) in descendants() {
        let _ = writeln!(stderr, "  {line}");
        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
    }
    std::process::exit(101)
}

/// All processes below this one, with their command lines.
fn descendants() -> Vec<(rustix::process::Pid, String)> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // The name may have blanks and brackets in it (proc_pid_stat(5)).
        let fields = stat
            .rsplit_once(") ")
            .map(|(before, after)| (before.split_once(' '), after));
        let Some((Some((id, _)), after)) = fields else {
            continue;
        };
        let parent = after.split(' ').nth(1).and_then(|word| word.parse::<i32>().ok());
        if let (Ok(id), Some(parent)) = (id.parse::<i32>(), parent) {
            parents.insert(id, parent);
        }
    }
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let is_ours = |mut id: i32| {
        while let Some(parent) = parents.get(&id) {
            if *parent == own {
                return true;
            }
            id = *parent;
        }
        false
    };
    let ours = parents.keys().filter(|id| is_ours(**id));
    ours.filter_map(|id| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        Some((rustix::process::Pid::from_raw(*id)?, line))
    })
    .collect()
}
