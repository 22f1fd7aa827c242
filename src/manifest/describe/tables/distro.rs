//! `[distros.*]`: what is installed, and where it comes from.

use super::super::row::{Choice, Either, In, List, Named, OneOrMore, Var, Whole, Word, Yes};
use super::super::text::{Md5, Name, Sha256, Sha512, Size, SnapshotUrl, Text, Time, Url, Variable};
use super::SecretKeys;
use crate::installer::Delivery;
use crate::platform::Arch;
use crate::syntax::table::{one_of, table};

table! {
    DISTRO: DistroKeys = "distro", "What is installed, once",
        "{ family = \"debian\", version = \"12\", source = { bootstrap = { suite = \"bookworm\" } } }";
    family: Name = "\"debian\"",
        "whose conventions the guest follows: `debian`, `ubuntu`, `rhel` (CentOS, RHEL and its rebuilds, Fedora), `suse` (openSUSE Leap, SLES), `alpine`, or one of `families`".needed();
    version: Text = "\"12\"", "as its publisher numbers it".needed();
    source: In<SourceKeys> = "{ bootstrap = { suite = \"bookworm\" } }", "where it comes from".needed();
    disk: Size = "\"2G\"", "size it is installed at; no image of it can be smaller"
        .default("2G for `bootstrap`, the size of a disk image, what an installer needs");
    memory: Size = "\"1G\"", "memory of its machines; an installer has a default of its own".default("\"1G\"");
    cpus: Whole<u32, 1, 512> = "2", "virtual CPUs of its machines".default("2");
    arch: Choice<ArchName> = "\"arm64\"",
        "architecture of its machines; of another one than the host's, all is emulated".default("\"amd64\"");
    firmware: Choice<Firmware> = "\"bios+uefi\"",
        "what starts its images: `bios+uefi` makes one disk for both, which is built by BIOS"
        .default("\"bios\", on arm64 \"uefi\"");
    secure_boot: Yes = "true", "`true`: its images also start where UEFI takes only what is signed";
    tpm: Yes = "true", "`true`: its machines have a TPM 2.0";
    answers: Text = "\"setup.sh.j2\"",
        "template of what its system is configured with: a setup script for `bootstrap`; a preseed, a kickstart or an autoinstall for installers"
        .default("a built-in one");
    archives: List<In<ArchiveKeys>> = "[{ url = \"https://mirror.example/debian\", suites = [\"bookworm\"] }]",
        "archives of apt that steps install from: the lock has their state, and what the steps make depends on it"
        .default("[]");
    max_age: Time = "\"30d\"", "age from which on it is built again, from what its archives have then".default("none");
    vars: Named<Variable, Var> = "{ keymap = \"us\" }", "values over those of `[vars]`";
}

table! {
    ARCHIVE: ArchiveKeys = "archive", "An archive that steps install from",
        "{ url = \"https://mirror.example/debian\", suites = [\"bookworm\"] }";
    url: Url = "\"https://mirror.example/debian\"", "where it is".needed();
    suites: List<Text> = "[\"bookworm\", \"bookworm-updates\"]", "suites of it".needed();
    components: List<Text> = "[\"main\", \"contrib\"]", "parts of it".default("[\"main\"]");
    keyring: Text = "\"keyring.gpg\"", "keys that it must be signed by".default("the host's");
}

table! {
    SOURCE: SourceKeys = "source", "Where a distro comes from", "{ bootstrap = { suite = \"bookworm\" } }",
        groups [needed SourceKey];
    bootstrap: In<BootstrapKeys> = "{ suite = \"bookworm\" }",
        "packages straight into a root file system, by mmdebstrap";
    disk: In<DiskKeys> = "{ path = \"base.qcow2\" }", "an existing image";
    iso: In<IsoKeys> = "{ path = \"netinst.iso\" }",
        "the distro's own installer on a CD or DVD image: its kernel is started directly, the image stays attached";
    netboot: In<NetbootKeys> = "{ kernel = { path = \"linux\" }, initrd = { path = \"initrd.gz\" } }",
        "the same installer without an image";
}

