//! Files that are on this host already: read once, hashed on the way. Knows nothing of the network.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::error::{Fault, FetchError, Reason};
use crate::host::cancel::Cancel;

/// Bytes read at once.
const BLOCK: usize = 1024 * 1024;

/// The file that a source names, when it names one on this host: a `file://` URL (RFC 8089) or a plain path.
pub(super) fn path_of(source: &str) -> Option<PathBuf> {
    if let Some(rest) = source.strip_prefix("file:") {
        let path = match rest.strip_prefix("//") {
            Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
            None => rest,
        };
        return Some(PathBuf::from(OsString::from_vec(
            percent_decode_str(path).collect(),
        )));
    }
    (!source.contains("://")).then(|| PathBuf::from(source))
}

/// Reads a file to its end, block by block, until it is asked to stop.
pub(super) fn read(
    path: &Path,
    cancel: &Cancel,
    mut take: impl FnMut(&[u8], u64) -> Result<(), FetchError>,
) -> Result<(), Fault> {
    let local = |e| Fault::Source(Reason::Local(e));
    let mut file = File::open(path).map_err(local)?;
    let size = file.metadata().map_err(local)?.len();
    let mut buffer = vec![0; BLOCK];
    loop {
        if cancel.is_cancelled() {
            return Err(Fault::Fatal(FetchError::Cancelled));
        }
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&buffer[..count], size).map_err(Fault::Fatal)?,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(local(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_on_this_host() {
        let path = |text| path_of(text).map(|p| p.display().to_string());
        assert_eq!(path("/a/b").as_deref(), Some("/a/b"));
        assert_eq!(path("file:///a/b%20c").as_deref(), Some("/a/b c"));
        assert_eq!(path("file://localhost/a").as_deref(), Some("/a"));
        assert_eq!(path("images/a.qcow2").as_deref(), Some("images/a.qcow2"));
        assert_eq!(path("http://mirror/a"), None);
    }
}
