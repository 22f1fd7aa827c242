//! What a run has in common with other hosts: it takes results that they built, and puts there what it built itself. Whatever
//! goes wrong with that costs time and nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use petgraph::graph::NodeIndex;
use serde_json::Value;

use super::error::{NodeError, RunError};
use super::execute::Shared;
use super::look::{address, given, of_record};
use super::prepare::Prepared;
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::plan::node::{Bond, Results, Role};
use crate::remote::error::RemoteError;
use crate::remote::{Pushed, Remote};
use crate::size::ByteSize;
use crate::stage::task::{Memo, Stored};
use crate::stage::{Node, Plan, stays};
use crate::store::{Address, Claim, Entry, Record, Scratch, Slot, Store, StoreError};

/// Results that are taken at once before a run. More than a few share one line anyway.
const AT_ONCE: usize = 4;

/// Whether other hosts may have a node's result, as far as that is known before there is one.
pub fn is_shared(node: &Node) -> bool {
    node.stage.results == Results::Stored && stays(node.stage.name, &Value::Null).is_none()
}

/// Asks which results are there that the store lacks.
pub(super) fn ask(plan: &Plan, store: &Store, remote: &Remote) {
    let lacking = plan.nodes().filter(|(_, node)| is_shared(node));
    let lacking = lacking.filter(|(_, node)| store.lookup(node.stage.name, &node.key).is_none());
    let addresses: Vec<_> = lacking.map(|(_, node)| address(node)).collect();
    remote.has(&addresses, &Cancel::default());
}

/// Takes what nodes that are to run need and other hosts have. None: nothing. False: not all that the plan counts on could be
/// taken, so that more is to do.
///
/// # Errors
/// [`RunError::Store`], also when asked to stop.
pub fn bring(
    prepared: &Prepared,
    remote: &Remote,
    store: &Store,
    scratch: &Scratch,
    emit: &Emitter,
    cancel: &Cancel,
) -> Result<Option<bool>, RunError> {
    let todo = prepared.todo().flat_map(|(index, _)| prepared.plan.needs(index));
    let needed = todo.filter(|need| prepared.assessments[need].remote);
    let needed: BTreeMap<Address, &Node> = needed
        .map(|need| prepared.plan.node(need))
        .map(|node| (address(node), node))
        .collect();
    if needed.is_empty() {
        return Ok(None);
    }
    let known = needed.keys().filter_map(|address| remote.known(address));
    let bytes = known
        .map(|record| record.files.values().map(|file| file.bytes).sum::<u64>())
        .sum();
    emit.phase(match needed.len() {
        1 => format!("taking 1 result from the remote store ({})", ByteSize(bytes)),
        n => format!("taking {n} results from the remote store ({})", ByteSize(bytes)),
    });
    let queue = Mutex::new(needed.into_iter());
    let one = || -> Result<bool, RemoteError> {
        let mut all = true;
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((address, node)) = next else {
                return Ok(all);
            };
            let emit = emit.for_node(&node.id());
            all &= remote
                .pull(&address, store, scratch, false, &emit, cancel)?
                .is_some();
        }
    };
    let ends: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(one)).collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .collect()
    });
    warn(remote, emit);
    let mut all = true;
    for end in ends {
        all &= end.or_else(|error| failed(error).map(|()| false))?;
    }
    Ok(Some(all))
}

/// Takes a node's result into its slot, if another host has built it meanwhile; else gives the slot back.
pub(super) fn take(
    plan: &Plan,
    index: NodeIndex,
    slot: Slot,
    shared: &Shared<'_>,
    emit: &Emitter,
) -> Result<Claim, NodeError> {
    let node = plan.node(index);
    let Some(remote) = shared.remote.filter(|_| is_shared(node)) else {
        return Ok(Claim::Miss(slot));
    };
    let address = address(node);
    let found = remote.ask(&address, shared.cancel);
    let taken = match found.filter(|record| stands(plan, node, record, shared.store)) {
        Some(_) => remote
            .fill(&address, slot, emit, shared.cancel)
            .map_err(stopped)?,
        None => Err(slot),
    };
    warn(remote, emit);
    Ok(taken.map_or_else(Claim::Miss, Claim::Hit))
}

/// Puts a node's result there, in place of what is there if it was built for that. Gives the result of another host that
/// came first: it has taken the place of ours.
pub(super) fn give(
    plan: &Plan,
    index: NodeIndex,
    entry: &Entry,
    rebuilt: bool,
    shared: &Shared<'_>,
    emit: &Emitter,
) -> Result<Option<Entry>, NodeError> {
    let node = plan.node(index);
    let is_shared = is_shared(node) && stays(node.stage.name, entry.facts()).is_none();
    let Some(remote) = shared.remote.filter(|remote| is_shared && remote.writes()) else {
        return Ok(None);
    };
    if !belongs(plan, node, remote, shared) {
        return Ok(None);
    }
    let address = address(node);
    let usable = |first: &Record| !rebuilt && stands(plan, node, first, shared.store);
    let push = || remote.push(&address, shared.store, &usable, emit, shared.cancel);
    let mut pushed = push();
    if matches!(pushed, Ok(Pushed::Lost)) {
        let (store, scratch) = (shared.store, shared.scratch);
        let first = remote
            .pull(&address, store, scratch, true, emit, shared.cancel)
            .map_err(stopped)?;
        if first.is_some() {
            return Ok(first);
        }
        // Its files cannot be read, so that it is of no use to any host.
        pushed = push();
    }
    if let Err(error) = pushed
        && !error.is_cancelled()
    {
        remote.failed(&error);
    }
    warn(remote, emit);
    Ok(None)
}

/// Whether a result stands over those that it is of, as they are here.
fn stands(plan: &Plan, node: &Node, record: &Record, store: &Store) -> bool {
    let taken = |role: &Role| {
        let take = node.takes.iter().find(|take| take.role == *role)?;
        given(store, plan.node(take.node))
    };
    let stored = Stored {
        result: Some(of_record(record, PathBuf::new(), node.id())),
        taken: &taken,
        memo: &Memo::default(),
    };
    node.work.stands(&stored).is_ok()
}

/// Whether what a result is bound to by its bytes is there, and the same as here: to others it is of no use without.
fn belongs(plan: &Plan, node: &Node, remote: &Remote, shared: &Shared<'_>) -> bool {
    let bound = node.takes.iter().filter(|take| take.bond == Bond::Bytes);
    let mut bound = bound
        .map(|take| plan.node(take.node))
        .filter(|node| is_shared(node));
    bound.all(|node| {
        let here = shared.store.lookup(node.stage.name, &node.key);
        let there = remote.ask(&address(node), shared.cancel);
        match (here, there) {
            (Some(here), Some(there)) => there.has_bytes_of(here.record()),
            _ => false,
        }
    })
}

/// Reports what is not used of the remote store, and why.
pub fn warn(remote: &Remote, emit: &Emitter) {
    for doubt in remote.doubts() {
        emit.warn(doubt);
    }
}

/// What of a failure concerns the run: being asked to stop, and the store of this host.
fn failed(error: RemoteError) -> Result<(), StoreError> {
    match error {
        RemoteError::Store(error) => Err(error),
        RemoteError::File(error) => Err(error.into()),
        error if error.is_cancelled() => Err(StoreError::Cancelled),
        _ => Ok(()),
    }
}

fn stopped(error: RemoteError) -> NodeError {
    failed(error).err().unwrap_or(StoreError::Cancelled).into()
}
