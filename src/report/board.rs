//! The state of a run as its events tell it: which node does what since when, and how long it may still take.
//! Pure: time comes from the events and from the caller. Knows nothing of screens.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::event::Event;
use crate::event::ImageInfo;
use crate::event::NodeInfo;
use crate::event::Outcome;
use crate::event::Unit;
use crate::event::What;
use crate::report::summary::Ended;
use crate::report::summary::RunSummary;

/// A rate is trusted once it was watched for this long.
const RATE_AFTER: Duration = Duration::from_secs(2);

/// All that is known of a run.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// Run id.
    pub run: String,
    /// Folder of its logs.
    pub folder: String,
    /// When it began.
    pub started: Option<Timestamp>,
    /// Its nodes, in an order in which they could run.
    pub nodes: Vec<Node>,
    /// Warnings, those about a node with its title in front.
    pub warnings: Vec<String>,
    index: BTreeMap<String, usize>,
    end: Option<End>,
}

#[derive(Clone, Debug)]
struct End {
    seconds: f64,
    images: Vec<ImageInfo>,
}

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// What the plan says of it.
    pub info: NodeInfo,
    /// Where it is.
    pub state: State,
}

/// Where a node is.
#[derive(Clone, Debug)]
pub enum State {
    /// It needs nodes that are not done, or its turn has not come.
    Pending,
    /// Its result is in the store; it never runs.
    Cached,
    /// It could run but for this.
    Waiting {
        /// In words.
        reason: String,
    },
    /// It runs.
    Running(Work),
    /// It ended.
    Done(Done),
}

/// What a running node is at.
#[derive(Clone, Debug)]
pub struct Work {
    /// Since when it runs.
    pub since: Timestamp,
    /// What it does, once it said so.
    pub phase: Option<String>,
    /// How far that is, where it is known.
    pub progress: Option<Advance>,
    /// Last line of output.
    pub line: Option<String>,
}

/// How far a phase is.
#[derive(Clone, Copy, Debug)]
pub struct Advance {
    /// Done so far.
    pub done: u64,
    /// Of how many; 0 when unknown.
    pub total: u64,
    /// Unit of both.
    pub unit: Unit,
    /// When it was said.
    pub at: Timestamp,
    /// The first word on this phase's progress: where rates start.
    first: (Timestamp, u64),
}

/// How a node ended.
#[derive(Clone, Debug)]
pub struct Done {
    /// How.
    pub outcome: Outcome,
    /// Wall time.
    pub seconds: f64,
    /// Bytes of its result.
    pub bytes: Option<u64>,
    /// The failure, or what a skipped node lacked.
    pub message: Option<String>,
}

/// Nodes by where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub total: usize,
    /// Built, shared or found in the store.
    pub done: usize,
    /// Of those, found in the store.
    pub cached: usize,
    /// Running.
    pub running: usize,
    /// Held back by something other than nodes.
    pub waiting: usize,
    /// Failed.
    pub failed: usize,
    /// Never started, or stopped.
    pub skipped: usize,
}

impl Board {
    /// Takes in an event. Events of nodes that nobody announced make them known.
    pub fn apply(&mut self, event: &Event) {
        match &event.what {
            What::RunStarted {
                run, folder, nodes, ..
            } => {
                self.run.clone_from(run);
                self.folder.clone_from(folder);
                self.started = Some(event.at);
                for info in nodes {
                    self.add(info.clone());
                }
            }
            What::RunFinished { seconds, images, .. } => {
                self.end = Some(End {
                    seconds: *seconds,
                    images: images.clone(),
                });
            }
            What::Warning { text } => {
                let about = event.node.as_deref().and_then(|id| self.node(id));
                let about = about.map_or_else(String::new, |node| node.title() + ": ");
                self.warnings.push(about + text);
            }
            _ => {
                if let Some(id) = &event.node {
                    let index = self.place_of(id);
                    self.nodes[index].apply(event.at, &event.what);
                }
            }
        }
    }

    /// The node of this id.
    pub fn node(&self, id: &str) -> Option<&Node> {
        self.index.get(id).and_then(|index| self.nodes.get(*index))
    }

