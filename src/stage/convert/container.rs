//! A container image with a disk in it, as KubeVirt starts it: an OCI layout in a tar archive, which registries' clients read
//! (`oci-archive:` of skopeo and podman).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::tar::{self, Member};
use crate::digest::{Algorithm, Hasher, sha256_hex};

/// The user that QEMU is in KubeVirt's containers.
const QEMU: u32 = 107;
/// Version of image layouts.
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// Writes the archive; says at which byte of it the disk begins.
pub(super) fn write(disk: &Path, bytes: u64, arch: &str, to: &Path) -> io::Result<u64> {
    let inside = Member {
        mode: 0o440,
        uid: QEMU,
        gid: QEMU,
        ..Member::file("disk/disk.qcow2", bytes)
    };
    let folder = Member {
        name: b"disk/",
        kind: tar::FOLDER,
        mode: 0o555,
        bytes: 0,
        ..inside
    };
    let layer_bytes = folder.all() + inside.all() + tar::END;
    let mut digest = Digesting(Hasher::new(Algorithm::Sha256));
    write_layer(&mut digest, [&folder, &inside], disk)?;
    let layer = digest.0.finish().hex;
    let sha256 = |hex: &str| format!("sha256:{hex}");
    let config = json!({
        "architecture": arch,
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": [sha256(&layer)] },
    });
    let config = config.to_string();
    let descriptor = |kind: &str, hex: &str, size: u64| -> Value {
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": sha256(hex),
            "size": size,
        })
    };
    let config_hex = sha256_hex(config.as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &config_hex, config.len() as u64),
        "layers": [descriptor("layer.v1.tar", &layer, layer_bytes)],
    });
    let manifest = manifest.to_string();
    let manifest_hex = sha256_hex(manifest.as_bytes());
    let index = json!({
        "schemaVersion": 2,
        "manifests": [descriptor("manifest.v1+json", &manifest_hex, manifest.len() as u64)],
    });
    let blob = |hex: &str| format!("blobs/sha256/{hex}");
    let texts = [
        ("oci-layout".to_owned(), LAYOUT.to_owned()),
        ("index.json".to_owned(), index.to_string()),
        (blob(&manifest_hex), manifest),
        (blob(&config_hex), config),
    ];
    let mut out = BufWriter::new(File::create(to)?);
    let at = tar::write_texts(&mut out, &texts)?;
    let name = blob(&layer);
    let member = Member::file(&name, layer_bytes);
    out.write_all(&member.header())?;
    write_layer(&mut out, [&folder, &inside], disk)?;
    tar::end(&mut out)?;
    out.into_inner()?;
    let headers = member.header().len() + inside.header().len();
    Ok(at + headers as u64 + folder.all())
}

/// The layer: a folder, and the disk in it. It fills blocks, so that nothing is behind it.
fn write_layer(to: &mut impl Write, [folder, inside]: [&Member<'_>; 2], disk: &Path) -> io::Result<()> {
    tar::write(to, folder, &[])?;
    tar::write_file(to, inside, disk)?;
    tar::end(to)
}

/// What is written is hashed.
struct Digesting(Hasher);

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
