//! What follows from what is known of a job: a state machine without clock or I/O. Results are the truth, the engine's word is
//! a hint: neither an error nor an absence is an end.

use std::fmt;

use super::engine::{End, Phase, Seen};
use crate::verdict::Verdict;

/// How often a job is submitted that was lost by no fault of its own.
const SUBMISSIONS: u32 = 2;

/// What is known of a job at one moment. The engine is asked before the results are looked at: what ended before it was asked
/// has left its result by then.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Whether all its results are there.
    pub is_done: bool,
    /// Whether its process said that it failed.
    pub failed: bool,
    /// Whether its process has ended, by its own word, and the engine goes on to show it as running.
    pub unnoticed: bool,
    /// Whether all is there that it takes from other jobs.
    pub can_start: bool,
    /// What the engine says; none: that it knows no such job. Where it could not be asked, nothing follows.
    pub engine: Option<&'a Seen>,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Wait,
    /// It is to be queued again.
    Submit,
    Done,
    /// Its process said why it failed.
    Failed,
    /// It ended, and its process said nothing.
    Lost(Loss),
}

/// How a job was lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Loss {
    pub end: Option<End>,
    /// The engine's own words, where it has any.
    pub words: String,
}

/// A job that is followed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Follow {
    submissions: u32,
}

impl Follow {
    /// It was queued.
    pub fn submitted(&mut self) {
        self.submissions += 1;
    }

    /// What follows from what is known now.
    pub fn step(&self, known: Known<'_>) -> Step {
        let lost = |end, words: &str| {
            Step::Lost(Loss {
                end,
                words: words.to_owned(),
            })
        };
        let again_or = |end, words: &str| {
            // One that another run submitted is none of ours yet.
            if self.submissions < SUBMISSIONS {
                Step::Submit
            } else {
                lost(end, words)
            }
        };
        match (known.is_done, known.engine) {
            (true, _) => Step::Done,
            // One that failed may be started again by its engine.
            (false, Some(seen)) => match seen.phase {
                Phase::Waiting | Phase::Ending => Step::Wait,
                Phase::Running if !known.unnoticed => Step::Wait,
                // What the engine did to it explains what its process said.
                Phase::Ended(end @ (End::Time | End::Memory | End::Cancelled)) if self.submissions > 0 => {
                    lost(Some(end), &seen.words)
                }
                // Gone with its host.
                Phase::Stuck | Phase::Ended(End::Host) => again_or(Some(End::Host), &seen.words),
                Phase::Running | Phase::Ended(_) if known.failed => Step::Failed,
                // Killed.
                Phase::Running | Phase::Ended(End::Failed) => again_or(Some(End::Failed), &seen.words),
                // One of several results that a job was to leave is missing, and not one that this job takes.
                Phase::Ended(End::Unmet) if known.can_start => again_or(Some(End::Unmet), &seen.words),
                Phase::Ended(end) if self.submissions == 0 => again_or(Some(end), &seen.words),
                Phase::Ended(end) => lost(Some(end), &seen.words),
            },
            (false, None) if known.failed => Step::Failed,
            (false, None) => again_or(None, ""),
        }
    }
}