    /// The running nodes, longest running first, so that rows keep their places.
    pub fn running(&self) -> Vec<(&Node, &Work)> {
        let work = |node: &'_ Node| match &node.state {
            State::Running(work) => Some(work.since),
            _ => None,
        };
        let mut running: Vec<_> = self
            .nodes
            .iter()
            .filter_map(|node| match &node.state {
                State::Running(work) => Some((node, work)),
                _ => None,
            })
            .collect();
        running.sort_by_key(|(node, _)| work(node));
        running
    }

    /// Nodes by where they are.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            total: self.nodes.len(),
            ..Counts::default()
        };
        for node in &self.nodes {
            match &node.state {
                State::Pending => {}
                State::Cached => {
                    counts.cached += 1;
                    counts.done += 1;
                }
                State::Waiting { .. } => counts.waiting += 1,
                State::Running(_) => counts.running += 1,
                State::Done(done) => match done.outcome {
                    Outcome::Built | Outcome::Shared => counts.done += 1,
                    Outcome::Failed => counts.failed += 1,
                    Outcome::Skipped | Outcome::Cancelled => counts.skipped += 1,
                },
            }
        }
        counts
    }

    /// How long the run has taken.
    pub fn elapsed(&self, now: Timestamp) -> Duration {
        self.started.map_or(Duration::ZERO, |started| since(started, now))
    }

    /// A guess at how long the whole run may still take: the work left, over as many nodes at once as there were so
    /// far, but not less than the longest one. None as long as some node's time is anyone's guess.
    pub fn eta(&self, now: Timestamp) -> Option<Duration> {
        let (mut left, mut longest, mut busy) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        for node in &self.nodes {
            let rest = match &node.state {
                State::Pending | State::Waiting { .. } => self.expected(node)?,
                State::Running(work) => {
                    busy += since(work.since, now);
                    // None: it takes longer than it should, and nobody knows how much longer.
                    work.eta(self.expected(node), now)?
                }
                State::Done(done) => {
                    busy += Duration::try_from_secs_f64(done.seconds).unwrap_or_default();
                    Duration::ZERO
                }
                State::Cached => Duration::ZERO,
            };
            left += rest;
            longest = longest.max(rest);
        }
        let elapsed = self.elapsed(now).as_secs_f64();
        let at_once = if elapsed > 0.0 {
            busy.as_secs_f64() / elapsed
        } else {
            1.0
        };
        Some(left.div_f64(at_once.max(1.0)).max(longest))
    }

    /// What an earlier run took for this node, else what nodes of its stage took in this one.
    pub fn expected(&self, node: &Node) -> Option<Duration> {
        let known = node
            .info
            .expected_seconds
            .and_then(|s| Duration::try_from_secs_f64(s).ok());
        known.or_else(|| {
            let alike: Vec<f64> = self
                .nodes
                .iter()
                .filter(|other| other.info.stage == node.info.stage)
                .filter_map(|other| match &other.state {
                    State::Done(done) if done.outcome == Outcome::Built => Some(done.seconds),
                    _ => None,
                })
                .collect();
            #[expect(clippy::cast_precision_loss, reason = "a handful of nodes")]
            let mean = alike.iter().sum::<f64>() / alike.len() as f64;
            Duration::try_from_secs_f64(mean).ok()
        })
    }

    /// What remains to be told when the run is over.
    pub fn into_summary(self) -> RunSummary {
        let counts = self.counts();
        let (ended, seconds, images) = match self.end {
            Some(end) => (Ended::Whole, end.seconds, end.images),
            None => (Ended::Cut, 0.0, Vec::new()),
        };
        RunSummary {
            run: self.run,
            folder: self.folder,
            ended,
            seconds,
            cached: counts.cached,
            built: counts.done - counts.cached,
            failed: counts.failed,
            skipped: counts.skipped,
            nodes: self.nodes,
            images,
            warnings: self.warnings,
        }
    }

    fn place_of(&mut self, id: &str) -> usize {
        if let Some(index) = self.index.get(id) {
            return *index;
        }
        let (stage, subject) = id.split_once('/').unwrap_or((id, ""));
        self.add(NodeInfo {
            id: id.to_owned(),
            stage: stage.to_owned(),
            subject: subject.to_owned(),
            cached: false,
            expected_seconds: None,
        })
    }

    fn add(&mut self, info: NodeInfo) -> usize {
        let index = self.nodes.len();
        self.index.insert(info.id.clone(), index);
        let state = if info.cached {
            State::Cached
        } else {
            State::Pending
        };
        self.nodes.push(Node { info, state });
        index
    }
}

