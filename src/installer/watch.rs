//! What an installer's lines mean: how far it is, and whether it is stuck. A state machine over lines and the times at which
//! they came; it knows nothing of where they come from.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use regex::Regex;

use super::{Dead, Program};

/// After a text that means the end: time for the lines that explain it.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The longest wait for an explanation that is known to come.
const EXPLANATION: Duration = Duration::from_secs(30);
/// How long a question stands until no answer is expected: a user may read along, and type.
const UNANSWERED: Duration = Duration::from_secs(30);
/// Lines of a reason whose end is known; else it is one.
const REASON: usize = 3;

/// How a message of the kernel begins, which may come behind any text on a console.
static KERNEL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\[ *\d+\.\d+\]").ok());

/// Something worth showing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Another phase.
    Phase(String),
    /// A detail of the phase: one of hundreds of packages. Not each must be shown.
    Detail(String),
}

/// Nothing will happen any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal {
    /// In our words.
    pub means: String,
    pub remedy: String,
    /// Whether it waits for input.
    pub waits: bool,
}

/// Reads lines.
#[derive(Clone, Debug)]
pub struct Watch {
    program: Program,
    phase: String,
    detail: String,
    found: Option<Found>,
    /// A question that nothing has answered yet, and since when.
    asked: Option<(String, Instant)>,
    /// A line with a question, which may go on in the next one.
    wrapped: String,
}

/// A text of the table's `fatal` that was read.
#[derive(Clone, Debug)]
struct Found {
    /// Its place in the table.
    rank: usize,
    /// The line that has it.
    line: String,
    /// Those after it, until its explanation is complete.
    after: Vec<String>,
    is_complete: bool,
    /// When all that explains it should have been said.
    due: Instant,
}

impl Watch {
    /// Nothing read yet.
    pub fn new(program: Program) -> Self {
        Self {
            program,
            phase: String::new(),
            detail: String::new(),
            found: None,
            asked: None,
            wrapped: String::new(),
        }
    }

    /// Reads a line of the console, of syslog or of a report for how far it is. A phase is returned when it differs from the
    /// one before, however many details came since, so that a line can be read again while it grows. What is printed after
    /// the end, such as logs, is no progress.
    pub fn read(&mut self, line: &str) -> Option<Seen> {
        if self.found.is_some() {
            return None;
        }
        let found = |progress: &&super::Progress| line.contains(&progress.has);
        let progress = self.program.progress.iter().rev().find(found)?;
        let Some((before, after)) = progress.phase.split_once("{}") else {
            let phase = progress.phase.clone();
            return (phase != self.phase).then(|| {
                self.phase.clone_from(&phase);
                Seen::Phase(phase)
            });
        };
        let rest = line.split(&progress.has).nth(1).unwrap_or_default();
        let word = rest.split_whitespace().next().unwrap_or_default();
        // `linux-image-amd64:amd64`, `(6.12.1-1)` and `sudo/unpacking:` are of no interest.
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        let word = word.split([':', '/']).next().unwrap_or(word);
        let detail = format!("{before}{word}{after}");
        (!word.is_empty() && detail != self.detail).then(|| {
            self.detail.clone_from(&detail);
            Seen::Detail(detail)
        })
    }

    /// Reads a whole line of the console or a report for signs that it is stuck.
    pub fn hear(&mut self, line: &str, now: Instant) {
        match question(&self.program, line) {
            // The kernel's messages may follow a question on its line.
            Some(asked) if asked.len() < line.len() => self.ask(asked, now),
            None if starts_with_kernel(line) => {}
            found => {
                self.asked = None;
                self.wrapped = found.unwrap_or_default().to_owned();
            }
        }
        if let Some(found) = &mut self.found
            && !found.is_complete
        {
            let until = &self.program.fatal[found.rank].until;
            found.is_complete = !until.is_empty() && line.contains(until);
            if found.is_complete {
                found.due = found.due.min(now + LAST_WORDS);
            } else if !line.starts_with(&found.line) {
                found.after.push(line.trim().to_owned());
            }
        }
        self.find(line, now);
    }

    /// Reads a line that has not ended yet.
    pub fn hear_unfinished(&mut self, line: &str, now: Instant) {
        let is_end = line.ends_with([':', ']', '>']) && !starts_with_kernel(line);
        let whole = if is_end {
            self.wrapped.clone() + line
        } else {
            line.to_owned()
        };
        if let Some(asked) = question(&self.program, &whole) {
            self.ask(asked, now);
        }
        self.find(line, now);
    }

    fn ask(&mut self, asked: &str, now: Instant) {
        if self.asked.as_ref().is_none_or(|(line, _)| line != asked) {
            self.asked = Some((asked.to_owned(), now));
        }
    }

