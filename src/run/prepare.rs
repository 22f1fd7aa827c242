//! Before a run: gathers the facts that planning needs, plans, and makes sure that nothing is missing that would only
//! show an hour later. Changes nothing but damaged results, which it takes out of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use petgraph::graph::NodeIndex;
use rayon::prelude::*;

use super::error::RunError;
use super::facts::{self as host_facts, Facts, unshared};
use super::look::Look;
use super::probe::probe;
use super::schedule::Budget;
use super::share;
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::host::private;
use crate::host::{facts, fs as host_fs, tools};
use crate::manifest::model::Manifest;
use crate::plan::assess::{Assessment, Pick, State, assess};
use crate::plan::node::Results;
use crate::remote::Remote;
use crate::size::{ByteSize, GIB, MIB};
use crate::stage::recipe::Wanted;
use crate::stage::task::{Finding, Memo};
use crate::stage::{Node, Plan, Work};
use crate::store::{Address, LAYER, Needs, Store, StoreError};

/// Memory left to the host itself when the manifest does not say how much a run may use, in bytes.
const HOST_MEMORY: u64 = 512 * MIB;
/// Disk space left free when the manifest does not say how much a run may use, in bytes.
const HOST_DISK: u64 = GIB;

/// What a plan is to be about, in addition to images.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub wanted: Wanted,
    /// Nodes to build whatever the store has.
    pub rebuild: Pick<'a, Work>,
    /// Nodes to stop at; none: all is done.
    pub until: Option<Pick<'a, Work>>,
    /// The store that hosts share, where there is one.
    pub remote: Option<&'a Remote>,
    /// Facts of the host that plans for several; none: this host's own.
    pub facts: Option<&'a Facts>,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self {
            wanted: Wanted::default(),
            rebuild: &|_| false,
            until: None,
            remote: None,
            facts: None,
        }
    }
}

impl fmt::Debug for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

/// A plan with the state of its nodes.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub plan: Plan,
    /// What it was made by.
    pub facts: Facts,
    /// Why no other host takes the results of nodes.
    pub unshared: BTreeMap<NodeIndex, String>,
    /// State and reason of every node.
    pub assessments: BTreeMap<NodeIndex, Assessment>,
    /// The manifest, absolute.
    pub manifest: PathBuf,
    /// Whether it is about all images, and all that is wanted of them.
    pub whole: bool,
}

impl Prepared {
    /// The nodes that must run, in an order in which they could.
    pub fn todo(&self) -> impl Iterator<Item = (NodeIndex, &Node)> {
        self.plan
            .nodes()
            .filter(|(index, _)| self.assessments[index].state == State::Todo)
    }

    /// The results that the plan takes from the store or builds.
    pub fn needs(&self) -> Needs {
        let used = self
            .plan
            .nodes()
            .filter(|(index, _)| self.assessments[index].state != State::Unneeded);
        // Layers are used while a node is built, and the first to go after that.
        let layers = self.todo().flat_map(|(_, node)| node.work.checkpoints());
        let layers = layers.map(|checkpoint| Address::new(LAYER, &checkpoint.key));
        let whole = self
            .whole
            .then(|| self.plan.nodes().map(|(_, node)| node.id()).collect());
        Needs {
            pipeline: self.plan.pipeline.clone(),
            manifest: Some(self.manifest.clone()),
            history: self.plan.history.clone(),
            whole,
            results: used
                .map(|(_, node)| Address::new(node.stage.name, &node.key))
                .chain(layers)
                .collect(),
        }
    }

    /// Leaves only the publication of what is built. Nothing else is to run then.
    ///
    /// # Errors
    /// [`RunError::NotBuilt`] with the images that are not built.
    pub fn only_uploads(&mut self) -> Result<(), RunError> {
        let mut unbuilt = BTreeSet::new();
        for image in &self.plan.images {
            let behind = image.published.iter().flat_map(|last| self.plan.behind(*last));
            let publishing = image.published.iter().chain(&image.signed).copied().chain(behind);
            let publishing = publishing.filter(|index| self.plan.node(*index).work.publishes());
            let mut needed = publishing.flat_map(|index| self.plan.needs(index));
            // What only the builds behind it need may be gone.
            let is_ready = |index| {
                self.assessments[&index].state == State::Cached || self.plan.node(index).work.publishes()
            };
            if !needed.all(is_ready) {
                unbuilt.insert(image.id.clone());
            }
        }
        if !unbuilt.is_empty() {
            return Err(RunError::NotBuilt {
                images: unbuilt.into_iter().collect(),
            });
        }
        for (index, node) in self.plan.nodes() {
            if let Some(assessment) = self.assessments.get_mut(&index)
                && assessment.state == State::Todo
                && !node.work.publishes()
            {
                assessment.state = State::Unneeded;
            }
        }
        Ok(())
    }
}

