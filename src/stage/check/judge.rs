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
            Assertion::BootsWithin(limit) => {
                let seen = format!("{} after {}", life.1, show_duration(life.0));
                let finding = if life.0 <= *limit * self.slower {
                    Holds(seen)
                } else {
                    Fails(seen)
                };
                (finding, life.0)
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::assertion::CheckSet;

    const GIB: u64 = 1 << 30;

    fn seen() -> Seen {
        Seen {
            life: Ok((Duration::from_secs(9), "a login prompt")),
            login: Some(Duration::from_secs(9)),
            network: Ok("sshd greets"),
            ports: BTreeMap::from([(SSH, Ok("SSH-2.0-OpenSSH_9.2".to_owned()))]),
            fetched: 1,
            answers: Ok(Answers::new()),
            after: None,
        }
    }

    fn answer(output: &str) -> Answer {
        Answer {
            output: output.to_owned(),
            ..Answer::default()
        }
    }

    /// Outcomes and what was seen, by name.
    fn outcomes(checks: &[Check], first: &Seen) -> Vec<(String, CheckOutcome, String)> {
        let case = Case {
            checks,
            size: 3 * GIB,
            slower: 4,
            first,
            second: None,
        };
        let results = judge(&case).into_iter();
        results
            .map(|result| (result.check, result.outcome, result.seen))
            .collect()
    }

    fn find(finding: &Finding) -> (bool, &str) {
        match finding {
            Holds(seen) => (true, seen),
            Fails(seen) => (false, seen),
            Blocked(cause) => (false, &cause.text),
        }
    }

    #[test]
    fn one_cause_is_one_failure_and_what_hangs_on_it_is_told_apart() {
        let checks = [CheckSet::Standard.checks(), CheckSet::VmBootstrap.checks()].concat();
        let mut dead = seen();
        dead.life = Err("the machine found nothing to boot".to_owned());
        let by = |first: &Seen, wanted| -> Vec<_> {
            let all = outcomes(&checks, first).into_iter();
            all.filter(|(_, outcome, _)| *outcome == wanted)
                .map(|(name, ..)| name)
                .collect()
        };
        assert_eq!(by(&dead, CheckOutcome::Failed), ["boots-within"]);
        assert_eq!(by(&dead, CheckOutcome::Skipped).len(), 8);

        let mut deaf = seen();
        deaf.network = Err("no answer".to_owned());
        let (owner, text) = (Owner::Network, "no answer".to_owned());
        deaf.answers = Err(Cause { owner, text });
        assert_eq!(by(&deaf, CheckOutcome::Failed), ["network"]);
        assert_eq!(by(&deaf, CheckOutcome::Passed), ["boots-within", "login-prompt"]);

        let mut mute = seen();
        let (owner, text) = (Owner::Agent, "the agent did not ask".to_owned());
        mute.answers = Err(Cause { owner, text });
        assert_eq!(by(&mute, CheckOutcome::Failed), ["agent"]);
        let strict = [Check::from(Assertion::BootsWithin(Duration::from_secs(2)))];
        let (_, outcome, why) = outcomes(&strict, &seen()).remove(0);
        assert_eq!(outcome, CheckOutcome::Failed, "9 seconds are more than 4 times 2");
        assert_eq!(why, "a login prompt after 9.0s");
        // Nobody else speaks for the agent here: then what could not be asked fails itself.
        let alone = [Check::from(Assertion::RootSize)];
        let (_, outcome, why) = outcomes(&alone, &mute).remove(0);
        assert_eq!(
            (outcome, why.as_str()),
            (CheckOutcome::Failed, "the agent did not ask")
        );
    }

    #[test]
    fn a_root_that_was_not_grown_is_seen_by_its_disk_its_partition_or_its_file_system() {
        let root = |fs: u64, device: u64, start: u64, disk: u64| {
            let text = format!("filesystem={fs}*1\ndevice={device}*1\nstart={start}*1\ndisk={disk}*1");
            let finding = root_size(&answer(&text), 3 * GIB);
            let (holds, seen) = find(&finding);
            (holds, seen.to_owned())
        };
        let whole = 3 * GIB - MIB;
        assert!(root(whole / 100 * 95, whole, MIB, 3 * GIB).0);
        assert_eq!(
            root(whole, whole, MIB, 2 * GIB),
            (false, "a disk of 2 GiB".to_owned())
        );
        let (_, seen) = root(2 * GIB, 2 * GIB - MIB, MIB, 3 * GIB);
        assert_eq!(seen, "a root partition that ends at 2 GiB of 3 GiB");
        let (_, seen) = root(2 * GIB, whole, MIB, 3 * GIB);
        assert!(seen.starts_with("a root file system of 2 GiB on "), "{seen}");
        assert!(!find(&root_size(&answer("df: what?"), GIB)).0);
    }

    #[test]
    fn clones_share_neither_machine_ids_nor_host_keys() {
        let clone = |id: &str, key: &str| format!("machine-id {id}\nsshd\n{key}");
        let (a, b) = ("a".repeat(32), "b".repeat(32));
        let (k, l) = ("host-key ssh-ed25519 AAAAk", "host-key ssh-ed25519 AAAAl");
        let seen = |x: &str, y: &str| find(&identity(x, y)).1.to_owned();
        assert!(find(&identity(&clone(&a, k), &clone(&b, l))).0);
        assert_eq!(
            seen(&clone(&a, k), &clone(&a, l)),
            format!("the machine id {a} in both")
        );
        assert_eq!(
            seen(&clone(&a, k), &clone(&b, k)),
            "one SSH host key in both (ssh-ed25519)"
        );
        assert_eq!(
            seen(&clone("", k), &clone(&b, l)),
            format!("machine ids `` and `{b}`")
        );
        assert_eq!(
            seen(&clone(&a, ""), &clone(&b, "")),
            "no SSH host key although there is an sshd"
        );
    }

    #[test]
    fn an_agent_is_held_to_every_part_of_its_contract() {
        let good = "uid=0\nfolder=/root/bootstrap\nterm=xterm\npath=/usr/sbin:/usr/bin:/sbin:/bin\nruns=1\nmost=10\nlogged=1";
        let mut first = seen();
        first.after = Some(Answers::from([(0, answer("runs=1"))]));
        assert!(find(&agent(&answer(good), &first)).0);
        let fails = |text: String, first: &Seen| find(&agent(&answer(&text), first)).1.to_owned();
        assert_eq!(
            fails(good.replace("xterm", "dumb"), &first),
            "TERM is `dumb` and not `xterm`"
        );
        assert!(fails(good.replace("runs=1", "runs=4"), &first).contains("it counts 4 runs"));
        assert!(
            fails(format!("{good}\nmissing=/etc/cron.d/vm-boostrap"), &first).contains("vm-boostrap missing")
        );
        let mut again = first.clone();
        again.fetched = 2;
        assert_eq!(fails(good.to_owned(), &again), "the script was fetched 2 times");
        again.after = Some(Answers::from([(0, answer("left=vm-bootstrap.timer"))]));
        assert!(fails(good.to_owned(), &again).starts_with("vm-bootstrap.timer is still there"));
    }

    #[test]
    fn a_command_is_judged_by_code_text_and_pattern() {
        let wanted = CommandCheck {
            command: "true".to_owned(),
            exit_code: 3,
            output: Some("beans".to_owned()),
            matches: Some("^no \\w+$".to_owned()),
            timeout: Duration::from_secs(60),
        };
        let seen = |code, output: &str| {
            let answer = Answer {
                code,
                ..answer(output)
            };
            let finding = command(&wanted, &answer);
            let (holds, seen) = find(&finding);
            (holds, seen.to_owned())
        };
        assert!(seen(3, "no beans").0);
        assert_eq!(seen(0, ""), (false, "exit code 0 and no output".to_owned()));
        assert_eq!(seen(3, "two beans").1, "exit code 3 and the output\ntwo beans");
        assert_eq!(seen(124, "").1, "no end within 1m 00s and no output");
    }
}
