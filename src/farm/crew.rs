//! Has an engine run the chains of a plan, all of which are queued at once, and follows them by what they leave in the remote
//! store. Keeps no state of its own that a later run would need: that finds jobs by their names and results by their keys.

mod hear;
mod results;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use petgraph::graph::NodeIndex;

use super::chains::Chain;
use super::engine::{Engine, EngineError, Job, Phase, Seen, Stop, Ticket};
use super::follow::{Follow, Known, Step};
use super::pieces::Reader;
use crate::emit::Emitter;
use crate::event::{Outcome, What};
use crate::host::cancel::Cancel;
use crate::remote::Remote;
use crate::remote::settings::RemoteSettings;
use crate::run::elsewhere::Elsewhere;
use crate::run::error::NodeError;
use crate::run::execute::Done;
use crate::run::signals::LastAct;
use crate::stage::Plan;
use crate::store::{Scratch, Store, StoreError};
use crate::verdict::Verdict;

/// Names of jobs begin with this.
const PREFIX: &str = "pl-";
/// Characters of a key that a name has.
const KEY: usize = 16;
/// How often events are asked for, at most.
const EVENTS: Duration = Duration::from_secs(3);
/// How often the loop looks whether it should stop.
const POLL: Duration = Duration::from_millis(100);
/// How often a job may be seen running whose process has ended: its engine learns of that soon, or not at all.
const UNNOTICED: u32 = 3;
/// How long jobs are waited for that were asked to stop, before their engine ends them.
const GRACE: Duration = Duration::from_secs(20);
/// How long they are waited for at all.
const PATIENCE: Duration = Duration::from_secs(90);

/// Says how long a chain may take.
pub type Times<'a> = Box<dyn Fn(&Chain) -> Option<Duration> + Sync + 'a>;
/// Gives the program and its arguments for a chain of this name.
pub type Words<'a> = Box<dyn Fn(&str, &Chain) -> Vec<String> + Sync + 'a>;

/// What the jobs of a run need, and how they are asked for.
pub struct Terms<'a> {
    pub engine: Arc<dyn Engine>,
    /// What the engine is called.
    pub called: &'a str,
    /// How often it is asked.
    pub poll: Duration,
    /// Memory that a job has more than its largest node, in bytes.
    pub headroom: u64,
    pub time: Times<'a>,
    pub words: Words<'a>,
    pub remote: &'a RemoteSettings,
    /// Has something done if the program is to exit at once.
    pub at_exit: Box<dyn Fn(LastAct) + Sync + 'a>,
}

/// The jobs of a run.
pub struct Crew<'a> {
    plan: &'a Plan,
    chains: &'a [Chain],
    names: Vec<String>,
    terms: Terms<'a>,
    emit: &'a Emitter,
    cancel: &'a Cancel,
    store: &'a Store,
    scratch: &'a Scratch,
    /// How nodes ended; without it once a node's waiter has it.
    ended: Mutex<BTreeMap<NodeIndex, Option<Ended>>>,
    changed: Condvar,
    hosts: Mutex<BTreeMap<NodeIndex, String>>,
    /// Whether no one follows the jobs any more.
    is_left: AtomicBool,
}

type Ended = Result<(Done, f64), (Verdict, String)>;

/// A job under way.
#[derive(Debug, Default)]
struct Hired {
    follow: Follow,
    ticket: Option<Ticket>,
    /// Whether this run asked for it.
    is_own: bool,
    reader: Option<Reader>,
    host: String,
    /// What its process said of its own end, when that was bad.
    failure: Option<String>,
    /// Nodes of it that failed, in its last start.
    failures: BTreeMap<NodeIndex, (Verdict, String)>,
    /// Nodes that it reported as made, whose results are not seen in the remote store yet: they may arrive later than its word.
    made: BTreeMap<NodeIndex, (Done, f64)>,
    /// What it waits for, as last reported.
    waits: String,
    /// Whether its process has ended, by its own word.
    has_left: bool,
    /// How often it was seen running since then.
    unnoticed: u32,
    /// Jobs of this name that no longer count.
    dropped: Vec<Ticket>,
    is_over: bool,
}

impl Hired {
    /// It is started again.
    fn start_over(&mut self) {
        self.failure = None;
        self.failures.clear();
        self.has_left = false;
        self.unnoticed = 0;
    }
}

