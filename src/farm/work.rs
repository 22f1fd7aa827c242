//! The other end of a job: what runs on the host that an engine chose. It takes the workspace from the remote store, has this
//! program run the nodes of its chain there, and passes on what happens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;

use serde::Deserialize;

use super::outage::outlast;
use super::pieces::Writer;
use crate::emit::Emitter;
use crate::event::{Event, What};
use crate::host::cancel::Cancel;
use crate::host::process::{Cmd, Output, ProcessError};
use crate::remote::Remote;
use crate::remote::settings::RemoteSettings;
use crate::stage::stays;
use crate::store::{Address, Store};

/// Lines of errors that are passed on where the run itself said nothing.
const TAIL: usize = 10;

/// What a job is to do.
#[derive(Debug)]
pub struct Order<'a> {
    /// The manifest, unpacked.
    pub manifest: PathBuf,
    /// What its keys take from the host that planned.
    pub facts: PathBuf,
    /// Further arguments of a run: images, what is left out.
    pub arguments: &'a [String],
    /// The last nodes of the chain, with their keys.
    pub ends: &'a [(String, String)],
    pub program: PathBuf,
    pub store: &'a Path,
    pub settings: &'a RemoteSettings,
}

/// Why a job left nothing.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("the plan of this host cannot be read: {0}")]
    Plan(String),
    #[error(
        "on this host the key of {id} is another one than where the run was planned; install the same version of pipeline on \
         all hosts"
    )]
    OtherKey { id: String },
    #[error("{said}")]
    Refused { said: String },
    #[error("{id} was built and could not be put into the remote store{why}")]
    NotKept { id: String, why: String },
}

/// A plan as it is printed.
#[derive(Deserialize)]
struct Printed {
    nodes: Vec<PrintedNode>,
}

#[derive(Deserialize)]
struct PrintedNode {
    id: String,
    key: String,
}

/// Does what a job is to do, and passes what happens to the writer. True: all is built and in the remote store.
pub fn work(order: &Order<'_>, writer: &Writer<'_>, cancel: &Cancel) -> bool {
    match compare(order, cancel).and_then(|()| run(order, writer, cancel)) {
        Ok(is_well) => is_well,
        Err(error) => {
            // What is killed with a signal has not failed of its own.
            let is_stopped = matches!(
                error,
                WorkError::Process(ProcessError::Cancelled | ProcessError::Failed { code: None, .. })
            );
            writer.add(&refused(&error.to_string(), is_stopped));
            false
        }
    }
}

/// What is said of a job that never ran.
pub fn refused(error: &str, interrupted: bool) -> Event {
    Event {
        at: jiff::Timestamp::now(),
        node: None,
        host: None,
        what: What::RunRefused {
            pipeline: String::new(),
            manifest: String::new(),
            error: error.to_owned(),
            interrupted,
        },
    }
}

/// This program with a verb about the nodes of the chain.
fn verb(order: &Order<'_>, verb: &str) -> Cmd {
    let until = order.ends.iter().flat_map(|(id, _)| ["--until", id]);
    Cmd::new(&order.program)
        .arg(verb)
        .arg(&order.manifest)
        .args(until)
        .arg("--facts")
        .arg(&order.facts)
        .args(["--format", "json", "--store"])
        .arg(order.store)
        .args(order.arguments)
}

/// Makes sure that this host would build what was asked for, before it does.
fn compare(order: &Order<'_>, cancel: &Cancel) -> Result<(), WorkError> {
    let printed = verb(order, "plan").read(cancel)?;
    let printed: Printed =
        serde_json::from_str(&printed).map_err(|error| WorkError::Plan(error.to_string()))?;
    let keys: BTreeMap<_, _> = printed
        .nodes
        .into_iter()
        .map(|node| (node.id, node.key))
        .collect();
    let mut ends = order.ends.iter();
    match ends.find(|(id, key)| keys.get(id) != Some(key)) {
        Some((id, _)) => Err(WorkError::OtherKey { id: id.clone() }),
        None => Ok(()),
    }
}

fn run(order: &Order<'_>, writer: &Writer<'_>, cancel: &Cancel) -> Result<bool, WorkError> {
    let (mut has_said, mut tail) = (false, Vec::new());
    let ran = verb(order, "run")
        .args(["--progress", "none"])
        .run(
            cancel,
            None,
            &mut |output, line| match (output, serde_json::from_str::<Event>(line)) {
                (Output::Stdout, Ok(event)) => {
                    has_said |= matches!(event.what, What::RunFinished { .. } | What::RunRefused { .. });
                    writer.add(&event);
                }
                (Output::Stderr, _) => {
                    tail.push(line.to_owned());
                    if tail.len() > TAIL {
                        tail.remove(0);
                    }
                }
                _ => {}
            },
        );
    match ran {
        Ok(()) => keep(order, cancel).map(|()| true),
        Err(ProcessError::Failed { .. }) if has_said => Ok(false),
        Err(ProcessError::Failed { code: Some(_), .. }) if !tail.is_empty() => Err(WorkError::Refused {
            said: tail.join("\n"),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Makes sure that what others take is in the remote store: an earlier run may have built it while that was away.
fn keep(order: &Order<'_>, cancel: &Cancel) -> Result<(), WorkError> {
    for (id, key) in order.ends {
        let not_kept = |why: String| WorkError::NotKept { id: id.clone(), why };
        let stage = id.split('/').next().unwrap_or_default();
        let address = Address::new(stage, key);
        let remote = Remote::open(order.settings).map_err(|error| not_kept(format!(": {error}")))?;
        let remote = remote.ok_or_else(|| not_kept(": this host has none".to_owned()))?;
        let here = std::slice::from_ref(&address);
        if !remote.has(here, cancel).is_empty() {
            continue;
        }
        let unheard = Emitter::new(std::sync::mpsc::channel().0);
        let store = Store::peek(order.store);
        let entry = store.lookup(&address.stage, &address.key);
        if let Some(why) = entry.and_then(|entry| stays(&address.stage, entry.facts())) {
            return Err(not_kept(format!(": {why}")));
        }
        outlast(&remote, cancel, || {
            remote.push(&address, &store, &|_| true, &unheard, cancel)
        })
        .map_err(|error| not_kept(format!(": {error}")))?;
    }
    Ok(())
}

/// Has a writer put pieces there while something is done.
pub fn while_writing<T>(writer: &Writer<'_>, stop: &Cancel, done: impl FnOnce() -> T) -> T {
    let is_over = Cancel::default();
    thread::scope(|scope| {
        scope.spawn(|| writer.run(&is_over, stop));
        let done = done();
        is_over.cancel();
        done
    })
}