    /// Of several texts, the first in the table says most.
    fn find(&mut self, line: &str, now: Instant) {
        let fits = |dead: &Dead| line.contains(&dead.has);
        let Some(rank) = self.program.fatal.iter().position(fits) else {
            return;
        };
        let wait = match self.program.fatal[rank].until.is_empty() {
            true => LAST_WORDS,
            false => EXPLANATION,
        };
        let due = self
            .found
            .as_ref()
            .map_or(now + wait, |found| found.due.min(now + wait));
        let is_better =
            |found: &Found| rank < found.rank || rank == found.rank && line.starts_with(&found.line);
        if self.found.as_ref().is_none_or(is_better) {
            let after = Vec::new();
            let line = line.trim().to_owned();
            self.found = Some(Found {
                rank,
                line,
                after,
                is_complete: false,
                due,
            });
        } else if let Some(found) = &mut self.found {
            found.due = due;
        }
    }

    /// What says that nothing will happen any more, once all that explains it was said, or once a question has stood for
    /// long enough.
    pub fn stuck(&self, now: Instant) -> Option<Fatal> {
        if self.found.as_ref().is_some_and(|found| now >= found.due) {
            return self.said();
        }
        let (line, since) = self.asked.as_ref()?;
        let dead = self
            .program
            .question
            .iter()
            .find(|dead| line.contains(&dead.has))?;
        (now >= *since + UNANSWERED).then(|| Fatal {
            means: dead.means.clone(),
            remedy: dead.remedy.clone(),
            waits: true,
        })
    }

    /// What it has said of its end so far.
    pub fn said(&self) -> Option<Fatal> {
        let found = self.found.as_ref()?;
        let Dead {
            has,
            means,
            remedy,
            until,
        } = &self.program.fatal[found.rank];
        let most = if until.is_empty() { 1 } else { REASON };
        let rest = found.line.split_once(has).map_or("", |(_, rest)| rest);
        let rest = rest.trim_matches(|c: char| c.is_whitespace() || c == ':');
        let reason = match rest {
            "" => found.after[..found.after.len().min(most)].join(" "),
            rest => rest.to_owned(),
        };
        let means = means.replace("{}", &reason);
        Some(Fatal {
            means: means.trim_end_matches([' ', ':', '.']).to_owned(),
            remedy: remedy.clone(),
            waits: self.program.waits,
        })
    }
}

/// The question in a line, without what the kernel has put behind it.
fn question<'l>(program: &Program, line: &'l str) -> Option<&'l str> {
    let at = program.question.iter().find_map(|dead| line.find(&dead.has))?;
    let kernel = KERNEL.as_ref()?.find_at(line, at);
    Some(kernel.map_or(line, |found| &line[..found.start()]))
}

fn starts_with_kernel(line: &str) -> bool {
    let found = KERNEL.as_ref().and_then(|kernel| kernel.find(line));
    found.is_some_and(|found| found.start() == 0)
}

/// The last percentage in a line: `Installing the base system  ... 2%... 45%`.
pub fn percent(line: &str) -> Option<u8> {
    let before = line.rsplit_once('%')?.0;
    let start = before.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
    before[start..].parse().ok().filter(|percent| *percent <= 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::Tables;

    fn program(name: &str) -> Program {
        Program::clone(Tables::built_in().program(name).unwrap())
    }

    #[test]
    fn the_debian_installers_console_and_syslog() {
        // As printed by the installer of Debian 13.
        let mut watch = Watch::new(program("debian-installer"));
        let phase = |text: &str| Some(Seen::Phase(text.to_owned()));
        assert_eq!(
            watch.read("Configuring the network with DHCP  ... 4%"),
            phase("configuring the network")
        );
        assert_eq!(
            watch.read("Configuring the network with DHCP  ... 4%... 100%"),
            None
        );
        assert_eq!(
            watch.read("Checking the Debian archive mirror  ... 25%"),
            phase("checking the mirror")
        );
        assert_eq!(
            watch.read("Installing the base system  ... 45%"),
            phase("installing the base system")
        );
        let line = "debootstrap: Unpacking linux-image-6.12.41+deb13-amd64:amd64 (6.12.41-1) ...";
        let detail = "unpacking linux-image-6.12.41+deb13-amd64".to_owned();
        assert_eq!(watch.read(line), Some(Seen::Detail(detail)));
        assert_eq!(
            watch.read("Installing the base system  ... 45%... 46%"),
            None,
            "the same phase still"
        );
        assert_eq!(watch.read("something else"), None);
    }

    #[test]
    fn percentages() {
        assert_eq!(percent("Installing the base system  ... 2%... 45%"), Some(45));
        assert_eq!(percent("100%"), Some(100));
        assert_eq!(percent("no number %"), None);
        assert_eq!(percent("3000%"), None);
        assert_eq!(percent("45"), None);
    }
}