impl Node {
    /// As people call it: `size debian12-50G-base`.
    pub fn title(&self) -> String {
        let NodeInfo { stage, subject, .. } = &self.info;
        format!("{stage} {subject}").trim_end().to_owned()
    }

    fn apply(&mut self, at: Timestamp, what: &What) {
        match what {
            What::NodeWaiting { reason } => {
                self.state = State::Waiting {
                    reason: reason.clone(),
                };
            }
            What::NodeStarted => self.state = State::Running(Work::new(at)),
            What::Phase { phase } => {
                let work = self.work(at);
                work.phase = Some(phase.clone());
                work.progress = None;
            }
            What::Progress { done, total, unit } => {
                let (done, total, unit) = (*done, *total, *unit);
                let work = self.work(at);
                let first = match work.progress {
                    // Another total or a step back is another thing that is counted.
                    Some(old) if old.total == total && old.unit == unit && old.done <= done => old.first,
                    _ => (at, done),
                };
                work.progress = Some(Advance {
                    done,
                    total,
                    unit,
                    at,
                    first,
                });
            }
            What::Line { text, .. } => {
                if !text.trim().is_empty() {
                    self.work(at).line = Some(text.clone());
                }
            }
            What::NodeFinished {
                outcome,
                seconds,
                bytes,
                message,
            } => {
                self.state = State::Done(Done {
                    outcome: *outcome,
                    seconds: *seconds,
                    bytes: *bytes,
                    message: message.clone(),
                });
            }
            What::RunStarted { .. } | What::RunFinished { .. } | What::Warning { .. } => {}
        }
    }

    /// The work of a node that is clearly at work, whether or not it said that it started.
    fn work(&mut self, at: Timestamp) -> &mut Work {
        if !matches!(self.state, State::Running(_)) {
            self.state = State::Running(Work::new(at));
        }
        match &mut self.state {
            State::Running(work) => work,
            _ => unreachable!("set to running two lines above"),
        }
    }
}

impl Work {
    fn new(since: Timestamp) -> Self {
        Self {
            since,
            phase: None,
            progress: None,
            line: None,
        }
    }

    /// How long the node may still take: not less than its phase at its present rate, nor than what remains of the
    /// time it is expected to take. None when neither is known.
    pub fn eta(&self, expected: Option<Duration>, now: Timestamp) -> Option<Duration> {
        let by_rate = self.progress.and_then(|advance| advance.eta(now));
        let by_past = expected.and_then(|expected| expected.checked_sub(since(self.since, now)));
        by_rate.max(by_past)
    }
}

impl Advance {
    /// Done, in hundredths; none when the total is unknown.
    pub fn percent(&self) -> Option<u64> {
        let hundredths = u128::from(self.done.min(self.total)) * 100;
        let percent = hundredths.checked_div(u128::from(self.total))?;
        u64::try_from(percent).ok()
    }

    /// What is counted, in words: `12 MiB of 30 MiB`, `step 2 of 5`; nothing where the percentage says it all.
    pub fn amount(&self) -> Option<String> {
        use crate::size::ByteSize;
        let (done, total) = (self.done, self.total);
        match (self.unit, total) {
            (Unit::Bytes, 0) => Some(ByteSize(done).to_string()),
            (Unit::Bytes, _) => Some(format!("{} of {}", ByteSize(done), ByteSize(total))),
            (Unit::Steps, 0) => Some(format!("step {done}")),
            (Unit::Steps, _) => Some(format!("step {done} of {total}")),
            (Unit::Percent, _) => None,
        }
    }