one_of! {
    /// Kinds of source.
    SourceKey of SOURCE { Bootstrap: bootstrap, Disk: disk, Iso: iso, Netboot: netboot }
}

table! {
    BOOTSTRAP: BootstrapKeys = "bootstrap", "Packages straight into a root file system",
        "{ suite = \"bookworm\" }";
    suite: Text = "\"bookworm\"", "suite on the mirror".needed();
    mirror: Url = "\"https://mirror.example/debian\"", "where packages come from"
        .default("the host's own, where the host is of the family");
    snapshot: SnapshotUrl = "\"https://snapshot.debian.org/archive/{archive}/{timestamp}/\"",
        "where the archive's earlier states are: used where the mirror has moved past the lock; `{timestamp}` becomes a time (20261128T025300Z), `{archive}` the last part of the mirror's path"
        .default("none: what there is now is built from, and the lock moves");
    components: List<Text> = "[\"main\", \"contrib\"]", "parts of the archive".default("[\"main\"]");
    kernel: Text = "\"linux-image-amd64\"", "package of the kernel".default("the family's usual one");
    packages: List<Text> = "[\"sudo\"]", "further packages".default("[]");
    keyring: Text = "\"keyring.gpg\"", "keys that the archive must be signed by".default("the host's");
}

table! {
    DISK: DiskKeys = "disk", "An existing image", "{ path = \"base.qcow2\" }",
        parts [MediumKeys, DiskKeys], groups [needed PlaceKey, optional ProofKey];
    access: Either<Choice<Seeded>, In<AccessKeys>> = "{ key = \"id_ed25519\" }",
        "how the build gets in: `\"cloud-init\"`, or `{ key = … }` for an image that knows a key"
        .default("\"cloud-init\"");
    user: Text = "\"debian\"", "who to log in as".default("the family's usual cloud user, `root` with a key");
}

table! {
    ACCESS: AccessKeys = "access", "A key that an image knows", "{ key = \"id_ed25519\" }";
    key: Text = "\"id_ed25519\"", "the private half, as a file".needed();
}

/// How a build gets into an image without a key that it knows.
#[derive(Clone, Copy, Debug)]
pub enum Seeded {
    /// By a seed for cloud-init.
    CloudInit,
}

impl Word for Seeded {
    const ALL: &'static [Self] = &[Self::CloudInit];

    fn word(self) -> &'static str {
        match self {
            Self::CloudInit => "cloud-init",
        }
    }
}

/// What starts a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    Bios,
    Uefi,
    Both,
}

/// An architecture, as Debian names it and as kernels do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchName {
    Amd64,
    X86,
    Arm64,
    Aarch64,
}

impl ArchName {
    pub fn arch(self) -> Arch {
        match self {
            Self::Amd64 | Self::X86 => Arch::Amd64,
            Self::Arm64 | Self::Aarch64 => Arch::Arm64,
        }
    }
}

impl Word for ArchName {
    const ALL: &'static [Self] = &[Self::Amd64, Self::X86, Self::Arm64, Self::Aarch64];

    fn word(self) -> &'static str {
        let arch = self.arch();
        match self {
            Self::Amd64 | Self::Arm64 => arch.name(),
            Self::X86 | Self::Aarch64 => arch.uefi().hardware().emulator.processor,
        }
    }
}

impl Word for Firmware {
    const ALL: &'static [Self] = &[Self::Bios, Self::Uefi, Self::Both];

    fn word(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
            Self::Both => "bios+uefi",
        }
    }
}

table! {
    _ISO: IsoKeys = "iso", "An installer on a CD or DVD image", "{ path = \"netinst.iso\" }",
        parts [MediumKeys, IsoKeys, InstallerKeys], groups [needed PlaceKey, optional ProofKey];
}