impl Loss {
    /// Why, in one word.
    pub fn verdict(&self) -> Verdict {
        match self.end {
            Some(End::Memory) => Verdict::HostOutOfMemory,
            Some(End::Time) => Verdict::TimedOut,
            Some(End::Well) => Verdict::Other,
            Some(End::Failed | End::Host | End::Cancelled | End::Unmet) | None => Verdict::Killed,
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.end {
            None => "the engine no longer knows the job, and there is no result of it",
            Some(End::Well) => "the job ended well and left no result",
            Some(End::Failed) => {
                "the job failed twice before it could say why; `--output=…` in `slurm.extra` of farm.toml keeps what it prints"
            }
            Some(End::Time) => {
                "the job took longer than it may; `slurm.time` in farm.toml (or the partition) allows more"
            }
            Some(End::Memory) => {
                "the job took more memory than it may; raise `slurm.memory_headroom` in farm.toml, or `memory` of the distro"
            }
            Some(End::Host) => "the host of the job failed or was taken from it, twice",
            Some(End::Cancelled) => "the job was cancelled",
            Some(End::Unmet) => "a job that it needs did not end well",
        })?;
        if !self.words.is_empty() {
            write!(f, " ({})", self.words)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine::Ticket;
    use super::*;

    fn seen(phase: Phase) -> Seen {
        Seen {
            ticket: Ticket("1".to_owned()),
            name: "pl-a".to_owned(),
            phase,
            host: None,
            words: "WORDS".to_owned(),
        }
    }

    fn step(follow: Follow, is_done: bool, failed: bool, phase: Option<Phase>) -> Step {
        let seen = phase.map(seen);
        follow.step(Known {
            is_done,
            failed,
            unnoticed: false,
            can_start: false,
            engine: seen.as_ref(),
        })
    }

    fn submitted(times: u32) -> Follow {
        let mut follow = Follow::default();
        (0..times).for_each(|_| follow.submitted());
        follow
    }

    const LIVING: [Phase; 3] = [Phase::Waiting, Phase::Running, Phase::Ending];
    const ENDS: [End; 7] = [
        End::Well,
        End::Failed,
        End::Time,
        End::Memory,
        End::Host,
        End::Cancelled,
        End::Unmet,
    ];

    #[test]
    fn a_result_counts_whatever_the_engine_says() {
        let phases = ENDS.map(|end| Some(Phase::Ended(end))).into_iter();
        for phase in phases.chain(LIVING.map(Some)).chain([None]) {
            assert_eq!(step(submitted(1), true, true, phase), Step::Done);
        }
    }

    #[test]
    fn what_failed_and_lives_may_be_started_again() {
        for phase in LIVING {
            assert_eq!(step(submitted(1), false, true, Some(phase)), Step::Wait);
        }
    }

    #[test]
    fn what_was_lost_by_no_fault_of_its_own_gets_a_second_chance_and_no_third() {
        let losses = [End::Host, End::Failed].map(|end| Some(Phase::Ended(end)));
        for phase in losses.into_iter().chain([Some(Phase::Stuck), None]) {
            assert_eq!(step(submitted(1), false, false, phase), Step::Submit);
            let Step::Lost(loss) = step(submitted(2), false, false, phase) else {
                panic!("{phase:?}");
            };
            assert_eq!(loss.verdict(), Verdict::Killed);
        }
        let ends = ENDS
            .into_iter()
            .filter(|end| !matches!(end, End::Host | End::Failed));
        for end in ends {
            let expected = Loss {
                end: Some(end),
                words: "WORDS".to_owned(),
            };
            assert_eq!(
                step(submitted(1), false, false, Some(Phase::Ended(end))),
                Step::Lost(expected)
            );
        }
    }

    #[test]
    fn what_the_engine_still_shows_though_its_process_has_ended_is_not_waited_for() {
        let running = seen(Phase::Running);
        let known = |failed| Known {
            is_done: false,
            failed,
            unnoticed: true,
            can_start: true,
            engine: Some(&running),
        };
        assert_eq!(submitted(1).step(known(false)), Step::Submit);
        assert!(matches!(submitted(2).step(known(false)), Step::Lost(_)));
        assert_eq!(submitted(1).step(known(true)), Step::Failed);
    }

    #[test]
    fn what_others_submitted_or_only_the_engine_gave_up_is_submitted() {
        for end in ENDS {
            assert_eq!(
                step(submitted(0), false, false, Some(Phase::Ended(end))),
                Step::Submit
            );
        }
        let unmet = seen(Phase::Ended(End::Unmet));
        let known = Known {
            is_done: false,
            failed: false,
            unnoticed: false,
            can_start: true,
            engine: Some(&unmet),
        };
        assert_eq!(submitted(1).step(known), Step::Submit);
        assert!(matches!(submitted(2).step(known), Step::Lost(_)));
    }

    #[test]
    fn the_process_of_a_job_knows_best_why_it_failed_unless_the_engine_ended_it() {
        for end in [End::Well, End::Failed, End::Unmet] {
            assert_eq!(
                step(submitted(1), false, true, Some(Phase::Ended(end))),
                Step::Failed
            );
        }
        assert_eq!(step(submitted(1), false, true, None), Step::Failed);
        for end in [End::Time, End::Memory, End::Cancelled] {
            let step = step(submitted(1), false, true, Some(Phase::Ended(end)));
            assert!(matches!(step, Step::Lost(loss) if loss.end == Some(end)));
        }
        let host = Some(Phase::Ended(End::Host));
        assert_eq!(step(submitted(1), false, true, host), Step::Submit);
        let loss = Loss {
            end: Some(End::Memory),
            words: "OUT_OF_MEMORY, OutOfMemory".to_owned(),
        };
        assert_eq!(loss.verdict(), Verdict::HostOutOfMemory);
        assert!(loss.to_string().ends_with("(OUT_OF_MEMORY, OutOfMemory)"));
    }
}
