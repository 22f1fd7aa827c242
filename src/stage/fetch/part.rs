//! The file that grows while bytes arrive, and a note next to it that says whose bytes they are. Both outlive a killed
//! run. Knows nothing of the network.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::FetchError;
use crate::digest::{Digest, Hasher, sha256_hex};
use crate::emit::{Emitter, Progress};
use crate::host::cancel::Cancel;
use crate::size::ByteSize;

/// Bytes read at once when hashing what is there.
const BLOCK: usize = 1024 * 1024;

/// What the note next to the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// The digest wanted.
    digest: Digest,
    /// SHA-256 of the URL that the bytes came from; not the URL, which may carry a password.
    url_sha256: String,
    /// A strong `ETag`, or `Last-Modified`.
    validator: Option<String>,
}

/// A partly fetched file.
#[derive(Debug)]
pub(super) struct Part<'a> {
    path: &'a Path,
    note_path: PathBuf,
    note: Option<Note>,
    want: &'a Digest,
    file: File,
    hasher: Hasher,
    len: u64,
    progress: Progress<'a>,
}

impl<'a> Part<'a> {
    /// Opens the file, made when absent, and hashes what an earlier run left in it.
    pub(super) fn open(
        path: &'a Path,
        want: &'a Digest,
        cancel: &Cancel,
        emit: &'a Emitter,
    ) -> Result<Self, FetchError> {
        let broken = |source| FetchError::Part {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(broken)?;
        let note_path = note_path(path);
        let note = std::fs::read(&note_path)
            .ok()
            .and_then(|text| serde_json::from_slice::<Note>(&text).ok());
        let mut part = Self {
            path,
            note_path,
            want,
            file,
            hasher: Hasher::new(want.algorithm),
            len: 0,
            progress: Progress::new(emit),
            note: None,
        };
        let there = part.file.metadata().map_err(broken)?.len();
        if note.as_ref().is_some_and(|note| note.digest != *want) {
            part.len = there;
            part.restart()?;
            return Ok(part);
        }
        part.note = note;
        if there > 0 {
            emit.phase(format!("checking {} fetched earlier", ByteSize(there)));
            part.hash_existing(there, cancel)?;
        }
        Ok(part)
    }

    fn hash_existing(&mut self, there: u64, cancel: &Cancel) -> Result<(), FetchError> {
        let mut buffer = vec![0; BLOCK];
        loop {
            if cancel.is_cancelled() {
                return Err(FetchError::Cancelled);
            }
            let count = match self.file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.broken(e)),
            };
            self.hasher.update(&buffer[..count]);
            self.len += count as u64;
            self.progress.report(self.len, there);
        }
    }

    /// Bytes in the file.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn path(&self) -> &Path {
        self.path
    }

    /// The digest of what is in the file.
    pub(super) fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Whether the file holds what is wanted.
    pub(super) fn is_complete(&self) -> bool {
        self.digest() == *self.want
    }

    /// What the same URL said about the version of the file, for an `If-Range`. Another URL has other validators for
    /// the same bytes: there the digest alone decides.
    pub(super) fn validator(&self, url: &str) -> Option<&str> {
        let note = self.note.as_ref()?;
        let same = note.url_sha256 == sha256_hex(url.as_bytes());
        note.validator.as_deref().filter(|_| same)
    }

    /// Writes down whose bytes follow.
    pub(super) fn remember(&mut self, url: &str, validator: Option<String>) -> Result<(), FetchError> {
        let note = Note {
            digest: self.want.clone(),
            url_sha256: sha256_hex(url.as_bytes()),
            validator,
        };
        if self.note.as_ref() != Some(&note) {
            let text = serde_json::to_vec(&note).expect("plain strings always serialise");
            // A torn note is unreadable and counts as none: then only the digest vouches for the bytes.
            std::fs::write(&self.note_path, text).map_err(|e| self.broken(e))?;
            self.note = Some(note);
        }
        Ok(())
    }

    /// Empties the file.
    pub(super) fn restart(&mut self) -> Result<(), FetchError> {
        if self.len > 0 {
            self.file.set_len(0).map_err(|e| self.broken(e))?;
            self.file.seek(SeekFrom::Start(0)).map_err(|e| self.broken(e))?;
        }
        self.hasher = Hasher::new(self.want.algorithm);
        self.len = 0;
        self.forget();
        Ok(())
    }

    /// Takes in the next bytes. `total` is for progress only; 0 when unknown.
    pub(super) fn append(&mut self, bytes: &[u8], total: u64) -> Result<(), FetchError> {
        self.file.write_all(bytes).map_err(|e| self.broken(e))?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        self.progress.report(self.len, total);
        Ok(())
    }

    /// Ends with a complete file: the note goes.
    pub(super) fn finish(mut self) -> u64 {
        self.forget();
        self.progress.last(self.len, self.len);
        self.len
    }

    fn forget(&mut self) {
        self.note = None;
        // Absent already, or in the way of nothing: a note is checked when it is read.
        let _ = std::fs::remove_file(&self.note_path);
    }

    fn broken(&self, source: std::io::Error) -> FetchError {
        if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
            return FetchError::DiskFull {
                path: self.path.to_owned(),
                need: None,
                free: None,
            };
        }
        FetchError::Part {
            path: self.path.to_owned(),
            source,
        }
    }
}

/// `image.part` → `image.part.from`.
fn note_path(part: &Path) -> PathBuf {
    let mut name = part.as_os_str().to_owned();
    name.push(".from");
    name.into()
}
