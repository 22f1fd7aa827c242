//! Signs the files that list what is published: the checksum files after an image's lines are in them, those of its versions
//! that are kept, and the catalog after its entry is in it. One record of what was signed is shared by all images of a manifest, as they share the files: a list is
//! signed again when it has changed, and by whoever changed it, so that an image that fails leaves no list unsigned.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::StageError;
use super::index::CATALOG_FILE;
use super::result::Taken;
use super::sums::{LOCK, file_name};
use super::task::{File, Finding, Made, Memo, Stored, Task};
use super::versions::Versions;
use super::{Site, Work};
use crate::digest::sha256_hex;
use crate::event::Outcome;
use crate::host::cancel::Cancel;
use crate::host::fs::{self as host_fs, FsError, read_small, write_atomic};
use crate::host::tools;
use crate::manifest::model::{Manifest, Secret, Signer};
use crate::places::versions::{SUMS, path};
use crate::plan::graph::{Draft, Nodes};
use crate::plan::node::{Cost, Input, Named, Results, Role, Stage};
use crate::signing::signature_of;

/// Signs lists of what is published.
const STAGE: Stage = Stage {
    name: "sign",
    results: Results::Outside,
    inputs: &[("signers", SIGNERS)],
};
/// Signers in a key.
pub(super) const SIGNERS: Input = Input::Named(Named {
    noun: "by",
    members: &[("key", Input::Secret("its key changed"))],
});
/// Revision of what it makes; see [`Draft::revision`].
const REVISION: u32 = 1;
/// The node that changed the lists.
const LISTED: Role = Role::new("listed");
/// Most bytes read of a list: that of the catalog.
const LARGEST: u64 = 256 << 20;

/// Work of [`STAGE`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignWork {
    /// Output folder.
    output: PathBuf,
    /// Names of the lists in it.
    files: Vec<String>,
    /// The image whose versions have lists too.
    versions: Option<String>,
    signers: Vec<Signer>,
    /// Whether it signs what an upload changes.
    publishes: bool,
}

/// What its key is made of. The lists themselves are not in it: whether they are those that were signed, the record says.
#[derive(Serialize)]
struct Inputs<'a> {
    /// Which folder: manifests do not share a record.
    history: String,
    files: &'a [String],
    signers: Vec<Value>,
}

/// What was signed, by the names of the lists.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Signed(BTreeMap<String, SignedFile>);

/// A list that was signed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SignedFile {
    sha256: String,
    /// SHA-256 of each signature.
    signatures: BTreeMap<PathBuf, String>,
}

/// Adds the node that signs the checksum files, where that is asked for.
pub(super) fn lists(
    nodes: &mut Nodes<Work>,
    manifest: &Manifest,
    subject: &str,
    fingerprint: &dyn Fn(&Secret) -> String,
    delivery: NodeIndex,
) -> Option<NodeIndex> {
    let algorithms = manifest.publish.checksums.iter();
    let files = algorithms
        .map(|algorithm| file_name(*algorithm).to_owned())
        .collect();
    let versions = manifest.publish.versions.map(|_| subject.to_owned());
    let lists = Lists {
        files,
        versions,
        publishes: false,
    };
    plan(nodes, manifest, subject, fingerprint, delivery, lists)
}

/// Adds the node that signs the catalog, where that is asked for.
pub(super) fn catalog(
    nodes: &mut Nodes<Work>,
    manifest: &Manifest,
    subject: &str,
    fingerprint: &dyn Fn(&Secret) -> String,
    listed: NodeIndex,
) -> Option<NodeIndex> {
    let lists = Lists {
        files: vec![CATALOG_FILE.to_owned()],
        versions: None,
        publishes: true,
    };
    plan(nodes, manifest, subject, fingerprint, listed, lists)
}

/// What one node signs.
struct Lists {
    files: Vec<String>,
    /// The image whose versions have lists too.
    versions: Option<String>,
    /// Whether an upload changes them.
    publishes: bool,
}

fn plan(
    nodes: &mut Nodes<Work>,
    manifest: &Manifest,
    subject: &str,
    fingerprint: &dyn Fn(&Secret) -> String,
    listed: NodeIndex,
    lists: Lists,
) -> Option<NodeIndex> {
    let signers = &manifest.publish.sign;
    if signers.is_empty() || lists.files.is_empty() {
        return None;
    }
    let draft = Draft {
        stage: STAGE,
        revision: REVISION,
        subject,
        inputs: Inputs {
            history: manifest.history(),
            files: &lists.files,
            signers: identities(signers, fingerprint),
        },
        takes: vec![LISTED.bytes_of(listed)],
        cost: Cost::default(),
    };
    let work = SignWork {
        output: manifest.output.clone(),
        files: lists.files.clone(),
        versions: lists.versions.clone(),
        signers: signers.clone(),
        publishes: lists.publishes,
    };
    Some(nodes.add(draft, work))
}

/// What stands for signers in a key.
pub(super) fn identities(signers: &[Signer], fingerprint: &dyn Fn(&Secret) -> String) -> Vec<Value> {
    let signers = signers.iter();
    signers.map(|signer| signer.identity(fingerprint)).collect()
}

/// Signers that were looked at.
#[derive(Debug, Default)]
struct Checked(Vec<Signer>);

