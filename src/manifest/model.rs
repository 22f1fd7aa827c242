//! What a manifest says, as plain data: the only form in which the rest of the program sees it.
//! Built by the loader when everything was found right, so every name in here resolves and every file was read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checks::Check;
use crate::digest::{Algorithm, Digest, sha256_hex};
pub use crate::disk_format::{DiskFormat, Form};
use crate::families::{Base, Family};
use crate::host::http::redact;
pub use crate::installer::Delivery;
use crate::installer::{Installer, Program};
use crate::packages::Bom;
use crate::places::Keep;
pub use crate::places::Target;
use crate::platform::{Arch, Computer, Platform, Start};
use crate::releases::{Kind, Query, Recipe, Unknown};
pub use crate::signing::Signer;
use crate::size::ByteSize;

use super::describe::row::words;
use super::error::Problem;
pub use super::files::{Named, Use};
pub use super::secret::{Secret, SecretValue};

/// Digits that tell manifests of one name apart.
const HISTORY_DIGITS: usize = 8;

/// A whole, checked manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The manifest file as the user named it.
    pub path: PathBuf,
    /// Its folder; relative paths in the manifest start here.
    pub folder: PathBuf,
    /// Files that it imports (Nickel), absolute.
    pub imports: Vec<PathBuf>,
    /// Files and folders that it names, absolute, in whichever part.
    pub files: BTreeMap<PathBuf, Named>,
    /// `pipeline.name`, by default the file's stem.
    pub name: String,
    /// Output folder, absolute or relative to the working directory.
    pub output: PathBuf,
    /// `[vars]`: seen by every template.
    pub vars: BTreeMap<String, serde_json::Value>,
    /// `[resources]`.
    pub resources: Resources,
    /// `[distros.*]`, in manifest order.
    pub distros: Vec<Distro>,
    /// `[flavors.*]`, in manifest order, `extends` already resolved.
    pub flavors: Vec<Flavor>,
    /// `[[images]]` expanded to one entry a size, in manifest order.
    pub images: Vec<Image>,
    /// `[publish]`.
    pub publish: Publish,
    /// `report.file`: where the page of each run is written.
    pub report: Option<PathBuf>,
    /// `[[hooks]]`, in manifest order.
    pub hooks: Vec<Hook>,
    /// What is odd, but stops nothing: unused names, secrets that are not there now.
    pub warnings: Vec<Problem>,
}

/// A command on this host that is run when something has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    pub after: After,
    /// For `sh -c`.
    pub command: String,
    /// Longest time that it may take.
    pub timeout: Duration,
}

/// What a hook follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum After {
    /// Each image that a run built.
    #[default]
    Image,
    /// Each run that did not fail.
    Run,
    /// Each run that failed, or was refused.
    Failure,
}

impl After {
    /// As in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Run => "run",
            Self::Failure => "failure",
        }
    }
}

/// What a run may use of the host. `None` means: what the host has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// Memory for VMs.
    pub memory: Option<ByteSize>,
    /// Virtual CPUs at once.
    pub cpus: Option<u32>,
    /// Disk space for scratch files.
    pub scratch: Option<ByteSize>,
    /// Nodes at once.
    pub jobs: Option<usize>,
    /// How long what was read back is not read again.
    pub reread: Option<Duration>,
}

/// What is installed, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Distro {
    pub name: String,
    /// Which conventions the guest follows.
    pub family: Arc<Family>,
    /// Version, as in the metadata of published images: `12`.
    pub version: String,
    /// The computers that its images start in. It is built in the first one.
    pub computers: Vec<Computer>,
    /// Where it comes from.
    pub source: Source,
    /// Size of the disk that the distro is installed on, before it grows.
    pub disk: ByteSize,
    /// Memory of its build VMs.
    pub memory: ByteSize,
    /// Virtual CPUs of its build VMs.
    pub cpus: u32,
    /// Archives that its guests install from in steps.
    pub archives: Vec<GuestArchive>,
    /// Age from which on what was built of it is built again.
    pub max_age: Option<Duration>,
    /// The answer template: what configures the system as it is installed. Absent where the source needs none.
    pub answers: Option<Template>,
    /// `[distros.X.vars]` over `[vars]`.
    pub vars: BTreeMap<String, serde_json::Value>,
}

