//! `pipeline run --on slurm`: an engine starts this program on other hosts for all of a run that others can do. This host plans,
//! follows, and delivers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::exit::Exit;
use super::report_error::fail;
use super::run;
use crate::emit::Emitter;
use crate::farm::chains::{Chain, Reach, cut};
use crate::farm::crew::{Crew, Terms};
use crate::farm::job::Description;
use crate::farm::slurm::{self, Slurm};
use crate::farm::workspace::Workspace;
use crate::host::cancel::Cancel;
use crate::host::tools;
use crate::manifest::model::Manifest;
use crate::plan::assess::State;
use crate::plan::node::Results;
use crate::remote::Remote;
use crate::remote::settings::Settings;
use crate::run::look::address;
use crate::run::prepare::Prepared;
use crate::run::signals::Listening;
use crate::size::{ByteSize, MIB, parse_duration};
use crate::stage::{Node, Work, install, stays};
use crate::store::{Address, Scratch, Store};

/// The hidden verb that a job runs.
pub const VERB: &str = "run-job";
/// How often an engine is asked where nothing else is said.
const POLL: Duration = Duration::from_secs(20);
/// Memory that a job has more than its largest node: the emulator's own, the program, what tools take.
const HEADROOM: ByteSize = ByteSize(512 * MIB);
/// The shortest time of a job that is a multiple of what it is expected to take.
const SHORTEST: Duration = Duration::from_secs(600);

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// Slurm, by the client programs of this host
    Slurm,
}

/// What other hosts do of a run.
#[derive(Debug)]
pub struct Away {
    settings: Settings,
    chains: Vec<Chain>,
    slurm: Slurm,
    poll: Duration,
    headroom: u64,
    time: Limit,
    program: String,
    /// Of what all jobs share, in the remote store.
    description: String,
}

/// Puts into the remote store what only this host has and others need; gives all of it that is there then.
fn share(
    prepared: &Prepared,
    remote: &Remote,
    store: &Store,
    emit: &Emitter,
    cancel: &Cancel,
) -> Result<BTreeSet<Address>, Exit> {
    let plan = &prepared.plan;
    let needed = prepared.todo().flat_map(|(index, _)| plan.needs(index));
    let needed = needed.filter(|index| prepared.assessments[index].state == State::Cached);
    let needed: BTreeMap<_, _> = needed
        .map(|index| (address(plan.node(index)), plan.node(index)))
        .collect();
    let mut there = remote.has(&needed.keys().cloned().collect::<Vec<_>>(), cancel);
    for (address, node) in needed {
        let entry = store.lookup(&address.stage, &address.key);
        let travels = entry.is_some_and(|entry| stays(&address.stage, entry.facts()).is_none());
        if travels && !there.contains(&address) {
            let emit = emit.for_node(&node.id());
            let pushed = remote.push(&address, store, &|_| true, &emit, cancel);
            pushed.map_err(|error| fail(Exit::Host, miette::miette!("{error}")))?;
            there.insert(address);
        }
    }
    Ok(there)
}

/// Provisioned disks that may grow only in a machine, by a key that stays with them: those that may boot to grow, unless they
/// are in the remote store as a proof of the opposite.
fn grown_by_booting(prepared: &Prepared, shared: &BTreeSet<Address>) -> BTreeSet<String> {
    let plan = &prepared.plan;
    let may_boot = |node: &Node| matches!(&node.work, Work::Size(size) if size.may_boot);
    let sizes = plan.nodes().filter(|(_, node)| may_boot(node));
    let disks = sizes
        .flat_map(|(index, _)| plan.needs(index))
        .map(|index| plan.node(index));
    let unknown = disks.filter(|node| !shared.contains(&address(node)));
    unknown.map(Node::id).collect()
}