/// Why signers cannot sign; each is asked once.
pub(super) fn unable(signers: &[Signer], memo: &Memo) -> Vec<Finding> {
    let checked = memo.note::<Checked>();
    let mut checked = checked.borrow_mut();
    let mut findings = Vec::new();
    for signer in signers {
        // What is missing on this host is found by `programs`.
        let is_there = signer
            .programs()
            .into_iter()
            .all(|program| tools::find(program).is_some());
        if checked.0.contains(signer) || !is_there {
            continue;
        }
        checked.0.push(signer.clone());
        if let Err(error) = signer.check(&Cancel::default()) {
            findings.push(Finding::Secret(format!("`publish.sign`: {error}")));
        }
    }
    findings
}

impl Task for SignWork {
    fn programs(&self) -> Vec<&'static str> {
        self.signers.iter().flat_map(Signer::programs).collect()
    }

    fn preflight(&self, memo: &Memo) -> Vec<Finding> {
        unable(&self.signers, memo)
    }

    fn secrets(&self) -> Vec<&Secret> {
        self.signers.iter().flat_map(Signer::secrets).collect()
    }

    fn files(&self) -> &'static [File] {
        &[]
    }

    fn stands(&self, stored: &Stored<'_>) -> Result<(), Option<String>> {
        let result = stored.result.as_ref().ok_or(None)?;
        let signed: Signed = result.facts().map_err(|error| Some(error.to_string()))?;
        for name in self.lists().map_err(|error| Some(error.to_string()))? {
            let path = self.output.join(&name);
            let is_signed = self.is_signed(&path, signed.0.get(&name));
            match is_signed.map_err(|error| Some(error.to_string()))? {
                State::Signed | State::Absent => {}
                State::Changed => {
                    return Err(Some(format!("{} changed since it was signed", path.display())));
                }
                State::Unsigned(signature) => {
                    return Err(Some(format!(
                        "{} is not the signature that was made",
                        signature.display()
                    )));
                }
            }
        }
        Ok(())
    }

    fn publishes(&self) -> bool {
        self.publishes
    }

    fn run(&self, _taken: &Taken, _out: &Path, site: &Site) -> Result<Made, StageError> {
        // No list changes while it is signed.
        let _lock = host_fs::lock(&self.output.join(LOCK), &site.cancel, &mut || {})?;
        let versions = self.versions.as_ref();
        let versions = versions.map(|image| Versions::of(&self.output, image).lock(&site.cancel));
        let _versions = versions.transpose()?;
        let before = site
            .before
            .as_ref()
            .and_then(|before| before.facts::<Signed>().ok());
        let mut signed = before.unwrap_or_default();
        let mut outcome = Outcome::Present;
        // Versions go.
        signed.0.retain(|name, _| self.output.join(name).exists());
        for name in self.lists()? {
            let path = self.output.join(&name);
            match self.is_signed(&path, signed.0.get(&name))? {
                State::Signed | State::Absent => {}
                State::Changed | State::Unsigned(_) => {
                    site.emit.phase(format!("signing {name}"));
                    let of_list = self.sign(&path, site)?;
                    signed.0.insert(name, of_list);
                    outcome = Outcome::Built;
                }
            }
        }
        Ok(Made {
            outcome,
            ..Made::with(&signed)
        })
    }
}

/// What a list is, compared with the record.
enum State {
    Signed,
    Absent,
    Changed,
    /// This signature is not the one that was made.
    Unsigned(PathBuf),
}

impl SignWork {
    /// The names of all lists, those of the versions that are there now among them.
    fn lists(&self) -> Result<Vec<String>, FsError> {
        let mut lists = self.files.clone();
        if let Some(image) = &self.versions {
            let versions = Versions::of(&self.output, image).names()?.into_iter();
            let sums = versions.map(|version| path(image, &version, SUMS.as_ref()).display().to_string());
            lists.extend(sums);
        }
        Ok(lists)
    }

    fn is_signed(&self, path: &Path, record: Option<&SignedFile>) -> Result<State, FsError> {
        let Some(sha256) = sha256_of(path)? else {
            return Ok(State::Absent);
        };
        let Some(record) = record.filter(|record| record.sha256 == sha256) else {
            return Ok(State::Changed);
        };
        for signer in &self.signers {
            let signature = signature_of(path, signer.scheme);
            let name = signature.file_name().unwrap_or_default();
            let known = record.signatures.get(Path::new(name));
            if known.is_none() || sha256_of(&signature)?.as_ref() != known {
                return Ok(State::Unsigned(signature));
            }
        }
        Ok(State::Signed)
    }

    fn sign(&self, path: &Path, site: &Site) -> Result<SignedFile, StageError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let bytes = read_small(path, LARGEST).map_err(FsError::at("read", path))?;
        let mut signatures = BTreeMap::new();
        for signer in &self.signers {
            let signature = signer.sign(&name, &bytes, &site.cancel)?;
            let place = signature_of(path, signer.scheme);
            write_atomic(&place, &signature)?;
            let name = place.file_name().unwrap_or_default();
            signatures.insert(PathBuf::from(name), sha256_hex(&signature));
        }
        Ok(SignedFile {
            sha256: sha256_hex(&bytes),
            signatures,
        })
    }
}

/// The SHA-256 of a small file; none where there is no such file.
fn sha256_of(path: &Path) -> Result<Option<String>, FsError> {
    match read_small(path, LARGEST) {
        Ok(bytes) => Ok(Some(sha256_hex(&bytes))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FsError::at("read", path)(error)),
    }
}
