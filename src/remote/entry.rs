//! A result's record as it is in the remote store: the text of the record, and a signature over that text. What is read
//! there was written by whoever can write there, so nothing of it is used before all of it was looked at.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::error::RemoteError;
use super::sign::{PublicKey, SignKey};
use crate::digest::{Algorithm, Digest};
use crate::key;
use crate::store::{Address, FileRecord, Record};

/// Format revision of the envelope.
const VERSION: u32 = 1;
/// Stands before what is signed, so that a signature made for anything else is none for an entry.
const CONTEXT: &str = "pipeline remote entry 1\n";

/// The file `entry.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    version: u32,
    /// Public key of the signer.
    signer: String,
    /// Signature over [`CONTEXT`] and `entry`, in base64.
    signature: String,
    /// The record, as JSON.
    entry: String,
}

/// Why an entry is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    #[error("it is not an entry, or not all of one")]
    NotOne,
    #[error("it is in another format (version {0})")]
    OtherVersion(u32),
    #[error("it is signed by {0}, which is not trusted here")]
    Unknown(String),
    #[error("its signature is wrong")]
    WrongSignature,
    #[error("it is the entry of another result")]
    Foreign,
    #[error("its key is not that of its inputs")]
    WrongKey,
    #[error("it names the file `{0}`, which no result has")]
    BadName(String),
    #[error("its file `{0}` has no digest by SHA-256")]
    NoDigest(String),
}

/// Writes and signs an entry.
pub(super) fn seal(record: &Record, key: &SignKey) -> Result<Vec<u8>, RemoteError> {
    let written =
        |error: serde_json::Error| RemoteError::Damaged(format!("the entry cannot be written: {error}"));
    let entry = serde_json::to_string(record).map_err(written)?;
    let envelope = Envelope {
        version: VERSION,
        signer: key.public().to_string(),
        signature: BASE64_STANDARD.encode(key.sign(&signed(&entry))),
        entry,
    };
    serde_json::to_vec(&envelope).map_err(written)
}

/// Reads the entry of a result.
///
/// # Errors
/// Why it is not used.
pub(super) fn open(bytes: &[u8], address: &Address, trust: &[PublicKey]) -> Result<Record, Distrust> {
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(|_| Distrust::NotOne)?;
    if envelope.version != VERSION {
        return Err(Distrust::OtherVersion(envelope.version));
    }
    let mut trusted = trust.iter();
    let signer = trusted
        .find(|key| key.to_string() == envelope.signer)
        .ok_or_else(|| Distrust::Unknown(plain(&envelope.signer)))?;
    let signature = BASE64_STANDARD
        .decode(&envelope.signature)
        .map_err(|_| Distrust::WrongSignature)?;
    if !signer.verifies(&signed(&envelope.entry), &signature) {
        return Err(Distrust::WrongSignature);
    }
    // From here on a trusted host speaks, which may still have made a mistake.
    let record: Record = serde_json::from_str(&envelope.entry).map_err(|_| Distrust::NotOne)?;
    if !record.is_current() {
        return Err(Distrust::OtherVersion(record.version));
    }
    if record.stage != address.stage || record.key != address.key {
        return Err(Distrust::Foreign);
    }
    if key::of(&record.inputs) != record.key {
        return Err(Distrust::WrongKey);
    }
    if let Some(name) = record.bad_name() {
        return Err(Distrust::BadName(name.to_owned()));
    }
    if let Some((name, _)) = record.files.iter().find(|(_, file)| sha256(file).is_none()) {
        return Err(Distrust::NoDigest(name.clone()));
    }
    Ok(record)
}

/// What an entry says of itself, whoever wrote it: its signer, and its record where that can be read. Proves nothing.
pub(super) fn claimed(bytes: &[u8]) -> Option<(String, Option<Record>)> {
    let envelope: Envelope = serde_json::from_slice(bytes).ok()?;
    let record: Option<Record> = serde_json::from_str(&envelope.entry).ok();
    Some((
        plain(&envelope.signer),
        record.filter(|record| envelope.version == VERSION && record.is_current()),
    ))
}

/// The beginning of a text of others, as it may be shown.
fn plain(text: &str) -> String {
    text.chars().take(60).filter(|c| !c.is_control()).collect()
}

fn signed(entry: &str) -> Vec<u8> {
    format!("{CONTEXT}{entry}").into_bytes()
}

