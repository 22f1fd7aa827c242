//! A stage to copy from, which exists in tests alone: it stands between packaging and checking, takes the packaged image,
//! and leaves two files that are published with it. `CONTRIBUTING.md` says how it was added.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::StageError;
use super::part::{IMAGE, Ready};
use super::result::Taken;
use super::task::{File, Made, Stored, Task};
use super::{Site, Work, package};
use crate::digest::Algorithm;
use crate::manifest::model::{Image, Manifest};
use crate::plan::graph::{Draft, Nodes};
use crate::plan::node::{Cost, Results, Role, Stage};

/// Says something of an image, in two files.
pub const STAGE: Stage = Stage {
    name: "example",
    results: Results::Stored,
    inputs: &[],
};
/// Revision of what it makes.
const REVISION: u32 = 1;
/// As what others take its files.
const ROLE: Role = Role::new("example");
/// The variable of a manifest that switches it on.
const SWITCH: &str = "example";

/// Work of [`STAGE`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExampleWork {
    text: String,
}

/// What its key is made of.
#[derive(Serialize)]
struct Inputs<'a> {
    package: &'a str,
    text: &'a str,
}

/// Adds the node, where the manifest wants it.
pub(super) fn plan(nodes: &mut Nodes<Work>, manifest: &Manifest, image: &Image, ready: &mut Ready<'_>) {
    let Some(text) = manifest.vars.get(SWITCH).and_then(|value| value.as_str()) else {
        return;
    };
    let package = nodes.key(ready.package()).to_owned();
    let draft = Draft {
        stage: STAGE,
        revision: REVISION,
        subject: &image.id,
        inputs: Inputs {
            package: &package,
            text,
        },
        takes: vec![IMAGE.bytes_of(ready.package())],
        cost: Cost::default(),
    };
    let text = text.to_owned();
    let node = nodes.add(draft, ExampleWork { text });
    ready.add(ROLE, node, nodes);
}

impl Task for ExampleWork {
    fn files(&self) -> &'static [File] {
        const {
            &[
                File::published("note", ".note"),
                File::published("digest", ".sha256"),
            ]
        }
    }

    /// The digest that it left must be that of the image, which may have been packaged again under the same key.
    fn stands(&self, stored: &Stored<'_>) -> Result<(), Option<String>> {
        let result = stored.result.as_ref().ok_or(None)?;
        let left = fs::read_to_string(result.folder.join("digest")).unwrap_or_default();
        package::stands(stored, |image| {
            image
                .digest(Algorithm::Sha256)
                .map_or(true, |digest| digest.hex == left)
        })
    }

    fn run(&self, taken: &Taken, out: &Path, _site: &Site) -> Result<Made, StageError> {
        let image = taken.get(&IMAGE)?.artifact(package::IMAGE)?;
        let digest = &image.digest(Algorithm::Sha256)?.hex;
        for (name, text) in [("note", &self.text), ("digest", digest)] {
            let path = out.join(name);
            fs::write(&path, text).map_err(|e| StageError::file("write", &path, e))?;
        }
        Ok(Made::built())
    }
}