/// A package archive that steps in guests install from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestArchive {
    pub url: String,
    pub suites: Vec<String>,
    pub components: Vec<String>,
    /// Keyring that signs it; absent: the host's.
    pub keyring: Option<PathBuf>,
}

/// Where a distro comes from: the one key of `source = { … }`.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Packages straight into a root file system, without an installer.
    Bootstrap(Bootstrap),
    /// An existing disk image.
    Disk(DiskSource),
    /// The distro's own installer, unattended.
    Installer(Box<InstallerSource>),
}

/// `source.bootstrap`.
#[derive(Clone, Debug, PartialEq)]
pub struct Bootstrap {
    /// Suite: `bookworm`, `noble`.
    pub suite: String,
    /// What it starts from.
    pub base: Base,
    /// Mirror URL; absent: the host's own apt configuration.
    pub mirror: Option<String>,
    /// URL template of the archive's earlier states.
    pub snapshot: Option<String>,
    /// Archive components.
    pub components: Vec<String>,
    /// Kernel package; absent: the family's small kernel for virtual machines.
    pub kernel: Option<String>,
    /// Further packages.
    pub packages: Vec<String>,
    /// Keyring that signs the archive; absent: the host's.
    pub keyring: Option<PathBuf>,
}

/// `source.disk`.
#[derive(Clone, Debug, PartialEq)]
pub struct DiskSource {
    /// Where the bytes are.
    pub media: Media,
    /// How the build gets into the guest.
    pub access: Access,
    /// The user to log in as (must be root or have password-less sudo).
    pub user: String,
}

/// `source.iso` or `source.netboot`.
#[derive(Clone, Debug, PartialEq)]
pub struct InstallerSource {
    /// What is known about the installer.
    pub installer: Arc<Installer>,
    /// What is seen while it works.
    pub program: Arc<Program>,
    /// What the machine starts from.
    pub media: InstallMedia,
    /// How the answers come to it; absent: the installer's usual way.
    pub delivery: Option<Delivery>,
    /// Where packages come from; absent: the installer's usual mirror.
    pub mirror: Option<String>,
    /// Suite, for mirrors that have several.
    pub suite: Option<String>,
    /// Keyring that signs the suite; absent: the host's.
    pub archive_keyring: Option<PathBuf>,
    /// Further kernel arguments for the installer; a template.
    pub arguments: Option<String>,
    /// What is typed into the medium's boot loader, which then starts instead of the kernel; a template.
    pub boot_command: Option<String>,
    /// Password of the user of the answers, or its hash as in crypt(5).
    pub password: Option<Secret>,
}

/// What an installer starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstallMedia {
    /// A CD or DVD image, which has kernel and initial RAM disk in it.
    Iso(Media),
    /// Both by themselves.
    Netboot {
        kernel: Media,
        /// Initial RAM disk.
        initrd: Media,
    },
}

/// A file by path or URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// A local file, absolute.
    Path {
        path: PathBuf,
        /// Expected digest, where given.
        digest: Option<Digest>,
    },
    /// URLs in order of preference, all for the same bytes.
    Urls {
        /// At least one.
        urls: Vec<String>,
        /// What they must be (a URL without that is refused).
        proof: Proof,
    },
}

/// What tells the right bytes of a download from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// Their digest.
    Digest(Digest),
    /// Their line in a checksum file of the publisher's.
    List(ChecksumList),
    /// What the lock has of the newest medium of a release; there are no URLs without it.
    Latest(Box<Latest>),
}

/// What is between a medium and the mirror that it comes from, in texts.
const FROM: &str = " from ";

/// The newest medium of a release, wherever its publisher lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latest {
    /// `debian-12`.
    pub release: String,
    /// How it is found.
    pub recipe: Recipe,
    pub kind: Kind,
    pub arch: Arch,
    /// Which of the media; absent: the recipe's usual one.
    pub variant: Option<String>,
    /// What replaces the publisher's hosts.
    pub from: Option<String>,
    /// Keyring that the list must be signed by; absent: the host's, where it has one.
    pub keyring: Option<Keyring>,
}