/// What is made here, as what it is made from does not travel, and what never leaves the host that makes it where this is made
/// from that.
fn bound_here(
    prepared: &Prepared,
    workspace: &Workspace,
    is_kept: &dyn Fn(&Node) -> bool,
    emit: &Emitter,
) -> BTreeSet<String> {
    let plan = &prepared.plan;
    let mut bound = BTreeSet::new();
    for (_, node) in prepared.todo() {
        if let Some(why) = workspace.stays(node) {
            emit.for_node(&node.id())
                .warn(format!("{why}; all that is made from it is made here"));
            bound.insert(node.id());
        }
    }
    let mut before = 0;
    while bound.len() > before {
        before = bound.len();
        for (index, node) in prepared.todo() {
            let needs = || plan.needs(index).map(|need| plan.node(need));
            if needs().any(|need| bound.contains(&need.id())) {
                bound.insert(node.id());
            }
            if bound.contains(&node.id()) {
                bound.extend(needs().filter(|need| is_kept(need)).map(Node::id));
            }
        }
    }
    bound
}

/// How long jobs may take.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    /// As long as the partition lets them.
    OfPartition,
    /// So many times as long as earlier runs took.
    Times(f64),
    Fixed(Duration),
}

impl Limit {
    fn read(text: &str) -> Option<Self> {
        match text.strip_suffix('x') {
            Some(times) => {
                let times = times.parse().ok().filter(|times: &f64| *times >= 1.0)?;
                Some(Self::Times(times))
            }
            None => parse_duration(text).ok().map(Self::Fixed),
        }
    }

    /// Of one chain.
    fn of(self, chain: &Chain) -> Option<Duration> {
        match self {
            Self::OfPartition => None,
            Self::Fixed(time) => Some(time),
            Self::Times(times) => {
                let expected = chain.seconds?;
                Some(Duration::from_secs_f64(times * expected).max(SHORTEST))
            }
        }
    }
}

/// The engine that the arguments ask for; none: they ask for none.
///
/// # Errors
/// [`Exit`], after saying what of the settings or of this host is in the way.
pub fn asked(args: &run::Args, remote: Option<&Remote>) -> Result<Option<Away>, Exit> {
    if args.on.is_none() {
        return Ok(None);
    }
    if !remote.is_some_and(Remote::writes) {
        let error = miette::miette!(
            help = "`[remote]` in farm.toml names it, with a `sign_key`; docs/farm.md shows a whole set-up; nothing was started",
            "--on needs a remote store that this host may write to: other hosts take the manifest's files from it"
        );
        return Err(fail(Exit::Usage, error));
    }
    if let Some(missing) = slurm::PROGRAMS.iter().find(|name| tools::find(name).is_none()) {
        let packages = tools::packages(slurm::PROGRAMS[0]).unwrap_or_default();
        let error = miette::miette!(
            help = format!(
                "install it ({packages}), or run this where Slurm's programs are; nothing was started"
            ),
            "`{missing}` is missing: --on slurm queues its jobs by it"
        );
        return Err(fail(Exit::Host, error));
    }
    Away::of(args.remote.settings()?).map(Some)
}

/// What jobs of a run do, in words of its command line.
pub fn arguments(args: &run::Args, (manifest, selected): (&Manifest, &[usize])) -> Vec<String> {
    let images = selected.iter().filter_map(|&index| manifest.images.get(index));
    let images = images.map(|image| image.id.clone());
    let no_check = Some(args.checks.as_typed().trim().to_owned());
    let no_check = no_check.filter(|word| !word.is_empty());
    images.chain(no_check).chain(args.target.defined()).collect()
}

impl Away {
    /// Cuts what is to be done into jobs and puts into the remote store what they need; none: other hosts have nothing to do.
    ///
    /// # Errors
    /// [`Exit`], after saying why: nothing was started.
    pub fn cut(
        self,
        (manifest, prepared): (&Manifest, &Prepared),
        arguments: Vec<String>,
        remote: &Remote,
        (store, scratch): (&Store, &Scratch),
        emit: &Emitter,
        cancel: &Cancel,
    ) -> Result<Option<Self>, Exit> {
        let archive = scratch
            .folder("workspace")
            .map_err(|error| fail(Exit::Host, miette::miette!("{error}")))?;
        let archive = archive.join("workspace.tar.zst");
        let workspace =
            Workspace::pack(manifest, &archive, cancel).map_err(|error| fail(Exit::Usage, error))?;
        let shared = share(prepared, remote, store, emit, cancel)?;
        let boots = grown_by_booting(prepared, &shared);
        // The build's private key is in the one, and lets into the other.
        let is_kept = |node: &Node| node.stage == install::STAGE || boots.contains(&node.id());
        let bound = bound_here(prepared, &workspace, &is_kept, emit);
        let reach = |node: &Node| match node.stage.results {
            Results::Outside => Reach::Here,
            Results::Stored if bound.contains(&node.id()) => Reach::Here,
            Results::Stored if is_kept(node) => Reach::Kept,
            Results::Stored => Reach::Shared,
        };
        let workers = self.settings.workers;
        let chains = cut(&prepared.plan, &prepared.assessments, &reach, workers);
        if chains.is_empty() {
            return Ok(None);
        }
        let failed = |error| fail(Exit::Host, miette::miette!("{error}"));
        let description = Description {
            workspace,
            facts: prepared.facts.as_json(),
            arguments,
        };
        let description = description.put(&archive, remote, cancel).map_err(failed)?;
        Ok(Some(Self {
            chains,
            description,
            ..self
        }))
    }

