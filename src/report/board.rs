//! The state of a run as its events tell it: which node does what since when, and how long it may still take.
//! Pure: time comes from the events and from the caller. Knows nothing of screens.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::event::{Event, ImageInfo, NodeInfo, Outcome, WantedImage, What};
use crate::report::node::{Node, State, Work, since};
use crate::report::summary::{Ended, RunSummary};
use crate::took::{By, Times};

/// Seconds of work after which the pace of a run counts half …
const PACE_FROM: f64 = 30.0;
/// … and how much slower or faster than another run it may be.
const PACE_MOST: f64 = 4.0;

/// All that is known of a run.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// Run id.
    pub run: String,
    /// Folder of its logs; empty for what is no run, and is not summed up.
    pub folder: String,
    /// Its manifest.
    pub manifest: String,
    /// The images that are wanted.
    pub wanted: Vec<WantedImage>,
    pub started: Option<Timestamp>,
    /// Its nodes, in an order in which they could run.
    pub nodes: Vec<Node>,
    /// Warnings, those about a node with its title in front.
    pub warnings: Vec<String>,
    index: BTreeMap<String, usize>,
    /// What nodes took in this run.
    times: Times,
    /// Seconds that nodes took for which there was an expectation, and the seconds that were expected.
    pace: (f64, f64),
    end: Option<End>,
}

#[derive(Clone, Debug)]
struct End {
    seconds: f64,
    images: Vec<ImageInfo>,
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
    /// Of those, in their places outside the store already.
    pub present: usize,
    pub running: usize,
    /// Held back by something other than nodes.
    pub waiting: usize,
    pub failed: usize,
    /// Never started, or stopped.
    pub skipped: usize,
}