table! {
    NETBOOT: NetbootKeys = "netboot", "An installer without an image",
        "{ kernel = { path = \"linux\" }, initrd = { path = \"initrd.gz\" } }",
        parts [NetbootKeys, InstallerKeys];
    kernel: In<MediumKeys> = "{ path = \"linux\" }", "its kernel".needed();
    initrd: In<MediumKeys> = "{ path = \"initrd.gz\" }", "its initial RAM disk".needed();
}

// How an installer is talked to: no table, but a part of two.
table! {
    INSTALLER: InstallerKeys = "installer", "How an installer is talked to", "{ }";
    mirror: Url = "\"https://mirror.example/debian\"", "where packages come from"
        .default("for Debian the mirror that this host's own apt uses, for Ubuntu its archive, for Anaconda the medium");
    suite: Text = "\"trixie\"", "suite on the mirror";
    archive_keyring: Text = "\"keyring.gpg\"",
        "keys that the suite must be signed by to be locked; which keys the installer itself trusts, its answers say"
        .default("the host's").goes_with(|| vec![&INSTALLER.suite.key]);
    password: In<SecretKeys> = "{ env = \"PASSWORD\" }",
        "password of the account `username` of the answers, or its hash as in crypt(5)".default("none");
    arguments: Text = "\"console=ttyS1\"", "further kernel arguments for the installer (a template)";
    answers_by: Choice<Delivery> = "\"http\"", "how the answers get there".default("the installer's usual way");
    boot_command: OneOrMore<Text> = "[\"<waitFor 'boot:'>auto url={{ host.url }}<enter>\"]",
        "keys to type into the medium's boot loader, which then starts instead of the kernel (`iso` only); answers by `http`, or a seed";
}

table! {
    MEDIUM: MediumKeys = "medium", "A file, here or elsewhere", "{ path = \"base.qcow2\" }",
        groups [needed PlaceKey, optional ProofKey];
    path: Text = "\"base.qcow2\"", "a file, relative to the manifest";
    url: Url = "\"https://cloud.example/base.qcow2\"", "where the file is; needs a digest";
    urls: List<Url> = "[\"https://cloud.example/base.qcow2\"]", "mirrors of the same bytes, in order";
    sha256: Sha256 = "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"", "the file's digest";
    sha512: Sha512 = "\"<128 hex digits>\"", "the file's digest";
    md5: Md5 = "\"098f6bcd4621d373cade4e832627b4f6\"",
        "the file's digest, where its publisher gives no better one";
    checksums: Text = "\"https://cloud.example/SHA256SUMS\"",
        "URL or path of the publisher's checksum file, in which the first URL is looked up by its name and the folders before it"
        .goes_with(|| vec![&MEDIUM.url.key, &MEDIUM.urls.key]);
    signature: Text = "\"https://cloud.example/SHA256SUMS.gpg\"",
        "URL or path of the detached signature of the checksum file"
        .goes_with(|| vec![&MEDIUM.checksums.key]);
    latest: Text = "\"debian-13\"",
        "the newest medium of a release, as `pipeline releases` finds it; the lock keeps it until `pipeline update` (`iso` and `disk` only)";
    variant: Text = "\"netinst\"", "which of the media of that release".default("the recipe's")
        .goes_with(|| vec![&MEDIUM.latest.key]);
    from: Url = "\"https://mirror.example\"",
        "base URL of a mirror that has the paths of the publisher's hosts".goes_with(|| vec![&MEDIUM.latest.key]);
    keyring: Text = "\"publisher.gpg\"",
        "the publisher's keys, by which the checksum file, or the list of its releases, must be signed"
        .goes_with(|| vec![&MEDIUM.checksums.key, &MEDIUM.latest.key]);
}

one_of! {
    /// Where a medium is.
    PlaceKey of MEDIUM { Path: path, Url: url, Urls: urls, Latest: latest }
}

one_of! {
    /// What proves that bytes are the right ones.
    ProofKey of MEDIUM { Sha256: sha256, Sha512: sha512, Md5: md5, Checksums: checksums }
}
