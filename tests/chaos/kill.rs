//! One run and its kill: the run's own events say when, so that every kind of moment is hit in every node.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use serde_json::Value;

use super::House;

/// What a node says when its work is done and its result goes into the store.
const STORING: &str = "storing the result";
/// Of a run that says nothing for so long something is wrong.
const LONG: Duration = Duration::from_secs(600);
/// A node that takes so long gets half as many kills as one that takes no time, and so on.
const COSTLY: f64 = 7.0;
/// Longest time behind the end of a node.
const JUST: Duration = Duration::from_millis(60);

/// When in a node's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// While the program starts, plans, and reads results back.
    Starting,
    /// While the node works.
    Working,
    /// While its result is stored.
    Storing,
    /// Just after it has ended.
    Ended,
}

impl Moment {
    pub const ALL: [Self; 4] = [Self::Starting, Self::Working, Self::Storing, Self::Ended];
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Working => "working",
            Self::Storing => "storing",
            Self::Ended => "just ended",
        })
    }
}

/// Numbers that only a seed decides (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 0 up to 1.
    pub fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = u32::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32).unwrap();
        f64::from(high) / f64::from(u32::MAX)
    }

    fn within(&mut self, time: Duration) -> Duration {
        time.mul_f64(self.unit())
    }
}

/// How long things take when nothing disturbs them.
pub struct Calm {
    pub took: Duration,
    /// From the start of the program to its first node.
    start: Duration,
    /// Nodes in the order of the plan, each with its time and that for storing its result.
    nodes: Vec<(String, Duration, Duration)>,
}

impl Calm {
    pub fn measure(house: &House) -> Self {
        let began = Instant::now();
        let mut run = Run::start(house);
        let (mut nodes, mut times, mut started) = (Vec::new(), BTreeMap::new(), None);
        while let Some(Said { node, what, value }) = run.next(LONG) {
            match (what.as_str(), node) {
                ("run_started", _) => nodes = names(&value),
                ("node_started", Some(node)) => {
                    started.get_or_insert(began.elapsed());
                    times.insert((node, "start"), Instant::now());
                }
                ("phase", Some(node)) if value["phase"] == STORING => {
                    times.insert((node, "store"), Instant::now());
                }
                ("node_finished", Some(node)) => {
                    times.insert((node, "end"), Instant::now());
                }
                _ => {}
            }
        }
        let ended = run.end();
        assert_eq!(
            ended.code,
            Some(0),
            "the run without a kill failed: {}",
            ended.said
        );
        let time = |name: &str, from, to| {
            let at = |what| times.get(&(name.to_owned(), what));
            at(from).zip(at(to)).map(|(from, to)| to.duration_since(*from))
        };
        let measured = nodes.into_iter().map(|(name, _)| {
            let all = time(&name, "start", "end").unwrap_or_default();
            let store = time(&name, "store", "end").unwrap_or_default();
            (name, all, store)
        });
        Self {
            took: began.elapsed(),
            start: started.unwrap_or_default(),
            nodes: measured.collect(),
        }
    }

    fn of(&self, node: &str) -> (Duration, Duration) {
        let found = self.nodes.iter().find(|(name, ..)| name == node);
        found.map_or((self.took, JUST), |(_, all, store)| (*all, *store))
    }

    /// Where a node stands in the plan; what is no node stands before all.
    pub fn position(&self, node: &str) -> usize {
        let found = self.nodes.iter().position(|(name, ..)| name == node);
        found.map_or(0, |at| at + 1)
    }

    fn weight(&self, node: &str) -> f64 {
        (1.0 + self.of(node).0.as_secs_f64() / COSTLY).sqrt().recip()
    }
}

/// Kills of one node that are left before it may end.
#[derive(Default)]
pub struct Quota {
    node: String,
    left: u32,
    /// Whether the storing of its result was hit, or tried to.
    stored: bool,
}