impl Latest {
    /// The way to it.
    ///
    /// # Errors
    /// [`Unknown`].
    pub fn query(&self) -> Result<Query<'_>, Unknown> {
        let version = self.release.rsplit('-').next().unwrap_or_default();
        let (variant, from) = (self.variant.as_deref(), self.from.as_deref());
        self.recipe.query(version, self.kind, self.arch, variant, from)
    }

    /// Whether a text that was made of another one means the same medium, from whichever mirror.
    pub fn is_as(&self, other: &str) -> bool {
        let medium = |text: &str| text.split(FROM).next().unwrap_or_default().to_owned();
        medium(&self.to_string()) == medium(other)
    }
}

impl fmt::Display for Latest {
    /// All that says which medium is meant.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.release, self.kind.name(), self.arch.name())?;
        let variant = self.variant.iter().map(|variant| format!(" {variant}"));
        let from = self.from.iter().map(|from| format!("{FROM}{}", redact(from)));
        variant.chain(from).try_for_each(|part| f.write_str(&part))
    }
}

/// A checksum file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChecksumList {
    /// URL or absolute path.
    pub url: String,
    /// URL or absolute path of its detached signature; absent with a keyring: it is clear-signed.
    pub signature: Option<String>,
    /// Keyring that it must be signed by; absent: the signature is not looked at.
    pub keyring: Option<Keyring>,
}

/// A file of public keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyring {
    /// The file, absolute.
    pub path: PathBuf,
    /// SHA-256 of it.
    pub digest: String,
}

/// How the build gets into a disk image that we did not install.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// A cloud-init NoCloud seed carries the build key.
    CloudInit,
    /// The image knows this private key already.
    Key(PathBuf),
}

/// A template as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// As the user wrote it, or the name of a built-in one (`bootstrap-debian.sh.j2`).
    pub name: String,
    pub text: String,
}

/// A named list of steps, those of the flavor it extends first.
#[derive(Clone, Debug, PartialEq)]
pub struct Flavor {
    pub name: String,
    /// Steps in order.
    pub steps: Vec<Step>,
    /// After how many of them a flavor ends that others extend: this one, or one that it extends.
    pub ends: BTreeSet<usize>,
}

/// One thing done in the guest.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// For people: the script's name, "copy motd", "reboot".
    pub label: String,
    pub kind: StepKind,
    /// Longest time for one attempt.
    pub timeout: Duration,
    /// Further attempts after a failed one.
    pub retries: u32,
    /// Whether the guest's disk is kept as it is after it, however short it took.
    pub checkpoint: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum StepKind {
    Run(RunStep),
    /// Copies a file or directory in.
    Copy(CopyStep),
    /// Restarts the guest and waits for it.
    Reboot,
    /// Installs the boot-time agent (`install = "vm-bootstrap"`).
    InstallAgent,
    /// Runs `ansible-playbook` on the host against the guest.
    Ansible(AnsibleStep),
}

/// `{ run = … }` or `{ inline = … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct RunStep {
    /// The path as written, or `inline`.
    pub origin: String,
    pub script: String,
    /// Interpreter in the guest; absent: the script's own `#!`, else `/bin/sh`.
    pub interpreter: Option<String>,
    /// Account in the guest; absent: root.
    pub user: Option<String>,
    /// Environment; values may be templates.
    pub env: BTreeMap<String, EnvValue>,
    /// Exit codes that mean success.
    pub exit_codes: Vec<i32>,
}

/// A value for a step's environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvValue {
    /// Text, a minijinja template over the vars.
    Text(String),
    /// A secret: known by where it is, never by its value.
    Secret(Secret),
}

/// `{ copy = …, to = … }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CopyStep {
    /// File or directory on the host, absolute.
    pub from: PathBuf,
    /// Whether that is a directory, whose *contents* are copied.
    pub is_folder: bool,
    /// Absolute path in the guest.
    pub to: String,
    /// Permission bits for files copied; absent: as on the host.
    pub mode: Option<u32>,
    /// `user` or `user:group`; absent: root.
    pub owner: Option<String>,
    /// SHA-256 over names, modes and contents.
    pub digest: String,
}

/// `{ ansible = … }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnsibleStep {
    /// The playbook, absolute.
    pub playbook: PathBuf,
    /// Further arguments.
    pub args: Vec<String>,
    /// SHA-256 over the playbook's folder (roles and files lie next to it).
    pub digest: String,
}

