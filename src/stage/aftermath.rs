//! What becomes of a guest whose work failed: it is given up, shown to the user, or kept for later. Knows guests, nothing of
//! terminals: whoever shows one says how.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Site;
use super::distro::MachineWish;
use super::error::StageError;
use super::guest::GuestDisk;
use crate::host::fs::private_dir;
use crate::machine::disk;
use crate::machine::qemu::{Machine, SCREEN_FILE};
use crate::machine::spec::{Boot, Disk, DiskFormat, DiskMode, MachineSpec};
use crate::machine::ssh::{KEY_NAME, Key, Ssh};
use crate::platform::Computer;
use crate::size::ByteSize;

/// File that describes a kept machine, in its folder.
const RECORD: &str = "machine.json";
/// How long the guest may take to write out what it has in memory, before its machine is ended to be kept.
const SYNC: Duration = Duration::from_secs(20);

/// What becomes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// Its machine is ended and its disk removed.
    #[default]
    Abort,
    /// Its machine is ended; disk and key are kept.
    Keep,
    /// It is held for whoever looks into it, and ended when they let it go.
    Hold,
}

/// A machine that was kept. Paths are those of files in its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub node: String,
    /// What went wrong, the first line of it.
    pub why: String,
    /// User to log in as.
    pub user: String,
    disk: String,
    format: DiskFormat,
    seed: Option<String>,
    kernel: Option<KeptKernel>,
    #[serde(flatten)]
    pub computer: Computer,
    memory: ByteSize,
    cpus: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeptKernel {
    kernel: String,
    initrd: Option<String>,
    cmdline: String,
}

/// What a guest was started from, for the day on which it is started again.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub disk: GuestDisk,
    /// What the layers below that disk lie over, where it is one of several.
    pub base: Option<PathBuf>,
    pub boot: Boot,
    pub wish: MachineWish,
}

/// Ends the machine, and keeps what it was.
pub(super) fn keep(
    mut machine: Machine,
    ssh: Option<Ssh>,
    origin: &Origin,
    key: Option<(&Key, &str)>,
    error: &StageError,
    site: &Site,
) -> Result<(), StageError> {
    if let Some(ssh) = ssh {
        // A guest that does not answer keeps what it had written.
        let _ = ssh.run("sync", Vec::new(), Some(SYNC), &site.cancel, &mut |_, _| {});
    }
    // A picture says what the console may not; whether or not there is one, the failure has its own words.
    let _ = machine.screendump(&machine.folder().join(SCREEN_FILE));
    machine.stop(Duration::ZERO);
    drop(machine);
    let Some((key, user)) = key else {
        site.emit
            .warn("nothing of this machine is kept: the build had no key to it yet");
        return Ok(());
    };
    private_dir(&site.keep)?;
    let moved = |path: &Path| move_into(path, &site.keep);
    let kernel = match &origin.boot {
        Boot::Kernel {
            kernel,
            initrd,
            cmdline,
        } => Some(KeptKernel {
            kernel: moved(kernel)?,
            initrd: initrd.as_deref().map(moved).transpose()?,
            cmdline: cmdline.clone(),
        }),
        Boot::Disk | Boot::Cdrom => None,
    };
    if let Some(base) = &origin.base {
        disk::rebase(&origin.disk.path, base, &site.cancel)?;
    }
    let (memory, cpus) = site.grant(origin.wish);
    let kept = Kept {
        node: site.emit.node().unwrap_or_default().to_owned(),
        why: error.to_string().lines().next().unwrap_or_default().to_owned(),
        user: user.to_owned(),
        disk: moved(&origin.disk.path)?,
        format: origin.disk.format,
        seed: origin.disk.seed.as_deref().map(moved).transpose()?,
        kernel,
        computer: origin.wish.computer,
        memory,
        cpus,
    };
    moved(key.path())?;
    let public = key.path().with_extension("pub");
    moved(&public)?;
    let record = site.keep.join(RECORD);
    let text = serde_json::to_vec_pretty(&kept).map_err(|e| StageError::file("write", &record, e.into()))?;
    fs::write(&record, text).map_err(|e| StageError::file("write", &record, e))?;
    site.emit.warn(format!(
        "the machine is kept as it was: `pipeline ssh {}` starts it again; `pipeline gc` removes it with this run's logs",
        kept.node
    ));
    Ok(())
}

fn move_into(path: &Path, folder: &Path) -> Result<String, StageError> {
    let name = path.file_name().unwrap_or_default();
    fs::rename(path, folder.join(name)).map_err(|e| StageError::file("keep", path, e))?;
    Ok(name.to_string_lossy().into_owned())
}

impl Kept {
    /// The machine kept in a folder, if there is one.
    pub fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join(RECORD)).ok()?).ok()
    }

    /// The private key's file.
    pub fn key(folder: &Path) -> PathBuf {
        folder.join(KEY_NAME)
    }

    /// The machine that starts it again; what its guest writes stays.
    pub fn machine(&self, folder: &Path, accel: crate::machine::spec::Accel) -> MachineSpec {
        let disk = Disk::new(folder.join(&self.disk), self.format);
        let mut spec = MachineSpec::with_disk("kept", self.computer, accel, self.memory, disk);
        spec.cpus = self.cpus;
        spec.disk_mode = DiskMode::Plain;
        spec.seed = self.seed.as_ref().map(|seed| folder.join(seed));
        if let Some(kernel) = &self.kernel {
            spec.boot = Boot::Kernel {
                kernel: folder.join(&kernel.kernel),
                initrd: kernel.initrd.as_ref().map(|initrd| folder.join(initrd)),
                cmdline: kernel.cmdline.clone(),
            };
        }
        spec
    }
}
