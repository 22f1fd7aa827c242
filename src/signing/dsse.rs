//! Envelopes for signed documents (DSSE 1.0): raw Ed25519 signatures over the type and the bytes of a payload, which any
//! verifier of envelopes knows. Signatures of OpenPGP and of `ssh-keygen` have forms of their own, which none reads.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// Length of a public key of Ed25519.
pub(super) const PUBLIC: usize = 32;

/// A document with its signatures.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    payload_type: String,
    /// In base64.
    payload: String,
    signatures: Vec<EnvelopeSignature>,
}

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnvelopeSignature {
    /// Names the key; nothing is believed for it.
    #[serde(default)]
    pub keyid: String,
    /// In base64.
    sig: String,
}

impl Envelope {
    /// A document without signatures.
    pub fn new(payload_type: &str, payload: &[u8]) -> Self {
        Self {
            payload_type: payload_type.to_owned(),
            payload: BASE64_STANDARD.encode(payload),
            signatures: Vec::new(),
        }
    }

    /// The document, where it is one of this type.
    pub fn payload(&self, payload_type: &str) -> Option<Vec<u8>> {
        let is_it = self.payload_type == payload_type;
        BASE64_STANDARD.decode(&self.payload).ok().filter(|_| is_it)
    }

    /// Its signatures.
    pub fn signatures(&self) -> &[EnvelopeSignature] {
        &self.signatures
    }

    /// What is signed: the "pre-authentication encoding" of the protocol.
    pub(super) fn signed(&self) -> Vec<u8> {
        let payload = BASE64_STANDARD.decode(&self.payload).unwrap_or_default();
        let kind = &self.payload_type;
        let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
        bytes.extend(payload);
        bytes
    }

    /// Adds a signature of [`Envelope::signed`].
    pub(super) fn add(&mut self, keyid: String, signature: &[u8]) {
        let sig = BASE64_STANDARD.encode(signature);
        self.signatures.push(EnvelopeSignature { keyid, sig });
    }

    /// Whether a signature of it is by this key.
    pub(super) fn is_by(&self, signature: &EnvelopeSignature, public: &[u8]) -> bool {
        let sig = BASE64_STANDARD.decode(&signature.sig).unwrap_or_default();
        let key = UnparsedPublicKey::new(&ED25519, public);
        key.verify(&self.signed(), &sig).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_the_example_of_the_protocol() {
        let envelope = Envelope::new("http://example.com/HelloWorld", b"hello world");
        let signed = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(envelope.signed(), signed);
        assert_eq!(
            envelope.payload("http://example.com/HelloWorld").unwrap(),
            b"hello world"
        );
        assert_eq!(envelope.payload("other"), None);
    }
}
