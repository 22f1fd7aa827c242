//! Says how an image was made: every input by its digest, and the keys of its nodes, in an envelope that those sign who sign
//! what is published and whose keys can. It is of certain bytes, and published with them.

mod dependencies;
mod parameters;
mod statement;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use self::dependencies::{DISTRO, part_of};
use self::dependencies::{Dependency, dependencies};
pub use self::statement::{Descriptor, PAYLOAD, Statement};
use super::error::StageError;
use super::part::{Part, Ready};
use super::recipe::Inputs as Facts;
use super::result::{Given, Taken};
use super::task::{File, Finding, Made, Memo, Stored, Task};
use super::{Site, Work, package, sign};
use crate::digest::{Algorithm, Digest};
use crate::manifest::model::{Distro, Flavor, Image, Manifest, Secret, Signer};
use crate::plan::graph::{Draft, Nodes};
use crate::plan::node::{Cost, Input, Named, Results, Role, Stage};
use crate::signing::Envelope;

/// Says how an image was made.
const STAGE: Stage = Stage {
    name: "provenance",
    results: Results::Stored,
    inputs: &[
        (
            "inputs",
            Input::Named(Named {
                noun: "input",
                members: &[],
            }),
        ),
        ("signers", sign::SIGNERS),
    ],
};
/// Revision of what it makes; see [`Draft::revision`].
const REVISION: u32 = 1;
/// As what its file is taken.
const ROLE: Role = Role::new("provenance");
/// What its file has behind the name of the image's.
pub const ENDING: &str = ".intoto.jsonl";
/// Its file.
const ENVELOPE: File = File::published("intoto.jsonl", ENDING);

/// Work of [`STAGE`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProvenanceWork {
    /// All that is published with the image, the image first.
    parts: Vec<Part>,
    /// What the manifest says, and what is planned of it.
    parameters: (Value, Value),
    dependencies: Vec<Dependency>,
    /// Those whose keys can sign envelopes.
    signers: Vec<Signer>,
}

/// What its key is made of.
#[derive(Serialize)]
struct Inputs<'a> {
    package: &'a str,
    beside: &'a BTreeMap<String, String>,
    check: Option<&'a str>,
    files: Vec<&'a Path>,
    says: &'a Value,
    inputs: Vec<Value>,
    signers: Vec<Value>,
}

/// Adds the node, where it is asked for, behind all that is published with the image.
pub(super) fn plan(
    nodes: &mut Nodes<Work>,
    manifest: &Manifest,
    image: &Image,
    (distro, flavor): (&Distro, &Flavor),
    install: NodeIndex,
    facts: &Facts<'_>,
    ready: &mut Ready<'_>,
) {
    if !manifest.publish.provenance {
        return;
    }
    let (dependencies, fetched) = dependencies(nodes, manifest, (distro, flavor), install, facts);
    let parameters = parameters::parameters(nodes, manifest, image, (distro, flavor), ready);
    let signers = manifest.publish.sign.iter();
    let signers: Vec<_> = signers.filter(|one| one.signs_envelopes()).cloned().collect();
    let keys = ready.keys(nodes);
    let mut takes = ready.takes();
    takes.extend(fetched);
    let draft = Draft {
        stage: STAGE,
        revision: REVISION,
        subject: &image.id,
        inputs: Inputs {
            package: &keys.package,
            beside: &keys.beside,
            check: keys.check.as_deref(),
            files: ready.parts.iter().map(|part| part.path.as_path()).collect(),
            says: &parameters.0,
            inputs: dependencies
                .iter()
                .map(|one| json!({ "input": one.descriptor.name, "is": one.descriptor }))
                .collect(),
            signers: sign::identities(&signers, facts.fingerprint),
        },
        takes,
        cost: Cost::default(),
    };
    let work = ProvenanceWork {
        parts: ready.parts.clone(),
        parameters: parameters.clone(),
        dependencies,
        signers,
    };
    let node = nodes.add(draft, work);
    ready.add(ROLE, node, nodes);
}

/// What it was made of.
#[derive(Serialize, Deserialize)]
struct Record {
    /// SHA-256 of each file.
    files: BTreeMap<PathBuf, String>,
}

impl Task for ProvenanceWork {
    fn programs(&self) -> Vec<&'static str> {
        let of = |signer: &Signer| [&signer.programs()[..], signer.envelope_programs()].concat();
        self.signers.iter().flat_map(of).collect()
    }

    fn preflight(&self, memo: &Memo) -> Vec<Finding> {
        sign::unable(&self.signers, memo)
    }

    fn secrets(&self) -> Vec<&Secret> {
        self.signers.iter().flat_map(Signer::secrets).collect()
    }

    fn files(&self) -> &'static [File] {
        const { &[ENVELOPE] }
    }

    /// It is of certain bytes, not of a key: see the check stage.
    fn stands(&self, stored: &Stored<'_>) -> Result<(), Option<String>> {
        let result = stored.result.as_ref().ok_or(None)?;
        let record: Record = result.facts().map_err(|error| Some(error.to_string()))?;
        for part in &self.parts {
            let given = (stored.taken)(&part.role);
            let made = given.as_ref().and_then(|given| part.artifact_in(given));
            let digest = made.as_ref().map(|made| made.digest(Algorithm::Sha256));
            if let Some(Ok(digest)) = digest
                && record.files.get(&part.path) != Some(&digest.hex)
            {
                return Err(Some(package::AGAIN.to_owned()));
            }
        }
        Ok(())
    }

    fn run(&self, taken: &Taken, out: &Path, site: &Site) -> Result<Made, StageError> {
        let mut files = BTreeMap::new();
        let mut subjects = Vec::new();
        for part in &self.parts {
            let artifact = part.artifact(taken)?;
            let Digest { hex, .. } = artifact.digest(Algorithm::Sha256)?;
            files.insert(part.path.clone(), hex.clone());
            let subject = Descriptor::named(part.path.display().to_string());
            subjects.push(subject.with_digests(artifact.digests));
        }
        let dependencies = self.dependencies.iter().map(|one| {
            let fetched = one.fetched.as_ref().and_then(|role| taken.find(role));
            let digests = fetched.into_iter().flat_map(media_digests);
            one.descriptor.clone().with_digests(digests)
        });
        let statement = Statement::new(subjects, self.parameters.clone(), dependencies.collect());
        let mut envelope = Envelope::new(PAYLOAD, &statement.text());
        for signer in &self.signers {
            if !signer.endorse(&mut envelope, &site.cancel)? {
                site.emit.warn(format!(
                    "the key of `{}` does not sign envelopes: only Ed25519 keys can",
                    signer.scheme.name()
                ));
            }
        }
        let path = out.join(ENVELOPE.name);
        let text = match serde_json::to_string(&envelope) {
            Ok(text) => text + "\n",
            Err(error) => unreachable!("plain data always serialises: {error}"),
        };
        std::fs::write(&path, text).map_err(|error| StageError::file("write", &path, error))?;
        Ok(Made::with(&Record { files }))
    }
}

fn media_digests(fetched: &Given) -> Vec<&Digest> {
    let file = fetched.files.get(super::fetch::MEDIA);
    file.map(|file| file.digests.iter().collect()).unwrap_or_default()
}
