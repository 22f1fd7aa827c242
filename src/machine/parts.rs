//! What a machine has in addition to its disks, made for one start of it: the variable store of its firmware, and its TPM, which is a
//! process of its own (swtpm). Both are new each time, as in a computer that has never started.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::argv::Parts;
use super::error::{MachineError, Tail};
use super::firmware;
use super::qemu::{POLL, SHOWN};
use crate::host::cancel::Cancel;
use crate::host::private::PrivateFolder;
use crate::host::process::{Cmd, Running, clean_line, status_text};
use crate::platform::Computer;

/// File in the machine's folder: what the TPM said.
const TPM_LOG: &str = "swtpm.log";
/// How long swtpm may take to listen; it does so at once unless the host swaps.
const LISTENS: Duration = Duration::from_secs(20);

/// The parts of a machine. Dropping them ends the TPM and removes what it kept.
#[derive(Debug, Default)]
pub(super) struct OwnParts {
    pub(super) parts: Parts,
    tpm: Option<Tpm>,
    _folder: Option<PrivateFolder>,
}

#[derive(Debug)]
struct Tpm {
    running: Running,
    log: PathBuf,
}

impl OwnParts {
    /// Makes what the computer needs. `logs` is the machine's folder.
    ///
    /// # Errors
    /// [`MachineError::Firmware`], [`MachineError::Tpm`], [`MachineError::Process`], [`MachineError::Folder`].
    pub(super) fn make(computer: Computer, logs: &Path, cancel: &Cancel) -> Result<Self, MachineError> {
        let mut firmware = firmware::find(computer)?;
        if firmware.is_none() && !computer.tpm {
            return Ok(Self::default());
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| MachineError::Folder { path, source }
        };
        let folder = PrivateFolder::new().map_err(failed(Path::new("variables and TPM")))?;
        if let Some(firmware) = &mut firmware {
            let own = folder.path().join("variables");
            // Its bytes alone: the package's file may only be read.
            let bytes = fs::read(&firmware.variables.path).map_err(failed(&firmware.variables.path))?;
            fs::write(&own, bytes).map_err(failed(&own))?;
            firmware.variables.path = own;
        }
        let (mut socket, mut tpm) = (None, None);
        if computer.tpm {
            let path = folder.path().join("tpm");
            tpm = Some(Tpm::start(folder.path(), &path, logs, cancel)?);
            socket = Some(path);
        }
        let parts = Parts {
            firmware,
            tpm: socket,
        };
        Ok(Self {
            parts,
            tpm,
            _folder: Some(folder),
        })
    }

    /// Whether all that has to run still does.
    ///
    /// # Errors
    /// [`MachineError::Tpm`].
    pub(super) fn poll(&mut self) -> Result<(), MachineError> {
        self.tpm.as_mut().map_or(Ok(()), Tpm::poll)
    }
}

impl Tpm {
    fn start(state: &Path, socket: &Path, logs: &Path, cancel: &Cancel) -> Result<Self, MachineError> {
        let log = logs.join(TPM_LOG);
        let said = File::create(&log).map_err(|source| MachineError::Folder {
            path: log.clone(),
            source,
        })?;
        let option = |kind: &str, path: &Path| format!("{kind}={}", path.display());
        let cmd = Cmd::new("swtpm")
            .args(["socket", "--tpm2", "--tpmstate", &option("dir", state)])
            .args(["--ctrl", &option("type=unixio,path", socket)])
            .no_new_privileges();
        let running = cmd.spawn(Stdio::null(), said.into())?;
        let mut tpm = Self { running, log };
        let started = Instant::now();
        while !socket.exists() {
            tpm.poll()?;
            if cancel.sleep(POLL / 5) {
                return Err(MachineError::Cancelled);
            }
            if started.elapsed() >= LISTENS {
                return Err(tpm.failed("does not listen on its socket".to_owned()));
            }
        }
        Ok(tpm)
    }

    fn poll(&mut self) -> Result<(), MachineError> {
        match self.running.try_wait()? {
            Some(status) => Err(self.failed(status_text(status))),
            None => Ok(()),
        }
    }

    fn failed(&self, status: String) -> MachineError {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines: Vec<_> = text
            .lines()
            .map(clean_line)
            .filter(|line| !line.is_empty())
            .collect();
        MachineError::Tpm {
            status,
            said: Tail {
                from: "TPM's messages",
                lines: lines[lines.len().saturating_sub(SHOWN)..].to_vec(),
            },
        }
    }
}
