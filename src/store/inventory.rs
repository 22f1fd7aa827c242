//! What is in the store: results with size and last use, folders of runs, disks of failed machines, pins. Only looks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::entry::{Entry, RECORD, other_version};
use super::lease::{Address, Needs, needs_in};
use super::{OWN_VERSION, Store, kept};

/// A result, as it lies there.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub address: Address,
    /// Pipeline and subject that it was first built for, where that is remembered.
    pub built_for: Option<(String, String)>,
    /// Bytes of its files, holes included.
    pub bytes: u64,
    /// Bytes that the file system has for it alone: a file that is linked into an output folder costs the store nothing.
    pub own_bytes: u64,
    /// When it was built, where its record can be read.
    pub created: Option<Timestamp>,
    /// When a run last needed it.
    pub used: Timestamp,
    pub condition: Condition,
    /// Its folder.
    pub path: PathBuf,
}

/// Whether a run could take a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Its record can be read, and its files have their sizes.
    Whole,
    /// No: something is missing or has another size.
    Broken,
    /// Another version of the program made it, in a format of its own. It is not ours to judge, or to remove unasked.
    Other,
}

/// The folder of a run, or of a `pipeline boot`.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFolder {
    pub id: String,
    pub path: PathBuf,
    /// What the run needed, where it said so.
    pub needs: Option<Needs>,
    /// Whether it is going on.
    pub running: bool,
    /// Last change.
    pub changed: Timestamp,
    /// Bytes that the file system has for it.
    pub bytes: u64,
}

/// The disk and keys of a machine that failed, kept for a look.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptFolder {
    pub run: String,
    /// Its node, as a folder name.
    pub node: String,
    pub path: PathBuf,
    /// The results that its disk is a layer over.
    pub needs: BTreeSet<Address>,
    /// Whether it is in use.
    pub in_use: bool,
    /// Bytes that the file system has for it.
    pub bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inventory {
    /// Results, least recently used first.
    pub results: Vec<Stored>,
    /// Folders of runs, newest first.
    pub runs: Vec<RunFolder>,
    /// Kept machines.
    pub kept: Vec<KeptFolder>,
    /// Pins by name, with what they hold.
    pub pins: BTreeMap<String, BTreeSet<Address>>,
    /// The last good results of the images of every manifest that is still there.
    pub last_good: BTreeSet<Address>,
}

impl Inventory {
    /// Bytes of all results that the file system has for the store alone.
    pub fn result_bytes(&self) -> u64 {
        self.results.iter().map(|result| result.own_bytes).sum()
    }

    /// The pins that hold a result.
    pub fn pins_of<'a>(&'a self, address: &'a Address) -> impl Iterator<Item = &'a str> {
        let holding = self.pins.iter().filter(move |(_, held)| held.contains(address));
        holding.map(|(name, _)| name.as_str())
    }
}

impl Store {
    /// Looks at everything.
    pub fn inventory(&self) -> Inventory {
        let runs = self.runs();
        Inventory {
            results: self.results(),
            last_good: self.last_good(&runs),
            kept: kept::folders_of(self),
            pins: self.pins(),
            runs,
        }
    }

    /// What was last built for each image of each manifest. Which images a manifest has, its newest run of all of them tells;
    /// without one, all that was built for it counts.
    fn last_good(&self, runs: &[RunFolder]) -> BTreeSet<Address> {
        let mut manifests: BTreeMap<&str, Option<&BTreeSet<String>>> = BTreeMap::new();
        // The newest are first.
        for needs in runs.iter().filter_map(|run| run.needs.as_ref()) {
            if needs.manifest.as_ref().is_some_and(|path| path.exists()) {
                let known = manifests.entry(&needs.history).or_default();
                *known = known.or(needs.whole.as_ref());
            }
        }
        let mut good = BTreeSet::new();
        for (history, nodes) in manifests {
            for (stage, folder) in folders(&self.root.join("latest").join(history)) {
                for file in fs::read_dir(folder).into_iter().flatten().flatten() {
                    let name = file.file_name().to_string_lossy().into_owned();
                    let Some(subject) = name.strip_suffix(".json") else {
                        continue;
                    };
                    if nodes.is_none_or(|nodes| nodes.contains(&format!("{stage}/{subject}")))
                        && let Some(latest) = self.latest(history, &stage, subject)
                    {
                        good.insert(Address::new(&stage, &latest.key));
                    }
                }
            }
        }
        good
    }

    /// The results, least recently used first.
    pub fn results(&self) -> Vec<Stored> {
        let stages = folders(&self.root.join("results"));
        let all = stages.iter().flat_map(|(stage, path)| {
            let keys = folders(path).into_iter();
            keys.filter_map(move |(name, path)| {
                let key = name.strip_suffix(OWN_VERSION).unwrap_or(&name);
                let address = format!("{stage}/{key}").parse().ok()?;
                Some(stored(address, &path))
            })
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by(|a, b| (a.used, &a.address).cmp(&(b.used, &b.address)));
        all
    }

    /// The folders of runs, newest first.
    pub fn runs(&self) -> Vec<RunFolder> {
        let all = folders(&self.root.join("runs")).into_iter();
        let mut all: Vec<_> = all
            .map(|(id, path)| RunFolder {
                needs: needs_in(&path),
                running: self.is_running(&id),
                changed: changed(&path),
                bytes: bytes_below(&path),
                id,
                path,
            })
            .collect();
        // Ids of runs begin with their time; those of tried machines have a word in front.
        let time = |id: &str| id.trim_start_matches(|c: char| !c.is_ascii_digit()).to_owned();
        all.sort_by(|a, b| {
            time(&b.id)
                .cmp(&time(&a.id))
                .then_with(|| b.changed.cmp(&a.changed))
        });
        all
    }
}

fn stored(address: Address, path: &Path) -> Stored {
    let entry = Entry::load(path);
    let record = path.join(RECORD);
    let used = changed(if record.is_file() { &record } else { path });
    let built_for = entry.as_ref().and_then(Entry::built_for);
    Stored {
        built_for: built_for.map(|(pipeline, subject)| (pipeline.to_owned(), subject.to_owned())),
        bytes: entry.as_ref().map_or_else(|| bytes_below(path), Entry::bytes),
        own_bytes: own_bytes(path),
        created: entry.as_ref().map(|entry| entry.latest().created),
        used,
        condition: match &entry {
            Some(entry) if entry.is_whole() => Condition::Whole,
            None if other_version(path).is_some() => Condition::Other,
            _ => Condition::Broken,
        },
        path: path.to_owned(),
        address,
    }
}

/// Names and paths of the folders in a folder.
pub(super) fn folders(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect();
    found.sort();
    found
}

fn changed(path: &Path) -> Timestamp {
    let time = fs::symlink_metadata(path).and_then(|found| found.modified());
    time.ok()
        .and_then(|time| Timestamp::try_from(time).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Bytes that the file system has for a folder and all in it.
pub(super) fn bytes_below(folder: &Path) -> u64 {
    sum(folder, &|found| found.blocks() * BLOCK)
}

/// The same without files that have another name elsewhere.
fn own_bytes(folder: &Path) -> u64 {
    sum(folder, &|found| {
        if found.nlink() > 1 {
            0
        } else {
            found.blocks() * BLOCK
        }
    })
}

/// Unit of a file's block count, whatever the file system's own is (stat(2)).
const BLOCK: u64 = 512;

fn sum(folder: &Path, of: &dyn Fn(&fs::Metadata) -> u64) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => sum(&entry.path(), of),
        Ok(found) => of(&found),
        // Gone meanwhile.
        Err(_) => 0,
    });
    sizes.sum()
}
