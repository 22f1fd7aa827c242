//! Removes what is not needed any more: results, logs of runs, kept machines, half downloads. What goes is decided by [`select`],
//! which is pure.
//!
//! Safe against runs that go on and against one that starts at this moment:
//!
//! 1. A run holds the lock of its scratch place (`scratch/<run>.lock`) for as long as it lives.
//! 2. It shares the gate (`gate.lock`), looks up what it needs, writes that down (`runs/<run>/needs.json`: the addresses of
//!    all results that it takes *or builds*), and leaves the gate. From then on it may rely on every one of them.
//! 3. A clean-up takes the gate for itself. So each run is before its step 2, and will see what is left; or after it, and
//!    what it wrote down is seen here. Results that a living run, a pin or a kept machine lists are not touched.
//! 4. What goes is renamed into `scratch/` while the gate is held: a result is whole or absent, at every moment. The gate is
//!    left, and only then the bytes are removed. Killed between, the next sweep of `scratch/` removes the rest.
//! 5. Locks of keys are removed under the same gate, where no living run lists the key: whoever could wait for such a
//!    lock would have written its key down.
//!
//! A run's end needs no word: its lock is free as soon as its process is gone, however that went.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::inventory::{Condition, Inventory, KeptFolder, RunFolder, Stored};
use super::lease::Address;
use super::{LAYER, Store, StoreError, pins, slot};
use crate::host::cancel::Cancel;
use crate::host::{fs as host_fs, namespace, random};

/// A download or upload that was not resumed for so long is given up.
const STALE: Duration = Duration::from_secs(7 * 24 * 3600);
/// A text that no key names is younger than this when its run has yet to write the key down.
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// What is to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Logs of all but so many runs of each manifest, and results that none of those needs; what they need stays, and so do
    /// the newest run of all images and the last good result of each image.
    pub keep_runs: Option<usize>,
    /// What was not used since then.
    pub unused_since: Option<Timestamp>,
    /// After that the least recently used results, until the results take no more than this, in bytes.
    pub max_bytes: Option<u64>,
    /// Results in the format of another version of the program, which stay otherwise.
    pub other_versions: bool,
}

/// Why something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its record or its files are not whole: no run would take it.
    Broken,
    /// Another version of the program made it.
    Other,
    /// No kept run needs it.
    Unneeded,
    /// It was not used for long.
    Unused,
    /// The store is too large.
    Space,
}

/// What goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Doomed {
    pub results: Vec<(Stored, Why)>,
    /// Logs of runs.
    pub runs: Vec<RunFolder>,
    /// Kept machines.
    pub kept: Vec<KeptFolder>,
    /// Bytes by which the rest is still larger than was asked for: all of that is needed.
    pub over: u64,
    /// How many results of another version's format are left alone.
    pub others: usize,
}

impl Doomed {
    /// Bytes that become free.
    pub fn bytes(&self) -> u64 {
        let results: u64 = self.results.iter().map(|(result, _)| result.own_bytes).sum();
        let runs: u64 = self.runs.iter().map(|run| run.bytes).sum();
        let kept: u64 = self.kept.iter().map(|kept| kept.bytes).sum();
        results + runs + kept
    }

    /// Whether all may stay.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty() && self.runs.is_empty() && self.kept.is_empty()
    }
}

