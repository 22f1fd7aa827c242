//! Watching the boot-time agent from outside. The guest gets, instead of the boot script, one that brings it along, runs
//! it just as the agent would, and reports (`guest/report-run`). From the reports follows what the agent will do next,
//! by its contract: exit 0 ends it, so does the maximum of runs, so does a removed flag. Pure.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::guest::REPORT_RUN;
use crate::host::process::clean_line;
use crate::machine::door::{ADDRESS, BOOT_SCRIPT, PORT, Posted, REPORTS, Visit};

/// Columns of base64 lines (RFC 2045 §6.8).
const COLUMNS: usize = 76;
/// Longest unfinished line of the log that is kept.
const LINE: usize = 64 * 1024;

/// The script to serve in the place of `script`.
pub fn reporting(script: &[u8]) -> Vec<u8> {
    reporting_to(ADDRESS, PORT, script)
}

/// The same, for a host at another address.
pub fn reporting_to(host: &str, port: u16, script: &[u8]) -> Vec<u8> {
    let mut text = REPORT_RUN
        .replace("@HOST@", host)
        .replace("@PORT@", &port.to_string());
    let encoded = STANDARD.encode(script);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(COLUMNS.min(rest.len()));
        text += line;
        text.push('\n');
        rest = after;
    }
    text.into_bytes()
}

/// How the agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A run exited with 0.
    Succeeded {
        /// Runs it took.
        runs: u32,
    },
    /// There may be no more runs.
    GaveUp {
        /// Runs there were.
        runs: u32,
        /// Exit code of the last one.
        code: i32,
    },
    /// The script removed what enables the agent, and did not exit with 0.
    Disabled {
        /// Runs there were.
        runs: u32,
        /// Exit code of the last one.
        code: i32,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = |count: u32| {
            if count == 1 {
                "1 run".to_owned()
            } else {
                format!("{count} runs")
            }
        };
        match *self {
            Self::Succeeded { runs: count } => write!(f, "the boot script succeeded after {}", runs(count)),
            Self::GaveUp { runs: count, code } => write!(
                f,
                "the agent gave up after {}; the last one exited with {code}",
                runs(count)
            ),
            Self::Disabled { runs: count, code } => write!(
                f,
                "the boot script exited with {code} and switched the agent off, after {}",
                runs(count)
            ),
        }
    }
}

/// What a report says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A run began.
    Started {
        /// Its number, from 1.
        run: u32,
        /// Of how many.
        max: u32,
    },
    /// Lines that the agent's log gained, without terminal controls.
    Log(Vec<String>),
    /// A run ended and another will follow.
    Failed {
        /// Its number.
        run: u32,
        /// Its exit code.
        code: i32,
        /// Of how many.
        max: u32,
    },
    /// The agent is done.
    Ended(Outcome),
}

/// What was reported so far.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Whether the guest ever asked for the boot script.
    pub asked: bool,
    /// Bytes of the log that were taken.
    seen: u64,
    /// The log's line that has not ended yet.
    partial: Vec<u8>,
    /// Some agents count a run when it is over: then the first one has the number 0 while it goes.
    counts_late: bool,
}

impl Watch {
    /// Takes a request; tells what it means where it is a report.
    pub fn take(&mut self, visit: &Visit) -> Option<Report> {
        self.asked |= visit.method == "GET" && visit.path == BOOT_SCRIPT;
        let kind = visit.path.strip_prefix(REPORTS)?;
        let Some(Posted::Report(body)) = &visit.posted else {
            return None;
        };
        let field = |name: &str| {
            let pairs = visit.query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .filter(|(key, _)| *key == name)
                .map(|(_, value)| value)
                .next()
        };
        let number = |name: &str| field(name)?.parse::<u32>().ok();
        match kind {
            "log" => {
                let from = field("from")?.parse().ok()?;
                let lines = self.log(from, field("again") == Some("1"), body);
                (!lines.is_empty()).then_some(Report::Log(lines))
            }
            "started" => {
                let (run, max) = (number("run")?, number("max")?);
                self.counts_late |= run == 0;
                let run = self.real(run);
                Some(Report::Started { run, max })
            }
            "ended" => {
                let (run, max) = (self.real(number("run")?), number("max")?);
                let code = field("code")?.parse().ok()?;
                let disabled = field("enabled") == Some("0");
                Some(match code {
                    0 => Report::Ended(Outcome::Succeeded { runs: run }),
                    _ if disabled => Report::Ended(Outcome::Disabled { runs: run, code }),
                    _ if run >= max => Report::Ended(Outcome::GaveUp { runs: run, code }),
                    _ => Report::Failed { run, code, max },
                })
            }
            _ => None,
        }
    }