/// Plans the selected images against what is in the store and in the output folder. `say` hears of what takes long.
///
/// # Errors
/// [`RunError::Plan`], [`RunError::NoTarget`], [`RunError::Lock`], [`RunError::Facts`].
pub fn prepare(
    manifest: &Manifest,
    selected: &[usize],
    store: &Store,
    ask: Ask<'_>,
    say: &dyn Fn(&str),
) -> Result<Prepared, RunError> {
    if ask.wanted.upload && manifest.publish.targets.is_empty() {
        return Err(RunError::NoTarget);
    }
    let (plan, facts) = host_facts::plan(manifest, selected, store, ask.wanted, ask.facts, say)?;
    if let Some(remote) = ask.remote {
        share::ask(&plan, store, remote);
    }
    let look = Look::new(store, ask.remote, &plan.pipeline, &plan.history);
    let assessments = assess(&plan, &look, ask.rebuild, ask.until);
    Ok(Prepared {
        unshared: unshared(&plan, &facts, ask.facts.is_none() && store.has_own_fingerprints()),
        plan,
        facts,
        assessments,
        manifest: std::path::absolute(&manifest.path).unwrap_or_else(|_| manifest.path.clone()),
        whole: ask.wanted.checks && ask.until.is_none() && selected.len() == manifest.images.len(),
    })
}

