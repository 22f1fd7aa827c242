//! Plans for tests: the facts that are not in a manifest have fixed values.

use super::{Inputs, Wanted, build};
use crate::lock::Lock;
use crate::manifest::model::Manifest;
use crate::platform::Platform;
use crate::stage::{Plan, install::Mirror};

/// One image of a disk, `tiny.raw`. The tables of a test follow it.
pub const TINY: &str = r#"
[distros.tiny]
family  = "debian"
version = "12"
source  = { disk = { path = "tiny.raw", user = "root" } }

[flavors.base]
steps = [{ inline = "true" }]

[[images]]
distro = "tiny"
flavor = "base"
sizes  = ["3G"]
"#;

/// All images of a manifest, with their checks and uploads.
pub fn planned(manifest: &Manifest) -> Plan {
    planned_on(manifest, &|_| false)
}

/// The same on a host that runs the programs of some platforms only in a machine.
pub fn planned_on(manifest: &Manifest, only_in_machine: &dyn Fn(Platform) -> bool) -> Plan {
    let mirrors = manifest.distros.iter().map(|distro| {
        let mirror = Mirror {
            uri: "http://mirror.invalid/debian".to_owned(),
            security: None,
        };
        (distro.name.clone(), mirror)
    });
    let inputs = Inputs {
        wanted: Wanted {
            checks: true,
            upload: true,
        },
        mirrors: &mirrors.collect(),
        lock: &Lock::default(),
        fingerprint: &|secret| format!("fingerprint of {secret:?}"),
        digest: &|_| format!("sha256:{}", "0".repeat(64)).parse().ok(),
        only_in_machine,
    };
    let selected: Vec<_> = (0..manifest.images.len()).collect();
    build(manifest, &selected, &inputs).unwrap_or_else(|error| panic!("{error}"))
}