/// Decides what goes.
pub fn select(inventory: &Inventory, policy: Policy) -> Doomed {
    let (kept_runs, old_runs) = part_runs(inventory, policy);
    let kept = inventory.kept.iter().filter(|kept| {
        let goes = old_runs.iter().any(|run| run.id == kept.run);
        let orphan = !inventory.runs.iter().any(|run| run.id == kept.run);
        !kept.in_use && (goes || orphan)
    });
    let kept: Vec<_> = kept.cloned().collect();

    let mut held: BTreeSet<&Address> = inventory.pins.values().flatten().collect();
    let staying = inventory.kept.iter().filter(|one| !kept.contains(one));
    held.extend(staying.flat_map(|one| &one.needs));
    held.extend(
        inventory
            .runs
            .iter()
            .filter(|run| run.running)
            .flat_map(results_of),
    );
    let of_kept_runs: BTreeSet<&Address> = kept_runs.iter().copied().flat_map(results_of).collect();
    if policy.keep_runs.is_some() {
        held.extend(&of_kept_runs);
    }
    let is_good =
        |result: &Stored| policy.keep_runs != Some(0) && inventory.last_good.contains(&result.address);

    let why = |result: &Stored| match policy {
        _ if result.condition == Condition::Broken => Some(Why::Broken),
        _ if result.condition == Condition::Other => policy.other_versions.then_some(Why::Other),
        Policy {
            keep_runs: Some(_), ..
        } if !of_kept_runs.contains(&result.address) && !is_good(result) => Some(Why::Unneeded),
        Policy {
            unused_since: Some(since),
            ..
        } if result.used < since => Some(Why::Unused),
        _ => None,
    };
    let others = inventory
        .results
        .iter()
        .filter(|result| result.condition == Condition::Other);
    let free = inventory
        .results
        .iter()
        .filter(|result| !held.contains(&result.address));
    let mut results: Vec<_> = free
        .clone()
        .filter_map(|result| Some((result.clone(), why(result)?)))
        .collect();
    let mut over = 0;
    if let Some(most) = policy.max_bytes {
        let gone: u64 = results.iter().map(|(result, _)| result.own_bytes).sum();
        let mut left = inventory.result_bytes() - gone;
        // Layers only save time: they go before results that an image needs. Then the least recently used are first.
        let ours = free.filter(|result| result.condition != Condition::Other);
        let (layers, others): (Vec<_>, Vec<_>) = ours.partition(|result| result.address.stage == LAYER);
        for result in layers
            .into_iter()
            .chain(others)
            .filter(|result| why(result).is_none())
        {
            if left <= most {
                break;
            }
            left -= result.own_bytes;
            results.push((result.clone(), Why::Space));
        }
        over = left.saturating_sub(most);
    }
    Doomed {
        results,
        runs: old_runs.into_iter().cloned().collect(),
        kept,
        over,
        others: if policy.other_versions { 0 } else { others.count() },
    }
}

fn results_of(run: &RunFolder) -> impl Iterator<Item = &Address> {
    run.needs.iter().flat_map(|needs| &needs.results)
}

/// The runs that stay and those that go. What says of no manifest that it is its run (a `pipeline boot`) is
/// counted as of one. A run of some images makes none of all images old.
fn part_runs(inventory: &Inventory, policy: Policy) -> (Vec<&RunFolder>, Vec<&RunFolder>) {
    let mut seen: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    inventory.runs.iter().partition(|run| {
        let (history, whole) = match &run.needs {
            // Older versions noted the name of the pipeline alone.
            Some(needs) if needs.history.is_empty() => (needs.pipeline.as_str(), false),
            Some(needs) => (needs.history.as_str(), needs.whole.is_some()),
            None => ("", false),
        };
        let number = seen.entry((history, false)).or_default();
        *number += 1;
        let mut within = policy.keep_runs.is_none_or(|count| *number <= count);
        if whole {
            let wholes = seen.entry((history, true)).or_default();
            *wholes += 1;
            within |= *wholes == 1 && policy.keep_runs.is_some_and(|count| count > 0);
        }
        let young = policy.unused_since.is_none_or(|since| run.changed >= since);
        let pinned = inventory.pins.contains_key(&pins::of_run(&run.id));
        run.running || pinned || (within && young)
    })
}