impl std::fmt::Debug for Crew<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl Elsewhere for Crew<'_> {
    fn has(&self, node: NodeIndex) -> bool {
        self.chains.iter().any(|chain| chain.nodes.contains(&node))
    }

    fn host(&self, node: NodeIndex) -> Option<String> {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.get(&node).cloned()
    }

    fn wait(&self, node: NodeIndex) -> (Result<Done, NodeError>, f64) {
        let mut ended = self.ended();
        let (mut done, seconds) = loop {
            match ended.get_mut(&node).and_then(Option::take) {
                Some(Ok(end)) => break end,
                Some(Err((verdict, message))) => {
                    return (Err(NodeError::Elsewhere { verdict, message }), 0.0);
                }
                None if self.is_left.load(Ordering::Relaxed) => {
                    return (Err(StoreError::Cancelled.into()), 0.0);
                }
                None => {
                    let waited = self.changed.wait_timeout(ended, POLL);
                    ended = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        };
        drop(ended);
        if self.is_taken(node) {
            match self.take(node) {
                Ok(bytes) => done.bytes = bytes,
                Err(error) => return (Err(error), seconds),
            }
        }
        (Ok(done), seconds)
    }
}

impl<'a> Crew<'a> {
    pub fn new(
        plan: &'a Plan,
        chains: &'a [Chain],
        terms: Terms<'a>,
        (store, scratch): (&'a Store, &'a Scratch),
        (emit, cancel): (&'a Emitter, &'a Cancel),
    ) -> Self {
        let name = |chain: &Chain| format!("{PREFIX}{}", &chain.key(plan)[..KEY]);
        Self {
            plan,
            chains,
            names: chains.iter().map(name).collect(),
            terms,
            emit,
            cancel,
            store,
            scratch,
            ended: Mutex::default(),
            changed: Condvar::new(),
            hosts: Mutex::default(),
            is_left: AtomicBool::new(false),
        }
    }

    /// Follows all jobs to their ends; ends those that this run asked for when it is to stop. `is_over`: no one waits any
    /// more.
    pub fn drive(&self, is_over: &Cancel) {
        let mut jobs: Vec<Hired> = self.chains.iter().map(|_| Hired::default()).collect();
        self.watch(&mut jobs, is_over);
        if self.cancel.is_cancelled() {
            self.call_off(&jobs);
        }
        self.is_left.store(true, Ordering::Relaxed);
    }

    fn watch(&self, jobs: &mut [Hired], is_over: &Cancel) {
        let mut asked: Option<Instant> = None;
        let mut warned = BTreeSet::new();
        while jobs.iter().any(|job| !job.is_over) && !is_over.is_cancelled() {
            if self.cancel.is_cancelled() {
                return;
            }
            let is_due = asked.is_none_or(|asked| asked.elapsed() >= self.terms.poll);
            let seen = is_due.then(|| self.list(jobs));
            // What was remembered of the remote store may have changed since.
            match Remote::open(self.terms.remote) {
                Ok(Some(remote)) => {
                    for (at, job) in jobs.iter_mut().enumerate().filter(|(_, job)| !job.is_over) {
                        if let Err(error) = self.listen(at, job, &remote)
                            && !error.is_cancelled()
                            && warned.insert("remote")
                        {
                            self.emit
                                .warn(format!("{error}; the jobs go on, and their events come later"));
                        }
                        self.settle(job, &remote);
                    }
                    match seen {
                        Some(Ok(seen)) => {
                            warned.remove("engine");
                            self.advance(jobs, &seen, &remote, &mut warned);
                        }
                        Some(Err(error)) if warned.insert("engine") => {
                            self.emit.warn(format!("{error}; it is asked again"));
                        }
                        _ => {}
                    }
                }
                Ok(None) => return,
                Err(error) => self.emit.warn(error.to_string()),
            }
            if is_due {
                asked = Some(Instant::now());
            }
            let pause = Instant::now() + EVENTS.min(self.terms.poll);
            while Instant::now() < pause && !self.cancel.is_cancelled() && !is_over.is_cancelled() {
                let _ = self.cancel.sleep(POLL);
            }
        }
    }

    fn list(&self, jobs: &[Hired]) -> Result<Vec<Seen>, EngineError> {
        let names = self.names.iter().zip(jobs).filter(|(_, job)| !job.is_over);
        let names: Vec<_> = names.map(|(name, _)| name.as_str()).collect();
        self.terms.engine.list(&names)
    }

    /// Does for each job what follows from what is known, those with the longest way to the end first.
    fn advance(
        &self,
        jobs: &mut [Hired],
        seen: &[Seen],
        remote: &Remote,
        warned: &mut BTreeSet<&'static str>,
    ) {
        let mut order: Vec<_> = (0..jobs.len()).filter(|at| !jobs[*at].is_over).collect();
        order.sort_by(|a, b| self.chains[*b].rank.total_cmp(&self.chains[*a].rank));
        for at in order {
            let seen = pick(seen, &self.names[at], &jobs[at]);
            if let Some(seen) = seen {
                self.recognise(at, &mut jobs[at], seen);
            }
            let unnoticed = jobs[at].unnoticed >= UNNOTICED;
            let is_dead = unnoticed || seen.is_some_and(|seen| seen.phase == Phase::Stuck);
            let counts = !is_dead && seen.is_some_and(|seen| !matches!(seen.phase, Phase::Ended(_)));
            let known = Known {
                is_done: !counts && self.is_done(at, remote),
                failed: jobs[at].failure.is_some(),
                unnoticed,
                can_start: !counts && self.can_start(at, remote),
                engine: seen,
            };
            // What could not be asked says nothing: a result may be there.
            if remote.is_away() {
                return;
            }
            let step = jobs[at].follow.step(known);
            if is_dead && let Some(ticket) = jobs[at].ticket.take() {
                // It has no process; whether its engine believes that is of no consequence. Another of its name starts only
                // once it is gone.
                let _ = self.terms.engine.end(std::slice::from_ref(&ticket), Stop::Cancel);
                jobs[at].dropped.push(ticket);
            }
            match step {
                Step::Wait => {}
                Step::Done => {
                    for index in &self.chains[at].nodes {
                        let made = jobs[at].made.remove(index);
                        self.end_if_not(*index, || {
                            let unheard = Done {
                                outcome: Outcome::Shared,
                                bytes: 0,
                                message: None,
                            };
                            Ok(made.unwrap_or((unheard, 0.0)))
                        });
                    }
                    jobs[at].is_over = true;
                }
                Step::Submit => self.submit(at, jobs, warned),
                Step::Failed => {
                    let why = jobs[at].failure.clone().unwrap_or_default();
                    self.fail(at, jobs, Verdict::Other, &why);
                }
                Step::Lost(loss) => {
                    let said = jobs[at].failure.iter().map(|said| format!("; {said}"));
                    let said = said.collect::<String>();
                    let why = format!("{} {}: {loss}{said}", self.terms.called, self.names[at]);
                    jobs[at].failures.clear();
                    self.fail(at, jobs, loss.verdict(), &why);
                }
            }
        }
    }

    /// Takes notice of a job that the engine has, whoever asked for it.
    fn recognise(&self, at: usize, job: &mut Hired, seen: &Seen) {
        let lives = !matches!(seen.phase, Phase::Ended(_));
        if job.ticket.as_ref() != Some(&seen.ticket) && lives {
            job.ticket = Some(seen.ticket.clone());
            job.reader = Some(Reader::new(seen.ticket.clone()));
            job.start_over();
        }
        if let Some(host) = &seen.host {
            job.host.clone_from(host);
        }
        match seen.phase {
            Phase::Running if job.has_left => job.unnoticed += 1,
            // It will be started again.
            Phase::Waiting => job.start_over(),
            Phase::Running | Phase::Stuck | Phase::Ending | Phase::Ended(_) => {}
        }
        if seen.phase == Phase::Waiting && job.waits != seen.words {
            job.waits.clone_from(&seen.words);
            if let Some(first) = self.chains[at].nodes.first() {
                self.emit
                    .for_node(&self.plan.node(*first).id())
                    .emit(What::NodeWaiting {
                        reason: format!("{}: {}", self.terms.called, seen.words),
                    });
            }
        }
    }

    fn submit(&self, at: usize, jobs: &mut [Hired], warned: &mut BTreeSet<&'static str>) {
        let chain = &self.chains[at];
        let needs = chain.after.iter().map(|need| &jobs[*need]);
        let mut after = Vec::new();
        for need in needs.filter(|need| !need.is_over) {
            match &need.ticket {
                Some(ticket) => after.push(ticket.clone()),
                // It is queued first.
                None => return,
            }
        }
        let most = self.chains.iter().map(|chain| chain.rank).fold(0.0, f64::max);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds of a run"
        )]
        let turn = (most - chain.rank).clamp(0.0, 1e6) as u32;
        let job = Job {
            name: self.names[at].clone(),
            after,
            memory: chain.cost.memory + self.terms.headroom,
            cpus: chain.cost.cpus,
            time: (self.terms.time)(chain),
            turn,
            words: (self.terms.words)(&self.names[at], chain),
        };
        jobs[at].is_own = true;
        match self.terms.engine.submit(&job) {
            Ok(ticket) => {
                jobs[at].follow.submitted();
                jobs[at].reader = Some(Reader::new(ticket.clone()));
                jobs[at].ticket = Some(ticket);
                jobs[at].start_over();
            }
            // It is looked for by its name before it is asked for again.
            Err(error @ EngineError::Away { .. }) => {
                jobs[at].ticket = None;
                if warned.insert("engine") {
                    self.emit.warn(format!("{error}; it is asked again"));
                }
            }
            Err(error) => self.fail(at, jobs, Verdict::Other, &error.to_string()),
        }
    }

    /// What a chain that goes on makes too did not fail yet.
    fn fail(&self, at: usize, jobs: &mut [Hired], verdict: Verdict, why: &str) {
        jobs[at].is_over = true;
        for index in &self.chains[at].nodes {
            let own = jobs[at].failures.remove(index);
            let mut others = self.chains.iter().zip(&*jobs);
            if others.any(|(chain, job)| !job.is_over && chain.nodes.contains(index)) {
                continue;
            }
            self.end_if_not(*index, || Err(own.unwrap_or_else(|| (verdict, why.to_owned()))));
        }
    }

    fn end_if_not(&self, index: NodeIndex, how: impl FnOnce() -> Ended) {
        self.ended().entry(index).or_insert_with(|| Some(how()));
        self.changed.notify_all();
    }

    /// Ends the jobs that this run asked for, and waits for that.
    fn call_off(&self, jobs: &[Hired]) {
        let is_own = |job: &Hired| job.is_own && !job.is_over;
        let own = jobs.iter().filter(|job| is_own(job));
        let mut tickets: BTreeSet<_> = own.filter_map(|job| job.ticket.clone()).collect();
        // One whose queueing had no answer is known by its name only.
        let named = self.names.iter().zip(jobs);
        let named = named.filter(|(_, job)| is_own(job) && job.ticket.is_none());
        let named: BTreeSet<_> = named.map(|(name, _)| name).collect();
        let (began, mut asked) = (Instant::now(), BTreeSet::new());
        let mut warned = false;
        loop {
            let engine = Arc::clone(&self.terms.engine);
            let all: Vec<_> = tickets.iter().cloned().collect();
            (self.terms.at_exit)(Box::new(move || drop(engine.end(&all, Stop::Kill))));
            let left = self.list(jobs).and_then(|seen| {
                let living = seen.iter().filter(|seen| !matches!(seen.phase, Phase::Ended(_)));
                let own = |seen: &&Seen| tickets.contains(&seen.ticket) || named.contains(&seen.name);
                let living: BTreeSet<_> = living.filter(own).map(|seen| seen.ticket.clone()).collect();
                let (new, how) = if began.elapsed() < GRACE {
                    (living.difference(&asked).cloned().collect(), Stop::Ask)
                } else {
                    (living.iter().cloned().collect::<Vec<_>>(), Stop::Cancel)
                };
                self.terms.engine.end(&new, how)?;
                asked.extend(new);
                Ok(living)
            });
            match left {
                Ok(living) if living.is_empty() => return,
                Ok(living) => tickets.extend(living),
                Err(error) if !warned => {
                    self.emit.warn(format!("{error}; it is asked again"));
                    warned = true;
                }
                Err(_) => {}
            }
            if began.elapsed() >= PATIENCE {
                self.emit.warn(format!(
                    "jobs may go on that this run asked {} for: {}",
                    self.terms.called,
                    self.names.join(" ")
                ));
                return;
            }
            std::thread::sleep(EVENTS.min(self.terms.poll));
        }
    }

    fn ended(&self) -> MutexGuard<'_, BTreeMap<NodeIndex, Option<Ended>>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The job of this name that counts: the one that is followed, else one that lives, else none: what others left is over.
fn pick<'s>(seen: &'s [Seen], name: &str, job: &Hired) -> Option<&'s Seen> {
    let named = || {
        let named = seen.iter().filter(|seen| seen.name == name);
        named.filter(|seen| !job.dropped.contains(&seen.ticket))
    };
    let followed = named().find(|seen| Some(&seen.ticket) == job.ticket.as_ref());
    let lives = |seen: &&Seen| !matches!(seen.phase, Phase::Ended(_));
    followed.or_else(|| {
        named()
            .filter(lives)
            .min_by_key(|seen| seen.phase != Phase::Running)
    })
}
