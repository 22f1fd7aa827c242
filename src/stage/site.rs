//! Where a node works and what it may use.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::aftermath::OnError;
use super::distro::MachineWish;
use super::result::Given;
use crate::emit::Emitter;
use crate::event::Stream;
use crate::host::cancel::Cancel;
use crate::host::process::Output;
use crate::machine::spec::Accel;
use crate::manifest::secret::Secrets;
use crate::size::ByteSize;

/// Where a node works and what it may use.
#[derive(Clone, Debug)]
pub struct Site {
    /// Private folder for work in progress; removed afterwards.
    pub scratch: PathBuf,
    /// Folder of the node's logs; kept.
    pub logs: PathBuf,
    /// Where a machine goes that failed and is to be kept; made when that happens.
    pub keep: PathBuf,
    /// What becomes of a machine that failed.
    pub on_error: OnError,
    /// Where to say what happens.
    pub emit: Emitter,
    pub cancel: Cancel,
    /// Whether a machine that is held after a failure may go.
    pub released: Cancel,
    /// Values of secrets that are not on this host.
    pub secrets: Secrets,
    /// How VMs are run on this host.
    pub accel: Accel,
    /// Virtual CPUs that a VM may have at most.
    pub cpus: u32,
    /// This program, which qemu starts for each connection to a guest's HTTP door.
    pub program: PathBuf,
    /// The node's key.
    pub key: String,
    /// Folder for what a killed run leaves for the next one to go on with.
    pub lasting: PathBuf,
    /// The result that an earlier run left under this key, of stages whose results lie outside the store.
    pub before: Option<Given>,
    /// What the same stage made last for this and other subjects of the pipeline, for work that looks back; of work with
    /// checkpoints the layers to go on from, the lowest first.
    pub earlier: Vec<Given>,
    /// Whether layers are kept.
    pub keeps_layers: bool,
    /// How two of its machines may run.
    pub room: Room,
    /// The images of the whole manifest.
    pub order: Arc<Order>,
}

/// How two machines of a node may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Room {
    /// One after the other.
    #[default]
    One,
    /// There is memory for both, and no processor: the second starts when the first has booted.
    Memory,
    /// Both at once.
    Both,
}

/// The images of a whole manifest, in its order: that of checksum files and catalogs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Their files below the output folder.
    pub files: Vec<PathBuf>,
    /// Their ids.
    pub ids: Vec<String>,
}

impl Site {
    /// What a VM gets of what it wishes for.
    pub fn grant(&self, wish: MachineWish) -> (ByteSize, u32) {
        (wish.memory, wish.cpus.clamp(1, self.cpus))
    }

    /// Passes a host tool's lines on as events.
    pub fn tool_lines(&self) -> impl FnMut(Output, &str) + use<> {
        let emit = self.emit.clone();
        move |_, line| {
            if !line.trim().is_empty() {
                emit.line(Stream::Tool, line);
            }
        }
    }
}
