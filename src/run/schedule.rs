//! Which node may start now: a state machine over plain numbers. No threads, no clock, no idea what a node does.

use crate::plan::node::Cost;
use crate::size::ByteSize;
use crate::stage::Room;

/// What a run may use at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Memory in bytes.
    pub memory: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Scratch space in bytes.
    pub scratch: u64,
    /// Nodes.
    pub jobs: usize,
}

/// A node as the scheduler sees it.
#[derive(Clone, Debug)]
pub struct Job {
    /// For messages.
    pub id: String,
    /// What it takes while it runs.
    pub cost: Cost,
    /// What one job at a time may be at, in words: "a download from debian.org".
    pub turn: Option<String>,
    /// Positions of the jobs that must end well before it.
    pub needs: Vec<usize>,
    /// Seconds it is expected to take; those on the longest way to the end start first.
    pub seconds: f64,
    /// Whether it can use memory and CPUs twice, where nothing else needs them.
    pub doubles: bool,
    /// Whether it runs on another host, and takes nothing of this one.
    pub is_elsewhere: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pending,
    Running,
    Done,
    Failed,
    Skipped,
}

/// A node that could never start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{id} needs {needs} of {what}, and this run may use {allowed}")]
pub struct TooLarge {
    /// The node.
    pub id: String,
    /// `memory` or `scratch space`.
    pub what: &'static str,
    /// What it needs.
    pub needs: ByteSize,
    /// What there is.
    pub allowed: ByteSize,
}

/// The state of a run.
#[derive(Clone, Debug)]
pub struct Schedule {
    jobs: Vec<Job>,
    states: Vec<State>,
    weights: Vec<f64>,
    rooms: Vec<Room>,
    budget: Budget,
    free: Budget,
    stopped: bool,
}

/// Weight of a job of unknown duration, in seconds.
const UNKNOWN_SECONDS: f64 = 30.0;

impl Schedule {
    /// A run of these jobs, given in an order in which they could run.
    ///
    /// # Errors
    /// [`TooLarge`] when a job needs more than the whole budget. A job that wishes for more CPUs than there are gets
    /// what there is.
    pub fn new(mut jobs: Vec<Job>, budget: Budget) -> Result<Self, TooLarge> {
        for job in &mut jobs {
            if job.is_elsewhere {
                (job.cost, job.turn, job.doubles) = (Cost::default(), None, false);
            }
            job.cost.cpus = job.cost.cpus.min(budget.cpus);
            let too_large = |what, needs, allowed| TooLarge {
                id: job.id.clone(),
                what,
                needs: ByteSize(needs),
                allowed: ByteSize(allowed),
            };
            if job.cost.memory > budget.memory {
                return Err(too_large("memory", job.cost.memory, budget.memory));
            }
            if job.cost.scratch > budget.scratch {
                return Err(too_large("scratch space", job.cost.scratch, budget.scratch));
            }
        }
        let mut weights: Vec<f64> = jobs
            .iter()
            .map(|job| {
                if job.seconds > 0.0 {
                    job.seconds
                } else {
                    UNKNOWN_SECONDS
                }
            })
            .collect();
        for index in (0..jobs.len()).rev() {
            for &need in &jobs[index].needs {
                let through = weights[index] + jobs[need].seconds.max(1.0);
                weights[need] = weights[need].max(through);
            }
        }
        let states = vec![State::Pending; jobs.len()];
        let rooms = vec![Room::One; jobs.len()];
        Ok(Self {
            jobs,
            states,
            weights,
            rooms,
            budget,
            free: budget,
            stopped: false,
        })
    }

    /// Jobs that start now; they count as running from here on.
    pub fn start(&mut self) -> Vec<usize> {
        let mut started = Vec::new();
        for index in self.ready() {
            if !self.stopped && self.lacks(index).is_none() {
                let cost = self.jobs[index].cost;
                self.free.memory -= cost.memory;
                self.free.cpus -= cost.cpus;
                self.free.scratch -= cost.scratch;
                self.free.jobs -= self.places(index);
                self.states[index] = State::Running;
                started.push(index);
            }
        }
        for &index in started.iter().filter(|&&index| self.jobs[index].doubles) {
            let Cost { memory, cpus, .. } = self.jobs[index].cost;
            if memory > self.free.memory {
                continue;
            }
            self.free.memory -= memory;
            self.rooms[index] = Room::Memory;
            if cpus <= self.free.cpus {
                self.free.cpus -= cpus;
                self.rooms[index] = Room::Both;
            }
        }
        started
    }

    /// How two machines of a job that was started may run.
    pub fn room(&self, index: usize) -> Room {
        self.rooms[index]
    }

    /// Jobs that could run but for a resource, with what they wait for in words.
    pub fn waiting(&self) -> Vec<(usize, String)> {
        self.ready()
            .into_iter()
            .filter_map(|index| self.lacks(index).map(|why| (index, why)))
            .collect()
    }

