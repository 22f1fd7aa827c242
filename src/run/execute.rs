//! Runs one node: gives its stage the results it needs and a slot for its own, and publishes what comes out. The only
//! place that knows every stage.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::error::NodeError;
use super::look::Delivery;
use crate::digest::Digest;
use crate::event::{Emitter, Outcome};
use crate::host::cancel::Cancel;
use crate::machine::spec::Accel;
use crate::manifest::model::Proof;
use crate::plan::node::{DiskWork, MediaAt, Node, Stage, SumsWork, Work};
use crate::stage::error::StageError;
use crate::stage::{Site, fetch, install, package, provision, size, sums};
use crate::store::{Claim, Entry, Scratch, Slot, Store};

/// The phase of a node that another run has.
const WAITING: &str = "another run is building this; waiting for its result";
/// Name of a result's disk.
const DISK: &str = "disk";
/// Name of the private half of the build key in an install result.
const KEY: &str = "build_key";
/// Name of a fetched medium.
const MEDIA: &str = "media";
/// Name of a packaged image.
const IMAGE: &str = "image";

/// What all nodes of a run share.
pub struct Shared<'a> {
    /// The store.
    pub store: &'a Store,
    /// This run's place in it.
    pub scratch: &'a Scratch,
    /// Folder of the run's logs.
    pub logs: &'a Path,
    /// Name of the pipeline.
    pub pipeline: &'a str,
    /// How VMs are run.
    pub accel: Accel,
    /// Virtual CPUs that a VM may have.
    pub cpus: u32,
    /// Files of all the manifest's images, in its order: that of the checksum files.
    pub order: &'a [PathBuf],
    /// Whether to stop.
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
#[derive(Debug)]
pub struct Done {
    /// Built here, or taken from another run.
    pub outcome: Outcome,
    /// Bytes of the result.
    pub bytes: u64,
}

/// Runs a node. `chain` are the nodes before it on its image's way, nearest first.
///
/// # Errors
/// [`NodeError`] of the stage or the store.
pub fn execute(
    node: &Node,
    chain: &[&Node],
    rebuild: bool,
    shared: &Shared<'_>,
    emit: &Emitter,
) -> Result<Done, NodeError> {
    let name = node.id().replace('/', "-");
    let logs = shared.logs.join(&name);
    crate::host::fs::private_dir(&logs).map_err(StageError::from)?;
    let site = Site {
        scratch: shared.scratch.folder(&name)?,
        logs,
        emit: emit.clone(),
        cancel: shared.cancel.clone(),
        accel: shared.accel,
        cpus: shared.cpus,
    };
    let ran = publish(node, chain, rebuild, shared, &site);
    // The work is done or lost either way; what cannot be removed now is swept by the next run.
    drop(crate::host::namespace::remove_tree(&site.scratch));
    ran
}

fn publish(
    node: &Node,
    chain: &[&Node],
    rebuild: bool,
    shared: &Shared<'_>,
    site: &Site,
) -> Result<Done, NodeError> {
    let stage = node.stage.name();
    // What lies in the output folder is looked at anew each time: only the plan knows whether it is right.
    let rebuild = rebuild || node.stage == Stage::Sums;
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
            Claim::Hit(_) if node.stage == Stage::Sums => {}
            claim => break claim,
        }
    };
    let entry = match claim {
        Claim::Hit(entry) => {
            shared
                .store
                .set_latest(shared.pipeline, stage, &node.subject, &entry.latest())?;
            return Ok(Done {
                outcome: Outcome::Shared,
                bytes: entry.bytes(),
            });
        }
        Claim::Miss(mut slot) => {
            let facts = work(node, chain, shared, site, &mut slot)?;
            site.emit.phase("storing the result");
            slot.commit(node.inputs.clone(), facts, shared.cancel)?
        }
    };
    shared
        .store
        .set_latest(shared.pipeline, stage, &node.subject, &entry.latest())?;
    Ok(Done {
        outcome: Outcome::Built,
        bytes: entry.bytes(),
    })
}

