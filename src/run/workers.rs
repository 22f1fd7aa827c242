//! Carries a plan out: one plain thread a node (it mostly waits for a VM), one loop that owns all state. CPU-bound work
//! inside a node goes to rayon's pool; a node never runs *on* that pool, where a waiting worker would steal another.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use petgraph::graph::NodeIndex;

use super::bundle;
use super::elsewhere::Elsewhere;
use super::error::{NodeError, RunError};
use super::execute::{Done, Shared, execute};
use super::look::given;
use super::prepare::Prepared;
use super::schedule::{Budget, Job, Schedule};
use crate::emit::Emitter;
use crate::event::{EVENTS_VERSION, ImageInfo, NodeInfo, Outcome, WantedImage, What, node_folder};
use crate::plan::assess::State;
use crate::plan::graph::PlannedImage;
use crate::stage::{Node, sums};
use crate::store::{Attempt, Store};

/// How often the loop looks whether it should stop.
const POLL: Duration = Duration::from_millis(100);

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Nodes built.
    pub built: usize,
    /// Nodes whose results were in their places outside the store already.
    pub present: usize,
    /// Nodes failed.
    pub failed: usize,
    /// Nodes that never ran, or were stopped.
    pub skipped: usize,
    /// Whether it was asked to stop.
    pub interrupted: bool,
}

impl Tally {
    fn count(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Failed => &mut self.failed,
            Outcome::Cancelled | Outcome::Skipped => &mut self.skipped,
            Outcome::Built | Outcome::Shared => &mut self.built,
            Outcome::Present => &mut self.present,
        } += 1;
    }
}

/// What happens after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Only what depends on the failed node is left out.
    KeepGoing,
    /// Everything stops.
    FailFast,
}

type Ended = (usize, Result<Result<Done, NodeError>, Box<dyn Any + Send>>, f64);

/// Runs what a prepared plan has to do.
///
/// # Errors
/// [`RunError::TooLarge`] and [`RunError::NotText`] before anything starts. Failed nodes are no error of the run: see [`Tally`].
pub fn carry_out(
    prepared: &Prepared,
    run: &str,
    budget: Budget,
    on_failure: OnFailure,
    elsewhere: Option<&dyn Elsewhere>,
    shared: &Shared<'_>,
    emit: &Emitter,
) -> Result<Tally, RunError> {
    let started = Instant::now();
    let plan = &prepared.plan;
    let todo: Vec<(NodeIndex, &Node)> = prepared.todo().collect();
    let is_far = |index| elsewhere.filter(|elsewhere| elsewhere.has(index));
    let mut schedule = Schedule::new(jobs(prepared, &todo, &|index| is_far(index).is_some()), budget)?;
    let here = todo.iter().filter(|(index, _)| is_far(*index).is_none());
    paths_are_text(here, shared)?;
    announce(prepared, run, shared, emit);
    let mut tally = Tally::default();
    let (sender, ended) = mpsc::channel::<Ended>();
    let mut reported = BTreeMap::new();
    let mut made = BTreeSet::new();
    thread::scope(|scope| {
        let mut stopped = false;
        loop {
            for job in schedule.start() {
                let (index, node) = todo[job];
                let emit = emit.for_node(&node.id());
                let sender = sender.clone();
                if let Some(elsewhere) = is_far(index) {
                    scope.spawn(move || {
                        let (result, seconds) = elsewhere.wait(index);
                        drop(sender.send((job, Ok(result), seconds)));
                    });
                    continue;
                }
                emit.emit(What::NodeStarted);
                // What is missing by the plan may have come meanwhile, from another node or run: then it is taken.
                let rebuild = prepared.assessments[&index].rebuild;
                let room = schedule.room(job);
                scope.spawn(move || {
                    let started = Instant::now();
                    let work = AssertUnwindSafe(|| execute(plan, index, rebuild, room, shared, &emit));
                    let result = catch_unwind(work);
                    drop(sender.send((job, result, started.elapsed().as_secs_f64())));
                });
            }
            for (job, reason) in schedule.waiting() {
                if reported.get(&job) != Some(&reason) {
                    emit.for_node(&todo[job].1.id()).emit(What::NodeWaiting {
                        reason: reason.clone(),
                    });
                    reported.insert(job, reason);
                }
            }
            if schedule.is_over() {
                break;
            }
            if let Ok((job, result, seconds)) = ended.recv_timeout(POLL) {
                let (index, node) = todo[job];
                let host = is_far(index).and_then(|elsewhere| elsewhere.host(index));
                let outcome = finished(node, result, seconds, shared, &emit.on(host));
                tally.count(outcome);
                if matches!(outcome, Outcome::Built | Outcome::Shared) {
                    made.insert(index);
                }
                let well = matches!(outcome, Outcome::Built | Outcome::Shared | Outcome::Present);
                let is_failed = outcome == Outcome::Failed;
                let end = ["was stopped", "failed"][usize::from(is_failed)];
                let why = format!("{} {end}", node.id());
                skip(&mut tally, &todo, &schedule.finish(job, well), &why, emit);
                if is_failed && on_failure == OnFailure::FailFast {
                    stopped = true;
                    shared.cancel.cancel();
                    let why = format!("{} failed and --fail-fast stops the run", node.id());
                    skip(&mut tally, &todo, &schedule.stop(), &why, emit);
                }
            }
            if shared.cancel.is_cancelled() && !stopped {
                stopped = true;
                tally.interrupted = true;
                skip(&mut tally, &todo, &schedule.stop(), "the run was stopped", emit);
            }
        }
    });
    emit.emit(What::RunFinished {
        built: tally.built,
        present: tally.present,
        cached: prepared
            .assessments
            .values()
            .filter(|v| v.state == State::Cached)
            .count(),
        failed: tally.failed,
        skipped: tally.skipped,
        interrupted: tally.interrupted,
        seconds: started.elapsed().as_secs_f64(),
        images: images(prepared, shared.store, &made),
    });
    Ok(tally)
}