    /// What the settings say of the engine.
    fn of(all: Settings) -> Result<Self, Exit> {
        let settings = &all.slurm;
        let wrong = |key: &str, value: &str, like: &str| {
            let error = miette::miette!(
                help = "farm.toml is in ~/.config/pipeline, or where PIPELINE_FARM says; nothing was started",
                "`slurm.{key}` in farm.toml cannot be `{value}`; write {like}"
            );
            fail(Exit::Usage, error)
        };
        let poll = match &settings.poll {
            Some(text) => parse_duration(text).map_err(|_| wrong("poll", text, "a time, as in 20s"))?,
            None => POLL,
        };
        let headroom: ByteSize = match &settings.memory_headroom {
            Some(text) => text
                .parse()
                .map_err(|_| wrong("memory_headroom", text, "a size, as in 512M"))?,
            None => HEADROOM,
        };
        let time = match &settings.time {
            Some(text) => Limit::read(text).ok_or_else(|| {
                wrong(
                    "time",
                    text,
                    "a time, as in 4h, or a multiple of what is expected, as in 3x",
                )
            })?,
            None => Limit::OfPartition,
        };
        let own = || std::env::current_exe().unwrap_or_else(|_| PathBuf::from("pipeline"));
        let program = settings.program.clone().unwrap_or_else(own);
        let slurm = Slurm {
            partition: settings.partition.clone(),
            account: settings.account.clone(),
            extra: settings.extra.clone(),
        };
        Ok(Self {
            settings: all,
            chains: Vec::new(),
            slurm,
            poll,
            headroom: headroom.0,
            time,
            program: program.display().to_string(),
            description: String::new(),
        })
    }

    /// Those who have it done.
    pub fn crew<'a>(
        &'a self,
        prepared: &'a Prepared,
        (store, scratch): (&'a Store, &'a Scratch),
        (emit, cancel, listening): (&'a Emitter, &'a Cancel, &'a Listening),
    ) -> Crew<'a> {
        let terms = Terms {
            engine: Arc::new(self.slurm.clone()),
            called: "Slurm",
            poll: self.poll,
            headroom: self.headroom,
            time: Box::new(|chain| self.time.of(chain)),
            words: Box::new(|name, chain| self.words(prepared, name, chain)),
            remote: &self.settings.remote,
            at_exit: Box::new(|act| listening.at_exit(act)),
        };
        Crew::new(
            &prepared.plan,
            &self.chains,
            terms,
            (store, scratch),
            (emit, cancel),
        )
    }

    /// The program and its arguments for a chain.
    fn words(&self, prepared: &Prepared, name: &str, chain: &Chain) -> Vec<String> {
        let ends = chain.results.iter().copied();
        let ends = ends.map(|index| prepared.plan.node(index));
        let own = [&self.program, VERB, name, &self.description].map(str::to_owned);
        own.into_iter()
            .chain(ends.map(|node| format!("{}={}", node.id(), node.key)))
            .collect()
    }

    /// The same plan without what other hosts do.
    pub fn rest(&self, prepared: &Prepared) -> Prepared {
        let mut rest = prepared.clone();
        for index in self.chains.iter().flat_map(|chain| &chain.nodes) {
            if let Some(assessment) = rest.assessments.get_mut(index) {
                assessment.state = State::Unneeded;
            }
        }
        rest
    }
}
