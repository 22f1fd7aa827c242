//! Finds the newest medium of a release: fetches the publisher's lists, verifies their signatures, and refuses what is older
//! than what is known already. Which lists those are, and how they are read, is data ([`crate::releases`]).

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::Reason;
use super::small::{self, Lists};
use crate::checksum_list;
use crate::host::cancel::Cancel;
use crate::host::http::{Client, HttpError, redact};
use crate::host::process::ProcessError;
use crate::host::signature::{self, verify};
use crate::releases::{Entry, Medium, Query, Signature, Unknown, compare};

/// Folders of versions that are looked into, from the newest on: one that is being filled has no list yet.
const FOLDERS: usize = 3;

/// The newest medium of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latest {
    pub medium: Medium,
    /// URL of the list that has its digests.
    pub list: String,
    pub trust: Trust,
}

/// Who vouches for the digests of a medium.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    Signed(Signer),
    /// Only the connection to the server, and why.
    Unverified(String),
}

/// A key, and when it signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    /// Its fingerprint.
    pub key: String,
    pub at: Option<Timestamp>,
}

/// What is known already: nothing older is taken for the newest.
#[derive(Clone, Debug, Default)]
pub struct Since {
    pub version: String,
    /// When its list was signed.
    pub signed: Option<Timestamp>,
}

/// Where and how to ask.
pub struct Finder<'a> {
    pub client: &'a Client,
    pub lists: &'a dyn Lists,
    /// Keys that the manifest names; without, those of the host count.
    pub keyring: Option<&'a Path>,
    pub cancel: &'a Cancel,
}

/// Why the newest medium of a release was not found. URLs are free of secrets.
#[derive(Debug, thiserror::Error)]
pub enum LatestError {
    #[error("stopped")]
    Cancelled,
    #[error(transparent)]
    Unknown(#[from] Unknown),
    #[error("cannot fetch {url}: {reason}")]
    Unavailable { url: String, reason: Reason },
    #[error(
        "the listing {url} has nothing of {release}; check the version, and that the mirror has this release"
    )]
    NoRelease { release: String, url: String },
    #[error("the list {url} has no medium for {release}; choose one of its files by `variant`: {}", few(.has))]
    NoMedium {
        release: String,
        url: String,
        has: Vec<String>,
    },
    #[error("the list {url} cannot be used: {cause}; check the URL, and proxies on the way to it")]
    Unreadable { url: String, cause: String },
    #[error(
        "the list {url} is not signed, but its publisher signs it ({reason}); do not trust this mirror, or wait until it is \
         complete"
    )]
    Unsigned { url: String, reason: String },
    #[error(
        "the list {url} is signed by the key {key}, which {} does not have; install the publisher's newest keyring; if the key \
         is not its publisher's, do not trust this mirror",
        .keyrings.join(" or ")
    )]
    WrongKey {
        url: String,
        key: String,
        keyrings: Vec<String>,
    },
    #[error("the signature of the list {url} is not good; do not trust this mirror\n  | {reason}")]
    BadSignature { url: String, reason: String },
    #[error("{list} has another digest for {url} than the signed {checksums}; do not trust this mirror")]
    Disagree {
        list: String,
        url: String,
        checksums: String,
    },
    #[error(
        "{url} has {release} {found}, which is older than {known}, known already; the mirror is out of date, or it is \
         rolled back: use another one"
    )]
    Older {
        release: String,
        url: String,
        found: String,
        known: String,
    },
    #[error(
        "the list {url} was signed on {signed}, before the one known already ({known}); the mirror is out of date, or it is \
         rolled back: use another one"
    )]
    Stale {
        url: String,
        signed: Timestamp,
        known: Timestamp,
    },
    #[error("`gpgv` is needed to verify the list {url}; `pipeline doctor` names the package that has it")]
    NoGpgv { url: String },
}

