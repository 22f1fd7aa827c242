//! Runs one node: gives its stage the results that it takes and a slot for its own, and publishes what comes out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use petgraph::graph::NodeIndex;

use super::error::NodeError;
use super::layers::Layers;
use super::look::{as_given, given};
use super::process::{self, Attend};
use super::share;
use crate::digest::Algorithm;
use crate::emit::Emitter;
use crate::event::{Outcome, node_folder};
use crate::host::cancel::Cancel;
use crate::host::fs::{FsError, hash_file};
use crate::machine::spec::Accel;
use crate::manifest::secret::Secrets;
use crate::plan::node::{Bond, Results};
use crate::remote::Remote;
use crate::stage::aftermath::OnError;
use crate::stage::error::StageError;
use crate::stage::result::{Given, Taken};
use crate::stage::task::{Fate, Made};
use crate::stage::{Node, Order, Plan, Room, Site};
use crate::store::{Address, Claim, Scratch, Slot, Store, StoreError};

/// How often a node is retried because qemu broke down. Under emulation with more than one processor an assertion
/// of its own ends it now and then (`iotlb_to_section`, seen with 10.0).
const NEW_BEGINNINGS: usize = 2;
/// The phase of a node whose key another run, or another node of this one, has.
const WAITING: &str = "this is being built already; waiting for the result";

/// What all nodes of a run share.
pub struct Shared<'a> {
    pub store: &'a Store,
    /// The store that hosts share, where there is one.
    pub remote: Option<&'a Remote>,
    /// This run's place in it.
    pub scratch: &'a Scratch,
    pub run: &'a str,
    /// What becomes of a machine that failed.
    pub on_error: OnError,
    /// Whether layers are gone on from and kept.
    pub layers: bool,
    /// How long what was read back is not read again.
    pub reread: Duration,
    /// What is done with one that is held.
    pub attend: &'a Attend<'a>,
    /// Folder of the run's logs.
    pub logs: &'a Path,
    /// Name of the pipeline.
    pub pipeline: &'a str,
    /// What results are remembered under.
    pub history: &'a str,
    /// Its manifest, absolute.
    pub manifest: &'a Path,
    /// How VMs are run.
    pub accel: Accel,
    /// Virtual CPUs that a VM may have.
    pub cpus: u32,
    /// This program's own file.
    pub program: &'a Path,
    /// The images of the whole manifest.
    pub order: &'a Arc<Order>,
    pub cancel: &'a Cancel,
}

impl std::fmt::Debug for Shared<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("pipeline", &self.pipeline)
            .finish_non_exhaustive()
    }
}

/// What a node left.
#[derive(Clone, Debug)]
pub struct Done {
    /// Built here, or taken from whoever built it meanwhile.
    pub outcome: Outcome,
    /// Bytes of the result.
    pub bytes: u64,
    /// Where it is, when it was published.
    pub message: Option<String>,
}

/// How a node's machines run: the processor executes programs of its own architecture alone.
fn accel(of_host: Accel, node: &Node) -> Accel {
    match node.work.platform() {
        Some(platform) if platform.is_foreign() => Accel::Tcg,
        _ => of_host,
    }
}

/// Runs a node of a plan; `room` as in [`Site`].
///
/// # Errors
/// [`NodeError`] of the stage or the store.
pub fn execute(
    plan: &Plan,
    index: NodeIndex,
    rebuild: bool,
    room: Room,
    shared: &Shared<'_>,
    emit: &Emitter,
) -> Result<Done, NodeError> {
    let node = plan.node(index);
    let name = node_folder(&node.id());
    let logs = shared.logs.join(&name);
    crate::host::fs::private_dir(&logs).map_err(StageError::from)?;
    let mut site = Site {
        scratch: shared.scratch.folder(&name)?,
        logs,
        keep: shared.store.kept_folder(shared.run, &name),
        on_error: shared.on_error,
        emit: emit.clone(),
        cancel: shared.cancel.clone(),
        released: Cancel::default(),
        secrets: Secrets::default(),
        accel: accel(shared.accel, node),
        cpus: shared.cpus,
        program: shared.program.to_owned(),
        key: node.key.clone(),
        lasting: shared.store.root().join("scratch"),
        before: None,
        earlier: Vec::new(),
        keeps_layers: shared.layers,
        room,
        order: Arc::clone(shared.order),
    };
    let mut ran = publish(plan, index, rebuild, shared, &mut site);
    for _ in 0..NEW_BEGINNINGS {
        let Some(error) = ran.as_ref().err().filter(|error| error.is_breakdown()) else {
            break;
        };
        let what = error.to_string();
        let what = what.lines().next().unwrap_or_default();
        emit.warn(format!("{what}; retrying {}", node.id()));
        // What the broken machine left would be in the way of the next.
        drop(crate::host::namespace::remove_tree(&site.scratch));
        site.scratch = shared.scratch.folder(&name)?;
        ran = publish(plan, index, rebuild, shared, &mut site);
    }
    if let Some(why) = node.work.unkept()
        && shared.on_error != OnError::Abort
        && ran.as_ref().is_err_and(|error| !error.is_cancelled())
    {
        emit.warn(format!("--on-error does nothing here: {why}"));
    }
    if site.keep.is_dir() {
        let behind = plan.behind(index).into_iter().map(|index| plan.node(index));
        let built = behind.filter(|node| shared.store.lookup(node.stage.name, &node.key).is_some());
        let built = built.map(|node| Address::new(node.stage.name, &node.key));
        shared.store.hold_for_kept(&site.keep, built.collect())?;
    }
    // The work is done or lost either way; what cannot be removed now is swept by the next run.
    drop(crate::host::namespace::remove_tree(&site.scratch));
    ran
}

