//! Runs one node: gives its stage the results it needs and a slot for its own, and publishes what comes out. The only
//! place that knows every stage.

use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::json;

use super::error::NodeError;
use super::look::Delivery;
use crate::digest::{Algorithm, Digest};
use crate::event::{Emitter, Outcome, node_folder};
use crate::host::cancel::Cancel;
use crate::machine::spec::Accel;
use crate::manifest::model::Proof;
use crate::plan::explain;
use crate::plan::node::{DiskWork, IndexWork, MediaAt, Node, Stage, SumsWork, UploadWork, Work};
use crate::stage::aftermath::OnError;
use crate::stage::error::StageError;
use crate::stage::index::catalog::{Listed, Place};
use crate::stage::index::list::UrlLine;
use crate::stage::provision::Provisioned;
use crate::stage::upload::{self, Around, Item, Receipt};
use crate::stage::{Site, check, fetch, index, install, package, provision, size, sums};
use crate::store::{Address, Claim, Entry, Scratch, Slot, Store};

/// How often a node is begun anew because qemu broke down. Under emulation with more than one processor an assertion
/// of its own ends it now and then (`iotlb_to_section`, seen with 10.0).
const NEW_BEGINNINGS: usize = 2;
/// The phase of a node whose key another run, or another node of this one, has.
const WAITING: &str = "this is being built already; waiting for the result";
/// Name of a result's disk.
const DISK: &str = "disk";
/// Name of the private half of the build key in an install result.
const KEY: &str = "build_key";
/// Name of a fetched medium.
const MEDIA: &str = "media";
/// Name of a packaged image.
pub(super) const IMAGE: &str = "image";
/// Name of the digest of what was checked.
pub(super) const CHECKED: &str = "checked";
/// Name of the results of checks.
pub(super) const REPORT: &str = "report.json";

/// What all nodes of a run share.
pub struct Shared<'a> {
    /// The store.
    pub store: &'a Store,
    /// This run's place in it.
    pub scratch: &'a Scratch,
    /// The run.
    pub run: &'a str,
    /// What becomes of a machine that failed.
    pub on_error: &'a OnError,
    /// Folder of the run's logs.
    pub logs: &'a Path,
    /// Name of the pipeline.
    pub pipeline: &'a str,
    /// Its manifest, absolute.
    pub manifest: &'a Path,
    /// How VMs are run.
    pub accel: Accel,
    /// Virtual CPUs that a VM may have.
    pub cpus: u32,
    /// This program's own file.
    pub program: &'a Path,
    /// Files of all the manifest's images, in its order: that of the checksum files.
    pub order: &'a [PathBuf],
    /// Ids of all the manifest's images, in its order: that of the catalog.
    pub ids: &'a [String],
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
    /// Built here, or taken from whoever built it meanwhile.
    pub outcome: Outcome,
    /// Bytes of the result.
    pub bytes: u64,
    /// Where it is, when it was published.
    pub message: Option<String>,
}

/// What the work of a node came to.
struct Made {
    /// What its stage wants to tell later ones.
    facts: serde_json::Value,
    outcome: Outcome,
    message: Option<String>,
}

impl From<serde_json::Value> for Made {
    fn from(facts: serde_json::Value) -> Self {
        Self {
            facts,
            outcome: Outcome::Built,
            message: None,
        }
    }
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
    let name = node_folder(&node.id());
    let logs = shared.logs.join(&name);
    crate::host::fs::private_dir(&logs).map_err(StageError::from)?;
    let mut site = Site {
        scratch: shared.scratch.folder(&name)?,
        logs,
        keep: shared.store.kept_folder(shared.run, &name),
        on_error: shared.on_error.clone(),
        emit: emit.clone(),
        cancel: shared.cancel.clone(),
        accel: shared.accel,
        cpus: shared.cpus,
        program: shared.program.to_owned(),
    };
    let mut ran = publish(node, chain, rebuild, shared, &site);
    for _ in 0..NEW_BEGINNINGS {
        let Some(error) = ran.as_ref().err().filter(|error| error.is_breakdown()) else {
            break;
        };
        let what = error.to_string();
        let what = what.lines().next().unwrap_or_default();
        emit.warn(format!("{what}; {} begins anew", node.id()));
        // What the broken machine left would be in the way of the next.
        drop(crate::host::namespace::remove_tree(&site.scratch));
        site.scratch = shared.scratch.folder(&name)?;
        ran = publish(node, chain, rebuild, shared, &site);
    }
    if let Some(why) = unkept(&node.work)
        && !matches!(shared.on_error, OnError::Abort)
        && ran.as_ref().is_err_and(|error| !error.is_cancelled())
    {
        emit.warn(format!("--on-error does nothing here: {why}"));
    }
    if site.keep.is_dir() {
        let built = chain
            .iter()
            .filter(|n| shared.store.lookup(n.stage.name(), &n.key).is_some());
        let built = built.map(|n| Address::new(n.stage.name(), &n.key));
        shared.store.hold_for_kept(&site.keep, built.collect())?;
    }
    // The work is done or lost either way; what cannot be removed now is swept by the next run.
    drop(crate::host::namespace::remove_tree(&site.scratch));
    ran
}

