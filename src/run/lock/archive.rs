//! Asks a package archive for the state of a suite: `InRelease`, its signature, whether it may be believed, and whether the
//! lists of packages are those that it speaks of. What is known is asked for under its validators.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{fs, io};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Cause;
use crate::digest::sha256_hex;
use crate::host::cancel::Cancel;
use crate::host::http::{Client, Get, HttpError, Limits, redact};
use crate::host::process::ProcessError;
use crate::host::signature::verify;
use crate::lock::{Archive, Lock, Refusal, Release, cleartext};
use crate::stage::install::ArchiveSource;
use crate::store::Store;

/// Time for a connection, and for a sign of life: others may be asked meanwhile, but the user waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest `InRelease`; Debian's largest has 200 KiB.
const LARGEST: u64 = 16 << 20;
/// Where this host's own packages put the keys of archives.
const KEYRINGS: [&str; 2] = ["/usr/share/keyrings", "/etc/apt/trusted.gpg.d"];
/// Name of the note in the store.
const NOTE: &str = "archives";

/// The state of a suite.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    date: Timestamp,
    sha256: String,
    signed_by: Vec<String>,
    valid_until: Option<Timestamp>,
    /// The keyrings that its signature was verified with.
    keyrings: Vec<PathBuf>,
    /// Whose archive it is.
    label: String,
    /// Lists of packages: SHA-256 and size, by path below the suite.
    pub(super) indexes: BTreeMap<String, (String, u64)>,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl State {
    /// Whether what it has are security updates.
    pub(super) fn is_security(&self, suite: &str) -> bool {
        suite.ends_with("-security") || suite.ends_with("/updates") || self.label.ends_with("-Security")
    }

    /// Whether an entry of a lock is of it.
    pub(super) fn is(&self, locked: &Archive) -> bool {
        self.sha256 == locked.sha256
    }

    pub(super) fn entry(&self, source: &ArchiveSource) -> Archive {
        Archive {
            distro: source.distro.clone(),
            suite: source.suite.clone(),
            guest: source.is_of_guests,
            url: redact(&source.url),
            date: self.date,
            sha256: self.sha256.clone(),
            signed_by: self.signed_by.clone(),
        }
    }

    fn judge(&self, now: Timestamp, locked: Option<&Archive>) -> Result<(), Refusal> {
        let release = Release {
            label: String::new(),
            date: self.date,
            valid_until: self.valid_until,
            files: BTreeMap::new(),
        };
        release.judge(now, locked)
    }
}

/// What was seen of suites earlier, by URL.
pub(super) struct Seen(Mutex<BTreeMap<String, State>>);

impl Seen {
    pub(super) fn of(store: &Store) -> Self {
        Self(Mutex::new(store.note(NOTE).unwrap_or_default()))
    }

    pub(super) fn remember(&self, store: &Store) {
        store.set_note(NOTE, &*self.lock());
    }

