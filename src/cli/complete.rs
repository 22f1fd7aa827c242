//! What shells complete: images, distros and nodes of the manifest on the line; runs and results of the store. Whatever
//! cannot be read completes nothing.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap_complete::CompletionCandidate;
use clap_complete::engine::{ArgValueCompleter, PathCompleter};

use super::runs::JOURNAL;
use super::ssh;
use super::target::default_store;
use crate::event::{Event, What};
use crate::manifest::Manifest;
use crate::manifest::load::load;
use crate::run::prepare::{Ask, prepare};
use crate::store::Store;

type Candidates = Vec<CompletionCandidate>;

/// Manifests, and folders on the way to them.
pub(super) fn manifests() -> ArgValueCompleter {
    ArgValueCompleter::new(PathCompleter::any().filter(|path| path.is_dir() || is_manifest(path)))
}

/// Words of `--progress`.
pub(super) fn progress() -> Candidates {
    candidates(["auto", "bars", "plain", "none"].map(str::to_owned))
}

pub(super) fn images() -> Candidates {
    of_manifest(|manifest| manifest.images.iter().map(|image| image.id.clone()).collect())
}

pub(super) fn distros() -> Candidates {
    of_manifest(|manifest| manifest.images.iter().map(|image| image.distro.clone()).collect())
}

pub(super) fn flavors() -> Candidates {
    of_manifest(|manifest| manifest.images.iter().map(|image| image.flavor.clone()).collect())
}

pub(super) fn sizes() -> Candidates {
    of_manifest(|manifest| {
        manifest
            .images
            .iter()
            .map(|image| image.size_label.clone())
            .collect()
    })
}

/// Images and nodes of the manifest on the line.
pub(super) fn images_and_nodes() -> Candidates {
    images().into_iter().chain(planned()).collect()
}

/// Nodes of the manifest on the line.
pub(super) fn planned() -> Candidates {
    of_manifest(|manifest| {
        let all: Vec<_> = (0..manifest.images.len()).collect();
        let prepared = prepare(manifest, &all, &store(), Ask::default(), &|_| {});
        let nodes = prepared.iter().flat_map(|prepared| prepared.plan.nodes());
        nodes.map(|(_, node)| node.id()).collect()
    })
}

pub(super) fn runs() -> Candidates {
    candidates(store().runs().into_iter().map(|run| run.id))
}

/// Runs, and the nodes of the newest one or of the run on the line.
pub(super) fn runs_and_nodes() -> Candidates {
    let nodes = nodes();
    runs().into_iter().chain(nodes).collect()
}

/// Nodes of the run on the line, or of the newest one.
pub(super) fn nodes() -> Candidates {
    let runs = store().runs();
    let words = words();
    let named = runs.iter().find(|run| words.contains(&run.id));
    let run = named.or_else(|| runs.iter().find(|run| run.path.join(JOURNAL).is_file()));
    let text = run.and_then(|run| std::fs::read_to_string(run.path.join(JOURNAL)).ok());
    let text = text.unwrap_or_default();
    let events = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Event>(line).ok());
    let mut started = events.filter_map(|event| match event.what {
        What::RunStarted { nodes, .. } => Some(nodes),
        _ => None,
    });
    candidates(started.next().unwrap_or_default().into_iter().map(|node| node.id))
}

/// Machines that can be entered.
pub(super) fn machines() -> Candidates {
    candidates(ssh::nodes(&store()))
}

pub(super) fn results() -> Candidates {
    let results = store().results().into_iter();
    let named = results.filter_map(|result| {
        let (_, subject) = result.built_for?;
        Some(format!("{}/{subject}", result.address.stage))
    });
    candidates(named.collect::<BTreeSet<_>>())
}

pub(super) fn results_and_runs() -> Candidates {
    results().into_iter().chain(runs()).collect()
}

fn candidates(names: impl IntoIterator<Item = String>) -> Candidates {
    names.into_iter().map(CompletionCandidate::new).collect()
}

fn of_manifest(names: impl Fn(&Manifest) -> Vec<String>) -> Candidates {
    let words = words();
    let path = words
        .iter()
        .map(Path::new)
        .find(|path| is_manifest(path) && path.is_file());
    let manifest = path.and_then(|path| load(path).ok());
    let mut seen = BTreeSet::new();
    let mut names = manifest.as_ref().map(names).unwrap_or_default();
    names.retain(|name| seen.insert(name.clone()));
    candidates(names)
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "toml" || end == "ncl")
}

/// The words on the line: shells give them behind two dashes.
fn words() -> Vec<String> {
    let words = std::env::args_os()
        .skip_while(|word| word != OsStr::new("--"))
        .skip(1);
    words.map(|word| word.to_string_lossy().into_owned()).collect()
}

fn store() -> Store {
    let words = words();
    let mut named = words
        .windows(2)
        .filter(|two| two[0] == "--store")
        .map(|two| PathBuf::from(&two[1]));
    Store::peek(&named.next().unwrap_or_else(default_store))
}
