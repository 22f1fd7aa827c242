//! The run's `events.jsonl`: every event, one JSON object a line, on disk as soon as it happened.
//! Does not know what events mean, but thins out progress, which may come thousands of times a second.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufRead as _;
use std::io::Seek as _;
use std::io::Write as _;
use std::io::{BufReader, BufWriter};
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use crate::event::{Event, NODE_EVENTS, Outcome, What, node_folder};
use crate::report::json;

/// Progress of one node is kept at most this often.
const PROGRESS_EVERY: SignedDuration = SignedDuration::from_secs(1);

/// Why the journal is incomplete.
#[derive(Debug, thiserror::Error)]
#[error("the run's journal {} ends here ({source}); the run goes on", .path.display())]
pub struct JournalError {
    pub path: PathBuf,
    pub source: std::io::Error,
}

/// A journal being written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: State,
    progress: BTreeMap<Option<String>, Timestamp>,
}

#[derive(Debug)]
enum State {
    /// Not opened yet: an error of opening is reported with the first event.
    Closed,
    Open(File),
    /// Something went wrong and was reported; nothing more is written.
    Broken,
}

impl Journal {
    /// A journal at this path; the file is made (its folder too) with the first event.
    pub fn create(path: PathBuf) -> Self {
        Self {
            path,
            file: State::Closed,
            progress: BTreeMap::new(),
        }
    }

    /// Writes an event.
    ///
    /// # Errors
    /// [`JournalError`], once: after it every call does nothing. The file then ends with its last whole line.
    pub fn write(&mut self, event: &Event) -> Result<(), JournalError> {
        if self.is_thinned_out(event) {
            return Ok(());
        }
        let written = match &mut self.file {
            State::Broken => return Ok(()),
            State::Open(file) => append(file, event),
            State::Closed => self.open().and_then(|mut file| {
                append(&mut file, event)?;
                self.file = State::Open(file);
                Ok(())
            }),
        };
        let written = written.and_then(|()| match (&event.what, &event.node) {
            (
                What::NodeFinished {
                    outcome: Outcome::Failed,
                    ..
                },
                Some(node),
            ) => self.excerpt(node),
            _ => Ok(()),
        });
        written.map_err(|source| {
            self.file = State::Broken;
            JournalError {
                path: self.path.clone(),
                source,
            }
        })
    }

    fn open(&self) -> std::io::Result<File> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        File::create(&self.path)
    }

    /// Puts the events of a failed node into its own folder, where it has one, for whoever gets that folder alone.
    fn excerpt(&self, node: &str) -> std::io::Result<()> {
        let folder = self.path.with_file_name(node_folder(node));
        if !folder.is_dir() {
            return Ok(());
        }
        let of_node = format!("\"node\":{}", serde_json::Value::from(node));
        let mut part = BufWriter::new(File::create(folder.join(NODE_EVENTS))?);
        for line in BufReader::new(File::open(&self.path)?).lines() {
            let line = line?;
            if line.contains(&of_node) {
                writeln!(part, "{line}")?;
            }
        }
        part.flush()
    }

    fn is_thinned_out(&mut self, event: &Event) -> bool {
        match event.what {
            What::Progress { done, total, .. } if done < total || total == 0 => {
                let last = self.progress.get(&event.node);
                // A clock that was set back must not silence a node until it has caught up.
                let soon = last.is_some_and(|last| {
                    let after = event.at.duration_since(*last);
                    !after.is_negative() && after < PROGRESS_EVERY
                });
                if !soon {
                    self.progress.insert(event.node.clone(), event.at);
                }
                soon
            }
            _ => false,
        }
    }
}

/// Appends one line in one write: a crash leaves no half of it behind another process's back.
fn append(file: &mut File, event: &Event) -> std::io::Result<()> {
    let start = file.stream_position()?;
    let written = file.write_all((json::line(event) + "\n").as_bytes());
    if written.is_err() {
        // Half a line would spoil the file for every reader. The first error is the one to tell.
        let _ = file.set_len(start);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Unit;

    fn event(second: i64, what: What) -> Event {
        Event {
            at: Timestamp::from_second(1_770_000_000 + second).unwrap(),
            node: Some("fetch/x".to_owned()),
            host: None,
            what,
        }
    }

    #[test]
    fn progress_is_thinned_out_but_its_end_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs/1/events.jsonl");
        let mut journal = Journal::create(path.clone());
        // In the end the clock is set back by an hour.
        for (second, done) in [
            (0, 1),
            (0, 2),
            (0, 3),
            (1, 4),
            (1, 5),
            (-3600, 6),
            (-3600, 7),
            (-3599, 9),
        ] {
            let (total, unit) = (9, Unit::Bytes);
            let progress = What::Progress { done, total, unit };
            journal.write(&event(second, progress)).unwrap();
        }
        let text = std::fs::read_to_string(path).unwrap();
        let done: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["done"].clone())
            .collect();
        assert_eq!(done, [1, 4, 6, 9]);
    }

    #[test]
    fn a_full_disk_is_told_once() {
        let mut journal = Journal::create("/dev/full".into());
        let error = journal.write(&event(0, What::NodeStarted)).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the run's journal /dev/full ends here (No space left"),
            "{error}"
        );
        assert!(journal.write(&event(1, What::NodeStarted)).is_ok());
    }
}
