//! What is in the remote store: results with what their entries say, and objects that belong to none. Only looks.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::entry::{self, Distrust};
use super::error::RemoteError;
use super::objects::{Listing, Object, Upload};
use super::{BLOBS, RESULTS, Remote, SMALL, address_of, blob_path, each};
use crate::host::cancel::Cancel;
use crate::store::Address;

/// Where jobs leave what they plan from and what happens in them.
const OF_JOBS: [&str; 2] = ["workspaces/", "runs/"];

/// A result, as its entry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub address: Address,
    /// Pipeline and subject that it was first built for, where a trusted host says so.
    pub built_for: Option<(String, String)>,
    /// Who says so, by the key that it names; only of a usable entry it is proved.
    pub signer: Option<String>,
    /// Bytes of its files on a host.
    pub bytes: u64,
    /// Bytes of its files there, compressed. Results can share some.
    pub stored_bytes: u64,
    /// When it was built.
    pub created: Option<Timestamp>,
    /// When its entry was put there.
    pub put: Timestamp,
    pub condition: Condition,
    /// Paths of its files.
    pub(super) files: BTreeSet<String>,
}

/// Whether a host could take a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Its entry is signed by a trusted key, and its files are there.
    Whole,
    /// No host could: a file of it is gone, or its entry is not the one that was signed.
    Broken,
    /// Signed by a key that is not trusted here.
    Foreign,
    /// No entry that this version of the program can read.
    Other,
}

/// All that is there.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The server's time when it was looked at.
    pub now: Timestamp,
    /// The results, those first that have been there longest.
    pub results: Vec<Listed>,
    /// Files of results, or of none, by their paths.
    pub(super) files: BTreeMap<String, Object>,
    pub(super) of_jobs: Vec<Object>,
    /// Uploads in parts that did not end.
    pub(super) uploads: Vec<Upload>,
}

impl Contents {
    /// Bytes of the files of all results.
    pub fn stored_bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }
}

impl Remote {
    /// Lists all and reads each entry. The files are listed before the entries, so that of a result that is put there
    /// meanwhile no file counts as one that no entry names.
    ///
    /// # Errors
    /// [`RemoteError::Unsupported`] of a plain HTTP server, [`RemoteError`].
    pub fn contents(&self, cancel: &Cancel) -> Result<Contents, RemoteError> {
        let Listing { objects, now } = self.objects.list(BLOBS, None, cancel)?;
        let files: BTreeMap<String, Object> = objects
            .into_iter()
            .map(|file| (file.path.clone(), file))
            .collect();
        let entries = self.objects.list(RESULTS, None, cancel)?.objects;
        let entries: Vec<(Address, Object)> = entries
            .into_iter()
            .filter_map(|object| Some((address_of(&object.path)?, object)))
            .collect();
        let read = each(&entries, &|(address, object)| {
            let bytes = match self.objects.read(&object.path, SMALL, cancel) {
                Err(RemoteError::Damaged(_)) => Some(Vec::new()),
                bytes => bytes?,
            };
            Ok(bytes.map(|bytes| self.listed(address, object, &bytes, &files)))
        })?;
        let mut results: Vec<Listed> = read.into_iter().flatten().collect();
        results.sort_by(|a, b| (a.put, &a.address).cmp(&(b.put, &b.address)));
        let mut of_jobs = Vec::new();
        for folder in OF_JOBS {
            of_jobs.extend(self.objects.list(folder, None, cancel)?.objects);
        }
        Ok(Contents {
            now,
            results,
            files,
            of_jobs,
            uploads: self.objects.uploads("", cancel)?,
        })
    }

    fn listed(
        &self,
        address: &Address,
        object: &Object,
        bytes: &[u8],
        there: &BTreeMap<String, Object>,
    ) -> Listed {
        let claimed = entry::claimed(bytes);
        let (signer, record) = claimed.map_or((None, None), |(signer, record)| (Some(signer), record));
        let files: BTreeSet<String> = record
            .iter()
            .flat_map(|record| record.files.values())
            .filter_map(|file| Some(blob_path(&entry::sha256(file)?.hex)))
            .collect();
        let opened = entry::open(bytes, address, &self.trust);
        let condition = match &opened {
            Ok(_) if files.iter().all(|file| there.contains_key(file)) => Condition::Whole,
            Ok(_) => Condition::Broken,
            Err(Distrust::NotOne | Distrust::OtherVersion(_)) => Condition::Other,
            Err(_) if record.is_none() => Condition::Other,
            Err(Distrust::Unknown(_)) => Condition::Foreign,
            Err(_) => Condition::Broken,
        };
        Listed {
            address: address.clone(),
            signer,
            bytes: record
                .iter()
                .flat_map(|record| record.files.values())
                .map(|file| file.bytes)
                .sum(),
            stored_bytes: files
                .iter()
                .filter_map(|file| there.get(file))
                .map(|file| file.bytes)
                .sum(),
            created: record.as_ref().map(|record| record.created),
            built_for: opened.ok().and_then(|record| record.built_for),
            put: object.changed,
            condition,
            files,
        }
    }
}
