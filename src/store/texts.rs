//! Texts that a key has only by their digest, kept next to the results: so that a change of a script can be shown as one.
//! They are no part of any key, outlive the results, and nothing breaks when they are gone.

use std::fs;
use std::path::PathBuf;

use super::Store;
use crate::host::fs as host_fs;

/// Longest text kept, in bytes; a longer one is only known to have changed.
const LONGEST: usize = 256 * 1024;

impl Store {
    /// Remembers a text under the digest that stands for it in a key. What cannot be written cannot be shown later, which
    /// is no reason to stop.
    pub fn keep_text(&self, digest: &str, text: &str) {
        let path = self.text_path(digest);
        if text.len() > LONGEST || path.exists() || !is_plain(digest) {
            return;
        }
        let made = path.parent().map(host_fs::private_dir);
        if matches!(made, Some(Ok(()))) {
            let _ = host_fs::write_atomic(&path, text.as_bytes());
        }
    }

    /// The text of a digest, where it was kept.
    pub fn text(&self, digest: &str) -> Option<String> {
        if is_plain(digest) {
            fs::read_to_string(self.text_path(digest)).ok()
        } else {
            None
        }
    }

    fn text_path(&self, digest: &str) -> PathBuf {
        self.root.join("texts").join(digest)
    }
}

/// What may be the name of a file there.
fn is_plain(digest: &str) -> bool {
    digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit())
}
