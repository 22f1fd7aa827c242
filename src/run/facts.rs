//! What of a plan only its host knows: package mirrors, the lock, fingerprints of secrets, digests of local media, which
//! programs it cannot run. They are found once, noted, and can be passed to other hosts: equal facts give equal keys.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::RunError;
use super::lock::read_of;
use super::media::LocalMedia;
use super::mirrors::mirrors;
use crate::digest::Digest;
use crate::host::foreign::{self, Foreign};
use crate::host::fs as host_fs;
use crate::lock::{self, Lock};
use crate::manifest::model::{Manifest, Secret};
use crate::plan::node::Results;
use crate::platform::Platform;
use crate::stage::install::Mirror;
use crate::stage::recipe::{Inputs, Wanted, build};
use crate::stage::{Plan, stays};
use crate::store::Store;

/// Digits of a fingerprint.
const KEY_DIGITS: usize = 64;
/// The largest file of facts: the lock is in it.
const LARGEST: u64 = 32 << 20;

/// Facts of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Mirrors of distros that name none and cannot do without, by distro.
    mirrors: BTreeMap<String, Mirror>,
    /// The lock, as its file has it.
    lock: String,
    /// What stands for secrets, by where they are.
    fingerprints: BTreeMap<String, String>,
    /// Digests of local media, by their names in the manifest; none: it cannot be read.
    media: BTreeMap<PathBuf, Option<Digest>>,
    /// Platforms whose programs run only in a machine, or do not.
    only_in_machine: BTreeMap<Platform, bool>,
}

/// Why facts are of no use.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum FactsError {
    #[error("the facts in {} cannot be read: {cause}", path.display())]
    #[diagnostic(help("`pipeline plan --write-facts FILE` writes them, by the same version of the program"))]
    Unreadable { path: PathBuf, cause: String },
    /// They are those of another manifest, or of fewer images.
    #[error("the facts say nothing about {}", what.join(", "))]
    #[diagnostic(help(
        "write them with `pipeline plan --write-facts FILE` for the same manifest and images; nothing was started"
    ))]
    Silent { what: Vec<String> },
}

impl Facts {
    /// Reads facts that were passed on.
    ///
    /// # Errors
    /// [`FactsError::Unreadable`].
    pub fn read(path: &Path) -> Result<Self, FactsError> {
        let text = host_fs::read_small(path, LARGEST).map_err(|error| error.to_string());
        let facts = text.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
        facts.map_err(|cause| FactsError::Unreadable {
            path: path.to_owned(),
            cause,
        })
    }

    /// As a file has them: JSON in one line.
    pub fn as_json(&self) -> String {
        let text = serde_json::to_string(self);
        text.expect("names, texts and maps of them are JSON")
    }
}

