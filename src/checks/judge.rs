//! From what two boots showed to verdicts. A check that could not be looked at because another one failed is reported apart
//! from one that failed itself, so that each cause is named once. Knows no kind of check by its name.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Check;
use crate::event::{CheckOutcome, CheckResult};

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

/// An answer of the guest's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Exit code.
    pub code: i32,
    /// How long the guest took.
    pub took: Duration,
    /// Output, bounded by the guest and without terminal controls.
    pub output: String,
}

/// Answers by the position of the check that asked.
pub type Answers = BTreeMap<usize, Answer>;

/// Why there are no answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What failed.
    pub owner: Owner,
    pub text: String,
}

/// What checks depend on.
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

/// One check of them.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    pub case: &'a Case<'a>,
    /// Its position.
    pub number: usize,
}

/// What was seen where a check holds.
pub type Finding = Result<String, Fault>;

/// Why a check does not hold.
#[derive(Debug)]
pub enum Fault {
    /// This was seen.
    Fails(String),
    /// It could not be looked at.
    Blocked(Cause),
}

/// A verdict for each check, in order.
pub fn judge(case: &Case<'_>) -> Vec<CheckResult> {
    let looks = (0..case.checks.len()).map(|number| Look { case, number });
    let findings: Vec<_> = looks.map(|look| (look, look.find())).collect();
    let verdict = |(look, finding): &(Look<'_>, Finding)| {
        let (outcome, seen) = match finding {
            Ok(seen) => (CheckOutcome::Passed, seen.clone()),
            Err(Fault::Fails(seen)) => (CheckOutcome::Failed, seen.clone()),
            Err(Fault::Blocked(cause)) => {
                let mut others = findings.iter();
                let owner = others.find(|(other, finding)| {
                    other.check().assertion.owns(cause.owner) && matches!(finding, Err(Fault::Fails(_)))
                });
                match owner {
                    Some((owner, _)) => {
                        let why = format!("depends on {}, which failed", owner.check().name);
                        (CheckOutcome::Skipped, why)
                    }
                    None => (CheckOutcome::Failed, cause.text.clone()),
                }
            }
        };
        let check = look.check();
        CheckResult {
            check: check.name.clone(),
            outcome,
            seconds: check.assertion.took(look).as_secs_f64(),
            expected: check.assertion.expected(case),
            seen,
        }
    };
    findings.iter().map(verdict).collect()
}

impl<'a> Look<'a> {
    fn check(&self) -> &'a Check {
        &self.case.checks[self.number]
    }

    fn find(&self) -> Finding {
        match &self.case.first.life {
            Ok(_) => self.check().assertion.find(self),
            Err(why) => Err(self.fault(Owner::Boot, why)),
        }
    }

    /// What the guest answered.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn answer(&self) -> Result<&'a Answer, Fault> {
        match &self.case.first.answers {
            Ok(answers) => answers
                .get(&self.number)
                .ok_or_else(|| Fault::Fails("no answer to this question".to_owned())),
            Err(cause) => Err(self.fault(cause.owner, &cause.text)),
        }
    }

    /// What stands in the way, which is a failure of the check that it belongs to.
    pub fn fault(&self, owner: Owner, text: &str) -> Fault {
        let text = text.to_owned();
        if self.check().assertion.owns(owner) {
            Fault::Fails(text)
        } else {
            Fault::Blocked(Cause { owner, text })
        }
    }
}

impl Answer {
    /// Whether it lists nothing.
    ///
    /// # Errors
    /// What it lists.
    pub fn must_be_empty(&self) -> Finding {
        match brief(&self.output) {
            nothing if nothing.is_empty() => Ok("none".to_owned()),
            some => Err(Fault::Fails(some)),
        }
    }

    /// Values of `name=…` lines, by name.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.output.lines().filter_map(|line| line.split_once('='))
    }
}

/// The first lines of an output.
pub fn brief(output: &str) -> String {
    let lines: Vec<_> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    let more = lines.len().saturating_sub(SHOWN);
    let mut text = lines[..lines.len() - more].join("\n");
    if more > 0 {
        text += &format!("\n… and {more} more lines");
    }
    text
}

/// What tests of the kinds share.
#[cfg(test)]
pub mod testing {
    use super::*;
    use crate::checks::SSH;

    pub fn seen() -> Seen {
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

    impl Answer {
        pub fn saying(output: &str) -> Self {
            Self {
                output: output.to_owned(),
                ..Self::default()
            }
        }
    }

    /// Whether a check holds, and what was seen.
    pub fn said(finding: Finding) -> (bool, String) {
        let holds = finding.is_ok();
        match finding {
            Ok(seen) | Err(Fault::Fails(seen)) => (holds, seen),
            Err(Fault::Blocked(cause)) => (holds, cause.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::seen;
    use super::*;
    use crate::checks::{BootsWithin, CheckSet, RootSize};

    const GIB: u64 = 1 << 30;

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
    fn one_cause_is_one_failure_and_what_depends_on_it_is_told_apart() {
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
        let strict = [Check::from(BootsWithin(Duration::from_secs(2)))];
        let (_, outcome, why) = outcomes(&strict, &seen()).remove(0);
        assert_eq!(outcome, CheckOutcome::Failed, "9 seconds are more than 4 times 2");
        assert_eq!(why, "a login prompt after 9.0s");
        // Nothing else speaks for the agent here: then what could not be asked fails itself.
        let alone = [Check::from(RootSize)];
        let (_, outcome, why) = outcomes(&alone, &mute).remove(0);
        assert_eq!(
            (outcome, why.as_str()),
            (CheckOutcome::Failed, "the agent did not ask")
        );
    }
}