/// Processes of nodes are given paths as text.
fn paths_are_text<'n>(
    mut todo: impl Iterator<Item = &'n (NodeIndex, &'n Node)>,
    shared: &Shared<'_>,
) -> Result<(), RunError> {
    let is_isolated = todo.any(|(_, node)| node.work.is_isolated());
    let mut paths = [shared.manifest, shared.store.root(), shared.program].into_iter();
    match paths.find(|path| is_isolated && path.to_str().is_none()) {
        Some(path) => Err(RunError::NotText {
            path: path.to_owned(),
        }),
        None => Ok(()),
    }
}

/// What one node at a time is at: publishers' mirrors are asked for one file at a time.
fn turn(node: &Node) -> Option<String> {
    let download = node.download_host().map(|host| format!("a download from {host}"));
    download.or_else(|| node.work.turn())
}

/// What the schedule must know of the nodes that are to run.
fn jobs(
    prepared: &Prepared,
    todo: &[(NodeIndex, &Node)],
    is_elsewhere: &dyn Fn(NodeIndex) -> bool,
) -> Vec<Job> {
    let positions = todo.iter().enumerate();
    let position: BTreeMap<NodeIndex, usize> = positions
        .map(|(position, (index, _))| (*index, position))
        .collect();
    let job = |(index, node): &(NodeIndex, &Node)| Job {
        id: node.id(),
        cost: node.cost,
        turn: turn(node),
        needs: prepared
            .plan
            .needs(*index)
            .filter_map(|need| position.get(&need).copied())
            .collect(),
        seconds: prepared.assessments[index]
            .expected
            .map_or(0.0, |expected| expected.seconds),
        doubles: node.work.doubles(),
        is_elsewhere: is_elsewhere(*index),
    };
    todo.iter().map(job).collect()
}

fn announce(prepared: &Prepared, run: &str, shared: &Shared<'_>, emit: &Emitter) {
    let nodes = prepared
        .plan
        .nodes()
        .filter(|(index, _)| prepared.assessments[index].state != State::Unneeded);
    let is_shown = |need: &NodeIndex| prepared.assessments[need].state != State::Unneeded;
    let needs = |index| prepared.plan.needs(index).filter(is_shown);
    let nodes = nodes.map(|(index, node)| NodeInfo {
        id: node.id(),
        stage: node.stage.name.to_owned(),
        subject: node.subject.clone(),
        cached: prepared.assessments[&index].state == State::Cached,
        expected_seconds: prepared.assessments[&index]
            .expected
            .map(|expected| expected.seconds),
        expected_by: prepared.assessments[&index].expected.map(|expected| expected.by),
        alike: node.alike.clone(),
        needs: needs(index).map(|need| prepared.plan.node(need).id()).collect(),
        reason: prepared.assessments[&index].reason.clone(),
    });
    emit.emit(What::RunStarted {
        version: EVENTS_VERSION,
        run: run.to_owned(),
        folder: shared.logs.display().to_string(),
        pipeline: shared.pipeline.to_owned(),
        manifest: shared.manifest.display().to_string(),
        nodes: nodes.collect(),
        images: wanted_images(prepared),
    });
    // What earlier runs found out counts as much as what this one will.
    for (index, node) in prepared.plan.nodes() {
        if prepared.assessments[&index].state == State::Cached
            && let Some(result) = node.work.recalls().then(|| given(shared.store, node)).flatten()
        {
            let emit = emit.for_node(&node.id());
            for what in node.work.recalled(&result) {
                emit.emit(what);
            }
        }
    }
}

