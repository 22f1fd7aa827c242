//! How packaging is a stage.

use std::path::Path;

use super::{PackageWork, Spec, package};
use crate::digest::Algorithm;
use crate::manifest::model::Compression;
use crate::plan::node::Role;
use crate::stage::error::StageError;
use crate::stage::result::Taken;
use crate::stage::task::{File, Made, Task};
use crate::stage::{Site, size};

/// The packaged image.
pub const IMAGE: &str = "image";
/// Why what was made of a packaged image no longer stands: equal inputs need not give equal bytes.
pub(in crate::stage) const AGAIN: &str = "the image was repackaged since";
/// The disk that is packaged.
pub(super) const SIZED: Role = Role::new("disk");

impl Task for PackageWork {
    fn files(&self) -> &'static [File] {
        const { &[File::published(IMAGE, "")] }
    }

    fn run(&self, taken: &Taken, out: &Path, site: &Site) -> Result<Made, StageError> {
        let disk = taken.path(&SIZED, size::DISK)?;
        let spec = Spec {
            compression: self.compression,
            level: self.level,
            algorithms: Algorithm::ALL.to_vec(),
        };
        site.emit.phase(phase(self.compression));
        let mut progress = |done, total| site.emit.bytes(done, total);
        let packaged = package(&disk, &out.join(IMAGE), &spec, &site.cancel, &mut progress)?;
        let mut made = Made::with(&packaged);
        made.digests.insert(IMAGE.to_owned(), packaged.digests);
        Ok(made)
    }
}

fn phase(compression: Compression) -> String {
    match compression.suffix() {
        "" => "hashing".to_owned(),
        suffix => format!("compressing to {suffix} and hashing"),
    }
}