    /// A job ended. Gives the jobs that can never start because of that.
    pub fn finish(&mut self, index: usize, well: bool) -> Vec<usize> {
        let cost = self.jobs[index].cost;
        let room = self.rooms[index];
        let times = |is_twice: bool| 1 + u32::from(is_twice);
        self.free.memory += u64::from(times(room != Room::One)) * cost.memory;
        self.free.cpus += times(room == Room::Both) * cost.cpus;
        self.free.scratch += cost.scratch;
        self.free.jobs += self.places(index);
        self.states[index] = if well { State::Done } else { State::Failed };
        let mut skipped = Vec::new();
        for later in index + 1..self.jobs.len() {
            let lost = |need: &usize| matches!(self.states[*need], State::Failed | State::Skipped);
            if self.states[later] == State::Pending && self.jobs[later].needs.iter().any(lost) {
                self.states[later] = State::Skipped;
                skipped.push(later);
            }
        }
        skipped
    }

    /// Starts nothing more. Gives the jobs that will never start because of that.
    pub fn stop(&mut self) -> Vec<usize> {
        self.stopped = true;
        let pending: Vec<_> = (0..self.jobs.len())
            .filter(|&i| self.states[i] == State::Pending)
            .collect();
        for &index in &pending {
            self.states[index] = State::Skipped;
        }
        pending
    }

    /// Whether nothing runs and nothing will.
    pub fn is_over(&self) -> bool {
        !self
            .states
            .iter()
            .any(|s| matches!(s, State::Running | State::Pending))
    }

    /// How many of the jobs at once it counts for.
    fn places(&self, index: usize) -> usize {
        usize::from(!self.jobs[index].is_elsewhere)
    }

    /// Pending jobs whose needs are done, the heaviest first.
    fn ready(&self) -> Vec<usize> {
        let done = |need: &usize| self.states[*need] == State::Done;
        let mut ready: Vec<_> = (0..self.jobs.len())
            .filter(|&i| self.states[i] == State::Pending && self.jobs[i].needs.iter().all(done))
            .collect();
        ready.sort_by(|a, b| self.weights[*b].total_cmp(&self.weights[*a]).then(a.cmp(b)));
        ready
    }

