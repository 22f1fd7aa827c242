//! Pins: what [`super::gc`] leaves alone until it is unpinned. A pin is a file that lists results; its name says what was
//! pinned, `run-<id>` for all that a run needs and its logs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use super::lease::{Address, Gate, Needs};
use super::{Store, StoreError};
use crate::host::fs as host_fs;

/// How the pin of a run begins.
const RUN: &str = "run-";

/// Name of the pin of a run.
pub fn of_run(run: &str) -> String {
    format!("{RUN}{run}")
}

/// Name of the pin of a result.
pub fn of_result(address: &Address) -> String {
    format!("{}-{}", address.stage, address.key)
}

impl Store {
    /// Pins these results under a name. True: it was not there yet.
    ///
    /// # Errors
    /// [`StoreError::Fs`].
    pub fn pin(&self, _gate: &Gate, name: &str, results: &BTreeSet<Address>) -> Result<bool, StoreError> {
        let path = self.pin_path(name);
        let new = !path.exists();
        host_fs::private_dir(&self.root.join("pins"))?;
        let needs = Needs {
            results: results.clone(),
            ..Needs::default()
        };
        let text = serde_json::to_vec_pretty(&needs).map_err(|e| StoreError::io("write", &path, e.into()))?;
        host_fs::write_atomic(&path, &text)?;
        Ok(new)
    }

    /// Takes a pin away. False: there was none of this name.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn unpin(&self, name: &str) -> Result<bool, StoreError> {
        let path = self.pin_path(name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(StoreError::io("remove", &path, source)),
        }
    }

    /// All pins.
    pub fn pins(&self) -> BTreeMap<String, BTreeSet<Address>> {
        let files = fs::read_dir(self.root.join("pins"))
            .into_iter()
            .flatten()
            .flatten();
        let pins = files.filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            let needs: Needs = serde_json::from_slice(&fs::read(file.path()).ok()?).ok()?;
            Some((name.strip_suffix(".json")?.to_owned(), needs.results))
        });
        pins.collect()
    }

    fn pin_path(&self, name: &str) -> PathBuf {
        self.root.join("pins").join(format!("{name}.json"))
    }
}
