//! Layers of a node's work: finds those that it can go on from, and stores those that it makes. Work that several nodes
//! begin with is done by one of them; the others wait until its layer is there, not until that node has ended.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::error::NodeError;
use super::execute::Shared;
use super::look::as_given;
use crate::digest::Algorithm;
use crate::emit::Emitter;
use crate::stage::Node;
use crate::stage::layer::{Below, Checkpoint, LAYER_DISK, LayerFacts};
use crate::stage::result::{Given, Taken};
use crate::store::{Claim, Entry, LAYER, Slot, Store, StoreError};

/// The phase of a node whose beginning another one does.
const WAITING: &str = "its first steps are being done already; waiting for their layer";

/// The layers that a node can go on from, the lowest first; empty where it begins at its beginning.
pub(super) fn find(store: &Store, checkpoints: &[Checkpoint], taken: &Taken) -> Vec<Entry> {
    if checkpoints.is_empty() {
        return Vec::new();
    }
    let over = taken.fingerprint();
    let mut from_last = checkpoints.iter().rev();
    let found = from_last.find_map(|checkpoint| stack(store, &checkpoint.key, &over));
    found.unwrap_or_default()
}

/// A layer on top of those that it belongs to, if all of them are there.
fn stack(store: &Store, key: &str, over: &str) -> Option<Vec<Entry>> {
    let top = store.lookup(LAYER, key)?;
    let facts = facts(&top).filter(|facts| facts.over == over)?;
    let below = facts.below.iter().map(|below| {
        let entry = store.lookup(LAYER, &below.key)?;
        (disk_digest(&entry)? == below.disk).then_some(entry)
    });
    let mut stack = below.collect::<Option<Vec<_>>>()?;
    stack.push(top);
    Some(stack)
}

/// Steps that are done in the uppermost of these layers.
pub(super) fn steps(stack: &[Entry]) -> usize {
    stack.last().and_then(facts).map_or(0, |facts| facts.steps)
}

fn facts(entry: &Entry) -> Option<LayerFacts> {
    serde::Deserialize::deserialize(entry.facts()).ok()
}

fn disk_digest(entry: &Entry) -> Option<String> {
    let mut digests = entry.file(LAYER_DISK)?.digests.iter();
    let sha256 = digests.find(|digest| digest.algorithm == Algorithm::Sha256)?;
    Some(sha256.to_string())
}

/// The layers of one node that is at work.
pub(super) struct Layers<'a> {
    node: &'a Node,
    shared: &'a Shared<'a>,
    emit: &'a Emitter,
    over: String,
    /// What lies below the layer that it makes next.
    below: Vec<Below>,
    /// The layers that others wait for.
    claims: BTreeMap<String, Slot>,
    /// Whether what it makes can be stored: layers belong to each other.
    open: bool,
}

impl<'a> Layers<'a> {
    /// Finds where the node goes on from, and gives those layers, the lowest first. Where another node does its first steps
    /// now, waits for it. With `rebuild` it begins at its beginning.
    pub(super) fn begin(
        node: &'a Node,
        taken: &Taken,
        rebuild: bool,
        shared: &'a Shared<'a>,
        emit: &'a Emitter,
    ) -> Result<(Self, Vec<Given>), NodeError> {
        let checkpoints = node.work.checkpoints();
        let mut layers = Self {
            node,
            shared,
            emit,
            over: taken.fingerprint(),
            below: Vec::new(),
            claims: BTreeMap::new(),
            open: shared.layers && !checkpoints.is_empty(),
        };
        if !layers.open {
            return Ok((layers, Vec::new()));
        }
        let mut stack = if rebuild { Vec::new() } else { layers.sound(taken)? };
        for checkpoint in checkpoints.iter().filter(|checkpoint| checkpoint.shared) {
            if checkpoint.steps > steps(&stack) && !layers.claim(checkpoint, rebuild)? {
                stack = layers.sound(taken)?;
                // What is there belongs to another build of what this one takes.
                if checkpoint.steps > steps(&stack) {
                    layers.claim(checkpoint, true)?;
                }
            }
        }
        for entry in &stack {
            layers.put_below(entry);
        }
        let stack = stack.into_iter();
        let given = stack.map(|entry| as_given(&entry, format!("{LAYER}/{}", node.subject)));
        Ok((layers, given.collect()))
    }

    /// The layers that are there and were found as they were written; damaged ones are removed.
    fn sound(&self, taken: &Taken) -> Result<Vec<Entry>, NodeError> {
        let store = self.shared.store;
        loop {
            let stack = find(store, self.node.work.checkpoints(), taken);
            let unread = stack
                .iter()
                .filter(|entry| !entry.was_read_back(self.shared.reread));
            let mut damaged = false;
            for entry in unread {
                match entry.verify(self.shared.cancel) {
                    Ok(()) => {}
                    Err(error @ StoreError::Damaged { .. }) => {
                        self.emit
                            .warn(format!("{error}; it is removed, and its steps are done again"));
                        store.evict(LAYER, entry.address().1)?;
                        damaged = true;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if !damaged {
                return Ok(stack);
            }
        }
    }

    /// Takes the right to make a layer that others wait for; not: another node has made it meanwhile.
    fn claim(&mut self, checkpoint: &Checkpoint, rebuild: bool) -> Result<bool, NodeError> {
        let shared = self.shared;
        let mut on_wait = || self.emit.phase(WAITING);
        let claim = shared.store.claim(
            LAYER,
            &checkpoint.key,
            shared.scratch,
            rebuild,
            shared.cancel,
            &mut on_wait,
        )?;
        match claim {
            Claim::Hit(_) => Ok(false),
            Claim::Miss(slot) => {
                self.claims.insert(checkpoint.key.clone(), slot);
                Ok(true)
            }
        }
    }

    fn put_below(&mut self, entry: &Entry) {
        if let Some(disk) = disk_digest(entry) {
            let key = entry.address().1.to_owned();
            self.below.push(Below { key, disk });
        }
    }

    /// Stores a layer that the node has made. The node's machine reads it as it goes on, and writes to it no more.
    pub(super) fn keep(&mut self, key: &str, steps: usize, file: &Path) {
        if !self.open {
            return;
        }
        match self.store(key, steps, file) {
            Ok(Some(entry)) => self.put_below(&entry),
            // Another node has just made it from the same beginning. What is made here lies over other bytes.
            Ok(None) => self.open = false,
            Err(error) => {
                self.open = false;
                self.emit
                    .warn(format!("no layer is kept after step {steps}: {error}"));
            }
        }
        if !self.open {
            self.claims.clear();
        }
    }

    fn store(&mut self, key: &str, steps: usize, file: &Path) -> Result<Option<Entry>, StoreError> {
        let shared = self.shared;
        let claimed = match self.claims.remove(key) {
            Some(slot) => Some(slot),
            // One that is there could not be used: it would have been gone on from.
            None => match shared.store.try_claim(LAYER, key, shared.scratch, true)? {
                Some(Claim::Miss(slot)) => Some(slot),
                Some(Claim::Hit(_)) | None => None,
            },
        };
        let Some(mut slot) = claimed else { return Ok(None) };
        slot.build_for(shared.pipeline, &format!("{}.{steps}", self.node.subject));
        let place = slot.path(LAYER_DISK);
        std::fs::hard_link(file, &place).map_err(|e| StoreError::io("write", &place, e))?;
        let facts = LayerFacts {
            steps,
            below: self.below.clone(),
            over: self.over.clone(),
        };
        let inputs = json!({ "node": self.node.id(), "steps": steps });
        slot.commit(inputs, json!(facts), shared.cancel).map(Some)
    }
}
