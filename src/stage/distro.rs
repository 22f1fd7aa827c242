//! What the stages of an image must know of its distro's guests, as plain data: who logs in and how, what their machines
//! have, how much data there is at most. Pure.

use serde::{Deserialize, Serialize};

use crate::machine::firmware;
use crate::manifest::model::{Access, Distro, Source};
use crate::platform::Computer;
use crate::size::{ByteSize, MIB};
use crate::stage::task::Finding;

/// What a VM is to be and to have. Of memory and processors a run may give it less, never more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineWish {
    pub computer: Computer,
    pub memory: ByteSize,
    /// Virtual CPUs.
    pub cpus: u32,
}

impl MachineWish {
    /// Host programs that such a VM takes, with those that enter it.
    pub(super) fn programs(&self) -> Vec<&'static str> {
        let mut programs = self.without_entering();
        programs.extend(["ssh", "ssh-keygen"]);
        programs
    }

    /// Host programs that such a VM takes by itself.
    pub(super) fn without_entering(&self) -> Vec<&'static str> {
        let mut programs = vec![self.computer.platform.hardware().emulator.program, "qemu-img"];
        programs.extend(self.computer.tpm.then_some("swtpm"));
        programs
    }

    /// What this host lacks for such a VM in addition to programs.
    pub(super) fn lacks(&self) -> Option<Finding> {
        let error = firmware::find(self.computer).err()?;
        Some(Finding::Missing(format!("the firmware of machines ({error})")))
    }
}

/// How to get into a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestAccess {
    /// User to log in as.
    pub user: String,
    pub login: GuestLogin,
}

/// How the build logs in to a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestLogin {
    /// The install node put a key in and keeps its private half next to the disk.
    Installed,
    /// As the manifest says of a disk source.
    Given(Access),
}

/// Who the build is in the guest.
pub(super) fn user(distro: &Distro) -> &str {
    match &distro.source {
        Source::Bootstrap(_) | Source::Installer(_) => "root",
        Source::Disk(disk) => &disk.user,
    }
}

/// How the build gets into the guest.
pub(super) fn access(distro: &Distro) -> GuestAccess {
    let login = match &distro.source {
        Source::Bootstrap(_) | Source::Installer(_) => GuestLogin::Installed,
        Source::Disk(disk) => GuestLogin::Given(disk.access.clone()),
    };
    GuestAccess {
        user: user(distro).to_owned(),
        login,
    }
}

/// What its build VMs have.
pub(super) fn wish(distro: &Distro) -> MachineWish {
    MachineWish {
        computer: distro.computer(),
        memory: distro.memory,
        cpus: distro.cpus,
    }
}

/// An upper bound of the data on a distro's disk, in bytes: the disk it is installed on, or where that is only known
/// once it is fetched, what cloud images usually fit in.
pub(super) fn data_bound(distro: &Distro) -> u64 {
    const CLOUD_IMAGE: u64 = 4096 * MIB;
    if distro.disk.0 == 0 {
        CLOUD_IMAGE
    } else {
        distro.disk.0
    }
}
