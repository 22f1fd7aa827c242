//! A bill of materials as CycloneDX 1.6 in JSON (cyclonedx.org/docs/1.6/json).

use serde_json::{Value, json};

use super::{Inside, Subject};

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
            "component": {
                "type": "operating-system",
                "bom-ref": "system",
                "name": subject.name,
                "version": inside.os_name(),
            },
        },
        "components": components,
    })
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
