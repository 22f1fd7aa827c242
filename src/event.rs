//! What happens in a run, as data. Stages send, readers (bars, lines, JSON, the journal) receive; neither knows the
//! other. No stage prints.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::platform::Start;
use crate::took::By;
use crate::verdict::Verdict;

/// Format revision of events as JSON (docs/events.md); grows when a field changes its meaning or goes away.
pub const EVENTS_VERSION: u32 = 1;

/// File in a failed node's folder with the events of that node alone.
pub const NODE_EVENTS: &str = "events.jsonl";

/// Name of a node's folder among the logs of its run.
pub fn node_folder(id: &str) -> String {
    id.replace('/', "-")
}

/// One thing that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// When, by the host's clock.
    pub at: Timestamp,
    /// The node it is about, as in the plan (`provision/debian12-base`); none for the run as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The host on which it happened, where that is another one than that of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(flatten)]
    pub what: What,
}

/// Where a line of text comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// The guest's serial console.
    Console,
    /// A step's output inside the guest.
    Step,
    /// A host tool (`mmdebstrap`, `qemu-img`).
    Tool,
    /// A request of the guest's to us, answered: `GET /preseed.cfg 200`.
    Http,
    /// What the guest sends by syslog.
    Syslog,
}

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Work was done and its result is in the store (or the output folder).
    Built,
    /// Its result was where it should be already; nothing was sent or written.
    Present,
    /// Another run finished the same node meanwhile; its result was taken.
    Shared,
    Failed,
    /// Something it needs failed, so it never started.
    Skipped,
    /// The run was stopped before it finished.
    Cancelled,
}

/// Why a node failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureInfo {
    /// The kind of failure.
    pub verdict: Verdict,
    /// The cause in one line: of a program's output the line that says why.
    #[serde(default)]
    pub cause: String,
    /// The file, or the folder, with what is known.
    #[serde(default)]
    pub log: String,
    /// Whether its machine was kept: `pipeline ssh` starts it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
}

/// How a check of a booted image ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    Passed,
    Failed,
    /// It could not be found out, because another check failed.
    Skipped,
}

/// A check with what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    /// Its name, as in the manifest.
    pub check: String,
    pub outcome: CheckOutcome,
    /// How long it took, in seconds; 0 where that is not known.
    pub seconds: f64,
    /// What had to be, in words.
    pub expected: String,
    /// What was seen, in words; for a skipped check, why it could not be looked at.
    pub seen: String,
}

/// A node of the run, for readers that show all of them from the start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NodeInfo {
    /// As in the plan: `size/debian12-50G-base`.
    pub id: String,
    /// `size`.
    pub stage: String,
    /// `debian12-50G-base`.
    pub subject: String,
    /// Whether the store has its result already.
    pub cached: bool,
    /// Seconds that it may take, where earlier runs tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_seconds: Option<f64>,
    /// What that rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_by: Option<By>,
    /// What it has in common with nodes of its stage that take about as long.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub alike: String,
    /// The ids of the nodes of this run whose results it takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Why it must run, in words; empty for a cached node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// An image that is wanted, and what leads to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WantedImage {
    /// Image id.
    pub id: String,
    /// The ids of all nodes that it depends on, its own last ones included, in an order in which they could run.
    pub nodes: Vec<String>,
}

/// A published image, for the closing summary.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ImageInfo {
    /// Image id.
    pub id: String,
    /// The file in the output folder, as the user can type it.
    pub path: String,
    /// Size of that file in bytes.
    pub bytes: u64,
    /// Virtual size of the disk in bytes.
    pub disk_bytes: u64,
    /// Whether this run wrote it (false: it was there already).
    pub built: bool,
    /// Whether checks that the manifest wants of it were left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unchecked: bool,
    /// The ways in which firmware can start it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub firmware: Vec<Start>,
    /// Digests of the file, by the algorithms of its checksum files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<Digest>,
}

/// The kinds of event.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// First event of a run.
    RunStarted {
        /// [`EVENTS_VERSION`].
        version: u32,
        /// Run id.
        run: String,
        /// Folder of this run's logs; empty for what keeps none (and has no run id either).
        folder: String,
        /// Name of the pipeline; empty for what has none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pipeline: String,
        /// The manifest, as an absolute path; empty for what has none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        manifest: String,
        /// All nodes in an order in which they could run.
        nodes: Vec<NodeInfo>,
        /// The images selected, in manifest order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<WantedImage>,
    },
    /// The node is ready but must wait.
    NodeWaiting {
        /// In words: "memory: needs 1 GiB, 512 MiB of 4 GiB free".
        reason: String,
    },
    NodeStarted,
    /// The node entered a phase: "installing the boot loader".
    Phase {
        /// In words, lower case, no full stop.
        phase: String,
    },
    /// How far the phase is.
    Progress {
        /// Done so far, in `unit`.
        done: u64,
        /// Of how many, 0 when unknown.
        total: u64,
        /// Unit of both.
        unit: Unit,
    },
    /// A line of output; goes to logs, its text may be shown behind the bar.
    Line {
        stream: Stream,
        /// The line, without its newline and without terminal controls.
        text: String,
    },
    /// A check of a booted image ended.
    Check {
        #[serde(flatten)]
        result: CheckResult,
        /// Whether an earlier run found it out.
        cached: bool,
    },
    /// Something the user should know that stops nothing.
    Warning {
        /// In words, with the remedy.
        text: String,
    },
    /// What a node's work has come to is kept as a layer: a later build with the same beginning goes on from there.
    Layer {
        /// Its key.
        key: String,
        /// Steps that are done in it.
        steps: usize,
        /// Its file.
        file: PathBuf,
    },
    /// A machine in which something failed is held for a shell, until that is left (`--on-error=shell`).
    MachineHeld {
        /// What it was started for: `provision`.
        machine: String,
        /// What went wrong.
        error: String,
    },
    NodeFinished {
        outcome: Outcome,
        /// Wall time in seconds.
        seconds: f64,
        /// Bytes of its result, where it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
        /// For a failure: the whole message, several lines. For a skip: what it needed. For what is published: where.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// For a failure: why.
        #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
        failure: Option<FailureInfo>,
    },
    /// The run did not start, or could not go on before any node started. The last event.
    RunRefused {
        /// Name of the pipeline.
        pipeline: String,
        /// The manifest, as an absolute path.
        manifest: String,
        /// Why, with the remedy.
        error: String,
        /// Whether it was asked to stop.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        interrupted: bool,
    },
    /// Last event of a run.
    RunFinished {
        /// Nodes built by this run.
        built: usize,
        /// Nodes whose results were in their places already, outside the store.
        present: usize,
        /// Nodes taken from the store.
        cached: usize,
        /// Nodes failed.
        failed: usize,
        /// Nodes that never started because of a failure or a stop.
        skipped: usize,
        /// Whether it was stopped.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        interrupted: bool,
        /// Wall time in seconds.
        seconds: f64,
        /// The images selected, in manifest order, as far as they exist now.
        images: Vec<ImageInfo>,
    },
}

/// Unit of a [`What::Progress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Bytes,
    /// Hundredths.
    Percent,
    /// Steps of a flavor.
    Steps,
}
