//! From what two boots showed to verdicts: pure. A check that could not be looked at because another one failed is told
//! apart from one that failed itself, so that each cause is named once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::evidence::Finding::{self, Blocked, Fails, Holds};
use super::evidence::{agent, brief, command, identity, root_size};
use super::questions::{Answer, Answers};
use crate::event::{CheckOutcome, CheckResult};
use crate::manifest::assertion::{Assertion, Check, SSH};
use crate::size::{ByteSize, show_duration};

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
    pub text: String,
}

/// Checks that others hang on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The first sign of life.
    Boot,
    Network,
    Agent,
    /// No check, but the way in.
    WayIn,
    /// Nor this: sshd does not take the key that systemd was offered for root.
    Refused,
}

impl Owner {
    fn is(self, assertion: &Assertion) -> bool {
        match self {
            Self::Boot => matches!(assertion, Assertion::BootsWithin(_)),
            Self::Network => *assertion == Assertion::Network,
            Self::Agent => *assertion == Assertion::Agent,
            Self::WayIn | Self::Refused => false,
        }
    }
}

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
        Assertion::Identity => {
            "two clones with machine ids, SSH host keys and other private keys of their own".to_owned()
        }
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
}
