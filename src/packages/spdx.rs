//! A bill of materials as SPDX 2.3 in JSON (spdx.github.io/spdx-spec/v2.3).

use serde_json::{Value, json};

use super::{Inside, Subject};
use crate::digest::Digest;

/// What SPDX writes where nothing is known.
const UNKNOWN: &str = "NOASSERTION";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const SYSTEM: &str = "SPDXRef-System";

/// The document. Equal builds give equal bytes.
pub fn spdx(inside: &Inside, subject: Subject<'_>) -> Value {
    let mut system = json!({
        "SPDXID": SYSTEM,
        "name": subject.name,
        "versionInfo": inside.os_name(),
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
    });
    if let Some(file) = subject.file {
        let checksum = |digest: &Digest| {
            let algorithm = digest.algorithm.name().to_uppercase();
            json!({ "algorithm": algorithm, "checksumValue": digest.hex })
        };
        system["packageFileName"] = file.name.into();
        system["checksums"] = file.digests.iter().map(checksum).collect();
    }
    let mut packages = vec![system];
    let mut relations = vec![relation(DOCUMENT, "DESCRIBES", SYSTEM)];
    for (number, package) in inside.packages.iter().enumerate() {
        let id = format!("SPDXRef-Package-{}-{}", number + 1, id_part(&package.name));
        relations.push(relation(SYSTEM, "CONTAINS", &id));
        let mut entry = json!({
            "SPDXID": id,
            "name": package.name,
            "versionInfo": package.version,
            "downloadLocation": UNKNOWN,
            "filesAnalyzed": false,
            "licenseConcluded": UNKNOWN,
            "licenseDeclared": UNKNOWN,
            "copyrightText": UNKNOWN,
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": inside.purl(package),
            }],
        });
        // What a package's database says is seldom an expression of SPDX.
        if !package.licence.is_empty() {
            entry["licenseComments"] = format!("declared as: {}", package.licence).into();
        }
        if !package.source.is_empty() {
            entry["sourceInfo"] = format!("built from the source package {}", package.source).into();
        }
        packages.push(entry);
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": subject.name,
        "documentNamespace": format!("urn:pipeline:{}:{}", subject.name, subject.key),
        "creationInfo": {
            "created": subject.created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "creators": [format!("Tool: pipeline-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "relationships": relations,
    })
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

/// Identifiers have letters, digits, points and hyphens.
fn id_part(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c
        } else {
            '-'
        }
    };
    name.chars().map(plain).collect()
}