/// The digest that a file is stored by.
pub(super) fn sha256(file: &FileRecord) -> Option<&Digest> {
    file.digests
        .iter()
        .find(|digest| digest.algorithm == Algorithm::Sha256)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn keys() -> (SignKey, SignKey) {
        let folder = tempfile::tempdir().unwrap();
        let key = |name: &str| SignKey::make(&folder.path().join(name)).unwrap();
        (key("ours"), key("other"))
    }

    fn record() -> Value {
        let inputs = json!({"stage": "package", "revision": 1, "disk": "abc"});
        json!({
            "version": 1, "stage": "package", "key": key::of(&inputs), "inputs": inputs,
            "created": "2026-11-29T10:00:00Z", "seconds": 1.5, "facts": {},
            "files": { "image": { "bytes": 3, "digests": [format!("sha256:{}", crate::digest::sha256_hex(b"abc"))] } },
        })
    }

    fn sealed(record: &Value, key: &SignKey) -> Value {
        let entry = record.to_string();
        let signature = BASE64_STANDARD.encode(key.sign(&signed(&entry)));
        json!({ "version": 1, "signer": key.public().to_string(), "signature": signature, "entry": entry })
    }

    /// Records that a trusted host could sign by mistake.
    fn mistaken() -> Vec<(String, Value)> {
        let mut all = Vec::new();
        let changes: &[(&str, Value)] = &[
            ("/version", json!(2)),
            ("/stage", json!("install")),
            ("/stage", json!("../package")),
            ("/key", json!("0".repeat(64))),
            ("/key", json!("")),
            ("/inputs", json!({})),
            ("/inputs/disk", json!("abd")),
            ("/inputs/revision", json!(2)),
            ("/created", json!("yesterday")),
            ("/seconds", json!("long")),
            ("/files/image/bytes", json!(-1)),
            ("/files/image/bytes", json!("3")),
            ("/files/image/digests", json!([])),
            ("/files/image/digests", json!([format!("md5:{}", "0".repeat(32))])),
            ("/files/image/digests", json!(["sha256:00"])),
            ("/files/image", Value::Null),
            ("/files", json!([])),
            ("/files", Value::Null),
        ];
        for (place, value) in changes {
            let mut record = record();
            *record.pointer_mut(place).unwrap() = value.clone();
            all.push((format!("{place} {value}"), record));
        }
        for name in [
            "",
            ".",
            "..",
            "../disk",
            "a/b",
            "/etc/passwd",
            ".hidden",
            "entry.json",
            "read-back.json",
            "a\0b",
        ] {
            let mut record = record();
            let file = record["files"]["image"].clone();
            record["files"] = json!({ name: file });
            all.push((format!("a file called {name:?}"), record));
        }
        all
    }

    /// What whoever can write into the store could leave there instead of an entry, and what a trusted host could by mistake.
    #[test]
    fn an_entry_counts_only_as_it_was_signed_by_a_trusted_key_for_this_result() {
        let (ours, other) = keys();
        let address = Address::new("package", record()["key"].as_str().unwrap());
        let read = |bytes: &[u8]| open(bytes, &address, &[ours.public()]);
        let good = sealed(&record(), &ours);
        assert!(read(good.to_string().as_bytes()).is_ok());

        let mut poisoned: Vec<(String, Vec<u8>)> = Vec::new();
        let mut add =
            |what: &str, value: Value| poisoned.push((what.to_owned(), value.to_string().into_bytes()));
        for (member, values) in [
            ("version", [json!(0), json!(2), json!("1"), Value::Null]),
            (
                "signer",
                [
                    json!(""),
                    json!(other.public().to_string()),
                    json!(7),
                    Value::Null,
                ],
            ),
            ("signature", [json!(""), json!("!"), json!("AAAA"), Value::Null]),
            (
                "entry",
                [
                    json!(""),
                    json!("{}"),
                    json!(record().to_string() + " "),
                    Value::Null,
                ],
            ),
        ] {
            for value in values {
                let mut changed = good.clone();
                changed[member] = value;
                add(&format!("{member} {}", changed[member]), changed);
            }
            let mut without = good.clone();
            without.as_object_mut().unwrap().remove(member);
            add(&format!("no {member}"), without);
        }
        add("signed by another key", sealed(&record(), &other));
        let mut posing = sealed(&record(), &other);
        posing["signer"] = good["signer"].clone();
        add("another key that poses as ours", posing);
        let mut bare = good.clone();
        bare["signature"] =
            json!(BASE64_STANDARD.encode(ours.sign(good["entry"].as_str().unwrap().as_bytes())));
        add("a signature of the text alone", bare);
        let mut more = good.clone();
        more["more"] = json!(1);
        add("a member that nothing signs", more);
        add("the plain record", record());
        for (what, record) in mistaken() {
            add(&what, sealed(&record, &ours));
        }
        let whole = good.to_string().into_bytes();
        for part in [0, 1, whole.len() / 2, whole.len() - 1] {
            poisoned.push((format!("cut after {part}"), whole[..part].to_vec()));
        }
        poisoned.push(("twice".to_owned(), [whole.clone(), whole.clone()].concat()));
        poisoned.push(("a page".to_owned(), b"<html>please log in</html>".to_vec()));
        poisoned.push(("not text".to_owned(), vec![0xff; 100]));
        assert!(poisoned.len() >= 50, "{}", poisoned.len());
        for (what, bytes) in &poisoned {
            assert!(read(bytes).is_err(), "{what} was used");
        }
        let foreign = Address::new("check", &address.key);
        assert_eq!(
            open(&whole, &foreign, &[ours.public()]).unwrap_err(),
            Distrust::Foreign
        );
        assert!(matches!(
            open(&whole, &address, &[other.public()]),
            Err(Distrust::Unknown(_))
        ));
        assert!(open(&whole, &address, &[]).is_err());
    }

    #[test]
    fn keys_are_files_of_their_owner_and_are_not_written_over() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let made = SignKey::make(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(SignKey::read(&path).unwrap().public(), made.public());
        assert!(
            SignKey::make(&path)
                .unwrap_err()
                .to_string()
                .contains("another name")
        );
        std::fs::write(&path, "ssh-ed25519 AAAA").unwrap();
        assert!(
            SignKey::read(&path)
                .unwrap_err()
                .to_string()
                .contains("is not a signing key")
        );
        let text = made.public().to_string();
        assert_eq!(text.parse::<PublicKey>().unwrap(), made.public());
        assert!(text[..20].parse::<PublicKey>().is_err());
        assert!(!format!("{made:?}").contains("private"));
    }
}
