//! How much a kind of place costs that is added: `places::example` is a folder that receives an image and what is beside
//! it, by what its own file says.

use std::fs;
use std::path::Path;
use std::sync::mpsc;

use serde_json::json;

use super::plan::STAGE;
use crate::digest::Algorithm;
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::host::fs::hash_file;
use crate::manifest::load::load_text;
use crate::places::retry::Policy;
use crate::places::{Around, Item, Metadata, check_url, read_back::Want, upload};
use crate::stage::Work;
use crate::stage::recipe::testing::{TINY, planned};

const PLACES: &str = r#"
[publish.cellar]
to    = "attic"
shelf = "shelf"
"#;

#[test]
fn a_kind_of_place_receives_a_file_by_its_own_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("tiny.raw"), vec![0; 1 << 20]).unwrap();
    fs::create_dir(at("shelf")).unwrap();
    let manifest = load_text(&at("m.toml"), &(TINY.to_owned() + PLACES)).unwrap();
    let plan = planned(&manifest);
    let (_, node) = plan.nodes().find(|(_, node)| node.stage == STAGE).unwrap();
    assert_eq!(node.id(), "upload/tiny-3G-base@cellar");
    let identity = json!({ "shelf": at("shelf"), "to": "attic", "public_url": null });
    assert_eq!(node.inputs["target"], identity);
    let Work::Upload(work) = &node.work else {
        panic!("{node:?}")
    };
    let target = &work.target;

    fs::write(at("image"), "an image").unwrap();
    let cancel = Cancel::default();
    let sha512 = hash_file(&at("image"), &[Algorithm::Sha512], &cancel)
        .unwrap()
        .remove(0);
    let metadata = Metadata::new();
    let (name, path) = (Path::new("tiny/image"), at("image"));
    let item = Item {
        path: &path,
        name,
        bytes: 8,
        sha512: &sha512,
        metadata: &metadata,
        listed: true,
    };
    let emit = Emitter::new(mpsc::channel().0);
    let around = Around {
        cancel: &cancel,
        emit: &emit,
        state: &at("state"),
        policy: Policy::default(),
    };
    let sent = upload(target, &item, None, &around).unwrap();
    assert!(sent.sent);
    let there = at("shelf/tiny_image");
    assert_eq!(sent.receipt.url, format!("attic:{}", there.display()));
    assert_eq!(fs::read_to_string(&there).unwrap(), "an image");
    let again = upload(target, &item, Some(&sent.receipt), &around).unwrap();
    assert!(!again.sent, "it is there already");

    // Other bytes are found, by `check-urls` and by an upload, which replaces them.
    fs::write(&there, "an omage").unwrap();
    let want = Want {
        bytes: Some(8),
        digest: sha512.clone(),
    };
    let check = || check_url(Some(target), &sent.receipt.url, name, &want, &cancel, &emit);
    assert!(check().unwrap_err().to_string().contains("has other bytes"));
    assert!(upload(target, &item, None, &around).unwrap().sent);
    check().unwrap();
}
