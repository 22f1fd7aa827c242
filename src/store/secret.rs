//! Fingerprints of secrets: equal secrets give equal fingerprints in one store, and tell nothing outside of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::StoreError;
use crate::digest::hex;
use crate::host::fs as host_fs;

/// Length of the store's own key in bytes: that of the hash (RFC 2104 §3).
const KEY_BYTES: usize = 32;

pub(super) fn fingerprint(root: &Path, secret: &[u8]) -> Result<String, StoreError> {
    let path = root.join("secret");
    let key = if let Ok(key) = fs::read(&path) {
        key
    } else {
        let mut key = vec![0; KEY_BYTES];
        fill_random(&mut key).map_err(|source| StoreError::io("make", &path, source))?;
        host_fs::private_dir(root)?;
        host_fs::write_atomic(&path, &key)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .map_err(|source| StoreError::io("protect", &path, source))?;
        key
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
    mac.update(secret);
    Ok(hex(&mac.finalize().into_bytes()))
}

/// Random bytes from the kernel (getrandom(2)).
fn fill_random(bytes: &mut [u8]) -> std::io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut bytes[filled..], flags)?;
    }
    Ok(())
}
