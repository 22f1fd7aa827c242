//! Plans downloads: one node for each medium that a manifest names by URL. Pure.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::host::http::redact;
use crate::lock::{Lock, Medium};
use crate::manifest::model::{Media, Proof};
use crate::plan::graph::{Draft, Nodes};
use crate::plan::node::{Cost, Results, Role, Stage, Take};
use crate::stage::Work;
use crate::stage::recipe::Inputs as Facts;

/// Gets media by URL into the store.
pub const STAGE: Stage = Stage {
    name: "fetch",
    results: Results::Stored,
    inputs: &[],
};

/// Revision of what it makes; see [`Draft::revision`].
const REVISION: u32 = 1;

/// Work of [`STAGE`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FetchWork {
    /// In order of preference.
    pub urls: Vec<String>,
    /// What must come.
    pub proof: Proof,
}

/// What the key of a download is made of.
#[derive(Serialize)]
#[serde(untagged)]
enum Inputs<'a> {
    Digest {
        digest: String,
    },
    /// What that is, only the lock knows.
    Latest {
        latest: String,
    },
    /// What a list says is only known once it is fetched: the name in it stands for the bytes.
    List {
        #[serde(rename = "checksum file")]
        list: &'a str,
        name: Option<&'a str>,
        /// What was believed without a signature is not good enough where one is wanted.
        #[serde(rename = "signed by")]
        keyring: Option<&'a str>,
        signature: &'static str,
    },
}

/// Where a medium is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaAt {
    /// A local file.
    Local {
        path: PathBuf,
        /// What it must be; none where it could not be read when this was planned.
        digest: Option<Digest>,
        /// Whether the manifest says so, or the file itself said so when this was planned.
        declared: bool,
    },
    /// The file of the result in this role, which came from this URL.
    Fetched { role: Role, url: String },
}

/// What stands for a medium in the key of the node that takes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::stage) enum MediaInput {
    /// The key of its download.
    Fetch(String),
    /// The digest of a local file.
    File(String),
}

impl MediaAt {
    /// What the medium must be, where that is still to be found out, and whether the manifest says so.
    pub fn wanted(&self) -> Option<(&Digest, bool)> {
        match self {
            Self::Local { digest, declared, .. } => digest.as_ref().map(|digest| (digest, *declared)),
            Self::Fetched { .. } => None,
        }
    }

    /// What messages call it: what the manifest names, not a file of the store.
    pub fn name(&self) -> PathBuf {
        match self {
            Self::Local { path, .. } => path.clone(),
            Self::Fetched { url, .. } => url.into(),
        }
    }
}

/// What a lock has of a distro's medium whose digest is left to its publisher.
pub fn locked<'l>(
    lock: &'l Lock,
    (distro, role): (&str, &str),
    urls: &[String],
    proof: &Proof,
) -> Option<&'l Medium> {
    let medium = lock.medium(distro, role)?;
    let of = |url: Option<&String>| url.map(|url| redact(url));
    let (is_same, keyring) = match proof {
        Proof::Digest(_) => return None,
        Proof::List(list) => (
            medium.source == redact(&list.url) && medium.urls.first().cloned() == of(urls.first()),
            &list.keyring,
        ),
        Proof::Latest(latest) => (medium.source == latest.to_string(), &latest.keyring),
    };
    // What was believed without a signature is not good enough where one is wanted.
    let is_signed_so = medium.keyring.as_ref() == keyring.as_ref().map(|keyring| &keyring.digest);
    (is_same && is_signed_so).then_some(medium)
}

/// Where a medium is: as the manifest says, or as the lock has the newest one, with what the lock leaves out of URLs.
fn places(urls: &[String], proof: &Proof, locked: Option<&Medium>) -> Vec<String> {
    let (Proof::Latest(latest), Some(medium)) = (proof, locked) else {
        return urls.to_owned();
    };
    let from = latest.from.as_deref().unwrap_or_default();
    let shown = redact(from);
    let place = |url: &String| match url.strip_prefix(shown.trim_end_matches('/')) {
        Some(path) if !from.is_empty() => format!("{}{path}", from.trim_end_matches('/')),
        _ => url.clone(),
    };
    medium.urls.iter().map(place).collect()
}

/// Where a medium of a distro will be, and what stands for it in keys. One by URL gets a node, whose result is taken as
/// `role`.
pub(in crate::stage) fn medium(
    nodes: &mut Nodes<Work>,
    subject: &str,
    (distro, media): (&str, &Media),
    role: &'static str,
    facts: &Facts<'_>,
    takes: &mut Vec<Take>,
) -> (MediaAt, MediaInput) {
    match media {
        Media::Urls { urls, proof } => {
            let of_lock = locked(facts.lock, (distro, role), urls, proof);
            let urls = places(urls, proof, of_lock);
            let of_lock = of_lock.and_then(Medium::digest);
            let proof = &of_lock.map_or_else(|| proof.clone(), Proof::Digest);
            let inputs = match proof {
                Proof::Digest(digest) => Inputs::Digest {
                    digest: digest.to_string(),
                },
                Proof::Latest(latest) => Inputs::Latest {
                    latest: latest.to_string(),
                },
                Proof::List(list) => Inputs::List {
                    list: &list.url,
                    name: urls.first().and_then(|url| url.rsplit('/').next()),
                    keyring: list.keyring.as_ref().map(|keyring| keyring.digest.as_str()),
                    signature: if list.signature.is_some() {
                        "next to it"
                    } else {
                        "in it"
                    },
                },
            };
            let draft = Draft {
                stage: STAGE,
                revision: REVISION,
                subject,
                inputs,
                takes: Vec::new(),
                cost: Cost::default(),
            };
            let work = FetchWork {
                urls: urls.clone(),
                proof: proof.clone(),
            };
            let fetch = nodes.add_download(draft, work, urls.clone());
            let role = Role::new(role);
            takes.push(role.of(fetch));
            let key = nodes.key(fetch).to_owned();
            let url = match (urls.first(), proof) {
                (None, Proof::Latest(latest)) => latest.release.clone(),
                (url, _) => redact(url.map_or("", String::as_str)),
            };
            (MediaAt::Fetched { role, url }, MediaInput::Fetch(key))
        }
        Media::Path { path, digest } => {
            let declared = digest.is_some();
            let digest = digest.clone().or_else(|| (facts.digest)(path));
            let what = digest
                .as_ref()
                .map_or_else(|| "missing".to_owned(), ToString::to_string);
            let at = MediaAt::Local {
                path: path.clone(),
                digest,
                declared,
            };
            (at, MediaInput::File(what))
        }
    }
}