impl Finder<'_> {
    /// The newest medium of a release, by its recipe.
    ///
    /// # Errors
    /// [`LatestError`].
    pub fn find(
        &self,
        release: &str,
        query: &Query<'_>,
        since: Option<&Since>,
    ) -> Result<Latest, LatestError> {
        let (entry, list, text) = self.newest_list(release, query)?;
        let has_more = query.has_checksums();
        let (text, mut trust) = match has_more {
            true => (text, Trust::Unverified(String::new())),
            false => self.verified(query, &list, text)?,
        };
        let unreadable = |cause| LatestError::Unreadable {
            url: redact(&list),
            cause,
        };
        let media = query.media(entry.as_ref(), &list, &text).map_err(unreadable)?;
        let Some(mut medium) = media.into_iter().next() else {
            return Err(LatestError::NoMedium {
                release: release.to_owned(),
                url: redact(&list),
                has: query.files(&text),
            });
        };
        if let Some(checksums) = query.checksums(&medium) {
            let text = self.get(&checksums)?;
            let (text, signed) = self.verified(query, &checksums, text)?;
            trust = signed;
            agree(&list, &checksums, &text, &mut medium)?;
        }
        let latest = Latest { medium, list, trust };
        since.map_or(Ok(()), |since| latest.is_no_older(release, since))?;
        Ok(latest)
    }

    /// The list that has the newest medium; where each version has a folder or a list of its own, what was found for it.
    fn newest_list(
        &self,
        release: &str,
        query: &Query<'_>,
    ) -> Result<(Option<Entry>, String, Vec<u8>), LatestError> {
        let folders = query.folders();
        if folders.is_empty() {
            let list = query.list(None);
            let text = self.get(&list)?;
            return Ok((None, list, text));
        }
        let (mut entries, mut missing) = (Vec::new(), None);
        for folder in &folders {
            match self.get(folder) {
                Ok(listing) => entries.extend(query.entries(folder, &listing)),
                Err(error) if error.is_absent() => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        // Sorting is stable: of one version in several folders, the first counts.
        entries.sort_by(|one: &Entry, other| compare(&other.version, &one.version));
        entries.dedup_by(|later, first| later.version == first.version);
        let mut last = match missing {
            Some(error) if entries.is_empty() && folders.len() == 1 => error,
            _ => LatestError::NoRelease {
                release: release.to_owned(),
                url: folders
                    .iter()
                    .map(|url| redact(url))
                    .collect::<Vec<_>>()
                    .join(" or "),
            },
        };
        for entry in entries.into_iter().take(FOLDERS) {
            let list = query.list(Some(&entry));
            match self.get(&list) {
                Ok(text) => return Ok((Some(entry), list, text)),
                Err(error) if error.is_absent() => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn get(&self, url: &str) -> Result<Vec<u8>, LatestError> {
        small::get(self.client, self.lists, url, self.cancel).map_err(|reason| match reason {
            Reason::Http(HttpError::Cancelled) => LatestError::Cancelled,
            reason => LatestError::Unavailable {
                url: redact(url),
                reason,
            },
        })
    }

    /// What is signed of a list, and who vouches for it.
    fn verified(
        &self,
        query: &Query<'_>,
        list: &str,
        text: Vec<u8>,
    ) -> Result<(Vec<u8>, Trust), LatestError> {
        let signature = query.signature(list);
        if signature == Signature::None {
            let why = "its publisher does not sign the list".to_owned();
            return Ok((text, Trust::Unverified(why)));
        }
        let (known, packages) = query.keyrings();
        let keyrings: Vec<PathBuf> = match self.keyring {
            Some(keyring) => vec![keyring.to_owned()],
            None => known
                .into_iter()
                .map(PathBuf::from)
                .filter(|path| path.exists())
                .collect(),
        };
        if keyrings.is_empty() {
            let why = format!(
                "this host has no keyring of its publisher: install {}, or name one (`keyring`)",
                packages.join(" or ")
            );
            return Ok((text, Trust::Unverified(why)));
        }
        let url = redact(list);
        let signature = match &signature {
            Signature::At(at) => Some(self.get(at).map_err(|error| match error {
                LatestError::Unavailable { url: at, reason } if reason.is_absent() => LatestError::Unsigned {
                    url: url.clone(),
                    reason: format!("{at}: {}", reason.brief()),
                },
                error => error,
            })?),
            Signature::Inside if !contains(&text, b"-----BEGIN PGP SIGNED MESSAGE-----") => {
                let reason = "there is no signature in it".to_owned();
                return Err(LatestError::Unsigned { url, reason });
            }
            Signature::Inside | Signature::None => None,
        };
        let keys = keyrings.iter().map(PathBuf::as_path);
        let verified = verify(&text, signature.as_deref(), keys, self.cancel);
        let signed = verified.map_err(|error| match error {
            ProcessError::Cancelled => LatestError::Cancelled,
            ProcessError::NotFound { .. } => LatestError::NoGpgv { url },
            ProcessError::Failed { tail, .. } => match stranger(&tail) {
                Some(key) => LatestError::WrongKey {
                    url,
                    key,
                    keyrings: keyrings.iter().map(|path| path.display().to_string()).collect(),
                },
                None => LatestError::BadSignature {
                    url,
                    reason: tail.join("\n  | "),
                },
            },
            error => LatestError::BadSignature {
                url,
                reason: error.to_string(),
            },
        })?;
        let by = signed.by.into_iter().max_by_key(|signature| signature.at);
        let signer = by.map(|signature::Signature { key, at }| Signer { key, at });
        let trust = signer.map_or_else(|| Trust::Unverified(String::new()), Trust::Signed);
        Ok((signed.text, trust))
    }
}

impl Latest {
    fn is_no_older(&self, release: &str, since: &Since) -> Result<(), LatestError> {
        let (found, known) = (&self.medium.version, &since.version);
        if compare(found, known).is_lt() {
            return Err(LatestError::Older {
                release: release.to_owned(),
                url: redact(&self.list),
                found: found.clone(),
                known: known.clone(),
            });
        }
        let signed = match &self.trust {
            Trust::Signed(signer) => signer.at,
            Trust::Unverified(_) => None,
        };
        match (signed, since.signed) {
            (Some(signed), Some(known)) if signed < known => Err(LatestError::Stale {
                url: redact(&self.list),
                signed,
                known,
            }),
            _ => Ok(()),
        }
    }
}

impl LatestError {
    /// Whether a server says that there is no such file.
    fn is_absent(&self) -> bool {
        matches!(self, Self::Unavailable { reason, .. } if reason.is_absent())
    }
}

/// Takes the digest of a medium from the signed list; the other one must not say otherwise.
fn agree(list: &str, checksums: &str, text: &[u8], medium: &mut Medium) -> Result<(), LatestError> {
    let url = medium.urls.first().map_or("", String::as_str);
    let unreadable = |missing| LatestError::Unreadable {
        url: redact(checksums),
        cause: format!("it has no digest for {}: {missing:?}", redact(url)),
    };
    let signed = checksum_list::digest_of(text, url).map_err(unreadable)?;
    let mut others = medium.digests.iter();
    let differs = others.any(|digest| digest.algorithm == signed.algorithm && *digest != signed);
    if differs {
        return Err(LatestError::Disagree {
            list: redact(list),
            url: redact(url),
            checksums: redact(checksums),
        });
    }
    medium.digests = vec![signed];
    Ok(())
}

/// The key that no keyring has, where that is why a signature does not count, in gpgv's words.
fn stranger(words: &[String]) -> Option<String> {
    words.iter().find(|line| line.contains("No public key"))?;
    let mut keys = words
        .iter()
        .filter_map(|line| line.split_once(" key ")?.1.split(' ').next());
    keys.next().map(str::to_owned)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// As many names as one can read.
fn few(names: &[String]) -> String {
    match names.len() {
        0 => "there are none".to_owned(),
        1..=8 => names.join(", "),
        _ => format!("{}, …", names[..8].join(", ")),
    }
}
