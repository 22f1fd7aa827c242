//! A size as a layer over the provisioned disk. Nothing of the disk is copied but what growing reads: its skeleton.

use std::path::Path;

use super::{SizeWork, must_not_shrink, work_offline};
use crate::machine::disk::{self, DiskError, Image, Layer, Layers, Skeleton};
use crate::size::ByteSize;
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::provision::{DISK, SKELETON};
use crate::stage::result::Given;

/// Makes the layer at `result`. False: what growing would do needs the whole disk.
///
/// # Errors
/// [`StageError`].
pub(super) fn grow_layer(
    work: &SizeWork,
    provisioned: &Given,
    site: &Site,
    result: &Path,
) -> Result<bool, StageError> {
    let path = provisioned.path(SKELETON)?;
    let text = std::fs::read(&path).map_err(|e| StageError::file("read", &path, e))?;
    let skeleton: Skeleton =
        serde_json::from_slice(&text).map_err(|e| StageError::file("read", &path, e.into()))?;
    let provisioned_disk = provisioned.path(DISK)?;
    let disk = Layers::new(vec![Layer::qcow2(&provisioned_disk)?]);
    must_not_shrink(work, ByteSize(disk.size()))?;
    let raw = site.scratch.join("layer.raw");
    skeleton.copy(&disk, &raw)?;
    let before = disk::descriptor_blocks(&raw, skeleton.root)?;
    let cancel = &site.cancel;
    let table = disk::read_table(&raw, cancel)?;
    let known = |error: DiskError| error.of(&provisioned_disk);
    let root = disk::root(&raw, &table, Some(skeleton.root), cancel).map_err(known)?;
    let grows = disk::grows(&raw, &table, &root, ByteSize(work.size)).map_err(known)?;
    work_offline(work, &raw, &root, grows, site)?;
    if grows {
        let table = disk::read_table(&raw, cancel)?;
        disk::must_fill(&raw, &disk::root(&raw, &table, Some(root.start), cancel)?)?;
    }
    let moves_nothing = before.is_some() && before == disk::descriptor_blocks(&raw, skeleton.root)?;
    let Some(changed) = skeleton.changed(&disk, &raw)?.filter(|_| moves_nothing) else {
        drop(std::fs::remove_file(&raw));
        return Ok(false);
    };
    site.emit.phase("writing the layer");
    let layer = Layer::raw_with(&raw, work.size, changed)?;
    Image::upper(disk.under(layer), &name_beside(provisioned))?.write(result, cancel)?;
    Ok(true)
}

/// Where the disk below is, as seen from a result of this stage: tools that are given the layer find it.
fn name_beside(provisioned: &Given) -> String {
    let mut folders = provisioned.folder.iter().rev().map(|name| name.to_string_lossy());
    let (key, stage) = (
        folders.next().unwrap_or_default(),
        folders.next().unwrap_or_default(),
    );
    format!("../../{stage}/{key}/{DISK}")
}
