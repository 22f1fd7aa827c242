//! Pieces of earlier packages: where the deflated form of a piece lies that is to be deflated again.
//!
//! An index lies next to each package. It names each piece by a digest of all that its deflated form depends on, and has
//! the place of that form in the package with a digest of its own: what is taken is known to be what was written, whatever
//! happened to the file since. There is no second copy of anything.
//!
//! These digests are BLAKE3: all input goes through them, and SHA-256 has less than half its speed.
//!
//! ```text
//! pipeline pieces <revision of packages>, blake3\n
//! then for each piece: digest of level and bytes (32) · digest of the deflated form (32) · its place (8) · its length (4)
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::digest::{Digest, sha256_hex};
use crate::host::fs::{FsError, write_atomic};

use super::plan::REVISION;

/// Pieces that are remembered at most, over all earlier packages: some 20 MiB.
const MOST_KNOWN: usize = 160_000;
/// Bytes of an entry in the index.
const ENTRY: usize = 32 + 32 + 8 + 4;

/// A digest as it is compared.
pub(super) type Sum = [u8; 32];

/// An earlier package with its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    pub package: PathBuf,
    pub index: PathBuf,
    /// SHA-256 of the index.
    pub digest: Digest,
}

/// What stands for a piece: two pieces with the same name have the same deflated form.
pub(super) fn name(level: u32, last: bool, bytes: &[u8]) -> Sum {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&level.to_le_bytes());
    hasher.update(&[u8::from(last)]);
    hasher.update(bytes);
    hasher.finalize().into()
}

/// The digest of a deflated form.
pub(super) fn sum(bytes: &[u8]) -> Sum {
    blake3::hash(bytes).into()
}

/// The first line of an index. What another revision deflated are other bytes.
fn head() -> Vec<u8> {
    format!("pipeline pieces {REVISION}, blake3\n").into_bytes()
}

/// Where a piece lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    package: usize,
    sum: Sum,
    at: u64,
    length: u32,
}

/// The pieces of earlier packages.
#[derive(Debug, Default)]
pub(super) struct Known {
    packages: Vec<Package>,
    places: HashMap<Sum, Place>,
}

#[derive(Debug)]
struct Package {
    path: PathBuf,
    file: File,
    /// Whether something else was found than what was written.
    damaged: AtomicBool,
}

impl Known {
    /// The pieces of some packages. One that cannot be read, or whose index is not what was written, has none: then more is
    /// deflated.
    pub(super) fn load(earlier: &[Earlier]) -> Self {
        let mut known = Self::default();
        for Earlier {
            package,
            index,
            digest,
        } in earlier
        {
            if let Ok(file) = File::open(package)
                && let Ok(index) = std::fs::read(index)
                && sha256_hex(&index) == digest.hex
                && let Some(entries) = index.strip_prefix(head().as_slice())
            {
                known.add(package, file, entries);
            }
        }
        known
    }

    fn add(&mut self, path: &Path, file: File, entries: &[u8]) {
        let package = self.packages.len();
        self.packages.push(Package {
            path: path.to_owned(),
            file,
            damaged: AtomicBool::new(false),
        });
        for entry in entries.chunks_exact(ENTRY) {
            if self.places.len() >= MOST_KNOWN {
                return;
            }
            let (name, rest) = entry.split_at(32);
            let (sum, rest) = rest.split_at(32);
            let (at, length) = rest.split_at(8);
            let place = Place {
                package,
                sum: fixed(sum),
                at: u64::from_le_bytes(fixed(at)),
                length: u32::from_le_bytes(fixed(length)),
            };
            self.places.entry(fixed(name)).or_insert(place);
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The deflated form of a piece, and its digest; none where no package has it as it was written.
    pub(super) fn take(&self, name: &Sum) -> Option<(Vec<u8>, Sum)> {
        let place = self.places.get(name)?;
        let package = &self.packages[place.package];
        let mut bytes = vec![0; place.length as usize];
        let read = package.file.read_exact_at(&mut bytes, place.at);
        if read.is_ok() && sum(&bytes) == place.sum {
            return Some((bytes, place.sum));
        }
        package.damaged.store(true, Ordering::Relaxed);
        None
    }

    /// The packages that are not what was written.
    pub(super) fn damaged(&self) -> Vec<PathBuf> {
        let damaged = self
            .packages
            .iter()
            .filter(|package| package.damaged.load(Ordering::Relaxed));
        damaged.map(|package| package.path.clone()).collect()
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("an entry is cut at fixed places")
}

/// The index of a package that is being written.
#[derive(Debug)]
pub(super) struct Index {
    bytes: Vec<u8>,
}

impl Index {
    pub(super) fn new() -> Self {
        Self { bytes: head() }
    }

    /// The next piece, and where its deflated form lies.
    pub(super) fn add(&mut self, name: &Sum, sum: &Sum, at: u64, length: usize) {
        let length = u32::try_from(length).expect("little more than a piece");
        self.bytes.extend(name);
        self.bytes.extend(sum);
        self.bytes.extend(at.to_le_bytes());
        self.bytes.extend(length.to_le_bytes());
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), FsError> {
        write_atomic(path, &self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_still_as_it_was_written_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("package"), b"..deflated").unwrap();
        let one = name(6, false, b"bytes");
        let mut index = Index::new();
        index.add(&one, &sum(b"deflated"), 2, 8);
        index.write(&at("index")).unwrap();
        let earlier = Earlier {
            package: at("package"),
            index: at("index"),
            digest: format!("sha256:{}", sha256_hex(&std::fs::read(at("index")).unwrap()))
                .parse()
                .unwrap(),
        };
        let known = Known::load(std::slice::from_ref(&earlier));
        assert_eq!(known.take(&one), Some((b"deflated".to_vec(), sum(b"deflated"))));
        // Each of these is another piece.
        for other in [
            name(7, false, b"bytes"),
            name(6, true, b"bytes"),
            name(6, false, b"byte"),
        ] {
            assert_eq!(known.take(&other), None);
        }
        assert!(known.damaged().is_empty());
        std::fs::write(at("package"), b"..deflateD").unwrap();
        assert_eq!(known.take(&one), None);
        assert_eq!(known.damaged(), [at("package")]);
        // Another index than the one that was stored.
        std::fs::write(at("package"), b"..deflated").unwrap();
        let mut changed = std::fs::read(at("index")).unwrap();
        *changed.last_mut().unwrap() ^= 1;
        std::fs::write(at("index"), changed).unwrap();
        assert!(Known::load(&[earlier]).is_empty());
    }
}