    /// The state that an entry of a lock is of, where it was seen last.
    pub(super) fn state(&self, source: &ArchiveSource, locked: &Archive) -> Option<State> {
        let url = redact(&format!("{}/dists/{}/InRelease", source.url, source.suite));
        let state = self.lock().get(&url).cloned();
        state.filter(|state| state.is(locked))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks without much patience.
pub(super) fn client() -> Client {
    Client {
        limits: Limits {
            connect: PATIENCE,
            silence: PATIENCE,
            ..Limits::default()
        },
        ..Client::default()
    }
}

fn is_index(file: &str) -> bool {
    file.contains("/binary-") && (file.ends_with("/Packages.xz") || file.ends_with("/Packages.gz"))
}

/// The state of a suite that several distros may want. What is older than any of their entries is refused.
pub(super) fn look(
    same: &[&ArchiveSource],
    old: &Lock,
    seen: &Seen,
    now: Timestamp,
    cancel: &Cancel,
) -> Result<State, Cause> {
    let Some(source) = same.first() else {
        return Err(Cause::Absent);
    };
    let locked = same.iter().filter_map(|source| source.locked(old));
    let locked = locked.max_by_key(|archive| archive.date);
    let base = format!("{}/dists/{}", source.url, source.suite);
    let url = format!("{base}/InRelease");
    let keyrings = keyrings(source);
    let shown = redact(&url);
    let known = seen.lock().get(&shown).cloned();
    let known = known.filter(|known| known.keyrings == keyrings);
    let client = client();
    let validators = known.iter().flat_map(|known| {
        let etag = known.etag.iter().map(|etag| ("if-none-match", etag.clone()));
        etag.chain(
            known
                .last_modified
                .iter()
                .map(|at| ("if-modified-since", at.clone())),
        )
    });
    let headers: Vec<_> = validators.collect();
    let get = Get {
        headers: &headers,
        ..Get::new(&url)
    };
    let (head, body) = client.get(&get, cancel)?;
    let state = match (head.status, known) {
        (304, Some(known)) => known,
        (200, _) => {
            let bytes = body.whole(LARGEST, cancel)?;
            let (text, signed_by) = believe(&bytes, source, &keyrings, cancel)?;
            let release = Release::read(&text)?;
            release.judge(now, locked)?;
            let sha256 = sha256_hex(&bytes);
            if locked.is_none_or(|locked| locked.sha256 != sha256) {
                is_whole(&client, &base, same, &release, cancel)?;
            }
            State {
                date: release.date,
                sha256,
                signed_by,
                valid_until: release.valid_until,
                keyrings,
                label: release.label,
                indexes: release
                    .files
                    .into_iter()
                    .filter(|(file, _)| is_index(file))
                    .collect(),
                etag: head.etag,
                last_modified: head.last_modified,
            }
        }
        (404 | 410, _) => return Err(Cause::Absent),
        _ => return Err(head.error().into()),
    };
    state.judge(now, locked)?;
    seen.lock().insert(shown, state.clone());
    Ok(state)
}

/// The text, and who signed it: not verified where neither the manifest nor this host has keys of the archive.
fn believe(
    bytes: &[u8],
    source: &ArchiveSource,
    keyrings: &[PathBuf],
    cancel: &Cancel,
) -> Result<(String, Vec<String>), Cause> {
    let text = String::from_utf8_lossy(bytes);
    let plain = cleartext(&text);
    // A page is reported as what it is, not as badly signed.
    Release::read(&plain)?;
    if keyrings.is_empty() {
        return Ok((plain, Vec::new()));
    }
    for path in keyrings {
        let readable = fs::File::open(path);
        readable.map_err(|source| Cause::Keyring {
            path: path.clone(),
            source,
        })?;
    }
    match verify(bytes, None, keyrings.iter().map(PathBuf::as_path), cancel) {
        Ok(signed) => {
            let mut keys: Vec<_> = signed.by.into_iter().map(|signature| signature.key).collect();
            keys.sort();
            keys.dedup();
            Ok((String::from_utf8_lossy(&signed.text).into_owned(), keys))
        }
        Err(ProcessError::NotFound { .. }) if source.keyring.is_none() => Ok((plain, Vec::new())),
        Err(error) => Err(Cause::Signature(error)),
    }
}

/// The keyring that the manifest names, or those of this host for the vendor.
fn keyrings(source: &ArchiveSource) -> Vec<PathBuf> {
    if let Some(keyring) = &source.keyring {
        return vec![keyring.clone()];
    }
    let Some(vendor) = &source.vendor else {
        return Vec::new();
    };
    let of = |folder: &&str| -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(Path::new(folder))?;
        Ok(entries.flatten().map(|entry| entry.path()).collect())
    };
    let files = KEYRINGS.iter().filter_map(|folder| of(folder).ok()).flatten();
    let mut files: Vec<_> = files
        .filter(|path| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.starts_with(&format!("{vendor}-")) && name.ends_with(".gpg") && !name.contains("removed")
        })
        .collect();
    files.sort();
    files
}

/// Whether the lists of packages have the sizes that the release file gives them: a mirror brings one after the other.
fn is_whole(
    client: &Client,
    base: &str,
    same: &[&ArchiveSource],
    release: &Release,
    cancel: &Cancel,
) -> Result<(), Cause> {
    let indexes: BTreeSet<_> = same.iter().flat_map(|source| &source.indexes).collect();
    for index in indexes {
        let files = ["xz", "gz"].map(|ending| format!("{index}.{ending}"));
        let mut listed = files.iter().filter_map(|file| release.files.get_key_value(file));
        let Some((file, (_, want))) = listed.next() else {
            continue;
        };
        let head = match client.head(&Get::new(&format!("{base}/{file}")), cancel) {
            Err(HttpError::Cancelled) => return Err(HttpError::Cancelled.into()),
            // What is missing, installing reports.
            Err(_) => continue,
            Ok(head) => head,
        };
        if let (200, Some(found)) = (head.status, head.length)
            && found != *want
        {
            let (file, want) = (file.clone(), *want);
            return Err(Refusal::MidSync { file, want, found }.into());
        }
    }
    Ok(())
}
