//! A kind of place to copy from, which exists in tests alone: a folder without subfolders. `CONTRIBUTING.md` says how it
//! was added.

use std::fs::{self, File};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::read_back::Bytes;
use super::{Around, Found, Item, Kind, Place, Target, TargetKeys, UploadError, Written};
use crate::host::cancel::Cancel;
use crate::host::fs::Stamp;
use crate::syntax::fields::Fields;
use crate::syntax::key::Table;
use crate::syntax::reading::{Reading, Spot};
use crate::syntax::row::Record;
use crate::syntax::table::table;
use crate::syntax::text::Text;

table! {
    KEYS: AtticKeys = "target_attic", "A folder without subfolders", "{ shelf = \"/srv/attic\" }",
        parts [TargetKeys, AtticKeys], is "attic";
    shelf: Text = "\"/srv/attic\"", "a folder that exists".needed();
}

/// The folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExamplePlace {
    shelf: PathBuf,
}

impl Written for ExamplePlace {
    const TABLE: &'static Table = AtticKeys::TABLE;

    fn read(reading: Reading<'_>, table: &Fields<'_>, _templates: &mut Vec<Spot>) -> Option<Self> {
        let shelf = reading.files.path(&table.read(&KEYS.shelf)?);
        Some(Self { shelf })
    }
}

impl Kind for ExamplePlace {
    fn identity(&self) -> Value {
        json!({ "shelf": self.shelf })
    }

    fn open(&self, _target: &Target) -> Result<Box<dyn Place>, UploadError> {
        Ok(Box::new(self.clone()))
    }
}

impl ExamplePlace {
    fn file(&self, item: &Item<'_>) -> PathBuf {
        self.shelf.join(item.name.display().to_string().replace('/', "_"))
    }
}

impl Place for ExamplePlace {
    fn address(&self, item: &Item<'_>) -> String {
        format!("attic:{}", self.file(item).display())
    }

    fn look(&self, item: &Item<'_>, _around: &Around<'_>) -> Result<Option<Found>, UploadError> {
        Ok(Stamp::of(&self.file(item)).ok().map(|stamp| Found {
            bytes: Some(stamp.size),
            validator: Some(format!("{stamp:?}")),
            sure: true,
        }))
    }

    fn send(&self, item: &Item<'_>, _around: &Around<'_>) -> Result<(), UploadError> {
        let copied = fs::copy(item.path, self.file(item));
        copied
            .map(drop)
            .map_err(UploadError::at("write", &self.file(item)))
    }

    fn read(&self, item: &Item<'_>, _cancel: &Cancel) -> Result<Bytes, UploadError> {
        let file = File::open(self.file(item));
        file.map(Bytes::File)
            .map_err(UploadError::at("read", &self.file(item)))
    }
}
