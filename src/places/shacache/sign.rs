//! Signatures of shadir entries: RSASSA-PKCS1-v1_5 with SHA-1 (RFC 8017 §8.2), which is what every client verifies. Knows
//! PEM files, keys and certificates; nothing of what is signed.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rsa::PrivateKey;
use rsa::pkcs1::{DecodeRsaPrivateKey as _, EncodeRsaPublicKey as _};
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::signature::{SignatureEncoding as _, Signer as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha1::Sha1;
use x509_cert::der::Decode as _;

use crate::host::fs::read_small;

/// Most bytes read of a key file.
const LARGEST: u64 = 1 << 20;

/// Why nothing can be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The file cannot be read.
    #[error("{} cannot be read ({detail}); check signature-private-key-file and who may read it", path.display())]
    Unreadable { path: PathBuf, detail: String },
    #[error(
        "{} holds no RSA private key in PEM form ({detail}); the format wants RSA: openssl genrsa -out signature.key 2048",
        path.display()
    )]
    NotRsa { path: PathBuf, detail: String },
    /// The arithmetic failed.
    #[error("cannot sign with {}: {detail}; is the key damaged?", path.display())]
    Failed {
        /// The key's file.
        path: PathBuf,
        detail: String,
    },
}

/// Signs with one key.
pub struct Signer {
    path: PathBuf,
    key: SigningKey<Sha1>,
    /// The public half (PKCS#1 DER), to find its certificate by.
    public: Vec<u8>,
}

impl std::fmt::Debug for Signer {
    /// Never the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads a private key.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn read(path: &Path) -> Result<Self, SignError> {
        let pem = read_small(path, LARGEST).map_err(|error| SignError::Unreadable {
            path: path.to_owned(),
            detail: error.to_string(),
        })?;
        let not_rsa = |detail: String| SignError::NotRsa {
            path: path.to_owned(),
            detail,
        };
        let key = match PrivateKeyDer::from_pem_slice(&pem) {
            Ok(PrivateKeyDer::Pkcs1(der)) => {
                PrivateKey::from_pkcs1_der(der.secret_pkcs1_der()).map_err(|error| error.to_string())
            }
            Ok(PrivateKeyDer::Pkcs8(der)) => {
                PrivateKey::from_pkcs8_der(der.secret_pkcs8_der()).map_err(|error| error.to_string())
            }
            Ok(_) => Err("it is a key of another kind".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let key = key.map_err(not_rsa)?;
        let public = key
            .to_public_key()
            .to_pkcs1_der()
            .map_err(|error| not_rsa(error.to_string()))?
            .as_bytes()
            .to_vec();
        Ok(Self {
            path: path.to_owned(),
            key: SigningKey::new(key),
            public,
        })
    }

    /// Signs a text; gives base64 in one line.
    ///
    /// # Errors
    /// [`SignError::Failed`].
    pub fn sign(&self, text: &str) -> Result<String, SignError> {
        let signature = self
            .key
            .try_sign(text.as_bytes())
            .map_err(|error| SignError::Failed {
                path: self.path.clone(),
                detail: error.to_string(),
            })?;
        Ok(BASE64_STANDARD.encode(signature.to_bytes()))
    }

    /// The key's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether one of some certificates in PEM form holds the public half. Only the key counts: neither dates nor names
    /// are looked at, as no client does, and what cannot be read is passed over.
    pub fn is_certified_by(&self, pem: &str) -> bool {
        CertificateDer::pem_slice_iter(pem.as_bytes())
            .filter_map(Result::ok)
            .filter_map(|der| x509_cert::Certificate::from_der(&der).ok())
            .any(|certificate| {
                let key = certificate.tbs_certificate().subject_public_key_info();
                key.subject_public_key.raw_bytes() == self.public
            })
    }
}
