//! The lock as a file: TOML in a stable order, made for version control.

use std::path::{Path, PathBuf};

use miette::{Diagnostic, NamedSource, SourceSpan};
use serde::{Deserialize, Serialize};

use super::{Archive, Lock, Medium};

/// The version of the form that is written here.
const VERSION: u32 = 1;
/// What stands first in the file.
const HEAD: &str = "# Which state of package archives and of publishers' lists the images are built from.\n\
    # Made by `pipeline run`, moved by `pipeline update`. Keep it in version control.\n";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default, rename = "archive", skip_serializing_if = "Vec::is_empty")]
    archives: Vec<Archive>,
    #[serde(default, rename = "medium", skip_serializing_if = "Vec::is_empty")]
    media: Vec<Medium>,
}

/// Only the version, whatever else another version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Why a lock cannot be read.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum LockFileError {
    #[error("the lock {} cannot be read: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: std::io::Error },
    /// Not a lock, or one that was edited by hand.
    #[error("the lock {path} is damaged: {cause}")]
    #[diagnostic(help(
        "correct it (conflict markers of a merge?), or take it from version control; `pipeline update` makes a new one once \
         the file is removed"
    ))]
    Damaged {
        path: String,
        cause: String,
        #[source_code]
        text: NamedSource<String>,
        #[label("here")]
        place: Option<SourceSpan>,
    },
    #[error("the lock {path} has the form {found}, and this version of pipeline reads {VERSION}")]
    #[diagnostic(help(
        "use the version of pipeline that made it, or remove the file and run `pipeline update`"
    ))]
    OtherVersion { path: String, found: u32 },
}

/// The lock of a manifest: next to it, under its stem.
pub fn path_of(manifest: &Path) -> PathBuf {
    manifest.with_extension("lock")
}

/// Reads a lock. An empty text is a lock without entries.
///
/// # Errors
/// [`LockFileError::Damaged`], [`LockFileError::OtherVersion`].
pub fn read(path: &Path, text: &str) -> Result<Lock, LockFileError> {
    if text.trim().is_empty() {
        return Ok(Lock::default());
    }
    let damaged = |error: toml_edit::de::Error| LockFileError::Damaged {
        path: path.display().to_string(),
        cause: error.message().trim().replace('\n', "; "),
        text: NamedSource::new(path.display().to_string(), text.to_owned()),
        place: error.span().map(Into::into),
    };
    let Version { version } = toml_edit::de::from_str(text).map_err(damaged)?;
    if version != VERSION {
        let path = path.display().to_string();
        return Err(LockFileError::OtherVersion { path, found: version });
    }
    let file: File = toml_edit::de::from_str(text).map_err(damaged)?;
    Ok(Lock {
        archives: file.archives,
        media: file.media,
    })
}

/// The text of a lock.
pub fn write(lock: &Lock) -> String {
    let mut file = File {
        version: VERSION,
        archives: lock.archives.clone(),
        media: lock.media.clone(),
    };
    file.archives
        .sort_by_cached_key(|one| (one.distro.clone(), one.guest, one.name()));
    file.media
        .sort_by(|a, b| (&a.distro, &a.role).cmp(&(&b.distro, &b.role)));
    let text = toml_edit::ser::to_string_pretty(&file);
    format!(
        "{HEAD}\n{}",
        text.expect("names, texts, numbers and lists of them are TOML")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_read_as_it_was_written_and_its_mistakes_have_places() {
        let archive = |distro: &str, suite: &str| Archive {
            distro: distro.to_owned(),
            suite: suite.to_owned(),
            guest: false,
            url: "http://mirror.example/debian".to_owned(),
            date: "2026-11-28T20:12:33Z".parse().unwrap(),
            sha256: "ab".repeat(32),
            signed_by: vec!["F00".to_owned()],
        };
        let medium = Medium {
            distro: "alma".to_owned(),
            role: "iso".to_owned(),
            source: "https://a.example/CHECKSUM".to_owned(),
            urls: vec!["https://a.example/a.iso".to_owned()],
            size: Some(7),
            sha256: Some("cd".repeat(32)),
            ..Medium::default()
        };
        let lock = Lock {
            archives: vec![archive("b", "x"), archive("a", "z"), archive("a", "y")],
            media: vec![medium],
        };
        let text = write(&lock);
        insta::assert_snapshot!(text);
        let again = read(Path::new("m.lock"), &text).unwrap();
        assert_eq!(write(&again), text);
        assert_eq!(again.media, lock.media);

        let error = |text: &str| read(Path::new("m.lock"), text).unwrap_err().to_string();
        assert!(error(&text.replace("suite", "siute")).contains("unknown field `siute`"));
        assert!(error("<<<<<<< ours\n").contains("m.lock is damaged"));
        assert!(error("version = 2\nnew = 1\n").contains("form 2"));
        assert_eq!(read(Path::new("m.lock"), "").unwrap(), Lock::default());
    }
}
