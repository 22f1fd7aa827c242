//! Simple streams: a file of products for each image, and one index of these files for the place.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::{About, Catalog, written};
use crate::places::versions::{List, Version, path as path_of};

/// The index, below a place: readers have this name built in.
pub const INDEX: &str = "streams/v1/index.json";
/// The file that describes an image to LXD and Incus, in the folder of a version.
pub const METADATA: &str = "incus.tar.xz";
/// What LXD and Incus call it.
const READERS: [&str; 2] = ["lxd.tar.xz", "incus.tar.xz"];
/// What all of them take for a disk.
const DISK: &str = "disk1.img";
const KIND: &str = "image-downloads";

/// Where the products of an image are. Some readers keep files by their last names: these must differ.
pub(super) fn path(image: &str) -> PathBuf {
    format!("streams/v1/{image}.products.json").into()
}

fn content_id(image: &str) -> String {
    format!("{image}:download")
}

/// The products of an image: one, with its versions.
pub(super) fn products(list: &List, about: &About) -> String {
    let versions = Catalog::Simplestreams.listed(list).map(|(version, number)| {
        let label = json!({
            "label": "release",
            "pubname": format!("{}-{}", list.image, version.name),
            "items": items(list, version, number),
        });
        (version.name.clone(), label)
    });
    let needs = json!({ "secureboot": about.secure_boot.to_string() });
    let product = json!({
        "aliases": list.image,
        "arch": about.arch,
        "os": about.os,
        "release": about.release,
        "release_title": about.release,
        "version": about.release,
        "variant": about.flavor,
        "requirements": needs,
        "lxd_requirements": needs,
        "versions": versions.collect::<Map<_, _>>(),
    });
    written(&json!({
        "content_id": content_id(&list.image),
        "datatype": KIND,
        "format": "products:1.0",
        "products": { &list.image: product },
    }))
}

/// The disk, and what describes it to LXD and Incus, which know an image by a digest over both.
fn items(list: &List, version: &Version, number: usize) -> Map<String, Value> {
    let item = |number: usize, kind: &str| {
        let file = &version.files[number];
        json!({
            "ftype": kind,
            "path": path_of(&list.image, &version.name, &file.path),
            "size": file.bytes,
            "sha256": file.sha256,
        })
    };
    let mut items = Map::from_iter([(DISK.to_owned(), item(number, DISK))]);
    let combined = version.files.iter().map(|file| file.combined.as_ref());
    if let Some((number, Some(combined))) = combined.enumerate().find(|(_, combined)| combined.is_some()) {
        for name in READERS {
            let mut metadata = item(number, name);
            metadata["combined_disk1-img_sha256"] = json!(combined);
            items.insert(name.to_owned(), metadata);
        }
    }
    items
}

/// The index with the products of an image, or without those of an image that has no versions. It keeps all others.
///
/// # Errors
/// What is wrong with the index that is there.
pub fn indexed(index: &[u8], list: &List) -> Result<String, String> {
    let mut index: Value = match index {
        [] => json!({ "format": "index:1.0", "index": {} }),
        text => serde_json::from_slice(text).map_err(|error| error.to_string())?,
    };
    let Some(entries) = index["index"].as_object_mut() else {
        return Err("it has no `index`".to_owned());
    };
    let id = content_id(&list.image);
    if Catalog::Simplestreams.listed(list).next().is_some() {
        let entry = json!({
            "datatype": KIND,
            "format": "products:1.0",
            "path": path(&list.image),
            "products": [list.image],
        });
        entries.insert(id, entry);
    } else {
        entries.remove(&id);
    }
    Ok(written(&index))
}
