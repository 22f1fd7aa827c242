//! Before a run: gathers the facts that planning needs, plans, and makes sure that nothing is missing that would only
//! show an hour later. Changes nothing but damaged results, which it takes out of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use petgraph::graph::NodeIndex;

use super::error::RunError;
use super::look::Look;
use super::mirrors::mirrors;
use super::schedule::Budget;
use crate::event::Emitter;
use crate::host::cancel::Cancel;
use crate::host::{facts, fs as host_fs, tools};
use crate::machine::private;
use crate::manifest::model::{Manifest, Proof, Secret, Target};
use crate::plan::assess::{State, Verdict, assess};
use crate::plan::build::{Inputs, Wanted, build};
use crate::plan::graph::Plan;
use crate::plan::node::{Action, MachineWish, Node, WayIn, Work};
use crate::size::{GIB, MIB};
use crate::stage::error::StageError;
use crate::stage::upload;
use crate::store::{Address, Needs, Store, StoreError};

/// Memory left to the host itself when the manifest does not say how much a run may use, in bytes.
const HOST_MEMORY: u64 = 512 * MIB;
/// Disk space left free when the manifest does not say how much a run may use, in bytes.
const HOST_DISK: u64 = GIB;

/// A plan with the state of its nodes.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The plan.
    pub plan: Plan,
    /// State and reason of every node.
    pub verdicts: BTreeMap<NodeIndex, Verdict>,
}

impl Prepared {
    /// The nodes that must run, in an order in which they could.
    pub fn todo(&self) -> impl Iterator<Item = (NodeIndex, &Node)> {
        self.plan
            .nodes()
            .filter(|(index, _)| self.verdicts[index].state == State::Todo)
    }

    /// The results that the plan takes from the store or builds.
    pub fn needs(&self) -> Needs {
        let used = self
            .plan
            .nodes()
            .filter(|(index, _)| self.verdicts[index].state != State::Unneeded);
        Needs {
            pipeline: self.plan.pipeline.clone(),
            results: used
                .map(|(_, node)| Address::new(node.stage.name(), &node.key))
                .collect(),
        }
    }

    /// Leaves only the publication of what is built. Nothing else is to run then.
    ///
    /// # Errors
    /// [`RunError::NotBuilt`] with the images that are not built.
    pub fn only_uploads(&mut self) -> Result<(), RunError> {
        let publishes = |node: &Node| matches!(node.work, Work::Upload(_) | Work::Index(_));
        let mut unbuilt = BTreeSet::new();
        for (index, node) in self
            .plan
            .nodes()
            .filter(|(_, node)| matches!(node.work, Work::Upload(_)))
        {
            let built = |need| self.verdicts[&need].state == State::Cached;
            if !self.plan.needs(index).all(built) {
                let image = node.subject.split('@').next().unwrap_or_default();
                unbuilt.insert(image.to_owned());
            }
        }
        if !unbuilt.is_empty() {
            return Err(RunError::NotBuilt {
                images: unbuilt.into_iter().collect(),
            });
        }
        for (index, node) in self.plan.nodes() {
            if let Some(verdict) = self.verdicts.get_mut(&index)
                && verdict.state == State::Todo
                && !publishes(node)
            {
                verdict.state = State::Unneeded;
            }
        }
        Ok(())
    }
}

/// Plans the selected images against what is in the store and in the output folder, and what else is wanted.
///
/// # Errors
/// [`RunError::Plan`], [`RunError::NoTarget`].
pub fn prepare(
    manifest: &Manifest,
    selected: &[usize],
    store: &Store,
    wanted: Wanted,
    rebuild: &dyn Fn(&Node) -> bool,
) -> Result<Prepared, RunError> {
    if wanted.upload && manifest.publish.targets.is_empty() {
        return Err(RunError::NoTarget);
    }
    let mirrors = mirrors(manifest, selected, store);
    let fingerprint = |secret: &Secret| match secret.read() {
        Ok(value) => store
            .fingerprint(value.as_bytes())
            .unwrap_or_else(|_| "unreadable".to_owned()),
        Err(_) => "not set".to_owned(),
    };
    let stamp = |path: &Path| {
        host_fs::Stamp::of(path).map_or_else(
            |_| "missing".to_owned(),
            |stamp| {
                format!(
                    "{} bytes of {}, inode {}",
                    stamp.size, stamp.mtime_ns, stamp.inode
                )
            },
        )
    };
    let inputs = Inputs {
        wanted,
        mirrors: &mirrors,
        fingerprint: &fingerprint,
        stamp: &stamp,
    };
    let plan = build(manifest, selected, &inputs)?;
    let verdicts = assess(&plan, &Look::new(store, &manifest.name), rebuild);
    Ok(Prepared { plan, verdicts })
}

