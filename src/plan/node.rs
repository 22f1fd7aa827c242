//! Nodes of the plan: one stage for one subject, with everything that running it needs as plain data.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::{Algorithm, Digest};
use crate::installer::Delivery;
use crate::manifest::assertion::Check;
use crate::manifest::model::{Access, AnsibleStep, Compression, CopyStep, DiskFormat, Family, Proof, Secret};
use crate::manifest::target::Target;
use crate::platform::Platform;
use crate::size::ByteSize;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Gets media by URL into the store.
    Fetch,
    /// Makes a distro's disk.
    Install,
    /// Runs a flavor's steps on it and seals it.
    Provision,
    /// Derives a disk of another size.
    Size,
    /// Compresses it and takes its digests.
    Package,
    /// Boots what was packaged and asserts what the manifest wants of it.
    Check,
    /// Puts it into the output folder with its lines in the checksum files.
    Sums,
    /// Publishes it to one place and reads it back.
    Upload,
    /// Lists it among what is published.
    Index,
}

impl Stage {
    /// As in node ids and folders.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Install => "install",
            Self::Provision => "provision",
            Self::Size => "size",
            Self::Package => "package",
            Self::Check => "check",
            Self::Sums => "sums",
            Self::Upload => "upload",
            Self::Index => "index",
        }
    }

    /// Whether its result lies outside the store, and so is looked at in each run.
    pub fn is_outside(self) -> bool {
        matches!(self, Self::Sums | Self::Upload | Self::Index)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a node takes of the host while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Virtual machines it boots, one after the other.
    pub machines: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Scratch space in bytes, at most.
    pub scratch: u64,
}

/// One stage for one subject.
#[derive(Clone, Debug)]
pub struct Node {
    /// Stage.
    pub stage: Stage,
    /// What it is done for: a distro, `distro-flavor`, an image id, `image@target`.
    pub subject: String,
    /// Hash of `inputs`.
    pub key: String,
    /// Everything the result depends on.
    pub inputs: serde_json::Value,
    /// What to do.
    pub work: Work,
    /// What it takes.
    pub cost: Cost,
}

impl Node {
    /// `stage/subject`, unique in a plan.
    pub fn id(&self) -> String {
        format!("{}/{}", self.stage, self.subject)
    }
}

/// What a node does, with all it needs to know.
#[derive(Clone, Debug)]
pub enum Work {
    /// Downloads.
    Fetch(FetchWork),
    /// Installs from packages.
    Bootstrap(Box<BootstrapWork>),
    /// Takes an existing disk.
    Disk(DiskWork),
    /// Runs the distro's own installer.
    Installer(Box<InstallerWork>),
    /// Runs steps and seals.
    Provision(Box<ProvisionWork>),
    /// Makes a size.
    Size(SizeWork),
    /// Compresses.
    Package(PackageWork),
    /// Boots and asserts.
    Check(Box<CheckWork>),
    /// Delivers.
    Sums(SumsWork),
    /// Publishes.
    Upload(Box<UploadWork>),
    /// Lists.
    Index(Box<IndexWork>),
}

/// Work of [`Stage::Fetch`].
#[derive(Clone, Debug)]
pub struct FetchWork {
    /// In order of preference.
    pub urls: Vec<String>,
    /// What must come.
    pub proof: Proof,
}

impl FetchWork {
    /// The server that is asked first; none for a file of this host.
    pub fn host(&self) -> Option<&str> {
        let (_, rest) = self.urls.first()?.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let host = authority.rsplit('@').next()?;
        Some(host).filter(|host| !host.is_empty())
    }
}

/// A distribution's package archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// Main archive.
    pub uri: String,
    /// Security archive, where one is known.
    pub security: Option<SecurityArchive>,
}

/// Where a suite's security updates come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityArchive {
    /// Archive.
    pub uri: String,
    /// Its suite: `bookworm-security`.
    pub suite: String,
}

/// Work of [`Stage::Install`] for a bootstrap source.
#[derive(Clone, Debug)]
pub struct BootstrapWork {
    /// Suite.
    pub suite: String,
    /// Archive.
    pub mirror: Mirror,
    /// Components.
    pub components: Vec<String>,
    /// All packages, kernel included.
    pub packages: Vec<String>,
    /// Keyring that signs the archive; absent: what the host trusts.
    pub keyring: Option<PathBuf>,
    /// The setup script with [`BUILD_KEY`](super::build::BUILD_KEY) where the build key will stand.
    pub setup: String,
    /// UUID of the root file system.
    pub root_uuid: String,
    /// Size of the disk in bytes.
    pub disk: u64,
    /// The VM of the first boot.
    pub machine: MachineWish,
}

/// What a VM is to be and to have. Of memory and processors a run may give it less, never more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineWish {
    /// What kind of computer.
    pub platform: Platform,
    /// Memory.
    pub memory: ByteSize,
    /// Virtual CPUs.
    pub cpus: u32,
}

/// Work of [`Stage::Install`] for a disk source.
#[derive(Clone, Debug)]
pub struct DiskWork {
    /// The image.
    pub media: MediaAt,
    /// Grow the disk to at least this many bytes (0: leave it).
    pub disk: u64,
    /// Size of the largest image made of it, in bytes. No part of the key: a disk that is too large gives no result.
    pub largest: u64,
}

/// Where a medium is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaAt {
    /// A local file.
    Local {
        /// The file.
        path: PathBuf,
        /// What it must be, where known.
        digest: Option<Digest>,
    },
    /// The result of the fetch node of this subject.
    Fetched(String),
}

impl MediaAt {
    /// What the medium must be, where that is still to be found out.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Local { digest, .. } => digest.as_ref(),
            Self::Fetched(_) => None,
        }
    }
}

