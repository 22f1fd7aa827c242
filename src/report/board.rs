//! The state of a run as its events tell it: which node does what since when, and how long it may still take.
//! Pure: time comes from the events and from the caller. Knows nothing of screens.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::event::{Event, ImageInfo, NodeInfo, Outcome, WantedImage, What};
use crate::report::node::{Node, State, Work, since};
use crate::report::summary::{Ended, RunSummary};

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
                    self.nodes[index].apply(event.at, &event.what);
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
    /// far, but not less than the longest one. None as long as some node's time is anyone's guess.
    pub fn eta(&self, now: Timestamp) -> Option<Duration> {
        let (mut left, mut longest, mut busy) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
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
        self.nodes.push(Node {
            info,
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
                pipeline: String::new(),
                manifest: String::new(),
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
