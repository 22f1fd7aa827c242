//! Where images are published to: `[publish.<name>]`, as plain data. Knows names and places, never a password.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::describe::row::words;
use super::secret::Secret;

/// Keys of a shacache list's entry that no metadata can have: the entry's own, or such that the reference client cannot pass
/// on (Python: a keyword given twice).
pub const TAKEN: [&str; 4] = ["sha512", "key", "file_descriptor", "self"];

/// One place that images are published to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub name: String,
    /// Kind and place.
    pub to: Destination,
    /// How an upload is verified.
    pub verify: Verify,
    /// Base of the URLs that the world uses, where it is another one than the one we write to.
    pub public_url: Option<String>,
}

/// Kinds of place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Destination {
    /// A shacache with its shadir.
    Shacache(Shacache),
    /// A folder, absolute; it may be a mounted share.
    Directory(PathBuf),
    /// A server that takes files by PUT.
    Http(Http),
    /// A bucket of an object store.
    S3(S3),
}

/// Kinds of place, by name. A table with the name of a kind is of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// See [`Destination::Shacache`].
    Shacache,
    /// See [`Destination::Directory`].
    Directory,
    /// See [`Destination::Http`].
    Http,
    /// See [`Destination::S3`].
    S3,
}

impl TargetKind {
    /// As in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shacache => "shacache",
            Self::Directory => "directory",
            Self::Http => "http",
            Self::S3 => "s3",
        }
    }
}

words! {
    TargetKind: Shacache, Directory, Http, S3;
    Verify: Full, Head;
}

impl Destination {
    pub fn kind(&self) -> TargetKind {
        match self {
            Self::Shacache(_) => TargetKind::Shacache,
            Self::Directory(_) => TargetKind::Directory,
            Self::Http(_) => TargetKind::Http,
            Self::S3(_) => TargetKind::S3,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shacache {
    /// The configuration file, absolute: URLs, keys, certificates.
    pub config: PathBuf,
    /// The key that all images are listed under.
    pub key: String,
    /// What is told about each image, in this order.
    pub metadata: Vec<(String, Metadatum)>,
}

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Metadatum {
    /// A template over the image.
    Template(String),
    /// As it is.
    Plain(serde_json::Value),
}

/// A server that takes files by PUT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http {
    /// Where the files go: files of the output folder appear below it. Without a slash at its end.
    pub url: String,
    /// How we may.
    pub login: Login,
}

/// How a server lets us in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Login {
    /// Anybody may.
    Anonymous,
    /// User and password (RFC 7617).
    Password { user: String, password: Secret },
    /// A bearer token (RFC 6750).
    Token(Secret),
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3 {
    /// URL of the store.
    pub endpoint: String,
    pub bucket: String,
    /// What object names begin with; empty, or without slashes around it.
    pub prefix: String,
    /// Region, part of every signature.
    pub region: String,
    /// Access key id.
    pub access_key: Secret,
    /// Secret access key.
    pub secret_key: Secret,
}

/// How an upload is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verify {
    #[default]
    /// Every byte is read back and its digest compared.
    Full,
    /// The place is asked whether it has a file of the right size.
    Head,
}

impl Verify {
    /// As in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Head => "head",
        }
    }
}

/// What tells one place from another, for keys.
#[derive(Debug, Serialize)]
pub struct Place<'a> {
    #[serde(flatten)]
    at: At<'a>,
    to: &'static str,
    public_url: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum At<'a> {
    Shacache {
        config: &'a Path,
        key: &'a str,
    },
    Directory {
        path: &'a Path,
    },
    Http {
        url: &'a str,
    },
    S3 {
        endpoint: &'a str,
        bucket: &'a str,
        prefix: &'a str,
        region: &'a str,
    },
}

impl Target {
    /// What tells it from other places.
    pub fn place(&self) -> Place<'_> {
        let at = match &self.to {
            Destination::Shacache(to) => At::Shacache {
                config: &to.config,
                key: &to.key,
            },
            Destination::Directory(path) => At::Directory { path },
            Destination::Http(to) => At::Http { url: &to.url },
            Destination::S3(to) => At::S3 {
                endpoint: &to.endpoint,
                bucket: &to.bucket,
                prefix: &to.prefix,
                region: &to.region,
            },
        };
        Place {
            at,
            to: self.to.kind().name(),
            public_url: self.public_url.as_deref(),
        }
    }

    /// What it is told about each image, in this order.
    pub fn metadata(&self) -> &[(String, Metadatum)] {
        match &self.to {
            Destination::Shacache(to) => &to.metadata,
            Destination::Directory(_) | Destination::Http(_) | Destination::S3(_) => &[],
        }
    }

    /// Whether what is in it is listed in `URL.txt`.
    pub fn lists_urls(&self) -> bool {
        matches!(self.to, Destination::Shacache(_))
    }

    /// Host programs that writing to it takes.
    pub fn programs(&self) -> &'static [&'static str] {
        &[]
    }

    /// The secrets that writing to it takes, with the keys they stand at.
    pub fn secrets(&self) -> Vec<(&'static str, &Secret)> {
        match &self.to {
            Destination::Http(http) => match &http.login {
                Login::Anonymous => Vec::new(),
                Login::Password { password, .. } => vec![("password", password)],
                Login::Token(token) => vec![("token", token)],
            },
            Destination::S3(s3) => vec![("access_key", &s3.access_key), ("secret_key", &s3.secret_key)],
            Destination::Shacache(_) | Destination::Directory(_) => Vec::new(),
        }
    }
}
