//! `shacache.cfg`: which keys there are, which an upload needs, and what the reference client passes over in silence, which
//! is reported here. Opens none of the files that it names; how lines become values is `ini`'s.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ini::{Section, interpolate, section};
use super::sign::Signer;
use crate::host::fs::read_small;
use crate::host::http::{Tls, TlsFileError};

/// The only section that counts.
const SECTION: &str = "networkcache";
/// Most bytes read of the file. A list of a hundred certificates has a fifth of that.
const LARGEST: u64 = 1 << 20;
/// Every key that the reference client reads.
const KEYS: [&str; 12] = [
    "download-cache-url",
    "download-dir-url",
    "upload-cache-url",
    "upload-dir-url",
    "signature-private-key-file",
    "signature-certificate-list",
    "shacache-ca-file",
    "shacache-cert-file",
    "shacache-key-file",
    "shadir-ca-file",
    "shadir-cert-file",
    "shadir-key-file",
];
/// Keys of another program that shares the file (slapgrid).
const FOREIGN: &str = "download-binary-";

/// What is wrong with a configuration, with its place and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {cause}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct ConfigError {
    pub path: PathBuf,
    /// Line, counted from 1, where the mistake has one.
    pub line: Option<usize>,
    /// What is wrong, and what to do.
    pub cause: String,
}

/// Trust and identity towards one of the two services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    ca: Option<PathBuf>,
    own: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// Reads them.
    ///
    /// # Errors
    /// [`TlsFileError`].
    pub fn load(&self) -> Result<Tls, TlsFileError> {
        let own = self
            .own
            .as_ref()
            .map(|(one, other)| (one.as_path(), other.as_path()));
        Tls::from_files(self.ca.as_deref(), own)
    }
}

