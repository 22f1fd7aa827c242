//! Documents that are published with images: whether they are about the files that are there, and what they say. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::place::Look;
use crate::digest::{Algorithm, sha256_hex};
use crate::lock::Lock;
use crate::places::versions;
use crate::signing::{Envelope, Found, Trust};
use crate::stage::provenance::{DISTRO, Descriptor, ENDING, PAYLOAD, Statement, part_of};

/// What bills of materials have behind the name of the image's file.
const SPDX: &str = ".spdx.json";
const CYCLONEDX: &str = ".cdx.json";

/// What a document says, and the trusted keys that signed it by itself.
pub(super) struct Said {
    pub what: String,
    pub by: Vec<String>,
}

/// The files that were looked at, and what they are compared by.
pub(super) struct Known<'a> {
    pub files: &'a BTreeMap<PathBuf, Look>,
    pub trust: &'a Trust,
    pub lock: Option<&'a Lock>,
}

/// The image that a document is about, by its name; none: it is no document.
pub(super) fn image_of(path: &Path) -> Option<PathBuf> {
    let name = path.to_str()?;
    let endings = [ENDING, SPDX, CYCLONEDX].into_iter();
    endings
        .filter_map(|ending| name.strip_suffix(ending))
        .map(PathBuf::from)
        .next()
}

/// The folder of the version that a file belongs to; empty: it is no file of one.
fn version_of(path: &Path) -> PathBuf {
    if path.starts_with(versions::FOLDER) {
        path.iter().take(3).collect()
    } else {
        PathBuf::new()
    }
}

impl Known<'_> {
    /// What a document says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(&self, path: &Path, image: &Path, text: &[u8]) -> Result<Said, String> {
        if path.to_string_lossy().ends_with(ENDING) {
            return self.provenance(image, text);
        }
        let document: Value =
            serde_json::from_slice(text).map_err(|error| format!("it is no bill of materials: {error}"))?;
        let is_spdx = path.to_string_lossy().ends_with(SPDX);
        let (digests, packages) = if is_spdx {
            spdx(&document)
        } else {
            cyclonedx(&document)
        };
        self.is_about(image, &digests)?;
        let what = format!("lists {packages} packages");
        let by = Vec::new();
        Ok(Said { what, by })
    }

    /// Whether a file is there and has these digests.
    fn is_about(&self, path: &Path, digests: &[(Algorithm, &str)]) -> Result<(), String> {
        let shown = path.display();
        let Some(look) = self.files.get(path) else {
            return Err(format!("it is about {shown}, which is not here"));
        };
        let is_it = !digests.is_empty() && digests.iter().all(|(algorithm, hex)| look.is(*algorithm, hex));
        is_it
            .then_some(())
            .ok_or_else(|| format!("it is about other bytes than those of {shown}"))
    }

    fn provenance(&self, image: &Path, text: &[u8]) -> Result<Said, String> {
        let envelope: Envelope =
            serde_json::from_slice(text).map_err(|error| format!("it is no envelope: {error}"))?;
        let payload = envelope
            .payload(PAYLOAD)
            .ok_or("there is no statement of in-toto in it")?;
        let statement = Statement::parse(&payload)
            .map_err(|error| format!("it is no statement of provenance: {error}"))?;
        // In the folder of a version, paths begin below that of the image.
        let folder = version_of(image);
        let inner = image.strip_prefix(&folder).unwrap_or(image);
        let mut names = statement.subject.iter().map(|subject| Path::new(&subject.name));
        let own = names.find(|name| name.ends_with(inner));
        let own = own.ok_or_else(|| format!("it is not about {}", image.display()))?;
        let above: PathBuf = own
            .iter()
            .take(own.iter().count() - inner.iter().count())
            .collect();
        for subject in &statement.subject {
            let path = Path::new(&subject.name);
            let path = folder.join(path.strip_prefix(&above).unwrap_or(path));
            self.is_about(&path, &digests_of(subject))?;
        }
        let mut by = Vec::new();
        for found in self.trust.endorsers(&envelope) {
            match found {
                Found::By(who) => by.push(who),
                Found::Stranger(_) => {}
                Found::Bad(why) => return Err(format!("a signature in it is wrong: {why}")),
            }
        }
        let definition = &statement.predicate.build_definition;
        let inputs = &definition.resolved_dependencies;
        let from_lock = self.compare_lock(inputs)?;
        let version = statement.predicate.run_details.builder.version.get("pipeline");
        let version = version.map_or("?", String::as_str);
        let known = inputs.iter().filter(|input| !input.digest.is_empty()).count();
        let mut what =
            format!("says how it was made: by pipeline {version}, from {known} inputs with digests");
        if known < inputs.len() {
            what += &format!(" and {} without", inputs.len() - known);
        }
        what += from_lock;
        Ok(Said { what, by })
    }

    /// Whether it was built from what the lock has.
    fn compare_lock(&self, inputs: &[Descriptor]) -> Result<&'static str, String> {
        let Some(lock) = self.lock else { return Ok("") };
        for input in inputs {
            let Some(distro) = input.annotations.get(DISTRO).and_then(Value::as_str) else {
                continue;
            };
            let digest = part_of(lock, distro).map(|part| sha256_hex(part.as_bytes()));
            if digest.as_ref() != input.digest.get(Algorithm::Sha256.name()) {
                return Err(format!("{distro} was built from another state than the lock has"));
            }
            return Ok(", the state that the lock has");
        }
        Err("it was built without a lock".to_owned())
    }
}

/// The digests of a file of a statement; of algorithms that we know.
fn digests_of(subject: &Descriptor) -> Vec<(Algorithm, &str)> {
    let known = |algorithm: Algorithm| Some((algorithm, subject.digest.get(algorithm.name())?.as_str()));
    Algorithm::ALL.into_iter().filter_map(known).collect()
}

/// What an SPDX document says of the image's file, and how many packages it lists.
fn spdx(document: &Value) -> (Vec<(Algorithm, &str)>, usize) {
    let packages = document["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let system = packages.first().unwrap_or(&Value::Null);
    let digests = hashes(&system["checksums"], "algorithm", "checksumValue");
    (digests, packages.len().saturating_sub(1))
}

/// The same of a CycloneDX document.
fn cyclonedx(document: &Value) -> (Vec<(Algorithm, &str)>, usize) {
    let digests = hashes(&document["metadata"]["component"]["hashes"], "alg", "content");
    (digests, document["components"].as_array().map_or(0, Vec::len))
}

fn hashes<'d>(list: &'d Value, name: &str, value: &str) -> Vec<(Algorithm, &'d str)> {
    let hash = |hash: &'d Value| {
        let name = hash[name].as_str()?.replace('-', "").to_lowercase();
        let algorithm = Algorithm::ALL.into_iter().find(|one| one.name() == name)?;
        Some((algorithm, hash[value].as_str()?))
    };
    list.as_array().into_iter().flatten().filter_map(hash).collect()
}
