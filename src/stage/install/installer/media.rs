//! What an installer starts from: media that are there already, checked, and kernel and initial RAM disk out of an ISO.

use std::fs;
use std::path::{Path, PathBuf};

use super::{InstallerBoot, InstallerWork};
use crate::machine::media::iso::Iso;
use crate::machine::media::treeinfo;
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::fetch::MediaAt;
use crate::stage::install::disk::{check_digest, media_at};
use crate::stage::result::Taken;

/// Files that can be started.
#[derive(Debug)]
pub(super) enum Found {
    /// Directly. The initial RAM disk is a copy that may be changed.
    Kernel {
        kernel: PathBuf,
        initrd: PathBuf,
        iso: Option<PathBuf>,
    },
    /// By the medium's own boot loader.
    Typed { iso: PathBuf, keys: String },
}

/// Where a medium is; a local one is checked.
pub(super) fn at(medium: &MediaAt, taken: &Taken, site: &Site) -> Result<PathBuf, StageError> {
    let path = media_at(medium, taken)?;
    check_digest(&path, medium, site)?;
    Ok(path)
}

/// Finds all that the machine needs.
pub(super) fn find(
    work: &InstallerWork,
    at: &dyn Fn(&MediaAt) -> Result<PathBuf, StageError>,
    site: &Site,
) -> Result<Found, StageError> {
    let (kernel, initrd) = (site.scratch.join("vmlinuz"), site.scratch.join("initrd"));
    match &work.boot {
        InstallerBoot::Typed { iso, keys } => Ok(Found::Typed {
            iso: at(iso)?,
            keys: keys.clone(),
        }),
        InstallerBoot::Netboot {
            kernel: from,
            initrd: initrd_from,
        } => {
            copy(&at(initrd_from)?, &initrd)?;
            Ok(Found::Kernel {
                kernel: at(from)?,
                initrd,
                iso: None,
            })
        }
        InstallerBoot::Iso {
            iso,
            images,
            treeinfo,
        } => {
            let path = at(iso)?;
            site.emit.phase("taking kernel and initrd out of the ISO");
            let image = Iso::open(&path, &iso.name())?;
            let in_treeinfo = treeinfo.as_ref().and_then(|arch| of_treeinfo(&image, arch));
            let (kernel_in, initrd_in) = in_treeinfo
                .or_else(|| images.clone())
                .ok_or_else(|| StageError::NoInstallerImages { path: iso.name() })?;
            image.take(&kernel_in, &kernel, &site.cancel)?;
            image.take(&initrd_in, &initrd, &site.cancel)?;
            Ok(Found::Kernel {
                kernel,
                initrd,
                iso: Some(path),
            })
        }
    }
}

/// What the medium itself says.
fn of_treeinfo(image: &Iso, arch: &str) -> Option<(String, String)> {
    let name = treeinfo::NAMES.into_iter().find(|name| image.has(name))?;
    let found = treeinfo::images(&image.text(name).ok()?, arch)?;
    Some((found.kernel, found.initrd))
}

/// A copy that may be changed, whatever the rights of the original.
fn copy(from: &Path, to: &Path) -> Result<(), StageError> {
    let copied = fs::File::open(from).and_then(|mut from| {
        let mut to = fs::File::create(to)?;
        std::io::copy(&mut from, &mut to)
    });
    copied.map(drop).map_err(|e| StageError::file("copy", from, e))
}