/// A configuration that an upload can use. URLs have no slash at their end.
#[derive(Clone, Debug)]
pub struct Config {
    pub path: PathBuf,
    /// Where blobs are read.
    pub download_cache: String,
    /// Where blobs are sent.
    pub upload_cache: String,
    /// Where lists are read.
    pub download_directory: Option<String>,
    /// Where entries are sent.
    pub upload_directory: String,
    /// The key that signs entries.
    pub private_key: Option<PathBuf>,
    /// Certificates that a downloader accepts, in PEM form.
    pub certificates: String,
    /// Towards the blobs.
    pub cache_tls: TlsFiles,
    /// Towards the lists.
    pub directory_tls: TlsFiles,
    /// What is odd but stops nothing.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |cause: String| ConfigError {
            path: path.to_owned(),
            line: None,
            cause,
        };
        let bytes = read_small(path, LARGEST).map_err(|error| {
            unreadable(format!(
                "it cannot be read ({error}); name the shacache's configuration with `config = \"…\"`"
            ))
        })?;
        let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not text (UTF-8)".to_owned()))?;
        Self::parse(path, &text)
    }

    /// Makes sense of a text.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let fail = |line: Option<usize>, cause: String| ConfigError {
            path: path.to_owned(),
            line,
            cause,
        };
        let found = section(text, SECTION).map_err(|(line, cause)| fail(Some(line), cause))?;
        let Some(raw) = found else {
            return Err(fail(
                None,
                format!("it has no section [{SECTION}]; add that line above its keys"),
            ));
        };
        let mut values = BTreeMap::new();
        for (key, option) in &raw {
            let value = interpolate(&raw, &option.value);
            values.insert(
                key.as_str(),
                value.map_err(|cause| fail(Some(option.line), cause))?,
            );
        }
        let line = |key: &str| raw.get(key).map(|option| option.line);
        let get = |key: &str| {
            values
                .get(key)
                .map(String::as_str)
                .filter(|value| !value.is_empty())
        };
        let url = |key: &str| {
            get(key).map(|value| url(value).map_err(|cause| fail(line(key), format!("{key}: {cause}"))))
        };
        let need = |key: &str, what: &str| {
            url(key).unwrap_or_else(|| {
                Err(fail(
                    line(key),
                    format!("`{key}` is missing: {what}; add: {key} = https://…"),
                ))
            })
        };
        let tls = |service: &str| {
            let file = |what: &str| get(&format!("{service}-{what}-file")).map(PathBuf::from);
            let own = match (file("cert"), file("key")) {
                (Some(certificate), Some(key)) => Some((certificate, key)),
                (None, None) => None,
                (Some(_), None) => {
                    let cause =
                        format!("{service}-cert-file is of no use without {service}-key-file; add that line");
                    return Err(fail(line(&format!("{service}-cert-file")), cause));
                }
                (None, Some(_)) => {
                    let cause =
                        format!("{service}-key-file is of no use without {service}-cert-file; add that line");
                    return Err(fail(line(&format!("{service}-key-file")), cause));
                }
            };
            Ok(TlsFiles { ca: file("ca"), own })
        };
        let mut config = Self {
            path: path.to_owned(),
            download_cache: need(
                "download-cache-url",
                "it tells where images are read, and whether they are there",
            )?,
            upload_cache: need("upload-cache-url", "it tells where images are sent")?,
            upload_directory: need("upload-dir-url", "it tells where images are listed")?,
            download_directory: url("download-dir-url").transpose()?,
            private_key: get("signature-private-key-file").map(PathBuf::from),
            certificates: get("signature-certificate-list")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            cache_tls: tls("shacache")?,
            directory_tls: tls("shadir")?,
            warnings: Vec::new(),
        };
        config.warn(&raw);
        Ok(config)
    }

    fn warn(&mut self, raw: &Section) {
        let shown = self.path.display();
        for (key, option) in raw {
            if KEYS.contains(&key.as_str()) || key.starts_with(FOREIGN) || option.by_default {
                continue;
            }
            let hyphens = key.replace('_', "-");
            let meant = KEYS.iter().find(|known| **known == hyphens);
            let remedy = match meant {
                Some(known) => format!("it is spelled `{known}`"),
                None => "take it out, or correct its name".to_owned(),
            };
            let line = option.line;
            self.warnings
                .push(format!("{shown}:{line}: the key `{key}` is not read; {remedy}"));
        }
        if self.private_key.is_none() {
            self.warnings.push(format!(
                "{shown}: no `signature-private-key-file`, so entries are listed unsigned, and downloaders that \
                 verify will not see them"
            ));
        }
    }

    /// Whether a downloader with this configuration would accept what the key signs; asked only where lists can be
    /// read, as the reference client does.
    ///
    /// # Errors
    /// [`ConfigError`] when no certificate of the list is the key's.
    pub fn check_signer(&self, signer: &Signer) -> Result<(), ConfigError> {
        if self.download_directory.is_none() || signer.is_certified_by(&self.certificates) {
            return Ok(());
        }
        Err(ConfigError {
            path: self.path.clone(),
            line: None,
            cause: format!(
                "no certificate in signature-certificate-list belongs to {}; add the one that was made with it, \
                 indented below that key",
                signer.path().display()
            ),
        })
    }
}

