//! The statement: in-toto's form (version 1) with a predicate of SLSA (provenance version 1). Pure data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::{Algorithm, Digest};

/// The type of a statement, as envelopes name it.
pub const PAYLOAD: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";
/// What is done with the parameters: a manifest's image is built.
const BUILD: &str = "urn:pipeline:image:v1";
/// Who did it: this program, wherever it ran. Who that was, the signatures say.
const BUILDER: &str = "urn:pipeline:builder";

/// How some files were made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    pub subject: Vec<Descriptor>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    pub predicate: Predicate,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Predicate {
    pub build_definition: Definition,
    pub run_details: Details,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Definition {
    build_type: String,
    /// What the manifest says.
    external_parameters: Value,
    /// What is planned of it.
    internal_parameters: Value,
    /// Everything that it is built from.
    pub resolved_dependencies: Vec<Descriptor>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Details {
    pub builder: Builder,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Builder {
    id: String,
    pub version: BTreeMap<String, String>,
}

/// A file, or what stands for one ("resource descriptor").
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// In hexadecimal, by algorithm.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub annotations: Map<String, Value>,
}

impl Descriptor {
    pub(super) fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Takes digests in; MD5 proves nothing, and is taken where there is no better one.
    pub(super) fn with_digests<'d>(mut self, digests: impl IntoIterator<Item = &'d Digest>) -> Self {
        let all = digests.into_iter();
        let all: BTreeMap<_, _> = all.map(|digest| (digest.algorithm, digest.hex.clone())).collect();
        let is_alone = all.len() == 1;
        let proving = all
            .into_iter()
            .filter(|(algorithm, _)| is_alone || *algorithm != Algorithm::Md5);
        self.digest
            .extend(proving.map(|(algorithm, hex)| (algorithm.name().to_owned(), hex)));
        self
    }

    pub(super) fn with_sha256(mut self, hex: String) -> Self {
        self.digest.insert(Algorithm::Sha256.name().to_owned(), hex);
        self
    }

    pub(super) fn noting(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.annotations.insert(name.to_owned(), value.into());
        self
    }
}

impl Statement {
    pub(super) fn new(
        subject: Vec<Descriptor>,
        (external_parameters, internal_parameters): (Value, Value),
        resolved_dependencies: Vec<Descriptor>,
    ) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self {
            kind: STATEMENT.to_owned(),
            subject,
            predicate_type: PREDICATE.to_owned(),
            predicate: Predicate {
                build_definition: Definition {
                    build_type: BUILD.to_owned(),
                    external_parameters,
                    internal_parameters,
                    resolved_dependencies,
                },
                run_details: Details {
                    builder: Builder {
                        id: BUILDER.to_owned(),
                        version: BTreeMap::from([("pipeline".to_owned(), version)]),
                    },
                },
            },
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let statement: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if (statement.kind.as_str(), statement.predicate_type.as_str()) != (STATEMENT, PREDICATE) {
            return Err(format!(
                "it is a `{}` with a `{}`",
                statement.kind, statement.predicate_type
            ));
        }
        Ok(statement)
    }

    /// Its bytes; equal statements have equal ones.
    pub(super) fn text(&self) -> Vec<u8> {
        match serde_json::to_vec(self) {
            Ok(text) => text,
            Err(error) => unreachable!("plain data always serialises: {error}"),
        }
    }
}