impl Quota {
    /// Which node is to be hit next, and when in its life: the one at the front. Of the kills that are left each stage gets
    /// its part, those that cost much time fewer; the nodes of a stage mostly run next to each other. The last but one hits
    /// the storing of a result, the last one its end: so each node does end. None: nothing is left to do.
    fn next(&mut self, todo: &[String], calm: &Calm, left: u32, dice: &mut Dice) -> Option<(String, Moment)> {
        let front = todo.first()?;
        if self.node != *front {
            let all: f64 = todo
                .iter()
                .map(|node| calm.weight(node) / peers(todo, node))
                .sum();
            let part = f64::from(left) * calm.weight(front) / all;
            let part = (0..=left).take_while(|n| f64::from(*n) <= part).last();
            *self = Self {
                node: front.clone(),
                left: part.unwrap_or(0).max(2),
                stored: false,
            };
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 && self.stored {
            if is_in_store(front) {
                return Some((front.clone(), Moment::Ended));
            }
            // What lies outside the store is at the front again in each run: then any of what is left will do.
            let mut one_of = |count: usize| {
                let roll = dice.unit() * count as f64;
                (0..count).rfind(|n| *n as f64 <= roll)
            };
            let node = todo[one_of(todo.len()).unwrap_or(0)].clone();
            let moment = Moment::ALL[1 + one_of(Moment::ALL.len() - 1).unwrap_or(0)];
            return Some((node, moment));
        }
        let moment = match self.left {
            0 | 1 => {
                self.stored = true;
                self.left = 1;
                Moment::Storing
            }
            _ if dice.unit() < 0.1 => Moment::Starting,
            _ => Moment::Working,
        };
        Some((front.clone(), moment))
    }
}

/// How many nodes of the same stage are to be done.
fn peers(todo: &[String], node: &str) -> f64 {
    let stage = |node: &str| node.split('/').next().unwrap_or_default().to_owned();
    todo.iter().filter(|other| stage(other) == stage(node)).count() as f64
}

/// What a run's kill hit.
pub struct Hit {
    pub place: String,
    pub moment: Moment,
    /// False: the run came to its end before.
    pub killed: bool,
    /// Nodes whose results went into the store.
    pub finished: Vec<String>,
}

/// Starts a run and kills it.
pub fn once(house: &House, calm: &Calm, quota: &mut Quota, left: u32, dice: &mut Dice) -> Hit {
    let mut run = Run::start(house);
    let began = Instant::now();
    let mut hit = Hit {
        place: "the program itself".to_owned(),
        moment: Moment::Starting,
        killed: false,
        finished: Vec::new(),
    };
    let (mut wanted, mut until) = (None, None);
    // Known only when the plan is announced; a kill before that is decided before.
    if dice.unit() < 0.05 {
        until = Some(began + dice.within(calm.start));
        wanted = Some(Moment::Starting);
    }
    loop {
        let wait = until.map_or(LONG, |until: Instant| {
            until.saturating_duration_since(Instant::now())
        });
        let said = match run.lines.recv_timeout(wait) {
            Ok(said) => said,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                assert!(until.is_some(), "a run says nothing any more");
                run.child.kill().unwrap();
                hit.killed = true;
                // What it still had to say counts: a result that it reported must be there.
                while let Some(said) = run.next(LONG) {
                    note(&said, &mut hit);
                }
                break;
            }
        };
        note(&said, &mut hit);
        let Said { node, what, value } = said;
        if what == "run_started" && wanted.is_none() {
            let todo: Vec<_> = names(&value)
                .into_iter()
                .filter(|(_, cached)| !cached)
                .map(|(name, _)| name)
                .collect();
            let next = quota.next(&todo, calm, left, dice);
            let (place, moment) = next.unwrap_or((String::new(), Moment::Starting));
            wanted = Some(moment);
            if moment == Moment::Starting {
                // From the plan to somewhere in the first node.
                until = Some(Instant::now() + dice.within(calm.start));
            } else {
                (hit.place, hit.moment) = (place, moment);
            }
        }
        if until.is_some() || node.as_deref() != Some(hit.place.as_str()) {
            continue;
        }
        let (all, store) = calm.of(&hit.place);
        let in_time = match (hit.moment, what.as_str()) {
            // Every moment may be hit, early ones more often: a late one costs the whole work once more.
            (Moment::Working, "node_started") => Some(all.mul_f64(dice.unit().powi(4))),
            (Moment::Storing, "phase") if value["phase"] == STORING => Some(dice.within(store.max(JUST))),
            // It was quicker than we thought.
            (_, "node_finished") => Some(dice.within(JUST)),
            _ => None,
        };
        until = in_time.map(|time| Instant::now() + time);
    }
    run.child.wait().unwrap();
    hit
}

fn note(said: &Said, hit: &mut Hit) {
    if let (Some(node), "node_finished", "built") = (
        &said.node,
        said.what.as_str(),
        said.value["outcome"].as_str().unwrap_or_default(),
    ) && is_in_store(node)
    {
        hit.finished.push(node.clone());
    }
}

/// Whether a node's result lies in the store; others are looked at again in each run.
fn is_in_store(node: &str) -> bool {
    let stage = node.split('/').next().unwrap_or_default();
    !["sums", "upload", "index"].contains(&stage)
}

/// A run that is not killed.
pub struct Ended {
    pub code: Option<i32>,
    pub said: String,
    pub built: Vec<String>,
}

pub fn to_the_end(house: &House) -> Ended {
    let mut run = Run::start(house);
    let mut hit = Hit {
        place: String::new(),
        moment: Moment::Ended,
        killed: false,
        finished: Vec::new(),
    };
    while let Some(said) = run.next(LONG) {
        note(&said, &mut hit);
    }
    let mut ended = run.end();
    ended.built = hit.finished;
    ended
}

/// An event.
struct Said {
    node: Option<String>,
    what: String,
    value: Value,
}

/// A run whose events are read.
struct Run {
    child: std::process::Child,
    lines: Receiver<Said>,
    errors: thread::JoinHandle<String>,
}

impl Run {
    fn start(house: &House) -> Self {
        let mut command = house.run();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in out.lines() {
                // The last line of a killed program may be half of one.
                let Ok(value) = serde_json::from_str::<Value>(&line.unwrap_or_default()) else {
                    continue;
                };
                let text = |key: &str| value[key].as_str().map(str::to_owned);
                let said = Said {
                    node: text("node"),
                    what: text("event").unwrap_or_default(),
                    value,
                };
                if sender.send(said).is_err() {
                    break;
                }
            }
        });
        let mut err = child.stderr.take().unwrap();
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = err.read_to_string(&mut text);
            text
        });
        Self { child, lines, errors }
    }

    fn next(&mut self, limit: Duration) -> Option<Said> {
        self.lines.recv_timeout(limit).ok()
    }

    fn end(mut self) -> Ended {
        let code = self.child.wait().unwrap().code();
        Ended {
            code,
            said: self.errors.join().unwrap(),
            built: Vec::new(),
        }
    }
}

/// The nodes of a plan, and whether the store has their results.
fn names(started: &Value) -> Vec<(String, bool)> {
    let nodes = started["nodes"].as_array().unwrap();
    let name = |node: &Value| {
        let id = node["id"].as_str().unwrap().to_owned();
        (id, node["cached"] == true)
    };
    nodes.iter().map(name).collect()
}
