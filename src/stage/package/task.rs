//! How packaging is a stage.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Earlier, PackageWork, Packaged, Spec, package_blocks};
use crate::digest::Algorithm;
use crate::machine::disk::Image;
use crate::manifest::model::Compression;
use crate::plan::node::Role;
use crate::stage::error::StageError;
use crate::stage::result::{Artifact, Given, Taken};
use crate::stage::size::{self, BASE};
use crate::stage::task::{File, Made, Stored, Task};
use crate::stage::{Site, part};

/// The packaged image.
pub const IMAGE: &str = "image";
/// Index of the pieces that it is made of.
const PIECES: &str = "pieces";
/// Packages whose pieces are looked at, at most.
const MOST_EARLIER: usize = 8;
/// Why what was made of a packaged image no longer stands: equal inputs need not give equal bytes.
pub(in crate::stage) const AGAIN: &str = "the image was repackaged since";
/// What was made of a packaged image stands as long as that is the one.
pub(in crate::stage) fn stands(
    stored: &Stored<'_>,
    is_it: impl FnOnce(&Artifact<'_>) -> bool,
) -> Result<(), Option<String>> {
    let packaged = (stored.taken)(&part::IMAGE);
    let packaged = packaged.as_ref().and_then(|given| given.artifact(IMAGE).ok());
    match packaged {
        Some(packaged) if !is_it(&packaged) => Err(Some(AGAIN.to_owned())),
        _ => Ok(()),
    }
}

/// The disk that is packaged.
pub(super) const SIZED: Role = Role::new("disk");

/// Facts of a package.
#[derive(Serialize, Deserialize)]
struct Facts {
    #[serde(flatten)]
    packaged: Packaged,
    /// Images of one distro have pieces in common.
    distro: String,
}

impl Task for PackageWork {
    fn files(&self) -> &'static [File] {
        const { &[File::published(IMAGE, ""), File::optional(PIECES)] }
    }

    /// gzip keeps all cores busy with one image, and the next one of the distro takes most of its pieces.
    fn turn(&self) -> Option<String> {
        (self.compression == Compression::Gzip).then(|| format!("packaging of {}", self.distro))
    }

    fn looks_back(&self) -> bool {
        self.compression == Compression::Gzip
    }

    fn run(&self, taken: &Taken, out: &Path, site: &Site) -> Result<Made, StageError> {
        let disk = size::layers(taken.get(&SIZED)?, taken.get(&BASE)?)?;
        let image = Image::whole(disk, self.format);
        let spec = Spec {
            compression: self.compression,
            level: self.level,
            algorithms: Algorithm::ALL.to_vec(),
            earlier: self.earlier(&site.earlier),
            index: (self.compression == Compression::Gzip).then(|| out.join(PIECES)),
        };
        site.emit.phase(phase(self.compression));
        let mut progress = |done, total| site.emit.bytes(done, total);
        let packaged = package_blocks(
            Box::new(image),
            &out.join(IMAGE),
            &spec,
            &site.cancel,
            &mut progress,
        )?;
        for path in &packaged.damaged {
            site.emit.warn(format!(
                "{} is not what was written; what it has in common with this image was compressed again; \
                 `pipeline store verify --remove` removes it",
                path.display()
            ));
        }
        let digests = packaged.digests.clone();
        let distro = self.distro.clone();
        let mut made = Made::with(&Facts { packaged, distro });
        made.digests.insert(IMAGE.to_owned(), digests);
        Ok(made)
    }
}

impl PackageWork {
    /// The earlier packages of this distro that have an index.
    fn earlier(&self, earlier: &[Given]) -> Vec<Earlier> {
        let same = earlier.iter().filter(|given| {
            given
                .facts::<Facts>()
                .is_ok_and(|facts| facts.distro == self.distro)
        });
        let found = same.filter_map(|given| {
            let index = given.artifact(PIECES).ok()?;
            Some(Earlier {
                package: given.path(IMAGE).ok()?,
                digest: index.digest(Algorithm::Sha256).ok()?.clone(),
                index: index.path,
            })
        });
        found.take(MOST_EARLIER).collect()
    }
}

fn phase(compression: Compression) -> String {
    match compression.suffix() {
        "" => "hashing".to_owned(),
        suffix => format!("compressing to {suffix} and hashing"),
    }
}