impl Board {
    /// Takes in an event. Events of nodes that were not announced make them known.
    pub fn apply(&mut self, event: &Event) {
        match &event.what {
            What::RunStarted {
                run,
                folder,
                manifest,
                nodes,
                images,
                ..
            } => {
                self.run.clone_from(run);
                self.folder.clone_from(folder);
                self.manifest.clone_from(manifest);
                self.wanted.clone_from(images);
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
                    if let Some(host) = &event.host {
                        self.nodes[index].host.clone_from(host);
                    }
                    self.nodes[index].apply(event.at, &event.what);
                    if matches!(event.what, What::NodeFinished { .. }) {
                        self.learn(index);
                    }
                }
            }
        }
    }

    pub fn node(&self, id: &str) -> Option<&Node> {
        self.index.get(id).and_then(|index| self.nodes.get(*index))
    }

    /// The running nodes, longest running first, so that rows keep their places.
    pub fn running(&self) -> Vec<(&Node, &Work)> {
        let mut running: Vec<_> = self
            .nodes
            .iter()
            .filter_map(|node| match &node.state {
                State::Running(work) => Some((node, work)),
                _ => None,
            })
            .collect();
        running.sort_by_key(|(_, work)| work.since);
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
                    Outcome::Present => {
                        counts.present += 1;
                        counts.done += 1;
                    }
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
    /// far, but not less than the longest way to an image. None as long as some node's time is anyone's guess.
    pub fn eta(&self, now: Timestamp) -> Option<Duration> {
        let mut rests: BTreeMap<&str, Duration> = BTreeMap::new();
        let mut busy = Duration::ZERO;
        for node in &self.nodes {
            let rest = match &node.state {
                State::Pending | State::Waiting { .. } => self.expected(node)?,
                State::Running(work) => {
                    busy += since(work.since, now);
                    // None: it takes longer than it should, by an unknown time.
                    work.eta(self.expected(node), now)?
                }
                State::Done(done) => {
                    busy += Duration::try_from_secs_f64(done.seconds).unwrap_or_default();
                    continue;
                }
                State::Cached => continue,
            };
            rests.insert(&node.info.id, rest);
        }
        let elapsed = self.elapsed(now).as_secs_f64();
        let at_once = if elapsed > 0.0 {
            busy.as_secs_f64() / elapsed
        } else {
            1.0
        };
        let left: Duration = rests.values().sum();
        let way = |image: &WantedImage| image.nodes.iter().filter_map(|id| rests.get(id.as_str())).sum();
        let longest = self.wanted.iter().map(way).chain(rests.values().copied()).max();
        Some(left.div_f64(at_once.max(1.0)).max(longest.unwrap_or_default()))
    }

    /// How long a node may take: by earlier runs, at the pace of this one, or by what its like took in this one.
    pub fn expected(&self, node: &Node) -> Option<Duration> {
        let by = node.info.expected_by.unwrap_or(By::Subject);
        let planned = node
            .info
            .expected_seconds
            .map(|seconds| (by, seconds * self.pace()));
        let here = self
            .times
            .expected(node.job())
            .map(|here| (here.by, here.seconds));
        let (_, seconds) = match (planned, here) {
            (Some(planned), Some(here)) if planned.0 < here.0 => planned,
            (planned, here) => here.or(planned)?,
        };
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// How much longer nodes took in this run than was expected of them: the host may be busier, or less.
    fn pace(&self) -> f64 {
        let (took, expected) = self.pace;
        ((took + PACE_FROM) / (expected + PACE_FROM)).clamp(1.0 / PACE_MOST, PACE_MOST)
    }

    fn learn(&mut self, index: usize) {
        let node = &self.nodes[index];
        let State::Done(done) = &node.state else { return };
        if !matches!(done.outcome, Outcome::Built | Outcome::Failed) {
            return;
        }
        let is_done = done.outcome == Outcome::Built;
        self.times.learn(node.job(), done.seconds, is_done);
        if let (true, Some(expected)) = (is_done, node.info.expected_seconds) {
            self.pace.0 += done.seconds;
            self.pace.1 += expected;
        }
    }

    /// What remains to be reported when the run is over.
    pub fn into_summary(self) -> RunSummary {
        let counts = self.counts();
        let (ended, seconds, images) = match self.end {
            Some(end) => (Ended::Whole, end.seconds, end.images),
            None => (Ended::Cut, 0.0, Vec::new()),
        };
        RunSummary {
            folder: self.folder,
            manifest: self.manifest,
            wanted: self.wanted,
            started: self.started,
            ended,
            seconds,
            cached: counts.cached,
            built: counts.done - counts.cached - counts.present,
            present: counts.present,
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
            ..NodeInfo::default()
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
        self.nodes.push(Node {
            info,
            host: String::new(),
            state,
            checks: Vec::new(),
        });
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Unit;

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
            ..NodeInfo::default()
        }
    }

    fn tell(board: &mut Board, second: i64, node: &str, what: What) {
        board.apply(&Event {
            at: at(second),
            node: Some(node.to_owned()),
            host: None,
            what,
        });
    }

    fn started(nodes: Vec<NodeInfo>) -> Board {
        let mut board = Board::default();
        board.apply(&Event {
            at: at(0),
            node: None,
            host: None,
            what: What::RunStarted {
                version: 1,
                run: "r".to_owned(),
                folder: "f".to_owned(),
                pipeline: String::new(),
                manifest: String::new(),
                nodes,
                images: Vec::new(),
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
            failure: None,
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
    fn time_left_is_what_remains_of_the_expected_time_however_far_a_phase_is() {
        let mut board = started(vec![
            info("check/a", false, Some(100.0)),
            info("check/b", true, None),
        ]);
        tell(&mut board, 0, "check/a", What::NodeStarted);
        tell(&mut board, 1, "check/a", bytes(0, 1000));
        tell(&mut board, 4, "check/a", bytes(990, 1000));
        assert_eq!(board.eta(at(4)), Some(Duration::from_secs(96)));
        // It takes longer than it should: nothing is claimed.
        assert_eq!(board.eta(at(101)), None);
        let mut board = started(vec![info("check/a", false, None)]);
        tell(&mut board, 0, "check/a", What::NodeStarted);
        tell(&mut board, 1, "check/a", bytes(0, 1000));
        tell(&mut board, 4, "check/a", bytes(990, 1000));
        assert_eq!(board.eta(at(4)), None);
    }

    #[test]
    fn time_left_follows_the_pace_of_the_run_and_what_its_like_took_in_it() {
        let mut nodes = vec![
            info("install/x", false, Some(270.0)),
            info("check/a", false, Some(100.0)),
        ];
        nodes.extend(["check/b", "check/c"].map(|id| info(id, false, None)));
        let mut board = started(nodes);
        for node in &mut board.nodes[1..] {
            node.info.alike = "x/web".to_owned();
        }
        tell(&mut board, 0, "install/x", What::NodeStarted);
        assert_eq!(board.expected(board.node("check/b").unwrap()), None);
        tell(&mut board, 570, "install/x", built(570.0));
        // Twice as slow as expected.
        assert_eq!(
            board.expected(board.node("check/a").unwrap()),
            Some(Duration::from_secs(200))
        );
        tell(&mut board, 570, "check/a", What::NodeStarted);
        tell(&mut board, 760, "check/a", built(190.0));
        assert_eq!(
            board.expected(board.node("check/b").unwrap()),
            Some(Duration::from_secs(190))
        );
        assert_eq!(board.eta(at(760)), Some(Duration::from_secs(380)));
        // Both lead to one image.
        let nodes = ["check/b", "check/c"].map(str::to_owned).to_vec();
        board.wanted = vec![WantedImage {
            id: "i".to_owned(),
            nodes,
        }];
        for id in ["check/d", "check/e"] {
            tell(&mut board, 760, id, What::NodeStarted);
            tell(&mut board, 950, id, built(190.0));
        }
        assert_eq!(board.eta(at(950)), Some(Duration::from_secs(380)));
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
