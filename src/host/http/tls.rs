//! Whom a client trusts and who it says it is, where that is not the host's own affair: a CA file, a certificate with its
//! key. Knows files in PEM; nothing of requests.

use std::fmt;
use std::path::{Path, PathBuf};

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

/// Most bytes read of a PEM file. A bundle of all public authorities has a quarter of that.
const LARGEST: u64 = 1 << 20;

/// Trust and identity of a client; by default the host's authorities, and no certificate.
#[derive(Clone, Default)]
pub struct Tls {
    roots: Option<RootCerts>,
    own: Option<ClientCert>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("own_roots", &self.roots.is_some())
            .field("own_certificate", &self.own.is_some())
            .finish()
    }
}

/// Why a PEM file is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFileError {
    /// It cannot be read.
    #[error("{} cannot be read ({detail}); check the path and who may read it", path.display())]
    Unreadable {
        path: PathBuf,
        /// What the system says.
        detail: String,
    },
    /// What is looked for is not in it.
    #[error("{} has no {wanted} in PEM form (-----BEGIN …-----){}", path.display(), detail_text(.detail))]
    Lacks {
        path: PathBuf,
        /// "certificate", "private key".
        wanted: &'static str,
        /// What the parser says, where it says something.
        detail: Option<String>,
    },
}

fn detail_text(detail: &Option<String>) -> String {
    detail
        .as_ref()
        .map_or_else(String::new, |text| format!(": {text}"))
}

impl Tls {
    /// Trusts only the authorities in `ca`, where one is given, and shows the certificate (with those above it) in
    /// the first file of `own`, whose key is in the second.
    ///
    /// # Errors
    /// [`TlsFileError`].
    pub fn from_files(ca: Option<&Path>, own: Option<(&Path, &Path)>) -> Result<Self, TlsFileError> {
        let roots = match ca {
            Some(path) => Some(RootCerts::new_with_certs(&certificates(path)?)),
            None => None,
        };
        let own = match own {
            Some((certificate, key)) => Some(ClientCert::new_with_certs(
                &certificates(certificate)?,
                private_key(key)?,
            )),
            None => None,
        };
        Ok(Self { roots, own })
    }

    pub(super) fn config(&self) -> TlsConfig {
        TlsConfig::builder()
            .root_certs(self.roots.clone().unwrap_or(RootCerts::PlatformVerifier))
            .client_cert(self.own.clone())
            .build()
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, TlsFileError> {
    let mut found = Vec::new();
    let mut detail = None;
    for item in parse_pem(&read(path)?) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => detail = Some(error.to_string()),
        }
    }
    if found.is_empty() || detail.is_some() {
        return Err(lacks(path, "certificate", detail));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKey<'static>, TlsFileError> {
    for item in parse_pem(&read(path)?) {
        match item {
            Ok(PemItem::PrivateKey(key)) => return Ok(key),
            Ok(_) => {}
            Err(error) => return Err(lacks(path, "private key", Some(error.to_string()))),
        }
    }
    Err(lacks(path, "private key", None))
}

fn lacks(path: &Path, wanted: &'static str, detail: Option<String>) -> TlsFileError {
    let path = path.to_owned();
    TlsFileError::Lacks { path, wanted, detail }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    crate::host::fs::read_small(path, LARGEST).map_err(|error| TlsFileError::Unreadable {
        path: path.to_owned(),
        detail: error.to_string(),
    })
}
