//! Fingerprints of secrets: equal secrets give equal fingerprints in one store, and tell nothing outside of it.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::sync::LazyLock;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::StoreError;
use crate::digest::hex;
use crate::host::random;

/// Length of the store's own key in bytes: that of the hash (RFC 2104 §3).
const KEY_BYTES: usize = 32;

/// Stands in for the key of a store that has none yet and is only looked into: nothing was ever built by it.
static NOBODYS: LazyLock<[u8; KEY_BYTES]> = LazyLock::new(|| {
    // It leaves this process nowhere: what it is matters only to those who cannot have it.
    random::bytes().unwrap_or_default()
});

/// The fingerprint under a store's key; none: one that this process alone knows.
pub(super) fn fingerprint(key: Option<&[u8]>, secret: &[u8]) -> String {
    let key = key.unwrap_or(&*NOBODYS);
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(secret);
    hex(&mac.finalize().into_bytes())
}

/// The store's key, if it has one.
pub(super) fn known(root: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let path = root.join("secret");
    match fs::read(&path) {
        Ok(key) => Ok(Some(key)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        // Another key in its place would outdate all that was built with a secret.
        Err(error) => Err(StoreError::io("read", &path, error)),
    }
}

/// The store's key, made where it has none: of two runs that do so at once both get the one that was there first.
pub(super) fn key(root: &Path) -> Result<Vec<u8>, StoreError> {
    if let Some(key) = known(root)? {
        return Ok(key);
    }
    let path = root.join("secret");
    let draft = tempfile::Builder::new().prefix("secret.").tempfile_in(root);
    let made = draft.and_then(|mut draft| {
        draft.write_all(&random::bytes::<KEY_BYTES>()?)?;
        draft.as_file().sync_all()?;
        // Unlike a rename, it does not replace.
        fs::hard_link(draft.path(), &path)
    });
    match made {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(StoreError::io("make", &path, error)),
        _ => fs::read(&path).map_err(|source| StoreError::io("read", &path, source)),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn runs_that_begin_at_once_agree_on_one_key_and_who_only_looks_makes_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(known(folder.path()).unwrap(), None);
        assert_eq!(fingerprint(None, b"s"), fingerprint(None, b"s"));
        let keys: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| key(folder.path()))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let first = known(folder.path()).unwrap().unwrap();
        assert!(
            keys.iter().all(|key| key.as_ref().is_ok_and(|key| *key == first)),
            "{keys:?}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::remove_file(folder.path().join("secret")).unwrap();
        fs::create_dir(folder.path().join("secret")).unwrap();
        assert!(
            key(folder.path()).is_err(),
            "one that cannot be read is not replaced"
        );
    }
}