/// One image to build: distro x flavor x size.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// `debian12-50G-vm-bootstrap` unless the manifest says otherwise.
    pub id: String,
    /// Name of its distro.
    pub distro: String,
    /// Name of its flavor.
    pub flavor: String,
    /// Virtual size of its disk.
    pub size: ByteSize,
    /// The size as written: `50G`.
    pub size_label: String,
    /// Path of the published file below the output folder: `debian12-50G-base/debian12-50G-base.qcow2.gz`.
    pub file: PathBuf,
    /// The same disk in further formats.
    pub formats: Vec<Format>,
    /// What is asserted of it before it is published.
    pub checks: Vec<Check>,
    /// The computers in which that is asserted.
    pub computers: Vec<Computer>,
}

/// An image in a further format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    pub form: Form,
    /// Compression of its file.
    pub compress: Compression,
    /// Path below the output folder.
    pub file: PathBuf,
}

/// `[publish]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// Format of the disk inside.
    pub format: DiskFormat,
    /// Compression of the published file.
    pub compress: Compression,
    /// Level; absent: the compression's own default.
    pub level: Option<u32>,
    /// Checksum files to keep.
    pub checksums: Vec<Algorithm>,
    /// Bills of materials to publish with each image.
    pub sbom: Vec<Bom>,
    /// Whether a statement of how it was made is published with each image.
    pub provenance: bool,
    /// What is kept of earlier builds; absent: nothing.
    pub versions: Option<Keep>,
    /// Who signs the files that list what is published.
    pub sign: Vec<Signer>,
    /// `[publish.<name>]`, in manifest order.
    pub targets: Vec<Target>,
}

/// How a published file is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    /// RFC 1952, one member.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// The .xz format.
    Xz,
    /// As it is.
    None,
}

impl Compression {
    /// As in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::None => "none",
        }
    }

    /// File name suffix with its dot, empty for none.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
            Self::Xz => ".xz",
            Self::None => "",
        }
    }
}

words! {
    After: Image, Run, Failure;
    Algorithm: Sha512, Sha256, Md5;
    Bom: Spdx, Cyclonedx;
    Compression: Gzip, Zstd, Xz, None;
    Delivery: Http, Initrd, Seed;
    DiskFormat: Qcow2, Raw;
    Form: Qcow2, Qcow2Zlib, Qcow2Zstd, Raw, Vmdk, Vhdx, Vhd, Vdi, Ova, ContainerDisk, VagrantLibvirt, RootTar;
    Start: Bios, Uefi, SecureBoot;
}

impl Media {
    /// Stands in for media that were reported.
    pub(super) fn none() -> Self {
        Self::Path {
            path: PathBuf::new(),
            digest: None,
        }
    }
}

impl Image {
    /// Paths of all files that hold its disk, its own first.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let further = self.formats.iter().map(|format| format.file.as_path());
        std::iter::once(self.file.as_path()).chain(further)
    }
}

impl Distro {
    /// The computer that it is built in.
    pub fn computer(&self) -> Computer {
        self.computers.first().copied().unwrap_or_default()
    }

    /// What kinds of computer start its images.
    pub fn platforms(&self) -> Vec<Platform> {
        self.computers.iter().map(|computer| computer.platform).collect()
    }

    /// The computer that starts its images in this way, if they can be started so. What takes signed boot loaders only is
    /// more than is needed for UEFI alone.
    pub fn started_by(&self, start: Start) -> Option<Computer> {
        let plain = |computer: Computer| Computer {
            secure_boot: computer.secure_boot && start == Start::SecureBoot,
            ..computer
        };
        self.computers
            .iter()
            .map(|computer| plain(*computer))
            .find(|computer| computer.start() == start)
    }
}

impl Manifest {
    /// What the store remembers its results under: two manifests of one name do not share a history.
    pub fn history(&self) -> String {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let digest = sha256_hex(path.as_os_str().as_bytes());
        format!(
            "{}.{}",
            self.name,
            digest.get(..HISTORY_DIGITS).unwrap_or(&digest)
        )
    }

    /// The distro of this name. Names in a checked manifest resolve.
    pub fn distro(&self, name: &str) -> Option<&Distro> {
        self.distros.iter().find(|d| d.name == name)
    }

    pub fn flavor(&self, name: &str) -> Option<&Flavor> {
        self.flavors.iter().find(|f| f.name == name)
    }
}