    fn lacks(&self, index: usize) -> Option<String> {
        let (job, free, all) = (&self.jobs[index], self.free, self.budget);
        let cost = job.cost;
        let busy = |(other, state): (&Job, &State)| {
            *state == State::Running && job.turn.is_some() && other.turn == job.turn
        };
        let sized = |what: &str, needs: u64, free: u64, all: u64| {
            format!(
                "{what}: needs {}, {} of {} free",
                ByteSize(needs),
                ByteSize(free),
                ByteSize(all)
            )
        };
        if job.is_elsewhere {
            None
        } else if free.jobs == 0 {
            Some(format!("jobs: all {} are in use", all.jobs))
        } else if cost.memory > free.memory {
            Some(sized("memory", cost.memory, free.memory, all.memory))
        } else if cost.cpus > free.cpus {
            Some(format!(
                "CPUs: needs {}, {} of {} free",
                cost.cpus, free.cpus, all.cpus
            ))
        } else if cost.scratch > free.scratch {
            Some(sized("scratch space", cost.scratch, free.scratch, all.scratch))
        } else if self.jobs.iter().zip(&self.states).any(busy) {
            let turn = job.turn.as_deref().unwrap_or_default();
            Some(format!("{turn} to end"))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str, memory: u64, needs: &[usize]) -> Job {
        let cost = Cost {
            machines: 1,
            memory,
            cpus: 1,
            scratch: 0,
        };
        Job {
            id: id.to_owned(),
            cost,
            turn: None,
            needs: needs.to_vec(),
            seconds: 1.0,
            doubles: false,
            is_elsewhere: false,
        }
    }

    const BUDGET: Budget = Budget {
        memory: 4,
        cpus: 4,
        scratch: 0,
        jobs: 4,
    };

    #[test]
    fn never_overcommits_and_says_what_a_node_waits_for() {
        let jobs = vec![job("a", 3, &[]), job("b", 3, &[]), job("c", 1, &[])];
        let mut schedule = Schedule::new(jobs, BUDGET).unwrap();
        assert_eq!(schedule.start(), [0, 2]);
        assert_eq!(
            schedule.waiting(),
            [(1, "memory: needs 3 B, 0 B of 4 B free".to_owned())]
        );
        assert!(schedule.start().is_empty());
        assert!(schedule.finish(0, true).is_empty());
        assert_eq!(schedule.start(), [1]);
    }

    #[test]
    fn a_job_uses_twice_what_no_other_one_needs() {
        let mut jobs = vec![job("a", 2, &[]), job("b", 1, &[]), job("c", 2, &[0, 1])];
        for job in &mut jobs {
            job.doubles = true;
        }
        jobs[2].cost.cpus = 3;
        let mut schedule = Schedule::new(jobs, BUDGET).unwrap();
        assert_eq!(schedule.start(), [0, 1]);
        assert_eq!([0, 1].map(|job| schedule.room(job)), [Room::One, Room::Both]);
        schedule.finish(0, true);
        schedule.finish(1, true);
        assert_eq!(schedule.start(), [2]);
        assert_eq!(schedule.room(2), Room::Memory);
        schedule.finish(2, true);
        assert_eq!(schedule.free, BUDGET);
    }

    #[test]
    fn what_runs_on_another_host_takes_nothing_of_this_one() {
        let mut jobs = vec![job("here", 4, &[]), job("far", 9, &[]), job("after it", 1, &[1])];
        jobs[1].is_elsewhere = true;
        let budget = Budget { jobs: 1, ..BUDGET };
        let mut schedule = Schedule::new(jobs, budget).unwrap();
        assert_eq!(schedule.start(), [1, 0]);
        schedule.finish(1, true);
        assert_eq!(schedule.waiting(), [(2, "jobs: all 1 are in use".to_owned())]);
        schedule.finish(0, true);
        assert_eq!(schedule.start(), [2]);
        schedule.finish(2, true);
        assert_eq!(schedule.free, budget);
    }

    #[test]
    fn each_resource_has_its_words() {
        let budget = Budget { scratch: 5, ..BUDGET };
        let mut jobs = vec![
            job("a", 1, &[]),
            job("b", 0, &[]),
            job("c", 0, &[]),
            job("d", 0, &[]),
        ];
        for (job, scratch, cpus, turn) in [
            (0, 3, 3, "a.example"),
            (1, 4, 1, "x"),
            (2, 0, 2, "y"),
            (3, 0, 0, "a.example"),
        ] {
            jobs[job].cost.scratch = scratch;
            jobs[job].cost.cpus = cpus;
            jobs[job].turn = Some(format!("a download from {turn}"));
        }
        let mut schedule = Schedule::new(jobs.clone(), budget).unwrap();
        assert_eq!(schedule.start(), [0]);
        let reasons: Vec<_> = schedule.waiting().into_iter().map(|(_, why)| why).collect();
        assert_eq!(
            reasons,
            [
                "scratch space: needs 4 B, 2 B of 5 B free",
                "CPUs: needs 2, 1 of 4 free",
                "a download from a.example to end"
            ]
        );
        schedule.finish(0, true);
        assert_eq!(schedule.start(), [1, 2, 3]);
        let error = Schedule::new(jobs, Budget { scratch: 3, ..BUDGET }).unwrap_err();
        assert_eq!(
            error.to_string(),
            "b needs 4 B of scratch space, and this run may use 3 B"
        );
    }

    #[test]
    fn a_failed_node_stops_its_dependents_only() {
        let jobs = vec![
            job("a", 1, &[]),
            job("b", 1, &[]),
            job("a2", 1, &[0]),
            job("a3", 1, &[2]),
            job("b2", 1, &[1]),
        ];
        let mut schedule = Schedule::new(jobs, BUDGET).unwrap();
        assert_eq!(schedule.start(), [0, 1]);
        assert_eq!(schedule.finish(0, false), [2, 3]);
        schedule.finish(1, true);
        assert_eq!(schedule.start(), [4]);
        schedule.finish(4, true);
        assert!(schedule.is_over());
    }

    #[test]
    fn the_longest_way_starts_first() {
        let mut jobs = vec![
            job("short", 1, &[]),
            job("long", 1, &[]),
            job("after long", 1, &[1]),
        ];
        jobs[2].seconds = 100.0;
        let budget = Budget { jobs: 1, ..BUDGET };
        let mut schedule = Schedule::new(jobs, budget).unwrap();
        assert_eq!(schedule.start(), [1]);
        assert_eq!(schedule.waiting(), [(0, "jobs: all 1 are in use".to_owned())]);
    }

    #[test]
    fn what_can_never_fit_is_told_before_the_start() {
        let error = Schedule::new(vec![job("big", 5, &[])], BUDGET).unwrap_err();
        assert_eq!(
            error.to_string(),
            "big needs 5 B of memory, and this run may use 4 B"
        );
    }

    #[test]
    fn stopping_starts_nothing_more() {
        let mut schedule = Schedule::new(vec![job("a", 1, &[]), job("b", 1, &[0])], BUDGET).unwrap();
        schedule.start();
        assert_eq!(schedule.stop(), [1]);
        assert!(!schedule.is_over());
        schedule.finish(0, false);
        assert!(schedule.is_over());
    }
}
