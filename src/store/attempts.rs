//! How nodes ended, a line for each: what the next time may take, and why the last attempt failed. Several runs may
//! add lines at once: each is one write at the end of the file.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Store;
use crate::event::FailureInfo;
use crate::host::fs as host_fs;

const FILE: &str = "attempts.jsonl";
/// A larger file is cut down to the last lines about each node.
const LARGEST: u64 = 8 << 20;

/// A node that ran to its end, or failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended.
    pub at: Timestamp,
    pub run: String,
    /// Name of the pipeline.
    pub pipeline: String,
    pub stage: String,
    pub subject: String,
    /// What it has in common with those that are like it.
    #[serde(default)]
    pub alike: String,
    pub key: String,
    /// Wall time.
    pub seconds: f64,
    /// Why it failed; absent where it was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureInfo>,
}

impl Store {
    /// Notes how a node ended. What cannot be written is missing from estimates and nothing else.
    pub fn add_attempt(&self, attempt: &Attempt) {
        let Ok(mut line) = serde_json::to_string(attempt) else {
            return;
        };
        line.push('\n');
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.root.join(FILE));
        drop(file.and_then(|mut file| file.write_all(line.as_bytes())));
    }

    /// All that are remembered, oldest first.
    pub fn attempts(&self) -> Vec<Attempt> {
        let text = fs::read(self.root.join(FILE)).unwrap_or_default();
        let lines = text.split(|byte| *byte == b'\n');
        lines
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect()
    }

    /// Forgets all but the last success and the last failure of each node, where there are very many.
    pub(super) fn trim_attempts(&self) {
        let path = self.root.join(FILE);
        if fs::metadata(&path).map_or(0, |found| found.len()) <= LARGEST {
            return;
        }
        let all = self.attempts();
        let node = |one: &Attempt| {
            let (pipeline, stage, subject) = (one.pipeline.clone(), one.stage.clone(), one.subject.clone());
            (pipeline, stage, subject, one.failure.is_some())
        };
        let last: BTreeMap<_, _> = all.iter().enumerate().map(|(at, one)| (node(one), at)).collect();
        let kept = all.iter().enumerate().filter(|(at, one)| last[&node(one)] == *at);
        let lines: Vec<_> = kept
            .filter_map(|(_, one)| serde_json::to_string(one).ok())
            .collect();
        // A run that adds a line at this moment loses it: an estimate is a little older then.
        drop(host_fs::write_atomic(&path, (lines.join("\n") + "\n").as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_attempts_grows_by_lines_and_is_cut_down_to_the_last_of_each_node() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let attempt = |subject: String, seconds: f64| Attempt {
            at: Timestamp::UNIX_EPOCH,
            run: "r".repeat(1 << 10),
            pipeline: "p".to_owned(),
            stage: "check".to_owned(),
            subject,
            alike: String::new(),
            key: "k".to_owned(),
            seconds,
            failure: None,
        };
        // A line that another version wrote, or half of one.
        fs::write(folder.path().join(FILE), "{\"at\":\n").unwrap();
        for number in 0..9000_u32 {
            store.add_attempt(&attempt(format!("image-{}", number % 3), f64::from(number)));
        }
        assert_eq!(store.attempts().len(), 9000);
        Store::open(folder.path()).unwrap();
        let left: Vec<_> = store.attempts().iter().map(|one| one.seconds).collect();
        assert_eq!(left, [8997.0, 8998.0, 8999.0]);
    }
}