    fn eta(&self, now: Timestamp) -> Option<Duration> {
        let (first_at, first_done) = self.first;
        let watched = since(first_at, self.at);
        let moved = self.done.saturating_sub(first_done);
        if watched < RATE_AFTER || moved == 0 || self.total == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let parts = self.total.saturating_sub(self.done) as f64 / moved as f64;
        let left = Duration::try_from_secs_f64(watched.as_secs_f64() * parts).ok()?;
        Some(left.saturating_sub(since(self.at, now)))
    }
}

/// Time from one moment to a later one; clocks that step back make it zero.
pub fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_770_000_000 + second).unwrap()
    }

    fn info(id: &str, cached: bool, expected_seconds: Option<f64>) -> NodeInfo {
        let (stage, subject) = id.split_once('/').unwrap();
        NodeInfo {
            id: id.to_owned(),
            stage: stage.to_owned(),
            subject: subject.to_owned(),
            cached,
            expected_seconds,
        }
    }

    fn tell(board: &mut Board, second: i64, node: &str, what: What) {
        board.apply(&Event {
            at: at(second),
            node: Some(node.to_owned()),
            what,
        });
    }

    fn started(nodes: Vec<NodeInfo>) -> Board {
        let mut board = Board::default();
        board.apply(&Event {
            at: at(0),
            node: None,
            what: What::RunStarted {
                version: 1,
                run: "r".to_owned(),
                folder: "f".to_owned(),
                nodes,
            },
        });
        board
    }

    fn built(seconds: f64) -> What {
        What::NodeFinished {
            outcome: Outcome::Built,
            seconds,
            bytes: None,
            message: None,
        }
    }

    fn bytes(done: u64, total: u64) -> What {
        What::Progress {
            done,
            total,
            unit: Unit::Bytes,
        }
    }

    #[test]
    fn a_node_goes_from_waiting_over_running_to_done() {
        let mut board = started(vec![info("fetch/a", true, None), info("size/a", false, None)]);
        let reason = "memory".to_owned();
        tell(&mut board, 1, "size/a", What::NodeWaiting { reason });
        assert_eq!((board.counts().waiting, board.counts().cached), (1, 1));
        tell(&mut board, 2, "size/a", What::NodeStarted);
        assert_eq!((board.counts().waiting, board.counts().running), (0, 1));
        tell(&mut board, 3, "size/a", built(1.0));
        assert_eq!((board.counts().done, board.counts().running), (2, 0));
    }

    #[test]
    fn time_left_is_by_rate_and_by_past_whichever_is_more() {
        let mut board = started(vec![info("fetch/a", false, Some(100.0))]);
        tell(&mut board, 0, "fetch/a", What::NodeStarted);
        tell(&mut board, 10, "fetch/a", bytes(0, 1000));
        tell(&mut board, 20, "fetch/a", bytes(100, 1000));
        // The rate says 90 s more, the past 80 s.
        assert_eq!(board.eta(at(20)), Some(Duration::from_secs(90)));
        tell(&mut board, 30, "fetch/a", bytes(900, 1000));
        assert_eq!(board.eta(at(30)), Some(Duration::from_secs(70)));
        // A new phase forgets the old rate.
        let phase = "checking".to_owned();
        tell(&mut board, 31, "fetch/a", What::Phase { phase });
        assert_eq!(board.eta(at(101)), None);
    }

    #[test]
    fn time_left_of_the_run_counts_parallel_work_and_admits_ignorance() {
        let node = |id| info(id, false, Some(60.0));
        let mut board = started(vec![node("a/1"), node("a/2"), node("b/1"), node("b/2")]);
        tell(&mut board, 0, "a/1", What::NodeStarted);
        tell(&mut board, 0, "a/2", What::NodeStarted);
        tell(&mut board, 60, "a/1", built(60.0));
        tell(&mut board, 60, "a/2", built(60.0));
        assert_eq!(board.eta(at(60)), Some(Duration::from_secs(60)));
        tell(&mut board, 60, "c/unannounced", What::NodeStarted);
        assert_eq!(board.eta(at(60)), None);
    }
}
