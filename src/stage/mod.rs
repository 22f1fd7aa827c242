//! The kinds of work, one file or folder each. A stage gets plain data and a scratch folder, does its work and leaves
//! files; it knows nothing of the graph, the scheduler or other stages' insides.

pub mod aftermath;
pub mod check;
pub mod down;
pub mod error;
pub mod fetch;
pub mod guest;
pub mod index;
pub mod install;
pub mod package;
pub mod presence;
mod progress;
pub mod provision;
pub mod requests;
pub mod size;
pub mod sums;
pub mod upload;
mod verdict;

use std::path::PathBuf;

use self::aftermath::OnError;
use crate::event::{Emitter, Stream};
use crate::host::cancel::Cancel;
use crate::host::process::Output;
use crate::machine::spec::Accel;
use crate::plan::node::MachineWish;
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
    /// Whether to stop.
    pub cancel: Cancel,
    /// How VMs are run on this host.
    pub accel: Accel,
    /// Virtual CPUs that a VM may have at most.
    pub cpus: u32,
    /// This program, which qemu starts for each connection to a guest's HTTP door.
    pub program: PathBuf,
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
