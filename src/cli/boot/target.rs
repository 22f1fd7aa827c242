//! Which image is meant: a file, or an image of a manifest by the file that was published for it.

use std::path::{Path, PathBuf};

use super::{Args, refuse};
use crate::cli::exit::Exit;
use crate::cli::report_error::fail;
use crate::manifest::model::{Distro, Manifest};
use crate::manifest::select::{Selectors, select};
use crate::platform::Computer;

/// Images that a message lists.
const LISTED: usize = 8;

/// An image to boot.
#[derive(Clone, Debug)]
pub(super) struct ImageFile {
    /// Its file.
    pub file: PathBuf,
    /// What to call it.
    pub name: String,
    /// What it is started in where nothing else is asked for.
    pub computer: Computer,
}

/// Finds it.
pub(super) fn find(args: &Args) -> Result<ImageFile, Exit> {
    let path = &args.image;
    let is_manifest = |extension| extension == "toml" || extension == "ncl";
    if path.extension().is_some_and(is_manifest) {
        let manifest = args.define.load(path)?;
        return of_manifest(args, &manifest);
    }
    if let Some(id) = &args.id {
        return Err(refuse(
            &format!(
                "{} is no manifest, so `{id}` cannot be one of its images",
                path.display()
            ),
            "boot a file (pipeline boot disk.qcow2.gz) or an image of a manifest (pipeline boot images.toml ID)",
        ));
    }
    if !path.is_file() {
        let what = if path.is_dir() {
            "is a folder"
        } else {
            "does not exist"
        };
        return Err(refuse(
            &format!("the image {} {what}", path.display()),
            "give an image file, or a manifest and the id of one of its images: pipeline boot images.toml ID",
        ));
    }
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Ok(ImageFile {
        file: path.clone(),
        name,
        computer: Computer::default(),
    })
}

fn of_manifest(args: &Args, manifest: &Manifest) -> Result<ImageFile, Exit> {
    let manifest_path = manifest.path.display();
    let selectors = Selectors {
        patterns: args.id.iter().cloned().collect(),
        ..Selectors::default()
    };
    let found = select(manifest, &selectors).map_err(|error| fail(Exit::Usage, error))?;
    let images: Vec<_> = found
        .iter()
        .filter_map(|&index| manifest.images.get(index))
        .collect();
    let [image] = images.as_slice() else {
        let mut ids: Vec<_> = images
            .iter()
            .take(LISTED)
            .map(|image| image.id.as_str())
            .collect();
        if images.len() > LISTED {
            ids.push("…");
        }
        let which = args
            .id
            .as_deref()
            .map_or_else(|| "there are".to_owned(), |id| format!("`{id}` means"));
        return Err(refuse(
            &format!(
                "one image can be booted, and {which} {} in {manifest_path}",
                images.len()
            ),
            &format!("say which: {}", ids.join(", ")),
        ));
    };
    let file = manifest.output.join(&image.file);
    if !file.is_file() {
        return Err(refuse(
            &format!("{} is not built yet: there is no {}", image.id, file.display()),
            &format!("build it: pipeline run {manifest_path} {}", image.id),
        ));
    }
    if args.write {
        return Err(refuse(
            &format!("{} is a published image; it stays as its checksums say", image.id),
            &format!("{}, and boot the copy with --write", how_to_copy(&file)),
        ));
    }
    let distro = manifest.distro(&image.distro);
    Ok(ImageFile {
        file,
        name: image.id.clone(),
        computer: distro.map(Distro::computer).unwrap_or_default(),
    })
}

/// A line that makes a copy one can change.
fn how_to_copy(file: &Path) -> String {
    let program = match file.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => "gzip -dc",
        Some("zst") => "zstd -dc",
        Some("xz") => "xz -dc",
        _ => "cat",
    };
    format!("make a copy: {program} {} > my.qcow2", file.display())
}