fn finished(
    node: &Node,
    result: Result<Result<Done, NodeError>, Box<dyn Any + Send>>,
    seconds: f64,
    shared: &Shared<'_>,
    emit: &Emitter,
) -> Outcome {
    let logs = shared.logs.join(node_folder(&node.id()));
    let failure = match &result {
        Ok(Err(error)) if !error.is_cancelled() => Some(bundle::failed(node, error, &logs, shared)),
        Ok(_) => None,
        Err(panic) => {
            let what = panic.downcast_ref::<String>().map(String::as_str);
            let what = what.or_else(|| panic.downcast_ref::<&str>().copied());
            Some(bundle::panicked(
                node,
                what.unwrap_or("no message"),
                &logs,
                shared,
            ))
        }
    };
    let (outcome, bytes, message, failure) = match (result, failure) {
        (_, Some((message, failure))) => (Outcome::Failed, None, Some(message), Some(failure)),
        // What has no file in the store, such as a place in the output folder, has no size to tell.
        (Ok(Ok(done)), None) => {
            let bytes = Some(done.bytes).filter(|bytes| *bytes > 0);
            (done.outcome, bytes, done.message, None)
        }
        (_, None) => (Outcome::Cancelled, None, None, None),
    };
    if matches!(outcome, Outcome::Built | Outcome::Failed) {
        shared.store.add_attempt(&Attempt {
            at: Timestamp::now(),
            run: shared.run.to_owned(),
            pipeline: shared.pipeline.to_owned(),
            stage: node.stage.name.to_owned(),
            subject: node.subject.clone(),
            alike: node.alike.clone(),
            key: node.key.clone(),
            seconds,
            failure: failure.clone(),
        });
    }
    emit.for_node(&node.id()).emit(What::NodeFinished {
        outcome,
        seconds,
        bytes,
        message,
        failure,
    });
    outcome
}

/// Reports nodes that will not run.
fn skip(tally: &mut Tally, todo: &[(NodeIndex, &Node)], jobs: &[usize], why: &str, emit: &Emitter) {
    for job in jobs {
        tally.skipped += 1;
        emit.for_node(&todo[*job].1.id()).emit(What::NodeFinished {
            outcome: Outcome::Skipped,
            seconds: 0.0,
            bytes: None,
            message: Some(why.to_owned()),
            failure: None,
        });
    }
}

/// The selected images, each with the nodes that lead to it.
fn wanted_images(prepared: &Prepared) -> Vec<WantedImage> {
    let plan = &prepared.plan;
    let image = |image: &PlannedImage| {
        let nodes = plan.way_to(image).into_iter();
        let nodes = nodes.filter(|index| prepared.assessments[index].state != State::Unneeded);
        WantedImage {
            id: image.id.clone(),
            nodes: nodes.map(|index| plan.node(index).id()).collect(),
        }
    };
    plan.images.iter().map(image).collect()
}

/// The selected images as they are in the output folder now; `made` are the nodes whose results are of this run.
fn images(prepared: &Prepared, store: &Store, made: &BTreeSet<NodeIndex>) -> Vec<ImageInfo> {
    let plan = &prepared.plan;
    let image = |image: &PlannedImage| {
        let delivery = sums::delivery(&given(store, plan.node(image.delivery))?)?;
        image.path.exists().then(|| ImageInfo {
            id: image.id.clone(),
            path: image.path.display().to_string(),
            bytes: delivery.bytes,
            disk_bytes: image.disk_bytes,
            built: made.contains(&image.delivery),
            unchecked: image.unchecked,
            firmware: image.firmware.clone(),
            digests: delivery.listed(&image.checksums),
        })
    };
    plan.images.iter().filter_map(image).collect()
}
