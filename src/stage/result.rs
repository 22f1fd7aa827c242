//! Earlier results, as the stages that take them see them: folders with named files, and the facts reported of them. Plain data:
//! where the store is, and how it finds them, is not known here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::StageError;
use crate::digest::{Algorithm, Digest, sha256_hex};
use crate::plan::node::Role;

/// A result that a node is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Given {
    /// Its node: `package/debian12-50G-base`.
    pub node: String,
    /// Where its files are.
    pub folder: PathBuf,
    /// When it was made.
    pub created: Timestamp,
    /// Its files, by name.
    pub files: BTreeMap<String, GivenFile>,
    /// The facts that its stage reported.
    pub facts: Value,
}

/// A file of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenFile {
    /// Size in bytes.
    pub bytes: u64,
    pub digests: Vec<Digest>,
}

/// The results that a node takes, by their role.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Taken(BTreeMap<Role, Given>);

/// One file of a result with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact<'a> {
    /// The node that made it.
    pub node: &'a str,
    /// Its name there.
    pub name: &'a str,
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    pub digests: &'a [Digest],
}

impl Given {
    /// Whether it has such a file.
    pub fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// Where one of its files is.
    ///
    /// # Errors
    /// [`StageError::NoFile`].
    pub fn path(&self, name: &str) -> Result<PathBuf, StageError> {
        self.artifact(name).map(|artifact| artifact.path)
    }

    /// One of its files.
    ///
    /// # Errors
    /// [`StageError::NoFile`].
    pub fn artifact<'a>(&'a self, name: &'a str) -> Result<Artifact<'a>, StageError> {
        let file = self.files.get(name).ok_or_else(|| StageError::NoFile {
            node: self.node.clone(),
            file: name.to_owned(),
        })?;
        Ok(Artifact {
            node: &self.node,
            name,
            path: self.folder.join(name),
            bytes: file.bytes,
            digests: &file.digests,
        })
    }

    /// The facts that its stage reported.
    ///
    /// # Errors
    /// [`StageError::Record`] where that is of another form.
    pub fn facts<T: DeserializeOwned>(&self) -> Result<T, StageError> {
        T::deserialize(&self.facts).map_err(|error| StageError::Record {
            node: self.node.clone(),
            reason: error.to_string(),
        })
    }
}

impl Artifact<'_> {
    /// Its digest by an algorithm.
    ///
    /// # Errors
    /// [`StageError::NoDigest`].
    pub fn digest(&self, algorithm: Algorithm) -> Result<&Digest, StageError> {
        let mut digests = self.digests.iter();
        let found = digests.find(|digest| digest.algorithm == algorithm);
        found.ok_or_else(|| StageError::NoDigest {
            node: self.node.to_owned(),
            file: self.name.to_owned(),
            algorithm,
        })
    }

    /// Whether these are digests of this very file, as far as they are of algorithms that it has.
    pub fn has_digests<'d>(&self, digests: impl IntoIterator<Item = &'d Digest>) -> bool {
        digests.into_iter().all(|digest| {
            let mut known = self.digests.iter();
            let known = known.find(|known| known.algorithm == digest.algorithm);
            known.is_none_or(|known| known == digest)
        })
    }
}

impl Taken {
    /// The result in a role.
    ///
    /// # Errors
    /// [`StageError::NoResult`].
    pub fn get(&self, role: &Role) -> Result<&Given, StageError> {
        self.find(role)
            .ok_or_else(|| StageError::NoResult { role: role.clone() })
    }

    /// The result in a role that it may be without.
    pub fn find(&self, role: &Role) -> Option<&Given> {
        self.0.get(role)
    }

    /// Where a file of the result in a role is.
    ///
    /// # Errors
    /// [`StageError::NoResult`], [`StageError::NoFile`].
    pub fn path(&self, role: &Role, file: &str) -> Result<PathBuf, StageError> {
        self.get(role)?.path(file)
    }

    /// A digest over the bytes of all their files.
    pub fn fingerprint(&self) -> String {
        let files = self.0.iter().flat_map(|(role, given)| {
            given
                .files
                .iter()
                .map(move |(name, file)| (role.name(), name.as_str(), file))
        });
        let mut text = String::new();
        for (role, name, file) in files {
            let sha256 = file
                .digests
                .iter()
                .find(|digest| digest.algorithm == Algorithm::Sha256);
            let _ = writeln!(text, "{role} {name} {sha256:?}");
        }
        sha256_hex(text.as_bytes())
    }

    /// The folders of all of them.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.0.values().map(|given| given.folder.as_path())
    }
}

impl FromIterator<(Role, Given)> for Taken {
    fn from_iter<I: IntoIterator<Item = (Role, Given)>>(results: I) -> Self {
        Self(results.into_iter().collect())
    }
}