/// Plans, and notes the facts that the plan was made by: those that are given, else those of this host.
pub(super) fn plan(
    manifest: &Manifest,
    selected: &[usize],
    store: &Store,
    wanted: Wanted,
    given: Option<&Facts>,
    say: &dyn Fn(&str),
) -> Result<(Plan, Facts), RunError> {
    let media = LocalMedia::new(store, say);
    let (mirrors, lock) = match given {
        Some(facts) => (facts.mirrors.clone(), lock_of(manifest, facts)?),
        None => (mirrors(manifest, selected), read_of(&manifest.path)?),
    };
    let noted = RefCell::new(Facts {
        mirrors: mirrors.clone(),
        lock: lock::write(&lock),
        ..Facts::default()
    });
    let silent = RefCell::new(BTreeSet::new());
    let lacks = |what: String| silent.borrow_mut().extend([what]);
    let fingerprint = |secret: &Secret| {
        let name = name_of(manifest, secret);
        let found = match given {
            Some(facts) => facts.fingerprints.get(&name).cloned().unwrap_or_else(|| {
                lacks(format!("the secret {name}"));
                String::new()
            }),
            None => match secret.read() {
                Ok(value) => store
                    .fingerprint(value.expose().as_bytes())
                    .unwrap_or_else(|_| "unreadable".to_owned()),
                Err(_) => "not set".to_owned(),
            },
        };
        noted.borrow_mut().fingerprints.insert(name, found.clone());
        found
    };
    let digest = |path: &Path| {
        let name = named(manifest, path);
        let found = match given {
            Some(facts) => facts.media.get(&name).cloned().unwrap_or_else(|| {
                lacks(format!("the medium {}", name.display()));
                None
            }),
            None => media.digest(path),
        };
        noted.borrow_mut().media.insert(name, found.clone());
        found
    };
    let only_in_machine = |platform: Platform| {
        let found = match given {
            Some(facts) => facts.only_in_machine.get(&platform).copied().unwrap_or_else(|| {
                lacks(format!("programs of {platform:?}"));
                false
            }),
            None => matches!(foreign::find(platform), Some(Foreign::Machine(_))),
        };
        noted.borrow_mut().only_in_machine.insert(platform, found);
        found
    };
    let inputs = Inputs {
        wanted,
        mirrors: &mirrors,
        lock: &lock,
        fingerprint: &fingerprint,
        digest: &digest,
        only_in_machine: &only_in_machine,
    };
    let plan = build(manifest, selected, &inputs)?;
    let what: Vec<_> = silent.take().into_iter().collect();
    if !what.is_empty() {
        return Err(FactsError::Silent { what }.into());
    }
    Ok((plan, noted.into_inner()))
}

/// Why results of a plan are of no use to other hosts, by node. A key with a secret in it is equal elsewhere only where the
/// fingerprints are (`own`: they are not).
pub(super) fn unshared(plan: &Plan, facts: &Facts, own: bool) -> BTreeMap<NodeIndex, String> {
    let secrets: Vec<_> = facts.fingerprints.values().filter(|_| own).collect();
    let mut keys: BTreeMap<NodeIndex, String> = BTreeMap::new();
    let mut all = BTreeMap::new();
    for (index, node) in plan.nodes() {
        // A secret that is not there has no fingerprint, but words.
        let has_secret = secrets
            .iter()
            .any(|secret| secret.len() == KEY_DIGITS && holds(&node.inputs, secret));
        let mut needs = plan.needs(index);
        if has_secret {
            let why =
                "its key has a secret in it, by this store's own key: `fingerprint_key` gives hosts one";
            keys.insert(index, why.to_owned());
        } else if let Some(need) = needs.find(|need| keys.contains_key(need)) {
            keys.insert(
                index,
                format!("its key has that of {} in it", plan.node(need).id()),
            );
        }
        if node.stage.results == Results::Stored {
            let stays = stays(node.stage.name, &Value::Null).map(str::to_owned);
            all.extend(
                stays
                    .or_else(|| keys.get(&index).cloned())
                    .map(|why| (index, why)),
            );
        }
    }
    all
}

/// Whether a text in it has this part.
fn holds(value: &Value, part: &str) -> bool {
    match value {
        Value::String(text) => text.contains(part),
        Value::Array(items) => items.iter().any(|item| holds(item, part)),
        Value::Object(members) => members.values().any(|member| holds(member, part)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn lock_of(manifest: &Manifest, facts: &Facts) -> Result<Lock, RunError> {
    let path = lock::path_of(&manifest.path);
    lock::read(&path, &facts.lock).map_err(|error| RunError::Lock(error.into()))
}

/// A file as the manifest names it: it has another path on another host.
fn named(manifest: &Manifest, path: &Path) -> PathBuf {
    let named = manifest.files.get(path);
    named.map_or_else(|| path.to_owned(), |named| named.name.clone())
}

/// Where a secret is, in the words of the manifest.
fn name_of(manifest: &Manifest, secret: &Secret) -> String {
    match secret {
        Secret::Env(name) => format!("env {name}"),
        // Without the variable, its default is the secret.
        Secret::EnvOr(name, default) => format!("env {name}, else {default}"),
        Secret::File(path) => format!("file {}", named(manifest, path).display()),
    }
}
