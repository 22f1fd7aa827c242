//! What all jobs of a run share: the workspace, the facts of the host that planned, the arguments of the run. In the remote
//! store under its digest, which is all that an engine is given.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::outage::outlast;
use super::workspace::{Workspace, WorkspaceError};
use crate::digest::sha256_hex;
use crate::host::cancel::Cancel;
use crate::remote::Remote;
use crate::remote::error::RemoteError;

/// The file of the facts, next to the workspace.
const FACTS: &str = "facts.json";

/// What all jobs of a run share.
#[derive(Debug, Serialize, Deserialize)]
pub struct Description {
    pub workspace: Workspace,
    /// As a file has them.
    pub facts: String,
    /// Further arguments of a run.
    pub arguments: Vec<String>,
}

/// What a job is to do cannot be found out.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    #[error(
        "the remote store of this host does not have what this job is to do; all hosts need the same `remote.url`"
    )]
    Gone,
    #[error("what this job is to do is damaged in the remote store")]
    Damaged,
    #[error("no folder for the workspace: {0}")]
    Folder(std::io::Error),
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

impl Description {
    /// Puts it and the packed workspace into the remote store; gives its digest.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn put(&self, archive: &Path, remote: &Remote, cancel: &Cancel) -> Result<String, RemoteError> {
        remote.put_file(&archive_path(&self.workspace), archive, cancel)?;
        let text = match serde_json::to_vec(self) {
            Ok(text) => text,
            Err(error) => unreachable!("plain data always serialises: {error}"),
        };
        let digest = sha256_hex(&text);
        remote.put(&path(&digest), &text, cancel)?;
        Ok(digest)
    }

    /// Takes one from the remote store.
    ///
    /// # Errors
    /// [`TakeError::Gone`], [`TakeError::Damaged`], [`TakeError::Remote`].
    pub fn take(digest: &str, remote: &Remote, cancel: &Cancel) -> Result<Self, TakeError> {
        let text = outlast(remote, cancel, || remote.get(&path(digest), cancel))?;
        let text = text.ok_or(TakeError::Gone)?;
        if sha256_hex(&text) != digest {
            return Err(TakeError::Damaged);
        }
        serde_json::from_slice(&text).map_err(|_| TakeError::Damaged)
    }

    /// Unpacks the workspace into a folder; gives the paths of the manifest and of the facts.
    ///
    /// # Errors
    /// [`TakeError`].
    pub fn unpack(
        &self,
        remote: &Remote,
        folder: &Path,
        cancel: &Cancel,
    ) -> Result<(PathBuf, PathBuf), TakeError> {
        let archive = folder.join("workspace.tar.zst");
        let packed = archive_path(&self.workspace);
        if !outlast(remote, cancel, || remote.get_file(&packed, &archive, cancel))? {
            return Err(TakeError::Gone);
        }
        let manifest = self
            .workspace
            .unpack(&archive, &folder.join("workspace"), cancel)?;
        let facts = folder.join(FACTS);
        std::fs::write(&facts, &self.facts).map_err(TakeError::Folder)?;
        Ok((manifest, facts))
    }
}

fn path(digest: &str) -> String {
    format!("workspaces/{digest}.json")
}

fn archive_path(workspace: &Workspace) -> String {
    format!("workspaces/{}.tar.zst", workspace.digest.hex)
}
