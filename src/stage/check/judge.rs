//! From what two boots showed to verdicts: pure. A check that could not be looked at because another one failed is told
//! apart from one that failed itself, so that each cause is named once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use regex::Regex;

use super::questions::{Answer, Answers};
use crate::event::{CheckOutcome, CheckResult};
use crate::manifest::assertion::{Assertion, Check, CommandCheck, SSH};
use crate::size::{ByteSize, MIB, show_duration};

/// Room at a disk's end that belongs to no partition, at most: the second copy of a GUID table, and alignment.
const TAIL: u64 = 2 * MIB;
/// What a file system may keep of its partition for itself, in hundredths: inode tables and the journal.
const OWN_HUNDREDTHS: u64 = 10;
/// Lines of an output that a verdict shows.
const SHOWN: usize = 12;

/// What a boot showed.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Time to the first sign of life and what it was; or why there was none, or how the machine ended too early.
    pub life: Result<(Duration, &'static str), String>,
    /// Time to the prompt on the serial console.
    pub login: Option<Duration>,
    /// By what the network was recognised, or why not.
    pub network: Result<&'static str, String>,
    /// What knocking at ports brought.
    pub ports: BTreeMap<u16, Result<String, String>>,
    /// How often the agent fetched its script.
    pub fetched: usize,
    /// What the guest answered.
    pub answers: Result<Answers, Cause>,
    /// What it answered when the agent had ended.
    pub after: Option<Answers>,
}

/// Why there are no answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The check that this is a matter of.
    pub owner: Owner,
    /// In words.
    pub text: String,
}

/// Checks that others hang on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The first sign of life.
    Boot,
    /// The network.
    Network,
    /// The agent.
    Agent,
    /// No check, but the way in.
    WayIn,
}

impl Owner {
    fn is(self, assertion: &Assertion) -> bool {
        match self {
            Self::Boot => matches!(assertion, Assertion::BootsWithin(_)),
            Self::Network => *assertion == Assertion::Network,
            Self::Agent => *assertion == Assertion::Agent,
            Self::WayIn => false,
        }
    }
}

/// What came of one check before others are looked at.
enum Finding {
    Holds(String),
    Fails(String),
    Blocked(Cause),
}
use Finding::{Blocked, Fails, Holds};

/// The facts that verdicts are made from.
#[derive(Debug)]
pub struct Case<'a> {
    /// What is asserted.
    pub checks: &'a [Check],
    /// Virtual size of the image in bytes.
    pub size: u64,
    /// How much longer everything may take on this host than under KVM.
    pub slower: u32,
    /// The boot that everything was asked in.
    pub first: &'a Seen,
    /// The second clone's, where there was one.
    pub second: Option<&'a Seen>,
}

/// A verdict for each check, in order.
pub fn judge(case: &Case<'_>) -> Vec<CheckResult> {
    let findings: Vec<_> = (0..case.checks.len()).map(|number| case.find(number)).collect();
    let verdict = |(check, (finding, took)): (&Check, &(Finding, Duration))| {
        let (outcome, seen) = match finding {
            Holds(seen) => (CheckOutcome::Passed, seen.clone()),
            Fails(seen) => (CheckOutcome::Failed, seen.clone()),
            Blocked(cause) => {
                let mut others = case.checks.iter().zip(&findings);
                let owner = others.find(|(other, (finding, _))| {
                    cause.owner.is(&other.assertion) && matches!(finding, Fails(_))
                });
                match owner {
                    Some((owner, _)) => (
                        CheckOutcome::Skipped,
                        format!("hangs on {}, which failed", owner.name),
                    ),
                    None => (CheckOutcome::Failed, cause.text.clone()),
                }
            }
        };
        CheckResult {
            check: check.name.clone(),
            outcome,
            seconds: took.as_secs_f64(),
            expected: expected(&check.assertion, case),
            seen,
        }
    };
    case.checks.iter().zip(&findings).map(verdict).collect()
}

/// What must be, in words that follow "expected".
fn expected(assertion: &Assertion, case: &Case<'_>) -> String {
    match assertion {
        Assertion::BootsWithin(limit) => {
            let emulated = match case.slower {
                1 => String::new(),
                slower => format!(" ({} under emulation)", show_duration(*limit * slower)),
            };
            format!("a sign of life within {}{emulated}", show_duration(*limit))
        }
        Assertion::LoginPrompt => "`login:` on the serial console or on the screen".to_owned(),
        Assertion::Network => "an address by DHCP on the first network card".to_owned(),
        Assertion::Port(SSH) => "sshd to greet at port 22".to_owned(),
        Assertion::Port(port) => format!("port {port} to be open"),
        Assertion::RootSize => {
            format!("a root file system that fills a disk of {}", ByteSize(case.size))
        }
        Assertion::NoFailedUnits => "no failed unit".to_owned(),
        Assertion::Identity => "two clones with machine ids and SSH host keys of their own".to_owned(),
        Assertion::NoTraces => "nothing of the build left".to_owned(),
        Assertion::Agent => "the agent to fetch its script, run it once, and stop for good".to_owned(),
        Assertion::Command(command) => {
            let mut wanted = vec![format!("exit code {}", command.exit_code)];
            wanted.extend(command.output.iter().map(|text| format!("output with `{text}`")));
            wanted.extend(
                command
                    .matches
                    .iter()
                    .map(|text| format!("output that matches `{text}`")),
            );
            wanted.join(" and ")
        }
    }
}

