//! A bill of materials as CycloneDX 1.6 in JSON (cyclonedx.org/docs/1.6/json).

use serde_json::{Value, json};

use super::{Inside, Subject};
use crate::digest::{Algorithm, Digest};

/// The document. Equal builds give equal bytes.
pub fn cyclonedx(inside: &Inside, subject: Subject<'_>) -> Value {
    let component = |package: &super::Package| {
        let purl = inside.purl(package);
        let mut component = json!({
            "type": "library",
            "bom-ref": purl,
            "name": package.name,
            "version": package.version,
            "purl": purl,
        });
        if !package.licence.is_empty() {
            component["licenses"] = json!([{ "license": { "name": package.licence } }]);
        }
        component
    };
    let mut system = json!({
        "type": "operating-system",
        "bom-ref": "system",
        "name": subject.name,
        "version": inside.os_name(),
    });
    if let Some(file) = subject.file {
        let hash = |digest: &Digest| json!({ "alg": algorithm(digest.algorithm), "content": digest.hex });
        system["hashes"] = file.digests.iter().map(hash).collect();
        system["properties"] = json!([{ "name": "pipeline:file", "value": file.name }]);
    }
    let components: Vec<_> = inside.packages.iter().map(component).collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid(subject.key)),
        "version": 1,
        "metadata": {
            "timestamp": subject.created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "tools": { "components": [{
                "type": "application", "name": "pipeline", "version": env!("CARGO_PKG_VERSION"),
            }] },
            "component": system,
        },
        "components": components,
    })
}

fn algorithm(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Md5 => "MD5",
        Algorithm::Sha256 => "SHA-256",
        Algorithm::Sha512 => "SHA-512",
    }
}

/// The first digits of a key, as a UUID of version 8 (RFC 9562 §5.8): one that the vendor makes.
fn uuid(key: &str) -> String {
    let digits = |from: usize, to: usize| key.get(from..to).unwrap_or("0");
    format!(
        "{}-{}-8{}-8{}-{}",
        digits(0, 8),
        digits(8, 12),
        digits(13, 16),
        digits(17, 20),
        digits(20, 32)
    )
}
