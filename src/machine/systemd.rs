//! What can be seen of a guest's systemd while the guest is off, and the way that its newer versions offer into it.

use std::path::Path;

use super::disk::{self, DiskError, FileSystem};
use super::ssh::Key;
use crate::host::cancel::Cancel;
use crate::platform::Hardware;

/// First systemd that takes root's key as a credential, and credentials over SMBIOS (its NEWS).
const CREDENTIALS_SINCE: u32 = 252;
/// The credential that puts a key into root's authorized_keys (systemd.system-credentials(7)).
const CREDENTIAL: &str = "ssh.authorized_keys.root";
/// Folders in which distributions keep systemd's own library, whose name has its version, next to Debian's multiarch one.
const LIBRARIES: [&str; 3] = ["/usr/lib/systemd", "/lib/systemd", "/usr/lib64/systemd"];

/// What can be seen of a guest while it is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// Its file system is not ext: nothing.
    Closed,
    /// A systemd, and whether there is an sshd.
    Systemd { version: u32, has_sshd: bool },
    /// No systemd.
    Other,
}

impl Inside {
    /// Looks at the root file system that begins at `offset` of a raw disk.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn look(raw: &Path, offset: u64, hardware: &Hardware, cancel: &Cancel) -> Result<Self, DiskError> {
        if disk::probe(raw, offset)? != FileSystem::Ext {
            return Ok(Self::Closed);
        }
        let mut names = Vec::new();
        let multiarch = format!("/usr/lib/{}/systemd", hardware.library_triplet);
        for folder in LIBRARIES.into_iter().chain([multiarch.as_str()]) {
            names.extend(disk::list(raw, offset, folder, cancel)?);
        }
        let Some(version) = names.iter().find_map(|name| version(name)) else {
            return Ok(Self::Other);
        };
        let programs = disk::list(raw, offset, "/usr/sbin", cancel)?;
        let has_sshd = programs.iter().any(|name| name == "sshd");
        Ok(Self::Systemd { version, has_sshd })
    }

    /// Whether a key of root's can be given to it from outside.
    pub fn takes_credentials(self) -> bool {
        matches!(self, Self::Systemd { version, has_sshd: true } if version >= CREDENTIALS_SINCE)
    }
}

/// The credential that lets a key in as root. `comment` names it: it is no trace of a build.
pub fn root_key(key: &Key, comment: &str) -> (String, String) {
    (CREDENTIAL.to_owned(), authorized(key, comment))
}

/// A key's line in authorized_keys, under a name of its own.
pub fn authorized(key: &Key, comment: &str) -> String {
    let words: Vec<_> = key.public().split(' ').take(2).collect();
    format!("{} {comment}", words.join(" "))
}

/// The version in `libsystemd-shared-252.so`, or `libsystemd-shared-255.4-1ubuntu8.so`.
fn version(name: &str) -> Option<u32> {
    let rest = name.strip_prefix("libsystemd-shared-")?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .map_or(rest, |end| &rest[..end]);
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_tells_its_version_by_its_library() {
        assert_eq!(version("libsystemd-shared-252.so"), Some(252));
        assert_eq!(version("libsystemd-shared-255.4-1ubuntu8.so"), Some(255));
        assert_eq!(version("libsystemd-core-252.so"), None);
    }
}
