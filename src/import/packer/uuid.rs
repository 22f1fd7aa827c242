//! UUIDs (RFC 9562).

use sha1::{Digest as _, Sha1};

use crate::digest::hex;

/// Of version 5, where the seed is a namespace and a name; of version 4, the one that stands for a random one.
pub fn uuid(seed: &[u8], version: u8) -> String {
    let mut bytes: Vec<u8> = Sha1::digest(seed).into_iter().take(16).collect();
    bytes[6] = (bytes[6] & 0x0f) | (version << 4);
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let parts = [0..4, 4..6, 6..8, 8..10, 10..16].map(|part| hex(&bytes[part]));
    parts.join("-")
}

/// The bytes of a namespace, by its name or as a UUID.
pub fn namespace(text: &str) -> Option<Vec<u8>> {
    let known = [("dns", 0x10), ("url", 0x11), ("oid", 0x12), ("x500", 0x14)];
    let plain = match known.iter().find(|(name, _)| *name == text) {
        Some((_, byte)) => format!("6ba7b8{byte:x}9dad11d180b400c04fd430c8"),
        None => text.replace('-', ""),
    };
    let byte = |at: usize| u8::from_str_radix(plain.get(at..at + 2)?, 16).ok();
    (plain.len() == 32)
        .then(|| (0..32).step_by(2).map(byte).collect())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_uuids() {
        let seed = [namespace("dns").unwrap(), b"www.example.com".to_vec()].concat();
        assert_eq!(uuid(&seed, 5), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
        assert_eq!(
            namespace("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
            namespace("dns")
        );
        assert_eq!(namespace("dn"), None);
    }
}