/// Reads back every stored result that a node to run is built from; takes damaged ones out. True: all were sound.
///
/// # Errors
/// [`RunError::Store`].
pub fn verify_inputs(
    prepared: &Prepared,
    store: &Store,
    cancel: &Cancel,
    emit: &Emitter,
) -> Result<bool, RunError> {
    let mut needed = BTreeSet::new();
    for (index, _) in prepared.todo() {
        needed.extend(
            prepared
                .plan
                .needs(index)
                .filter(|need| prepared.verdicts[need].state == State::Cached),
        );
    }
    match needed.len() {
        0 => {}
        1 => emit.phase("reading back 1 result from the store"),
        n => emit.phase(format!("reading back {n} results from the store")),
    }
    let mut sound = true;
    for index in needed {
        let node = prepared.plan.node(index);
        let Some(entry) = store.lookup(node.stage.name(), &node.key) else {
            return Ok(false);
        };
        match entry.verify(cancel) {
            Ok(()) => {}
            Err(error @ StoreError::Damaged { .. }) => {
                emit.warn(format!("{error}; it is taken out and built anew"));
                store.evict(node.stage.name(), &node.key)?;
                sound = false;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sound)
}

/// Makes sure that every secret is set, every tool is there, and every folder can be written to and every place published
/// to that the nodes to run will want. Gives warnings.
///
/// # Errors
/// [`RunError::Secret`], [`RunError::Target`] and [`RunError::Missing`], with all that is missing; [`RunError::Output`].
pub fn preflight(prepared: &Prepared) -> Result<Vec<String>, RunError> {
    let mut absent = Vec::new();
    let mut programs = BTreeSet::new();
    for (_, node) in prepared.todo() {
        programs.extend(programs_of(&node.work));
        match &node.work {
            Work::Sums(work) => {
                let file = work.output.join(&work.file);
                host_fs::can_fill(file.parent().unwrap_or(&work.output)).map_err(RunError::Output)?;
            }
            Work::Index(work) => host_fs::can_fill(&work.output).map_err(RunError::Output)?,
            Work::Installer(work) => {
                if let Some(Err(source)) = work.password.as_ref().map(Secret::read) {
                    absent.push(StageError::NoPassword { source });
                }
            }
            _ => {}
        }
        let Work::Provision(work) = &node.work else {
            continue;
        };
        for step in &work.steps {
            let Action::Run { secrets, .. } = &step.action else {
                continue;
            };
            for (variable, secret) in secrets {
                if let Err(source) = secret.read() {
                    let (step, variable) = (step.label.clone(), variable.clone());
                    absent.push(StageError::NoSecret {
                        step,
                        variable,
                        source,
                    });
                }
            }
        }
    }
    if !absent.is_empty() {
        let all: BTreeSet<_> = absent.iter().map(ToString::to_string).collect();
        return Err(RunError::Secret(all.into_iter().collect::<Vec<_>>().join("\n")));
    }
    if programs.iter().any(|program| program.starts_with("qemu-system")) {
        private::place().map_err(RunError::Sockets)?;
    }
    let warnings = check_targets(prepared)?;
    let mut missing: Vec<_> = programs
        .into_iter()
        .filter(|program| tools::find(program).is_none())
        .map(str::to_owned)
        .collect();
    let bootstraps = prepared
        .todo()
        .any(|(_, node)| matches!(node.work, Work::Bootstrap(_)));
    if bootstraps && !facts::is_root() {
        let found = [facts::user_namespaces(&Cancel::default()), facts::spare_ids()];
        let obstacles = found.into_iter().filter_map(Result::err);
        missing.extend(
            obstacles.map(|obstacle| format!("what a plain user needs for `bootstrap` ({})", obstacle.cause)),
        );
    }
    if missing.is_empty() {
        Ok(warnings)
    } else {
        Err(RunError::Missing {
            what: missing.join(", "),
        })
    }
}

fn check_targets(prepared: &Prepared) -> Result<Vec<String>, RunError> {
    let mut targets: Vec<&Target> = Vec::new();
    for (_, node) in prepared.todo() {
        if let Work::Upload(work) = &node.work
            && !targets.contains(&&work.target)
        {
            targets.push(&work.target);
        }
    }
    let (mut warnings, mut faults) = (Vec::new(), Vec::new());
    for target in targets {
        match upload::check(target) {
            Ok(told) => warnings.extend(told),
            Err(error) => faults.push(error.to_string()),
        }
    }
    if faults.is_empty() {
        Ok(warnings)
    } else {
        Err(RunError::Target(faults.join("\n")))
    }
}

/// Host programs that a node will start.
fn programs_of(work: &Work) -> Vec<&'static str> {
    let machine = |wish: &MachineWish| {
        let emulator = wish.platform.hardware().emulator.program;
        vec![emulator, "qemu-img", "ssh", "ssh-keygen"]
    };
    match work {
        Work::Bootstrap(work) => {
            let as_user = if facts::is_root() { &[][..] } else { &["newuidmap"] };
            let tools = ["mmdebstrap", "unshare", "sfdisk", "mke2fs"];
            [&machine(&work.machine)[..], &tools, as_user].concat()
        }
        Work::Disk(_) => vec!["qemu-img"],
        Work::Installer(work) => machine(&work.machine),
        Work::Provision(work) => {
            let mut programs = machine(&work.machine);
            if work
                .steps
                .iter()
                .any(|step| matches!(step.action, Action::Ansible(_)))
            {
                programs.push("ansible-playbook");
            }
            programs
        }
        Work::Size(work) => {
            let mut programs = vec!["qemu-img", "sfdisk", "e2fsck", "resize2fs"];
            if work.may_boot {
                programs.extend(machine(&work.machine));
            }
            programs
        }
        Work::Check(work) if work.way_in == WayIn::Agent => {
            vec![work.machine.platform.hardware().emulator.program, "qemu-img"]
        }
        Work::Check(work) => [&machine(&work.machine)[..], &["sfdisk", "debugfs"]].concat(),
        Work::Fetch(work) => match &work.proof {
            Proof::List(list) if list.keyring.is_some() => vec!["gpgv"],
            Proof::List(_) | Proof::Digest(_) => Vec::new(),
        },
        Work::Package(_) | Work::Sums(_) | Work::Upload(_) | Work::Index(_) => Vec::new(),
    }
}

/// What a run may use: what the manifest and the command line allow, else what the host has free beside a reserve. Of memory
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