fn url(value: &str) -> Result<String, String> {
    let rest = value
        .strip_prefix("https://")
        .or_else(|| value.strip_prefix("http://"));
    let host = rest
        .and_then(|rest| rest.split(['/', '?', '#']).next())
        .unwrap_or_default();
    if host.is_empty() || value.contains(char::is_whitespace) {
        return Err(format!("`{value}` is not an http:// or https:// URL"));
    }
    if host.contains('@') {
        return Err("a user in the URL is not understood by the reference client; \
            write access is a matter of the client certificate"
            .to_owned());
    }
    // The reference client drops a query.
    let value = value.split(['?', '#']).next().unwrap_or_default();
    Ok(value.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../../../tests/golden/shacache/shacache.cfg");
    const URLS: &str = "[networkcache]\ndownload-cache-url = http://a/shacache\nupload-cache-url: http://a/up/\n\
        upload-dir-url=http://a/dir\n";

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("s.cfg"), text)
    }

    fn refused(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_usual_file_is_read_without_a_word() {
        let config = parse(GOLDEN).unwrap();
        assert_eq!(config.download_cache, "http://127.0.0.1:18081/shacache");
        assert_eq!(
            config.download_directory.as_deref(),
            Some("http://127.0.0.1:18081/shadir")
        );
        assert_eq!(config.private_key.as_deref(), Some(Path::new("signature.key")));
        assert!(config.certificates.contains("\n-----END CERTIFICATE-----"));
        assert_eq!(config.warnings, [""; 0]);
    }

    #[test]
    fn the_misspelt_key_is_told_by_name() {
        let text = GOLDEN.replace("signature-private-key-file", "signature_private_key_file");
        let warnings = parse(&text).unwrap().warnings;
        assert_eq!(
            warnings[0],
            "s.cfg:6: the key `signature_private_key_file` is not read; it is spelled `signature-private-key-file`"
        );
        assert!(warnings[1].contains("listed unsigned"), "{warnings:?}");
        let other = format!(
            "{URLS}signature-private-key-file = k\nsignature-certificate-file = c\ndownload-binary-dir-url = u\n"
        );
        assert_eq!(
            parse(&other).unwrap().warnings,
            ["s.cfg:6: the key `signature-certificate-file` is not read; take it out, or correct its name"]
        );
    }

    /// Each was tried with CPython's configparser.
    #[test]
    fn lines_are_read_as_configparser_reads_them() {
        let text = format!(
            "# c\n[DEFAULT]\nbase = http://b\n{URLS}  ; dropped inside a value\nDownload-Dir-URL = %(base)s/x%%20 # kept\n\
             signature-certificate-list =\n  one\n\n # gone\n\ttwo\n"
        );
        let error = parse(&text).unwrap_err();
        assert!(error.cause.contains("http://b/x%20 # kept"), "{error}");
        let text = text.replace(" # kept", "/");
        let config = parse(&text).unwrap();
        assert_eq!(config.upload_cache, "http://a/up");
        assert_eq!(config.download_directory.as_deref(), Some("http://b/x%20"));
        assert_eq!(config.certificates, "one\n\ntwo");
    }

    #[test]
    fn a_url_has_a_host() {
        for url in ["http:///x", "http://?x", "https://#x"] {
            let text = URLS.replace("http://a/dir", url);
            assert!(
                refused(&text).contains("is not an http:// or https:// URL"),
                "{url}"
            );
        }
    }

    #[test]
    fn values_made_of_values_stay_bounded() {
        let mut text = format!("{URLS}k0 = x\n");
        for level in 1..10 {
            let before = format!("%(k{})s", level - 1);
            text.push_str(&format!("k{level} = {}\n", before.repeat(10)));
        }
        assert!(
            refused(&text).contains("larger than any value"),
            "{}",
            refused(&text)
        );
    }

    #[test]
    fn mistakes_are_told_with_their_line_and_what_to_do() {
        for (text, said) in [
            ("", "s.cfg: it has no section [networkcache]"),
            ("a = 1\n", "s.cfg:1: this line is above the first section"),
            ("[networkcache]\n", "`download-cache-url` is missing"),
            (
                &format!("{URLS}upload-dir-url = x\n"),
                "s.cfg:5: the key `upload-dir-url` is there twice",
            ),
            (&format!("{URLS}x = 50%\n"), "s.cfg:5: a `%` stands alone"),
            (&format!("{URLS}x = %(y)s\n"), "s.cfg:5: `%(y)s` names no key"),
            (
                &format!("{URLS}signature-certificate-list =\n-----BEGIN CERTIFICATE-----\n"),
                "s.cfg:6: this is neither a key nor the rest of a value; lines of a certificate must be indented",
            ),
            (
                &format!("{URLS}shacache-cert-file = c\n"),
                "s.cfg:5: shacache-cert-file is of no use without",
            ),
            (
                &URLS.replace("a/dir", "u:p@a/dir"),
                "s.cfg:4: upload-dir-url: a user in the URL",
            ),
            (&format!("{URLS}[networkcache]\n"), "is there twice"),
        ] {
            let why = refused(text);
            assert!(why.contains(said), "{why}\n{text}");
        }
    }
}
