//! A run as its `events.jsonl` tells it, after the run or while it goes on: the short form from its first and last lines, and
//! all of it, line by line. Lines that this version does not know are passed over.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

use jiff::Timestamp;

use crate::event::{Event, What};

/// Bytes at the end of a journal in which its last event is looked for: it lists all images.
const TAIL: u64 = 1 << 20;

/// A run in short.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    pub started: Option<Timestamp>,
    /// Name of the pipeline; empty where it is not known.
    pub pipeline: String,
    /// Path of the manifest; empty where it is not known.
    pub manifest: String,
    /// Nodes of its plan.
    pub nodes: usize,
    /// When its journal's last event happened.
    pub last: Option<Timestamp>,
    /// How it ended; absent where the journal has no end.
    pub end: Option<End>,
    /// Why it was not started.
    pub refused: Option<String>,
    /// Whether that is because it was asked to stop.
    pub interrupted: bool,
}

impl Past {
    /// Whether it is the journal of a run that was started, or is about to be.
    pub fn is_run(&self, is_running: bool) -> bool {
        self.refused.is_none() && (self.started.is_some() || is_running)
    }
}

/// How a run ended, in numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct End {
    /// Nodes built, or found in their places outside the store.
    pub built: usize,
    /// Nodes taken from the store.
    pub cached: usize,
    /// Nodes failed.
    pub failed: usize,
    /// Nodes that never ran.
    pub skipped: usize,
    /// Whether it was stopped.
    pub interrupted: bool,
    /// Wall time.
    pub seconds: f64,
}

/// Reads the short form; empty where there is no journal.
pub fn read(journal: &Path) -> Past {
    let mut past = Past::default();
    let Ok(mut file) = File::open(journal) else {
        return past;
    };
    let mut first = String::new();
    // The first events, until the run says what it is: warnings may come before it.
    let mut reader = BufReader::new(&file);
    while past.started.is_none() && reader.read_line(&mut first).is_ok_and(|count| count > 0) {
        if let Some(event) = event(&first) {
            match event.what {
                What::RunStarted {
                    pipeline,
                    manifest,
                    nodes,
                    ..
                } => {
                    past.started = Some(event.at);
                    (past.pipeline, past.manifest) = (pipeline, manifest);
                    past.nodes = nodes.len();
                }
                What::RunRefused {
                    pipeline,
                    manifest,
                    error,
                    interrupted,
                } => {
                    past.started = Some(event.at);
                    (past.pipeline, past.manifest) = (pipeline, manifest);
                    past.refused = Some(error);
                    past.interrupted = interrupted;
                }
                _ => {}
            }
        }
        first.clear();
    }
    let length = file.metadata().map_or(0, |found| found.len());
    let mut tail = Vec::new();
    let read = file.seek(SeekFrom::Start(length.saturating_sub(TAIL)));
    if read.and_then(|_| file.read_to_end(&mut tail)).is_err() {
        return past;
    }
    let tail = String::from_utf8_lossy(&tail);
    let Some(event) = tail.lines().rev().find_map(event) else {
        return past;
    };
    past.last = Some(event.at);
    if let What::RunFinished {
        built,
        present,
        cached,
        failed,
        skipped,
        interrupted,
        seconds,
        ..
    } = event.what
    {
        past.end = Some(End {
            built: built + present,
            cached,
            failed,
            skipped,
            interrupted,
            seconds,
        });
    }
    past
}

/// One line of a journal.
pub fn event(line: &str) -> Option<Event> {
    serde_json::from_str(line).ok()
}

/// A journal read as it grows: whole lines only.
#[derive(Debug)]
pub struct Reading {
    reader: BufReader<File>,
    partial: String,
}

impl Reading {
    /// From its beginning.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(journal: &Path) -> std::io::Result<Self> {
        Ok(Self {
            reader: BufReader::new(File::open(journal)?),
            partial: String::new(),
        })
    }

    /// The events that came since the last call.
    pub fn more(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while self
            .reader
            .read_line(&mut self.partial)
            .is_ok_and(|count| count > 0)
        {
            // The rest of it is still to come.
            if !self.partial.ends_with('\n') {
                break;
            }
            events.extend(event(&self.partial));
            self.partial.clear();
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const STARTED: &str = r#"{"at":"2026-02-03T04:05:00Z","event":"run_started","version":1,"run":"r","folder":"f","pipeline":"p","manifest":"/m.toml","nodes":[]}"#;
    const FINISHED: &str = r#"{"at":"2026-02-03T04:05:09Z","event":"run_finished","built":1,"present":0,"cached":2,"failed":1,"skipped":0,"seconds":9.0,"images":[]}"#;

    #[test]
    fn a_journal_is_read_while_it_grows_and_what_is_unknown_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        assert_eq!(read(&path), Past::default());
        let mut file = File::create(&path).unwrap();
        write!(
            file,
            "{STARTED}\n{{\"at\":\"2026-02-03T04:05:01Z\",\"event\":\"new_kind\"}}\n{{\"at\":"
        )
        .unwrap();
        let mut reading = Reading::open(&path).unwrap();
        assert_eq!(reading.more().len(), 1);
        let past = read(&path);
        assert_eq!((past.manifest.as_str(), past.end), ("/m.toml", None));
        assert_eq!(past.last, past.started);
        writeln!(
            file,
            "\"2026-02-03T04:05:02Z\",\"node\":\"a/b\",\"event\":\"node_started\"}}\n{FINISHED}"
        )
        .unwrap();
        let more = reading.more();
        assert_eq!(more.len(), 2);
        assert_eq!(more[0].node.as_deref(), Some("a/b"));
        assert_eq!(read(&path).end.map(|end| (end.failed, end.cached)), Some((1, 2)));
    }
}