/// Reads back every stored result that a node to run is built from; takes damaged ones out. True: all were sound. What was
/// read back no longer ago than `within` and not touched since is not read again, unless it is what leaves the store.
///
/// # Errors
/// [`RunError::Store`].
pub fn verify_inputs(
    prepared: &Prepared,
    store: &Store,
    within: Duration,
    cancel: &Cancel,
    emit: &Emitter,
) -> Result<bool, RunError> {
    let mut needed: BTreeMap<NodeIndex, bool> = BTreeMap::new();
    for (index, node) in prepared.todo() {
        let needs = prepared.plan.needs(index);
        for need in needs.filter(|need| prepared.assessments[need].state == State::Cached) {
            *needed.entry(need).or_default() |= node.stage.results == Results::Outside;
        }
    }
    let mut unread = Vec::new();
    for (index, leaves) in needed {
        let node = prepared.plan.node(index);
        let Some(entry) = store.lookup(node.stage.name, &node.key) else {
            return Ok(false);
        };
        if leaves || !entry.was_read_back(within) {
            unread.push((node, entry));
        }
    }
    match unread.len() {
        0 => {}
        1 => emit.phase("reading back 1 result from the store"),
        n => emit.phase(format!("reading back {n} results from the store")),
    }
    let mut sound = true;
    let read: Vec<_> = unread.par_iter().map(|(_, entry)| entry.verify(cancel)).collect();
    for ((node, _), read) in unread.iter().zip(read) {
        match read {
            Ok(()) => {}
            Err(error @ StoreError::Damaged { .. }) => {
                emit.warn(format!("{error}; it is removed and rebuilt"));
                store.evict(node.stage.name, &node.key)?;
                sound = false;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sound)
}

/// Makes sure that all is there that the nodes to run will want: secrets, tools, folders that can be written to, places to
/// publish to, media, suites and packages. Gives warnings.
///
/// # Errors
/// [`StoreError::Cancelled`] when asked to stop while servers are asked; [`RunError::Secret`], [`RunError::Target`], [`RunError::Medium`] and [`RunError::Missing`], with all that is missing;
/// [`RunError::Output`], [`RunError::FileTooLarge`].
pub fn preflight(
    prepared: &Prepared,
    store: &Store,
    cancel: &Cancel,
    emit: &Emitter,
) -> Result<Vec<String>, RunError> {
    let memo = Memo::default();
    let mut programs = BTreeSet::new();
    let (mut secrets, mut targets) = (BTreeSet::new(), Vec::new());
    let (mut missing, mut warnings) = (BTreeSet::new(), Vec::new());
    let mut media = BTreeSet::new();
    for (_, node) in prepared.todo() {
        programs.extend(node.work.programs());
        for finding in node.work.preflight(&memo) {
            match finding {
                Finding::Secret(text) => drop(secrets.insert(text)),
                Finding::Target(text) => targets.push(text),
                Finding::Output(error) => return Err(RunError::Output(error)),
                Finding::Missing(what) => drop(missing.insert(what)),
                Finding::Medium(text) | Finding::Absent(text) => drop(media.insert(text)),
                Finding::Unreachable(text) => warnings.push(text),
                Finding::Warning(text) => warnings.push(text),
            }
        }
    }
    if !secrets.is_empty() {
        let all: Vec<_> = secrets.into_iter().collect();
        return Err(RunError::Secret(all.join("\n")));
    }
    if !media.is_empty() {
        let all: Vec<_> = media.into_iter().collect();
        return Err(RunError::Medium(all.join("\n")));
    }
    if programs.iter().any(|program| program.starts_with("qemu-system")) {
        private::place().map_err(RunError::Sockets)?;
    }
    if !targets.is_empty() {
        return Err(RunError::Target(targets.join("\n")));
    }
    can_hold_largest(prepared, store)?;
    let absent = programs
        .into_iter()
        .filter(|program| tools::find(program).is_none());
    let all: Vec<_> = absent.map(str::to_owned).chain(missing).collect();
    if !all.is_empty() {
        return Err(RunError::Missing { what: all.join(", ") });
    }
    warnings.extend(ask_servers(prepared, cancel, emit)?);
    Ok(warnings)
}

/// From more servers than these on that do not answer, one of them is named for all.
const MUTE_SHOWN: usize = 3;

/// Asks the servers that the nodes to run depend on, and gives warnings about those that do not answer.
fn ask_servers(prepared: &Prepared, cancel: &Cancel, emit: &Emitter) -> Result<Vec<String>, RunError> {
    let (mut absent, mut targets) = (Vec::new(), Vec::new());
    let mut mute = BTreeMap::<String, Vec<String>>::new();
    let found = probe(prepared, cancel, emit);
    if cancel.is_cancelled() {
        return Err(StoreError::Cancelled.into());
    }
    for (finding, nodes) in found {
        match finding {
            Finding::Unreachable(text) => mute.entry(text).or_default().extend(nodes),
            Finding::Absent(text) => absent.push(format!("{}: {text}", nodes.join(", "))),
            Finding::Target(text) => targets.push(text),
            _ => {}
        }
    }
    if !targets.is_empty() {
        targets.sort();
        return Err(RunError::Target(targets.join("\n")));
    }
    absent.sort();
    if !absent.is_empty() {
        return Err(RunError::Medium(absent.join("\n")));
    }
    let servers = mute.len();
    let warning = |(text, mut nodes): (String, Vec<String>)| {
        nodes.sort();
        format!("{text} (wanted by {})", nodes.join(", "))
    };
    let mut warnings: Vec<_> = mute.into_iter().map(warning).collect();
    if servers > MUTE_SHOWN {
        warnings.truncate(1);
        warnings = vec![format!(
            "{servers} servers do not answer, the first of them: {}",
            warnings.concat()
        )];
    }
    Ok(warnings)
}

/// Makes a file as large as the largest that the run will make, all of it a hole: a file system has a limit of its own.
fn can_hold_largest(prepared: &Prepared, store: &Store) -> Result<(), RunError> {
    let nodes = prepared.todo().map(|(_, node)| (node.work.largest_file(), node));
    let Some((bytes, node)) = nodes
        .max_by_key(|(bytes, _)| *bytes)
        .filter(|(bytes, _)| *bytes > 0)
    else {
        return Ok(());
    };
    let folder = store.root().join("scratch");
    let made = tempfile::tempfile_in(&folder).and_then(|file| file.set_len(bytes));
    made.map_err(|source| RunError::FileTooLarge {
        node: node.id(),
        size: ByteSize(bytes),
        folder,
        source,
    })
}

/// What a run may use: what the manifest and the command line allow, else what the host has free apart from a reserve. Of memory
/// never more than there is. What nodes take of scratch space is an upper bound, as most of it is holes: who knows better
/// may say so; and more processors than there are only make it slower.
pub fn budget(manifest: &Manifest, jobs: Option<usize>, store: &Path) -> Budget {
    let resources = &manifest.resources;
    let host_cpus = u32::try_from(facts::cpus()).unwrap_or(1);
    let cpus = resources.cpus.unwrap_or(host_cpus).max(1);
    let available = facts::memory().map_or(u64::MAX, |m| m.available);
    let memory = match resources.memory {
        Some(allowed) => allowed.0.min(available),
        None => available.saturating_sub(HOST_MEMORY),
    };
    let free_disk = host_fs::free_space(store).unwrap_or(u64::MAX);
    let scratch = resources
        .scratch
        .map_or(free_disk.saturating_sub(HOST_DISK), |allowed| allowed.0);
    let jobs = jobs.or(resources.jobs).unwrap_or(cpus as usize).max(1);
    Budget {
        memory,
        cpus,
        scratch,
        jobs,
    }
}