/// Why the machine of a node that failed is not there any more, whatever the user wants of it.
fn unkept(work: &Work) -> Option<&'static str> {
    match work {
        Work::Installer(_) => {
            Some("nobody can log in to an installer's machine; what it showed is in the logs of this node")
        }
        Work::Check(_) => Some(
            "the guest of a check is a copy that nobody has a key to; what it showed is in the logs of this node",
        ),
        _ => None,
    }
}

fn publish(
    node: &Node,
    chain: &[&Node],
    rebuild: bool,
    shared: &Shared<'_>,
    site: &Site,
) -> Result<Done, NodeError> {
    let stage = node.stage.name();
    // What lies outside the store is looked at anew each time.
    let rebuild = rebuild || node.stage.is_outside();
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
            Claim::Hit(_) if node.stage.is_outside() => {}
            claim => break claim,
        }
    };
    for (digest, text) in explain::texts(&node.work) {
        shared.store.keep_text(&digest, text);
    }
    let (entry, outcome, message) = match claim {
        Claim::Hit(entry) => {
            shared
                .store
                .set_latest(shared.pipeline, stage, &node.subject, &entry.latest())?;
            return Ok(Done {
                outcome: Outcome::Shared,
                bytes: entry.bytes(),
                message: None,
            });
        }
        Claim::Miss(mut slot) => {
            slot.build_for(shared.pipeline, &node.subject);
            let made = work(node, chain, shared, site, &mut slot)?;
            site.emit.phase("storing the result");
            let entry = slot.commit(node.inputs.clone(), made.facts, shared.cancel)?;
            (entry, made.outcome, made.message)
        }
    };
    shared
        .store
        .set_latest(shared.pipeline, stage, &node.subject, &entry.latest())?;
    Ok(Done {
        outcome,
        bytes: entry.bytes(),
        message,
    })
}

fn work(
    node: &Node,
    chain: &[&Node],
    shared: &Shared<'_>,
    site: &Site,
    slot: &mut Slot,
) -> Result<Made, NodeError> {
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
            Ok(json!({ "url": fetched.url_used }).into())
        }
        Work::Bootstrap(work) => {
            install::bootstrap(work, site, &slot.path(DISK), &slot.path(KEY))?;
            Ok(json!({}).into())
        }
        Work::Disk(work) => {
            let media = match &work.media {
                MediaAt::Local { path, .. } => path.clone(),
                MediaAt::Fetched(subject) => fetched(subject)?,
            };
            install_disk(work, &media, site, slot).map(Made::from)
        }
        Work::Installer(work) => {
            install::installer(work, &fetched, site, &slot.path(DISK), &slot.path(KEY))?;
            Ok(json!({}).into())
        }
        Work::Provision(work) => {
            let base = result(Stage::Install)?;
            let told = provision::provision(work, &base.path(DISK), &base.path(KEY), site, &slot.path(DISK))?;
            let facts = serde_json::to_value(told)
                .map_err(|e| StageError::file("record", &slot.path(DISK), e.into()))?;
            Ok(facts.into())
        }
        Work::Size(work) => {
            let provisioned = result(Stage::Provision)?;
            let told = Provisioned::deserialize(provisioned.facts()).unwrap_or_default();
            // Only a guest that we installed by key has one, and only one that cannot grow offline needs it.
            let key = result(Stage::Install)
                .map(|entry| entry.path(KEY))
                .unwrap_or_default();
            size::size(work, &provisioned.path(DISK), &told, &key, site, &slot.path(DISK))?;
            Ok(json!({ "size": work.size }).into())
        }
        Work::Package(work) => {
            let disk = result(Stage::Size)?.path(DISK);
            let spec = package::Spec {
                compression: work.compression,
                level: work.level,
                algorithms: Algorithm::ALL.to_vec(),
            };
            site.emit.phase(package_phase(work.compression));
            let packaged = package::package(&disk, &slot.path(IMAGE), &spec, &site.cancel, &mut { bytes })
                .map_err(StageError::from)?;
            let facts = json!({ "digests": packaged.digests });
            slot.set_digests(IMAGE, packaged.digests);
            Ok(facts.into())
        }
        Work::Check(work) => {
            let packaged = result(Stage::Package)?;
            let digests = packaged.file(IMAGE).map_or(&[][..], |file| &file.digests);
            let digest = digests
                .iter()
                .find(|digest| digest.algorithm == Algorithm::Sha256);
            let digest = digest.ok_or_else(|| NodeError::Gone {
                id: packaged.address().0.to_owned(),
            })?;
            let artifact = check::Artifact {
                path: &packaged.path(IMAGE),
                digest,
            };
            // Only an install of our own put a key in that it still has.
            let installed = result(Stage::Install).ok();
            let key = installed
                .filter(|entry| entry.file(KEY).is_some())
                .map(|entry| entry.path(KEY));
            check::check(work, artifact, key.as_deref(), site, &slot.path(REPORT))?;
            // A pass is one of these bytes; see `look`.
            Ok(json!({ CHECKED: digest }).into())
        }
        Work::Sums(work) => deliver(work, &result(Stage::Package)?, shared).map(Made::from),
        Work::Upload(work) => send(node, work, &result(Stage::Package)?, shared, site),
        Work::Index(work) => list(work, &result(Stage::Upload)?, &result(Stage::Package)?, shared),
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
    let (bytes, digests) = packaged(image)?;
    let mut lines = std::collections::BTreeMap::new();
    for algorithm in &work.algorithms {
        let digest = digest(digests, *algorithm)?;
        let new = [(work.file.clone(), digest.clone())];
        sums::merge(&work.output, *algorithm, shared.order, &new, shared.cancel).map_err(StageError::from)?;
        lines.insert(*algorithm, digest.clone());
    }
    let delivery = Delivery {
        stamp,
        bytes,
        digests: lines,
    };
    serde_json::to_value(delivery).map_err(|e| StageError::file("record", &path, e.into()).into())
}