fn work(
    node: &Node,
    chain: &[&Node],
    shared: &Shared<'_>,
    site: &Site,
    slot: &mut Slot,
) -> Result<serde_json::Value, NodeError> {
    let result = |stage: Stage| -> Result<Entry, NodeError> {
        let needed = chain.iter().find(|n| n.stage == stage);
        let entry = needed.and_then(|n| shared.store.lookup(stage.name(), &n.key));
        entry.ok_or_else(|| NodeError::Gone {
            id: format!("{stage}/{}", node.subject),
        })
    };
    let fetched = |subject: &str| -> Result<PathBuf, StageError> {
        let fetch = Stage::Fetch;
        let needed = chain.iter().find(|n| n.stage == fetch && n.subject == subject);
        let entry = needed.and_then(|n| shared.store.lookup(fetch.name(), &n.key));
        let entry = entry.ok_or_else(|| StageError::MediaGone {
            subject: subject.to_owned(),
        })?;
        Ok(entry.path(MEDIA))
    };
    let bytes = |done, total| site.emit.bytes(done, total);
    match &node.work {
        Work::Fetch(work) => {
            let digest = match &work.proof {
                Proof::Digest(digest) => digest.clone(),
                Proof::List(list) => {
                    let url = work.urls.first().map_or("", String::as_str);
                    fetch::look_up(list, url, &site.scratch, &site.cancel, &site.emit)
                        .map_err(StageError::from)?
                }
            };
            // Kept between runs, so that a killed download goes on where it was: under the digest, or under the key where
            // another node may want the same digest at the same time.
            let name = match &work.proof {
                Proof::Digest(digest) => &digest.hex,
                Proof::List(_) => &node.key,
            };
            let part = shared.store.root().join("scratch").join(format!("{name}.part"));
            let spec = fetch::Spec {
                urls: work.urls.clone(),
                digest: digest.clone(),
            };
            let fetched = fetch::fetch(&spec, &part, &site.cancel, &site.emit).map_err(StageError::from)?;
            let media = slot.path(MEDIA);
            std::fs::rename(&part, &media)
                .map_err(|e| StageError::file("move the download to", &media, e))?;
            slot.set_digests(MEDIA, vec![digest]);
            Ok(json!({ "url": fetched.url_used }))
        }
        Work::Bootstrap(work) => {
            install::bootstrap(work, site, &slot.path(DISK), &slot.path(KEY))?;
            Ok(json!({}))
        }
        Work::Disk(work) => {
            let media = match &work.media {
                MediaAt::Local { path, .. } => path.clone(),
                MediaAt::Fetched(subject) => fetched(subject)?,
            };
            install_disk(work, &media, site, slot)
        }
        Work::Installer(work) => {
            install::installer(work, &fetched, site, &slot.path(DISK), &slot.path(KEY))?;
            Ok(json!({}))
        }
        Work::Provision(work) => {
            let base = result(Stage::Install)?;
            provision::provision(work, &base.path(DISK), &base.path(KEY), site, &slot.path(DISK))?;
            Ok(json!({}))
        }
        Work::Size(work) => {
            let disk = result(Stage::Provision)?.path(DISK);
            // Only a guest that we installed by key has one, and only one that cannot grow offline needs it.
            let key = result(Stage::Install)
                .map(|entry| entry.path(KEY))
                .unwrap_or_default();
            size::size(work, &disk, &key, site, &slot.path(DISK))?;
            Ok(json!({ "size": work.size }))
        }
        Work::Package(work) => {
            let disk = result(Stage::Size)?.path(DISK);
            let spec = package::Spec {
                compression: work.compression,
                level: work.level,
                algorithms: crate::digest::Algorithm::ALL.to_vec(),
            };
            site.emit.phase(package_phase(work.compression));
            let packaged = package::package(&disk, &slot.path(IMAGE), &spec, &site.cancel, &mut { bytes })
                .map_err(StageError::from)?;
            let facts = json!({ "digests": packaged.digests });
            slot.set_digests(IMAGE, packaged.digests);
            Ok(facts)
        }
        Work::Sums(work) => deliver(work, &result(Stage::Package)?, shared),
    }
}

fn package_phase(compression: crate::manifest::model::Compression) -> String {
    match compression.suffix() {
        "" => "hashing".to_owned(),
        suffix => format!("compressing to {suffix} and hashing"),
    }
}

fn install_disk(
    work: &DiskWork,
    media: &Path,
    site: &Site,
    slot: &Slot,
) -> Result<serde_json::Value, NodeError> {
    install::disk(work, media, site, &slot.path(DISK))?;
    Ok(json!({}))
}

/// Puts the image into the output folder, then its lines into the checksum files.
fn deliver(work: &SumsWork, image: &Entry, shared: &Shared<'_>) -> Result<serde_json::Value, NodeError> {
    let path = work.output.join(&work.file);
    let stamp = sums::deliver(&image.path(IMAGE), &path, shared.cancel).map_err(StageError::from)?;
    let record = image.file(IMAGE).ok_or_else(|| NodeError::Gone {
        id: "package".to_owned(),
    })?;
    let mut lines = std::collections::BTreeMap::new();
    for algorithm in &work.algorithms {
        let digest: Option<&Digest> = record.digests.iter().find(|d| d.algorithm == *algorithm);
        let digest = digest.ok_or_else(|| NodeError::Gone {
            id: format!("the {algorithm} digest"),
        })?;
        let new = [(work.file.clone(), digest.clone())];
        sums::merge(&work.output, *algorithm, shared.order, &new, shared.cancel).map_err(StageError::from)?;
        lines.insert(*algorithm, digest.clone());
    }
    let delivery = Delivery {
        stamp,
        bytes: record.bytes,
        digests: lines,
    };
    serde_json::to_value(delivery).map_err(|e| StageError::file("record", &path, e.into()).into())
}
