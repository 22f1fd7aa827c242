//! What the stages of an image must know of its distro's guests, as plain data: who logs in and how, what their machines
//! have, how much data there is at most. Pure.

use serde::{Deserialize, Serialize};

use crate::manifest::model::{Access, Distro, Source};
use crate::platform::Platform;
use crate::size::{ByteSize, MIB};

/// What a VM is to be and to have. Of memory and processors a run may give it less, never more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineWish {
    /// What kind of computer.
    pub platform: Platform,
    pub memory: ByteSize,
    /// Virtual CPUs.
    pub cpus: u32,
}

impl MachineWish {
    /// Host programs that such a VM takes, with those that enter it.
    pub(super) fn programs(&self) -> Vec<&'static str> {
        vec![self.emulator(), "qemu-img", "ssh", "ssh-keygen"]
    }

    /// The program that is the machine.
    pub(super) fn emulator(&self) -> &'static str {
        self.platform.hardware().emulator.program
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
        platform: distro.platform,
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
