//! What catalogs at a place say of an image, and the file that describes its disk to LXD and Incus.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::digest::{Algorithm, Hasher, sha256_hex};
use crate::disk_format::Form;
use crate::host::cancel::Cancel;
use crate::manifest::model::{Compression, Distro, Image, Publish};
use crate::places::Target;
use crate::places::catalogs::{About, Catalog, simplestreams::METADATA};
use crate::places::versions::{List, Version, VersionFile};
use crate::platform::Start;
use crate::stage::convert::tar;
use crate::stage::error::StageError;
use crate::stage::part::Part;

/// Bytes read at once.
const BLOCK: usize = 1 << 20;

/// What catalogs say of an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listing {
    pub about: About,
    /// What each of its files is; none: a compressed one.
    forms: Vec<Option<Form>>,
    /// The file that LXD and Incus boot, where the place has a catalog for them.
    disk: Option<usize>,
}

impl Listing {
    /// For a place that has catalogs.
    pub fn of(
        target: &Target,
        image: &Image,
        distro: &Distro,
        publish: &Publish,
        parts: &[Part],
    ) -> Option<Self> {
        if target.catalogs.is_empty() {
            return None;
        }
        let form = |part: &Part| {
            if part.is_image() {
                return (publish.compress == Compression::None).then(|| publish.format.into());
            }
            let mut formats = image.formats.iter();
            let format = formats.find(|format| format.file == part.path)?;
            (format.compress == Compression::None).then_some(format.form)
        };
        let forms: Vec<_> = parts.iter().map(form).collect();
        let has = |form: &Form| forms.iter().position(|own| *own == Some(*form));
        let wants_disk = target.catalogs.contains(&Catalog::Simplestreams);
        let disk = wants_disk.then(|| Catalog::Simplestreams.forms().iter().find_map(has));
        Some(Self {
            about: About {
                os: distro.family.name.clone(),
                release: distro.version.clone(),
                arch: distro.computer().platform.arch().name().to_owned(),
                flavor: image.flavor.clone(),
                secure_boot: distro.started_by(Start::SecureBoot).is_some(),
            },
            disk: disk.flatten(),
            forms,
        })
    }

    /// Says in a version what its files are, and adds the file for LXD and Incus: that is written to `scratch`.
    pub fn describe(
        &self,
        version: &mut Version,
        packaged: Timestamp,
        scratch: &Path,
    ) -> Result<Option<PathBuf>, StageError> {
        for (file, form) in version.files.iter_mut().zip(&self.forms) {
            file.form = *form;
        }
        if self.disk.is_none() {
            return Ok(None);
        }
        let path = scratch.join(METADATA);
        let text = self
            .metadata(packaged)
            .map_err(|error| StageError::file("make", &path, error))?;
        fs::write(&path, &text).map_err(|error| StageError::file("write", &path, error))?;
        version.files.push(VersionFile {
            path: METADATA.into(),
            bytes: text.len() as u64,
            sha256: sha256_hex(&text),
            form: None,
            combined: None,
        });
        Ok(Some(path))
    }

    /// A tar archive with what YAML readers take for YAML.
    fn metadata(&self, packaged: Timestamp) -> std::io::Result<Vec<u8>> {
        let About {
            os,
            release,
            arch,
            flavor,
            ..
        } = &self.about;
        let metadata = json!({
            "architecture": if arch == "arm64" { "aarch64" } else { "x86_64" },
            "creation_date": packaged.as_second(),
            "properties": {
                "architecture": arch,
                "description": format!("{os} {release}, {flavor}"),
                "os": os,
                "release": release,
                "variant": flavor,
            },
        });
        let mut archive = Vec::new();
        tar::write_texts(
            &mut archive,
            &[("metadata.yaml".to_owned(), metadata.to_string())],
        )?;
        tar::end(&mut archive)?;
        liblzma::encode_all(archive.as_slice(), 6)
    }

    /// Adds the digest by which LXD and Incus know the image. All of its disk is read, unless the place has the version.
    pub fn combine(
        &self,
        version: &mut Version,
        there: &List,
        (metadata, disk): (&Path, &dyn Fn(usize) -> Result<PathBuf, StageError>),
        cancel: &Cancel,
    ) -> Result<(), StageError> {
        let Some((number, file)) = self.disk.zip(version.files.last_mut()) else {
            return Ok(());
        };
        let known = there.versions.iter().find(|known| known.name == version.name);
        let known = known.and_then(|known| known.files.last()?.combined.clone());
        file.combined = Some(match known {
            Some(known) => known,
            None => sha256_of([metadata, &disk(number)?], cancel)?,
        });
        Ok(())
    }
}

/// The SHA-256 of some files, one behind the other.
fn sha256_of(files: [&Path; 2], cancel: &Cancel) -> Result<String, StageError> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut block = vec![0; BLOCK];
    for path in files {
        let mut file = File::open(path).map_err(|error| StageError::file("read", path, error))?;
        loop {
            if cancel.is_cancelled() {
                return Err(StageError::Cancelled);
            }
            let count = file
                .read(&mut block)
                .map_err(|error| StageError::file("read", path, error))?;
            if count == 0 {
                break;
            }
            hasher.update(&block[..count]);
        }
    }
    Ok(hasher.finish().hex)
}