impl Store {
    /// Cleans up. Gives what went; `removing` is called before the bytes are removed, and `waiting` when a run is just
    /// starting.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is half removed then.
    pub fn collect(
        &self,
        policy: Policy,
        cancel: &Cancel,
        waiting: &mut dyn FnMut(),
        removing: &mut dyn FnMut(&Doomed),
    ) -> Result<Doomed, StoreError> {
        let gate = self.shut_gate(cancel, waiting)?;
        let inventory = self.inventory();
        let doomed = select(&inventory, policy);
        let mut away = Vec::new();
        for (result, _) in &doomed.results {
            away.extend(self.put_away(&result.path)?);
        }
        for folder in doomed
            .runs
            .iter()
            .map(|run| &run.path)
            .chain(doomed.kept.iter().map(|kept| &kept.path))
        {
            away.extend(self.put_away(folder)?);
        }
        self.remove_locks(&inventory);
        drop(gate);
        removing(&doomed);
        for folder in away {
            // What cannot be removed now is swept by the next run.
            let _ = namespace::remove_tree(&folder);
        }
        slot::sweep(&self.root.join("scratch"));
        self.remove_stale();
        Ok(doomed)
    }

    /// Reads a result back and compares its digests, as a run does with what it builds from.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Cancelled`], [`StoreError::Fs`].
    pub fn verify(&self, address: &Address, cancel: &Cancel) -> Result<(), StoreError> {
        let damaged = |what: &str| StoreError::Damaged {
            path: self.result_folder(&address.stage, &address.key),
            what: what.to_owned(),
        };
        let entry = self.lookup(&address.stage, &address.key);
        let entry =
            entry.ok_or_else(|| damaged("its record or one of its files is missing or has another size"))?;
        entry.verify(cancel)
    }

    /// Folder of a result.
    pub fn result_path(&self, address: &Address) -> PathBuf {
        self.result_folder(&address.stage, &address.key)
    }

    /// Moves a folder out of the way, to be removed from there. None: it is not there.
    pub(super) fn put_away(&self, folder: &Path) -> Result<Option<PathBuf>, StoreError> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let parent = folder
            .parent()
            .and_then(Path::file_name)
            .unwrap_or_default()
            .to_string_lossy();
        let away = format!("evicted-{parent}-{name}-{}", random::word());
        let away = self.root.join("scratch").join(away);
        match fs::rename(folder, &away) {
            Ok(()) => Ok(Some(away)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::io("remove", folder, source)),
        }
    }

    /// Locks of keys that no process can be waiting for.
    fn remove_locks(&self, inventory: &Inventory) {
        let living = inventory.runs.iter().filter(|run| run.running);
        let living = living.filter_map(|run| run.needs.as_ref());
        let needed: BTreeSet<_> = living
            .flat_map(|needs| &needs.results)
            .map(pins::of_result)
            .collect();
        for file in fs::read_dir(self.root.join("locks"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = file.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            if !needed.contains(&*name)
                && let Ok(Some(_held)) = host_fs::try_lock(&path)
            {
                let _ = fs::remove_file(&path);
            }
        }
    }

    /// Downloads that are not resumed, and texts that no key names.
    fn remove_stale(&self) {
        let age = |path: &Path| {
            let changed = fs::metadata(path).and_then(|found| found.modified()).ok()?;
            SystemTime::now().duration_since(changed).ok()
        };
        for file in fs::read_dir(self.root.join("scratch"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = file.path();
            let endings = ["part", "from", "json"];
            let part = path
                .extension()
                .is_some_and(|end| endings.iter().any(|known| end == *known));
            if part && path.is_file() && age(&path).is_some_and(|age| age > STALE) {
                let _ = fs::remove_file(&path);
            }
        }
        let mut named = String::new();
        read_all(&self.root.join("latest"), &mut named);
        for file in fs::read_dir(self.root.join("texts"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = file.path();
            let digest = file.file_name().to_string_lossy().into_owned();
            if !named.contains(&digest) && age(&path).is_some_and(|age| age > FRESH) {
                let _ = fs::remove_file(&path);
            }
        }
    }
}

fn read_all(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            read_all(&path, text);
        } else if let Ok(more) = fs::read_to_string(&path) {
            text.push_str(&more);
        }
    }
}

#[cfg(test)]
mod tests;
