//! A node in a process of its own. What it needs is one [`Request`], plain data; what happens comes back as lines; a crash
//! costs this node alone. [`ask`] starts such a process and follows it, [`serve`] does the work in it. Neither knows plan or
//! store: whoever asks has made the folders, found the results, and stores what comes out.
//!
//! ```text
//! in    the request, one line of JSON; `released` once for a held machine; end of input: stop
//! out   one line of JSON each: {"event": …} while it works, last {"made": …} or {"failed": …}
//! err   what a crash prints
//! ```
//!
//! All paths are those of the host that does the work, so results and folders must be there under the same names.

mod ask;
mod serve;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::ask::{Attend, ask};
pub use self::serve::serve;
use crate::event::Event;
use crate::machine::spec::Accel;
use crate::manifest::model::Secret;
use crate::stage::aftermath::OnError;
use crate::stage::result::{Given, Taken};
use crate::stage::task::Made;
use crate::stage::{Order, Room, Work};
use crate::verdict::Verdict;

/// The hidden verb of the command line that runs [`serve`].
pub const VERB: &str = "execute-node";
/// Version of request and answers. A process refuses a request of another version: raise it when a field changes.
const PROTOCOL: u32 = 4;
/// The line that lets a held machine go.
const RELEASED: &str = "released";

/// All that a node needs. It has the values of secrets: it is never logged, and has no `Debug`.
#[derive(Serialize, Deserialize)]
struct Request {
    /// [`PROTOCOL`].
    protocol: u32,
    /// The node's id: `provision/debian12-base`.
    node: String,
    /// The node's key.
    key: String,
    /// What to do.
    work: Work,
    /// The earlier results that it takes, by role, with their folders.
    taken: Taken,
    /// The result that an earlier run left under this key, of stages whose results lie outside the store.
    before: Option<Given>,
    /// The layers that it goes on from, the lowest first.
    earlier: Vec<Given>,
    /// Whether it keeps layers.
    keeps_layers: bool,
    /// How two of its machines may run.
    room: Room,
    /// The images of the whole manifest.
    order: Order,
    /// Where the files of its result go.
    out: PathBuf,
    /// Private folder for work in progress; whoever asks removes it.
    scratch: PathBuf,
    /// Where its logs go.
    logs: PathBuf,
    /// Where a machine goes that failed and is kept.
    keep: PathBuf,
    /// Folder for what a killed run leaves for the next one.
    lasting: PathBuf,
    /// What becomes of a machine that failed.
    on_error: OnError,
    /// How machines are run.
    accel: Accel,
    /// Virtual CPUs that a machine may have at most.
    cpus: u32,
    /// This program's file, which qemu starts for each connection to a guest's HTTP door.
    program: PathBuf,
    /// Values of the secrets that the work names. They travel here alone: not in arguments, not in the environment.
    secrets: Vec<(Secret, String)>,
}

/// A line of what comes back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    /// Something happened.
    Event(Box<Event>),
    /// Its files are in their folder. The last line.
    Made(Box<Made>),
    /// It failed. The last line.
    Failed(Failure),
}

/// A failure that happened in another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The whole message.
    pub message: String,
    /// The kind of failure.
    pub verdict: Verdict,
    /// The file with the whole output of what failed.
    pub log: Option<PathBuf>,
    /// What follows from it.
    pub kind: FailureKind,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The node failed.
    Failed,
    /// It was only asked to stop.
    Cancelled,
    /// qemu broke down: the node may succeed when it is started again.
    Breakdown,
}

impl Request {
    /// Reads a request; what is wrong with it, in words.
    fn read(line: &str) -> Result<Self, String> {
        // Looked at first: the fields of another version are not known.
        #[derive(Deserialize)]
        struct Version {
            protocol: u32,
        }
        let wrong = |error: serde_json::Error| format!("`{VERB}` cannot read its request: {error}");
        let version: Version = serde_json::from_str(line).map_err(wrong)?;
        if version.protocol != PROTOCOL {
            return Err(format!(
                "`{VERB}` of pipeline {} understands requests of version {PROTOCOL}, this one has version {}; both sides must \
                 run the same version of pipeline",
                env!("CARGO_PKG_VERSION"),
                version.protocol
            ));
        }
        serde_json::from_str(line).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_another_version_is_refused_whatever_its_fields_are() {
        let refused = |line: &str| Request::read(line).err().unwrap();
        let why = refused("{\"protocol\": 99, \"what\": \"unknown\"}");
        assert!(
            why.contains("version 4, this one has version 99; both sides"),
            "{why}"
        );
        let why = refused("{\"protocol\": 4}");
        assert!(
            why.contains("cannot read its request: missing field `node`"),
            "{why}"
        );
        let why = refused("");
        assert!(why.contains("cannot read its request: EOF"), "{why}");
    }
}