/// Work of [`Stage::Install`] by the distro's own installer. Texts have stand-ins for what only a run knows: see
/// [`super::installer`].
#[derive(Clone, Debug)]
pub struct InstallerWork {
    /// What starts.
    pub boot: InstallerBoot,
    /// Command line of the kernel.
    pub command_line: String,
    /// How the answers come to it.
    pub delivery: Delivery,
    /// The answers.
    pub answers: String,
    /// What they are called.
    pub file: String,
    /// Label of a seed.
    pub label: String,
    /// Empty files beside them on a seed.
    pub other_seed_files: Vec<String>,
    /// The installer's name, as in the table of installers.
    pub program: String,
    /// Password of the user of the answers, or its hash.
    pub password: Option<Secret>,
    /// Size of the disk in bytes.
    pub disk: u64,
    /// Size of the largest image made of it, in bytes. No part of the key.
    pub largest: u64,
    /// Its VM.
    pub machine: MachineWish,
}

/// What an installer's machine starts.
#[derive(Clone, Debug)]
pub enum InstallerBoot {
    /// Kernel and initial RAM disk out of an ISO, which stays attached.
    Iso {
        /// The image.
        iso: MediaAt,
        /// Both in it, where the family has usual places.
        images: Option<(String, String)>,
        /// What the image's `.treeinfo` calls the architecture; it goes before the usual places.
        treeinfo: Option<String>,
    },
    /// The ISO's own boot loader, which is typed to.
    Typed {
        /// The image.
        iso: MediaAt,
        /// What is typed.
        keys: String,
    },
    /// Kernel and initial RAM disk by themselves.
    Netboot {
        /// Kernel.
        kernel: MediaAt,
        /// Initial RAM disk.
        initrd: MediaAt,
    },
}

/// Work of [`Stage::Provision`].
#[derive(Clone, Debug)]
pub struct ProvisionWork {
    /// Who lives in the guest.
    pub guest: GuestAccess,
    /// Steps in order.
    pub steps: Vec<PlannedStep>,
    /// The VM.
    pub machine: MachineWish,
}

/// How to get into a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestAccess {
    /// Family of the guest.
    pub family: Family,
    /// User to log in as.
    pub user: String,
    /// By which door.
    pub door: Door,
}

/// By which door the build gets into a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// The install node put a key in and keeps its private half beside the disk.
    Installed,
    /// As the manifest says of a disk source.
    Given(Access),
}

/// A step, rendered.
#[derive(Clone, Debug)]
pub struct PlannedStep {
    /// For people.
    pub label: String,
    /// What.
    pub action: Action,
    /// Longest time for one attempt.
    pub timeout: Duration,
    /// Further attempts.
    pub retries: u32,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Runs a script.
    Run {
        /// Its text.
        script: String,
        /// Interpreter, absent: its `#!`, else `/bin/sh`.
        interpreter: Option<String>,
        /// Plain environment.
        env: BTreeMap<String, String>,
        /// Secrets for the environment.
        secrets: BTreeMap<String, Secret>,
        /// Codes that mean success.
        exit_codes: Vec<i32>,
    },
    /// Copies.
    Copy(CopyStep),
    /// Restarts the guest.
    Reboot,
    /// Installs the boot-time agent.
    InstallAgent,
    /// Runs a playbook.
    Ansible(AnsibleStep),
}

/// Work of [`Stage::Size`].
#[derive(Clone, Debug)]
pub struct SizeWork {
    /// Virtual size of the result in bytes.
    pub size: u64,
    /// Its format.
    pub format: DiskFormat,
    /// How to get in where the file system can only grow from inside.
    pub guest: GuestAccess,
    /// The VM for that.
    pub machine: MachineWish,
    /// Whether it may be needed: what we partition ourselves has a root that grows without one.
    pub may_boot: bool,
}

/// Work of [`Stage::Package`].
#[derive(Clone, Debug)]
pub struct PackageWork {
    /// How.
    pub compression: Compression,
    /// How hard.
    pub level: Option<u32>,
}

/// Work of [`Stage::Check`].
#[derive(Clone, Debug)]
pub struct CheckWork {
    /// What is asserted, in order.
    pub checks: Vec<Check>,
    /// Virtual size of the image in bytes.
    pub size: u64,
    /// Format of the disk inside the packaged file.
    pub format: DiskFormat,
    /// How questions get into the guest.
    pub way_in: WayIn,
    /// The VM.
    pub machine: MachineWish,
}

/// How the check stage asks its questions in a guest that it has no credentials for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WayIn {
    /// The boot-time agent fetches them.
    Agent,
    /// Something that is put into the throw-away overlay, or offered to it from outside.
    Overlay,
}

/// Work of [`Stage::Sums`].
#[derive(Clone, Debug)]
pub struct SumsWork {
    /// Output folder.
    pub output: PathBuf,
    /// The image's file below it.
    pub file: PathBuf,
    /// Checksum files to keep.
    pub algorithms: Vec<Algorithm>,
}

/// Work of [`Stage::Upload`].
#[derive(Clone, Debug)]
pub struct UploadWork {
    /// Where to.
    pub target: Target,
    /// The image's path below it.
    pub file: PathBuf,
    /// What a shacache is told about it, in order; empty elsewhere.
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// Work of [`Stage::Index`].
#[derive(Clone, Debug)]
pub struct IndexWork {
    /// Output folder.
    pub output: PathBuf,
    /// The target that has the image.
    pub target: Target,
    /// Whether it gets a line in `URL.txt`.
    pub lists_url: bool,
    /// The image's file below the output folder.
    pub file: PathBuf,
    /// What the image is.
    pub facts: serde_json::Value,
}