impl Case<'_> {
    /// What came of a check, and how long it took.
    fn find(&self, number: usize) -> (Finding, Duration) {
        let seen = self.first;
        let none = Duration::ZERO;
        let assertion = &self.checks[number].assertion;
        let life = match (&seen.life, assertion) {
            (Ok(life), _) => life,
            (Err(why), Assertion::BootsWithin(_)) => return (Fails(why.clone()), none),
            (Err(why), _) => {
                let (owner, text) = (Owner::Boot, why.clone());
                return (Blocked(Cause { owner, text }), none);
            }
        };
        match assertion {
            Assertion::BootsWithin(_) => (
                Holds(format!("{} after {}", life.1, show_duration(life.0))),
                life.0,
            ),
            Assertion::LoginPrompt => {
                let took = seen.login.unwrap_or_default();
                let screen = seen
                    .answers
                    .as_ref()
                    .ok()
                    .and_then(|answers| answers.get(&number));
                let finding = match (seen.login, screen) {
                    (Some(after), _) => Holds(format!("on the console after {}", show_duration(after))),
                    (None, Some(answer)) if answer.output.contains("login:") => {
                        Holds("on the screen".to_owned())
                    }
                    _ => Fails("no such line on either".to_owned()),
                };
                (finding, took)
            }
            Assertion::Network => match &seen.network {
                Ok(sign) => (Holds((*sign).to_owned()), none),
                Err(why) => (Fails(why.clone()), none),
            },
            Assertion::Port(port) => {
                let finding = match (&seen.network, seen.ports.get(port)) {
                    (Err(why), _) => {
                        let (owner, text) = (Owner::Network, why.clone());
                        Blocked(Cause { owner, text })
                    }
                    (Ok(_), Some(Ok(greeting))) => Holds(greeting.clone()),
                    (Ok(_), Some(Err(why))) => Fails(why.clone()),
                    (Ok(_), None) => Fails("nobody knocked".to_owned()),
                };
                (finding, none)
            }
            _ => match &seen.answers {
                Err(cause) if cause.owner.is(assertion) => (Fails(cause.text.clone()), none),
                Err(cause) => (Blocked(cause.clone()), none),
                Ok(answers) => match answers.get(&number) {
                    Some(answer) => (self.asked(number, answer), answer.took),
                    None => (Fails("no answer to this question".to_owned()), none),
                },
            },
        }
    }

    /// A check that is answered inside the guest.
    fn asked(&self, number: usize, answer: &Answer) -> Finding {
        match &self.checks[number].assertion {
            Assertion::RootSize => root_size(answer, self.size),
            Assertion::NoFailedUnits if answer.code != 0 => Fails(brief(&answer.output)),
            Assertion::NoFailedUnits | Assertion::NoTraces => match brief(&answer.output) {
                nothing if nothing.is_empty() => Holds("none".to_owned()),
                some => Fails(some),
            },
            Assertion::Identity => match self.second.map(|seen| (&seen.life, &seen.answers)) {
                None => Fails("there was no second boot".to_owned()),
                Some((Err(why), _)) => Fails(format!("the second clone: {why}")),
                Some((_, Err(cause))) => Fails(format!("the second clone: {}", cause.text)),
                Some((_, Ok(answers))) => {
                    let other = answers.get(&number).map_or("", |answer| answer.output.as_str());
                    identity(&answer.output, other)
                }
            },
            Assertion::Agent => agent(answer, self.first),
            Assertion::Command(wanted) => command(wanted, answer),
            _ => Fails("not a question for the guest".to_owned()),
        }
    }
}

/// Values of `name=…` lines, by name.
fn values(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once('='))
}

/// A value of `a*b`, in bytes.
fn product(text: &str, name: &str) -> Option<u64> {
    let (_, value) = values(text).find(|(key, _)| *key == name)?;
    let (a, b) = value.split_once('*')?;
    a.trim().parse::<u64>().ok()?.checked_mul(b.trim().parse().ok()?)
}

fn root_size(answer: &Answer, size: u64) -> Finding {
    let value = |name| product(&answer.output, name);
    let (Some(filesystem), Some(device)) = (value("filesystem"), value("device")) else {
        return Fails(format!("sizes that make no sense: {}", brief(&answer.output)));
    };
    if let Some(disk) = value("disk").filter(|disk| *disk != size) {
        return Fails(format!("a disk of {}", ByteSize(disk)));
    }
    let end = value("start").map(|start| start.saturating_add(device));
    if let Some(end) = end.filter(|end| end.saturating_add(TAIL) < size) {
        return Fails(format!(
            "a root partition that ends at {} of {}",
            ByteSize(end),
            ByteSize(size)
        ));
    }
    if filesystem < device / 100 * (100 - OWN_HUNDREDTHS) {
        let (have, room) = (ByteSize(filesystem), ByteSize(device));
        return Fails(format!("a root file system of {have} on {room}"));
    }
    Holds(format!("{} for files", ByteSize(filesystem)))
}

