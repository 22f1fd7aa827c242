//! Who wrote what into which output folder, as the store remembers it: manifests that replace each other's images, and
//! files that no image of a manifest has any more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf, absolute};

use jiff::Timestamp;
use serde::Serialize;

use crate::digest::Algorithm;
use crate::manifest::model::{Image, Manifest};
use crate::stage::sums;
use crate::store::Store;

/// Name of the note in the store.
const NOTE: &str = "outputs";

/// The manifest that last built each file. All paths are absolute.
type Note = BTreeMap<PathBuf, PathBuf>;

/// A file of an output folder that belongs to no image. The serialised form is an interface.
#[derive(Clone, Debug, Serialize)]
pub struct Orphan {
    /// As it can be typed.
    pub path: PathBuf,
    pub bytes: u64,
    /// When it was last changed.
    pub changed: Option<Timestamp>,
}

/// Notes that a manifest builds these images, and gives warnings where another one has built the same files.
pub fn claim(manifest: &Manifest, selected: &[usize], store: &Store) -> Vec<String> {
    let (Ok(own), Ok(output)) = (absolute(&manifest.path), absolute(&manifest.output)) else {
        return Vec::new();
    };
    let mut note: Note = store.note(NOTE).unwrap_or_default();
    note.retain(|file, other| file.exists() || *other == own);
    let mut shared: BTreeMap<PathBuf, Vec<&Path>> = BTreeMap::new();
    for image in selected.iter().filter_map(|&index| manifest.images.get(index)) {
        for below in image.files() {
            let file = output.join(below);
            let before = note.insert(file.clone(), own.clone());
            // One that was renamed, or removed, writes nothing any more.
            if let Some(other) = before.filter(|other| *other != own && other.exists() && file.exists()) {
                shared.entry(other).or_default().push(below);
            }
        }
    }
    store.set_note(NOTE, &note);
    let warning = |(other, files): (PathBuf, Vec<&Path>)| {
        let first = files
            .first()
            .map_or_else(String::new, |file| file.display().to_string());
        let which = match files.len() {
            1 => format!("its {first}"),
            count => format!("{count} of its files, {first} among them,"),
        };
        format!(
            "{} writes into {} too, and {which} will be replaced: give one of the two manifests another `output` under \
             [pipeline]",
            other.display(),
            manifest.output.display(),
        )
    };
    shared.into_iter().map(warning).collect()
}

/// The files in the output folder that an earlier run put there and that no image of the manifest has now.
pub fn orphans(manifest: &Manifest, store: &Store) -> Vec<Orphan> {
    let (Ok(own), Ok(output)) = (absolute(&manifest.path), absolute(&manifest.output)) else {
        return Vec::new();
    };
    let note: Note = store.note(NOTE).unwrap_or_default();
    let mut files: BTreeSet<PathBuf> = note
        .iter()
        .filter(|(_, by)| **by == own)
        .filter_map(|(file, _)| Some(file.strip_prefix(&output).ok()?.to_owned()))
        .collect();
    // What stores have forgotten, or never knew, is in the checksum files.
    for algorithm in [Algorithm::Sha512, Algorithm::Sha256, Algorithm::Md5] {
        let listed = sums::listed(&output, algorithm).unwrap_or_default();
        files.extend(listed.into_keys());
    }
    let is_of_image = |file: &Path| {
        // What is published with an image has its name in front of its own, if it has no path of its own.
        let text = file.to_string_lossy();
        let mut files = manifest.images.iter().flat_map(Image::files);
        files.any(|other| text.starts_with(&*other.to_string_lossy()))
    };
    let is_of_another = |file: &Path| {
        let by = note.get(&output.join(file));
        by.is_some_and(|by| *by != own && by.exists())
    };
    let orphan = |file: PathBuf| {
        let path = manifest.output.join(file);
        let found = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
        Some(Orphan {
            bytes: found.len(),
            changed: found.modified().ok().and_then(|time| time.try_into().ok()),
            path,
        })
    };
    files
        .into_iter()
        .filter(|file| !is_of_image(file) && !is_of_another(file))
        .filter_map(orphan)
        .collect()
}
