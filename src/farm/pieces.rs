//! What happens in a job, on its way through the remote store: the events of its run in numbered pieces, below the job's name,
//! its number at the engine and how often it was started. Nothing else connects the hosts.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::engine::Ticket;
use super::outage::outlast;
use crate::event::{Event, What};
use crate::host::cancel::Cancel;
use crate::remote::Remote;
use crate::remote::error::RemoteError;

/// How often a piece is put there, while there is anything to tell.
const EVERY: Duration = Duration::from_secs(3);
/// Progress of one node is passed on at most this often.
const PROGRESS_EVERY: SignedDuration = SignedDuration::from_secs(2);
/// How many starts are looked ahead for: one may have ended before it said anything.
const AHEAD: u32 = 3;

/// The first line of the first piece.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Head {
    /// The host's name.
    pub host: String,
}

/// The last line of the last piece.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Last {
    /// Whether the process of the job has nothing more to do.
    over: bool,
}

fn path(name: &str, Ticket(ticket): &Ticket, start: u32, piece: u32) -> String {
    format!("runs/{name}/{ticket}/{start}/events-{piece:06}.jsonl")
}

/// Puts pieces there.
#[derive(Debug)]
pub struct Writer<'a> {
    remote: &'a Remote,
    name: &'a str,
    ticket: Ticket,
    start: u32,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    text: String,
    progress: BTreeMap<Option<String>, Timestamp>,
}

impl<'a> Writer<'a> {
    /// For the job of this name; `start` counts how often the engine started it before.
    pub fn new(remote: &'a Remote, name: &'a str, ticket: Ticket, start: u32, host: &str) -> Self {
        let head = Head {
            host: host.to_owned(),
        };
        let lines = Lines {
            text: json(&head),
            progress: BTreeMap::new(),
        };
        Self {
            remote,
            name,
            ticket,
            start,
            lines: Mutex::new(lines),
        }
    }

    pub fn add(&self, event: &Event) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(event.what, What::Progress { .. }) {
            let last = lines.progress.get(&event.node);
            if last.is_some_and(|last| event.at.duration_since(*last) < PROGRESS_EVERY) {
                return;
            }
            lines.progress.insert(event.node.clone(), event.at);
        }
        lines.text += &json(event);
    }

    /// Puts pieces there until all is said, or the job is to stop.
    pub fn run(&self, is_over: &Cancel, stop: &Cancel) {
        let mut piece = 1;
        while !is_over.is_cancelled() {
            // An outage only delays what is said.
            let _ = self.put(&mut piece);
            let _ = is_over.sleep(EVERY);
            self.remote.ask_again();
        }
        let last = json(&Last { over: true });
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).text += &last;
        let _ = outlast(self.remote, stop, || self.put(&mut piece));
    }

    fn put(&self, piece: &mut u32) -> Result<(), RemoteError> {
        let lines = || self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let text = lines().text.clone();
        if !text.is_empty() {
            let path = path(self.name, &self.ticket, self.start, *piece);
            self.remote.put(&path, text.as_bytes(), &Cancel::default())?;
            lines().text.drain(..text.len());
            *piece += 1;
        }
        Ok(())
    }
}

fn json(line: &impl Serialize) -> String {
    match serde_json::to_string(line) {
        Ok(text) => text + "\n",
        Err(error) => unreachable!("plain data always serialises: {error}"),
    }
}

/// Reads the pieces of a job.
#[derive(Debug)]
pub struct Reader {
    ticket: Ticket,
    start: u32,
    piece: u32,
}

/// What a piece says.
#[derive(Debug, Default)]
pub struct Piece {
    /// A start of the job that nothing was known of, with its host.
    pub host: Option<String>,
    pub events: Vec<Event>,
    /// Whether the process of the job has ended.
    pub over: bool,
}

impl Reader {
    pub fn new(ticket: Ticket) -> Self {
        let (start, piece) = (0, 1);
        Self { ticket, start, piece }
    }

    /// The next piece; none: there is none yet.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn next(
        &mut self,
        remote: &Remote,
        name: &str,
        cancel: &Cancel,
    ) -> Result<Option<Piece>, RemoteError> {
        let here = std::iter::once((self.start, self.piece));
        let ahead = (self.start + 1..=self.start + AHEAD).map(|start| (start, 1));
        for (start, piece) in here.chain(ahead) {
            if let Some(text) = remote.get(&path(name, &self.ticket, start, piece), cancel)? {
                (self.start, self.piece) = (start, piece + 1);
                return Ok(Some(read(&String::from_utf8_lossy(&text))));
            }
        }
        Ok(None)
    }
}

/// Lines that a later version may write are left out.
fn read(text: &str) -> Piece {
    let mut piece = Piece::default();
    for line in text.lines() {
        if let Ok(event) = serde_json::from_str::<Event>(line) {
            piece.events.push(event);
        } else if let Ok(head) = serde_json::from_str::<Head>(line) {
            piece.host = Some(head.host);
        } else if let Ok(last) = serde_json::from_str::<Last>(line) {
            piece.over = last.over;
        }
    }
    piece
}