fn publish(
    plan: &Plan,
    index: NodeIndex,
    rebuild: bool,
    shared: &Shared<'_>,
    site: &mut Site,
) -> Result<Done, NodeError> {
    let node = plan.node(index);
    let stage = node.stage.name;
    // What lies outside the store is looked at each time.
    let is_outside = node.stage.results == Results::Outside;
    let rebuild = rebuild || is_outside;
    let claim = loop {
        let mut on_wait = || site.emit.phase(WAITING);
        let claim = shared.store.claim(
            stage,
            &node.key,
            shared.scratch,
            rebuild,
            shared.cancel,
            &mut on_wait,
        )?;
        match claim {
            Claim::Hit(_) if is_outside => {}
            claim => break claim,
        }
    };
    for (digest, text) in node.work.texts() {
        shared.store.keep_text(&digest, text);
    }
    let claim = match claim {
        Claim::Miss(slot) if !rebuild => share::take(plan, index, slot, shared, &site.emit)?,
        claim => claim,
    };
    let (entry, outcome, message) = match claim {
        Claim::Hit(entry) => (entry, Outcome::Shared, None),
        Claim::Miss(mut slot) => {
            slot.build_for(shared.pipeline, &node.subject);
            if is_outside {
                site.before = given(shared.store, node);
            }
            if node.work.looks_back() {
                site.earlier = earlier(node, shared);
            }
            let taken = taken(plan, node, shared.store)?;
            let made = if node.work.is_isolated() {
                let emit = site.emit.clone();
                let (mut layers, below) = Layers::begin(node, &taken, rebuild, shared, &emit)?;
                if !below.is_empty() {
                    site.earlier = below;
                }
                let mut keep = |key: &str, steps: usize, file: &Path| layers.keep(key, steps, file);
                let out = slot.folder().to_owned();
                process::ask(&node.work, &taken, out, site, &mut keep, shared.attend)?
            } else {
                node.work.run(&taken, slot.folder(), site)?
            };
            site.emit.phase("storing the result");
            digest_published(node, &made, &mut slot, shared.cancel)?;
            for (name, digests) in made.digests {
                slot.set_digests(&name, digests);
            }
            let entry = slot.commit(node.inputs.clone(), made.facts, shared.cancel)?;
            match share::give(plan, index, &entry, rebuild, shared, &site.emit)? {
                Some(first) => (first, Outcome::Shared, None),
                None => (entry, made.outcome, made.message),
            }
        }
    };
    shared
        .store
        .set_latest(shared.history, stage, &node.subject, &entry.latest())?;
    Ok(Done {
        outcome,
        bytes: entry.bytes(),
        message,
    })
}

/// The results that a node takes, as the store has them.
fn taken(plan: &Plan, node: &Node, store: &Store) -> Result<Taken, NodeError> {
    let mut results = Vec::new();
    for take in &node.takes {
        let from = plan.node(take.node);
        match given(store, from) {
            Some(given) => results.push((take.role.clone(), given)),
            None if take.bond == Bond::IfThere => {}
            None => return Err(NodeError::Gone { id: from.id() }),
        }
    }
    Ok(results.into_iter().collect())
}

/// What the stage of a node made last for the subjects of this pipeline: for the node's own first, then the newest.
fn earlier(node: &Node, shared: &Shared<'_>) -> Vec<Given> {
    let stage = node.stage.name;
    let mut latest = shared.store.latest_of(shared.history, stage);
    latest.retain(|(_, latest)| latest.key != node.key);
    latest.sort_by_key(|(subject, latest)| (*subject != node.subject, std::cmp::Reverse(latest.created)));
    let found = latest.into_iter().filter_map(|(subject, latest)| {
        let entry = shared.store.lookup(stage, &latest.key)?;
        Some(as_given(&entry, format!("{stage}/{subject}")))
    });
    found.collect()
}

/// Looks whether every file is there that a stage leaves, and takes those digests of published ones that checksum files
/// and places ask for.
fn digest_published(node: &Node, made: &Made, slot: &mut Slot, cancel: &Cancel) -> Result<(), NodeError> {
    for file in node.work.files() {
        let path = slot.path(file.name);
        if !path.is_file() {
            if file.fate == Fate::Optional {
                continue;
            }
            let (node, file) = (node.id(), file.name);
            return Err(NodeError::NotMade { node, file });
        }
        if matches!(file.fate, Fate::Published(_)) && !made.digests.contains_key(file.name) {
            let digests = hash_file(&path, &Algorithm::ALL, cancel).map_err(|error| match error {
                FsError::Cancelled => StoreError::Cancelled,
                error => error.into(),
            })?;
            slot.set_digests(file.name, digests);
        }
    }
    Ok(())
}