fn identity(first: &str, second: &str) -> Finding {
    let id = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("machine-id"));
        line.unwrap_or_default().trim().to_owned()
    };
    let keys = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("host-key "));
        lines.map(str::to_owned).collect()
    };
    let (ours, theirs) = (id(first), id(second));
    // 32 hexadecimal digits: machine-id(5). Some systems have none.
    let is_id = |id: &str| id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit());
    if !is_id(&ours) || !is_id(&theirs) {
        return Fails(format!("machine ids `{ours}` and `{theirs}`"));
    }
    if ours == theirs {
        return Fails(format!("the machine id {ours} in both"));
    }
    let (our_keys, their_keys) = (keys(first), keys(second));
    if let Some(key) = our_keys.intersection(&their_keys).next() {
        let kind = key.split(' ').next().unwrap_or_default();
        return Fails(format!("one SSH host key in both ({kind})"));
    }
    let has_sshd = first.lines().any(|line| line == "sshd");
    if has_sshd && (our_keys.is_empty() || their_keys.is_empty()) {
        return Fails("no SSH host key although there is an sshd".to_owned());
    }
    Holds("machine ids and host keys differ".to_owned())
}

fn agent(answer: &Answer, seen: &Seen) -> Finding {
    let output = &answer.output;
    let value = |name: &str| {
        values(output)
            .find(|(key, _)| *key == name)
            .map_or("", |(_, value)| value)
    };
    let missing: Vec<_> = values(output)
        .filter(|(key, _)| *key == "missing")
        .map(|(_, v)| v)
        .collect();
    let mut faults = Vec::new();
    if !missing.is_empty() {
        faults.push(format!("{} missing", missing.join(", ")));
    }
    for (name, wanted, what) in [
        ("uid", "0", "its user"),
        ("folder", "/root/bootstrap", "its folder"),
        ("term", "xterm", "TERM"),
    ] {
        if value(name) != wanted {
            faults.push(format!("{what} is `{}` and not `{wanted}`", value(name)));
        }
    }
    for folder in ["/usr/sbin", "/usr/bin", "/sbin", "/bin"] {
        if !value("path").split(':').any(|part| part == folder) {
            faults.push(format!("{folder} is not in its PATH"));
        }
    }
    // The log begins empty, so it tells how many runs there really were.
    if value("runs") != value("logged") {
        let (runs, logged) = (value("runs"), value("logged"));
        faults.push(format!(
            "it counts {runs} runs at its first boot, and its log has {logged}"
        ));
    }
    if value("most").parse::<u32>().is_err() {
        faults.push(format!("the most runs are `{}`", value("most")));
    }
    match seen.after.as_ref().and_then(|answers| answers.get(&0)) {
        None => faults.push("what the script left in the background was not heard of again".to_owned()),
        Some(after) => {
            let left = values(&after.output).filter(|(key, _)| *key == "left");
            faults.extend(left.map(|(_, what)| format!("{what} is still there after the script succeeded")));
        }
    }
    if seen.fetched != 1 {
        faults.push(format!("the script was fetched {} times", seen.fetched));
    }
    if faults.is_empty() {
        Holds("fetched, run once, stopped".to_owned())
    } else {
        Fails(faults.join("; "))
    }
}

fn command(wanted: &CommandCheck, answer: &Answer) -> Finding {
    let seen = |what: String| match brief(&answer.output) {
        nothing if nothing.is_empty() => format!("{what} and no output"),
        output => format!("{what} and the output\n{output}"),
    };
    if answer.code != wanted.exit_code {
        let what = match answer.code {
            // timeout(1)
            124 => format!("no end within {}", show_duration(wanted.timeout)),
            code => format!("exit code {code}"),
        };
        return Fails(seen(what));
    }
    let has_text = wanted
        .output
        .as_ref()
        .is_none_or(|text| answer.output.contains(text));
    // Compiled once when the manifest was checked.
    let matches = |pattern: &String| Regex::new(pattern).is_ok_and(|regex| regex.is_match(&answer.output));
    if has_text && wanted.matches.as_ref().is_none_or(matches) {
        Holds(format!("exit code {}", answer.code))
    } else {
        Fails(seen(format!("exit code {}", answer.code)))
    }
}

/// The first lines of an output.
fn brief(output: &str) -> String {
    let lines: Vec<_> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    let more = lines.len().saturating_sub(SHOWN);
    let mut text = lines[..lines.len() - more].join("\n");
    if more > 0 {
        text += &format!("\n… and {more} more lines");
    }
    text
}