    /// What is left of the log when no more will come.
    pub fn rest(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.partial);
        (!line.is_empty()).then(|| clean_line(&String::from_utf8_lossy(&line)))
    }

    fn real(&self, run: u32) -> u32 {
        run.saturating_add(u32::from(self.counts_late))
    }

    /// New lines of the log; a piece that was sent twice counts once.
    fn log(&mut self, from: u64, again: bool, body: &[u8]) -> Vec<String> {
        if again {
            self.seen = from;
            self.partial.clear();
        }
        let known = usize::try_from(self.seen.saturating_sub(from)).unwrap_or(usize::MAX);
        let new = body.get(known..).unwrap_or_default();
        self.seen = self.seen.max(from.saturating_add(body.len() as u64));
        self.partial.extend_from_slice(new);
        let end = match self.partial.iter().rposition(|&b| b == b'\n') {
            Some(at) => at + 1,
            None if self.partial.len() > LINE => self.partial.len(),
            None => return Vec::new(),
        };
        let whole: Vec<u8> = self.partial.drain(..end).collect();
        let text = String::from_utf8_lossy(&whole);
        text.lines().map(clean_line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(path: &str, query: &str, body: &str) -> Visit {
        Visit {
            method: "POST".to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            status: 204,
            bytes: 0,
            posted: Some(Posted::Report(body.into())),
        }
    }

    fn ended(query: &str) -> Option<Report> {
        Watch::default().take(&report(".pipeline/ended", query, ""))
    }

    #[test]
    fn what_the_agent_does_next_follows_from_the_report() {
        let failed = Report::Failed {
            run: 2,
            code: 3,
            max: 10,
        };
        assert_eq!(ended("run=2&code=3&max=10&enabled=1"), Some(failed));
        let done = |outcome| Some(Report::Ended(outcome));
        assert_eq!(
            ended("run=2&code=0&max=1&enabled=0"),
            done(Outcome::Succeeded { runs: 2 })
        );
        assert_eq!(
            ended("run=4&code=1&max=4&enabled=1"),
            done(Outcome::GaveUp { runs: 4, code: 1 })
        );
        assert_eq!(
            ended("run=1&code=7&max=9&enabled=0"),
            done(Outcome::Disabled { runs: 1, code: 7 })
        );
        for broken in [
            "",
            "run=x&code=1&max=2",
            "run=1&max=2&enabled=1",
            "run=-1&code=0&max=1",
        ] {
            assert_eq!(ended(broken), None, "{broken}");
        }
        // An agent that counts a run when it is over.
        let mut watch = Watch::default();
        let started = watch.take(&report(".pipeline/started", "run=0&max=2", ""));
        assert_eq!(started, Some(Report::Started { run: 1, max: 2 }));
        let last = watch.take(&report(".pipeline/ended", "run=1&code=1&max=2&enabled=1", ""));
        assert_eq!(last, done(Outcome::GaveUp { runs: 2, code: 1 }));
    }

    #[test]
    fn the_log_is_told_once_and_by_lines() {
        let mut watch = Watch::default();
        let mut log = |query: &str, body: &str| match watch.take(&report(".pipeline/log", query, body)) {
            Some(Report::Log(lines)) => lines,
            None => Vec::new(),
            other => panic!("{other:?}"),
        };
        assert_eq!(log("from=0&again=0", "one\ntw"), ["one"]);
        assert_eq!(
            log("from=4&again=0", "two\nth"),
            ["two"],
            "a piece that came twice"
        );
        assert!(log("from=0&again=0", "one\n").is_empty());
        assert_eq!(log("from=10&again=0", "r\x1b[2Jee\n"), ["three"]);
        assert_eq!(log("from=0&again=1", "more\n"), ["more"]);
        assert_eq!(log("from=5&again=0", "end"), Vec::<String>::new());
        assert_eq!(watch.rest().as_deref(), Some("end"));
    }

    #[test]
    fn the_script_travels_whole() {
        let script: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let text = String::from_utf8(reporting(&script)).unwrap();
        let (head, encoded) = text.split_once("# the script follows\n").unwrap();
        assert!(head.contains("host=10.0.2.100\nport=80\n"), "{head}");
        assert!(encoded.lines().all(|line| line.len() <= COLUMNS));
        assert_eq!(STANDARD.decode(encoded.replace('\n', "")).unwrap(), script);
    }
}