/// Publishes the image and keeps the receipt.
fn send(
    node: &Node,
    work: &UploadWork,
    image: &Entry,
    shared: &Shared<'_>,
    site: &Site,
) -> Result<Made, NodeError> {
    let (bytes, digests) = packaged(image)?;
    let sha512 = digest(digests, Algorithm::Sha512)?;
    let last = shared.store.lookup(Stage::Upload.name(), &node.key);
    let last = last.and_then(|entry| Receipt::deserialize(entry.facts()).ok());
    let path = image.path(IMAGE);
    let item = Item {
        path: &path,
        name: &work.file,
        bytes,
        sha512,
        metadata: &work.metadata,
    };
    // Kept between runs, so that a killed upload goes on where it was.
    let state = shared
        .store
        .root()
        .join("scratch")
        .join(format!("upload-{}.json", node.key));
    let around = Around {
        cancel: &site.cancel,
        emit: &site.emit,
        state: &state,
        policy: upload::retry::Policy::default(),
    };
    let uploaded = upload::upload(&work.target, &item, last.as_ref(), &around).map_err(StageError::from)?;
    let receipt = &uploaded.receipt;
    let (outcome, message) = if uploaded.sent {
        (Outcome::Built, receipt.url.clone())
    } else {
        (Outcome::Present, format!("{}, nothing was sent", receipt.url))
    };
    Ok(Made {
        facts: json!(receipt),
        outcome,
        message: Some(message),
    })
}

/// Lists the image among what is published.
fn list(work: &IndexWork, upload: &Entry, image: &Entry, shared: &Shared<'_>) -> Result<Made, NodeError> {
    let file = work.output.join(index::CATALOG_FILE);
    let unreadable = |error: serde_json::Error| StageError::file("record", &file, error.into());
    let receipt = Receipt::deserialize(upload.facts()).map_err(unreadable)?;
    let (bytes, digests) = packaged(image)?;
    // An upload of other bytes than these is an upload of something else.
    if receipt.sha512 != *digest(digests, Algorithm::Sha512)? {
        return Err(NodeError::Gone {
            id: format!("upload to {}", work.target.name),
        });
    }
    let name = |file: &Path| {
        file.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let names: Vec<_> = shared.order.iter().map(|file| name(file)).collect();
    let line = UrlLine {
        name: name(&work.file),
        url: receipt.url.clone(),
        md5: digest(digests, Algorithm::Md5)?.hex.clone(),
    };
    let listed = Listed {
        image: serde_json::from_value(work.facts.clone()).map_err(unreadable)?,
        bytes,
        digests: digests.to_vec(),
        created: image.latest().created,
        target: work.target.name.clone(),
        place: Place {
            kind: work.target.to.kind().to_owned(),
            url: receipt.url.clone(),
            verified: receipt.verified,
        },
    };
    let line = work.lists_url.then_some(&line);
    let changed = index::add(&work.output, shared.ids, &names, &listed, line, shared.cancel);
    let changed = changed.map_err(StageError::from)?;
    Ok(Made {
        facts: json!({ "url": receipt.url }),
        outcome: if changed { Outcome::Built } else { Outcome::Present },
        message: None,
    })
}

/// Size and digests of a packaged image.
fn packaged(image: &Entry) -> Result<(u64, &[Digest]), NodeError> {
    let record = image.file(IMAGE).ok_or_else(|| NodeError::Gone {
        id: "package".to_owned(),
    })?;
    Ok((record.bytes, &record.digests))
}

fn digest(digests: &[Digest], algorithm: Algorithm) -> Result<&Digest, NodeError> {
    let found = digests.iter().find(|digest| digest.algorithm == algorithm);
    found.ok_or_else(|| NodeError::Gone {
        id: format!("the {algorithm} digest"),
    })
}
