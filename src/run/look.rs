//! What is there already: answers the plan's questions from the store and the output folder.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::execute::{CHECKED, IMAGE};
use crate::digest::{Algorithm, Digest};
use crate::host::fs::Stamp;
use crate::plan::assess::{LastBuild, Lookup};
use crate::plan::node::{Node, Stage, SumsWork, Work};
use crate::stage::sums;
use crate::store::{Entry, Store};

/// What a sums node did, kept as its result in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// The file as it was put there.
    pub stamp: Stamp,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its digests, as in the checksum files.
    pub digests: BTreeMap<Algorithm, Digest>,
}

/// Looks into a store and the output folder, reading each checksum file once.
#[derive(Debug)]
pub struct Look<'a> {
    store: &'a Store,
    pipeline: &'a str,
    sums: RefCell<BTreeMap<(PathBuf, Algorithm), BTreeMap<PathBuf, String>>>,
}

impl<'a> Look<'a> {
    /// Looks for this pipeline.
    pub fn new(store: &'a Store, pipeline: &'a str) -> Self {
        Self {
            store,
            pipeline,
            sums: RefCell::default(),
        }
    }

    /// Whether the output folder holds what the sums node put there: its record says what that was.
    fn delivered(&self, node: &Node, work: &SumsWork, entry: &Entry) -> Result<(), String> {
        let record =
            Delivery::deserialize(entry.facts()).map_err(|e| format!("its record is unreadable: {e}"))?;
        self.same_package(node, record.digests.values())?;
        let path = work.output.join(&work.file);
        match Stamp::of(&path) {
            Ok(stamp) if stamp == record.stamp => {}
            Ok(_) => return Err(format!("{} is not the file that was put there", path.display())),
            Err(_) => return Err(format!("{} is missing", path.display())),
        }
        for algorithm in &work.algorithms {
            let wanted = record.digests.get(algorithm).map(|digest| digest.hex.as_str());
            if wanted.is_none() || self.listed(work, *algorithm).as_deref() != wanted {
                let list = work.output.join(sums::file_name(*algorithm));
                return Err(format!("its line in {} is missing", list.display()));
            }
        }
        Ok(())
    }

    /// Whether these digests are those of the packaged image that a node works on. Equal inputs need not give equal bytes: a
    /// run that was killed after it had packaged an image anew has left other bytes under the same key.
    fn same_package<'d>(
        &self,
        node: &Node,
        digests: impl IntoIterator<Item = &'d Digest>,
    ) -> Result<(), String> {
        let key = node.inputs["package"].as_str().unwrap_or_default();
        let entry = self.store.lookup(Stage::Package.name(), key);
        let Some(file) = entry.as_ref().and_then(|entry| entry.file(IMAGE)) else {
            return Ok(());
        };
        let same = |digest: &Digest| {
            let of_kind = file.digests.iter().find(|d| d.algorithm == digest.algorithm);
            of_kind.is_none_or(|found| found == digest)
        };
        if digests.into_iter().all(same) {
            Ok(())
        } else {
            Err("the image was packaged anew since".to_owned())
        }
    }

    /// The digest that a checksum file has for an image.
    fn listed(&self, work: &SumsWork, algorithm: Algorithm) -> Option<String> {
        let mut sums = self.sums.borrow_mut();
        let list = sums.entry((work.output.clone(), algorithm)).or_insert_with(|| {
            // A list that cannot be read is one to be written anew: that will say why it cannot.
            sums::listed(&work.output, algorithm).unwrap_or_default()
        });
        list.get(&work.file).cloned()
    }
}

impl Lookup for Look<'_> {
    fn has(&self, node: &Node) -> Result<(), Option<String>> {
        match (self.store.lookup(node.stage.name(), &node.key), &node.work) {
            (Some(entry), Work::Sums(work)) => self.delivered(node, work, &entry).map_err(Some),
            (Some(entry), Work::Check(_)) => {
                let checked = entry.facts()[CHECKED].as_str().map(str::parse::<Digest>);
                match checked {
                    Some(Ok(digest)) => self.same_package(node, [&digest]).map_err(Some),
                    // One of a version that did not note it.
                    _ => Ok(()),
                }
            }
            (None, Work::Sums(work)) => {
                let path = work.output.join(&work.file);
                Err((!path.exists()).then(|| format!("{} is not there yet", path.display())))
            }
            // What the network says is asked when it is the node's turn, not for a plan.
            (_, Work::Upload(_)) => Err(Some("the target is asked each time".to_owned())),
            (_, Work::Index(_)) => Err(Some("follows what is published".to_owned())),
            (Some(_), _) => Ok(()),
            (None, _) => Err(None),
        }
    }

    fn last(&self, node: &Node) -> Option<LastBuild> {
        let last = self
            .store
            .latest(self.pipeline, node.stage.name(), &node.subject)?;
        Some(LastBuild {
            key: last.key,
            inputs: last.inputs,
            seconds: last.seconds,
            bytes: last.bytes,
        })
    }
}
