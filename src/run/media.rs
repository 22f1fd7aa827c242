//! Digests of the local media that a manifest gives none for: equal bytes give equal keys, on whichever host and in
//! whichever checkout they lie. A file is read once; what was read is noted in the store until the file's stamp changes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::digest::{Algorithm, Digest};
use crate::host::cancel::Cancel;
use crate::host::fs::{Stamp, hash_file};
use crate::size::{ByteSize, MIB};
use crate::store::Store;

/// Name of the note in the store.
const NOTE: &str = "media";
/// From this size on reading takes long enough to say so.
const LONG: u64 = 256 * MIB;

type Note = BTreeMap<PathBuf, (Stamp, Digest)>;

/// What is known of local media.
pub(super) struct LocalMedia<'a> {
    store: &'a Store,
    say: &'a dyn Fn(&str),
    note: RefCell<Option<Note>>,
}

impl<'a> LocalMedia<'a> {
    pub(super) fn new(store: &'a Store, say: &'a dyn Fn(&str)) -> Self {
        Self {
            store,
            say,
            note: RefCell::default(),
        }
    }

    /// The SHA-256 of a file; none where it cannot be read.
    pub(super) fn digest(&self, path: &Path) -> Option<Digest> {
        let path = path.canonicalize().ok()?;
        let stamp = Stamp::of(&path).ok()?;
        let mut note = self.note.borrow_mut();
        let note = note.get_or_insert_with(|| self.store.note(NOTE).unwrap_or_default());
        if let Some((_, digest)) = note.get(&path).filter(|(known, _)| *known == stamp) {
            return Some(digest.clone());
        }
        if stamp.size >= LONG {
            (self.say)(&format!(
                "reading {} once, {}: the manifest gives no sha256 for it",
                path.display(),
                ByteSize(stamp.size)
            ));
        }
        let digests = hash_file(&path, &[Algorithm::Sha256], &Cancel::default()).ok()?;
        let digest = digests.into_iter().next()?;
        if Stamp::of(&path).is_ok_and(|now| now == stamp) {
            note.retain(|path, _| path.exists());
            note.insert(path, (stamp, digest.clone()));
            self.store.set_note(NOTE, note);
        }
        Some(digest)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_read_once_in_a_store_and_again_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let said = Cell::new(0);
        let say = |_: &str| said.set(said.get() + 1);
        let path = folder.path().join("image");
        let file = fs::File::create(&path).unwrap();
        file.set_len(LONG).unwrap();
        let first = LocalMedia::new(&store, &say).digest(&path).unwrap();
        assert_eq!(LocalMedia::new(&store, &say).digest(&path).as_ref(), Some(&first));
        assert_eq!(said.get(), 1, "the note is enough");
        file.set_len(LONG + 1).unwrap();
        let second = LocalMedia::new(&store, &say).digest(&path).unwrap();
        assert_ne!(first, second);
        assert_eq!(said.get(), 2);
        fs::remove_file(&path).unwrap();
        assert_eq!(LocalMedia::new(&store, &say).digest(&path), None);
    }
}
