//! What can go wrong in a stage: each message holds what a person needs to go on without running it again.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::digest::{Algorithm, Digest};
use crate::event::{CheckOutcome, CheckResult};
use crate::host::fs::FsError;
use crate::host::process::{ProcessError, tail_text};
use crate::machine::console::Trouble;
use crate::machine::disk::DiskError;
use crate::machine::error::MachineError;
use crate::machine::media::iso::IsoError;
use crate::machine::seed::SeedError;
use crate::machine::ssh::SshError;
use crate::manifest::secret::SecretError;
use crate::places::UploadError;
use crate::plan::node::Role;
use crate::signing::SigningError;
use crate::stage::down::WentDown;
use crate::stage::fetch::FetchError;
use crate::stage::index::IndexError;
use crate::stage::install::InstallerFailure;
use crate::stage::package::PackageError;
use crate::stage::sums::SumsError;

/// A stage failed.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error("stopped")]
    Cancelled,
    /// A packaged image that is not what was packaged.
    #[error("{} was packaged as {wanted} and is now {found}; look at the disk of the store, and run again", path.display())]
    Changed {
        path: PathBuf,
        /// As packaged.
        wanted: Digest,
        found: String,
    },
    /// Checks failed.
    #[error("{}", checks_text(.0))]
    Checks(Vec<CheckResult>),
    /// What is to be typed makes no sense once it is rendered.
    #[error("the boot command, with its variables filled in: {}", .reasons.join("; "))]
    BootCommand { reasons: Vec<String> },
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Download.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("could not {action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// Files.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The files that list what is published.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// An installer that will not finish.
    #[error("{0}")]
    Installer(Box<InstallerFailure>),
    /// An ISO image.
    #[error(transparent)]
    Iso(#[from] IsoError),
    /// A VM.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// A secret is not there.
    #[error("step `{step}` wants a secret in {variable}: {source}")]
    NoSecret {
        step: String,
        variable: String,
        /// Why it is missing.
        source: SecretError,
    },
    #[error(
        "step `{step}` needs ansible-playbook on this host, and it is not installed; `pipeline doctor` says which package has it"
    )]
    NoAnsible {
        /// Its label.
        step: String,
    },
    /// A disk without a partition.
    #[error("{} has no partition that could grow", path.display())]
    NoPartition {
        /// The disk.
        path: PathBuf,
    },
    /// A guest that cannot be asked.
    #[error(
        "nothing can be asked in this image: it has neither the boot-time agent nor systemd; install the agent in its \
         flavor, or keep to checks that look from outside (boots_within, login_prompt, network, port)"
    )]
    NoWayIn,
    /// A file of an earlier result was made without a digest.
    #[error("{node} left `{file}` without its {algorithm} digest; build it again: --rebuild {node}")]
    NoDigest {
        /// The node that made it.
        node: String,
        file: String,
        /// The digest.
        algorithm: Algorithm,
    },
    /// An earlier result lacks a file.
    #[error("the result of {node} has no file `{file}`; build it again: --rebuild {node}")]
    NoFile {
        /// The node that made it.
        node: String,
        file: String,
    },
    /// The key into a guest that is not sealed yet.
    #[error(
        "the key that opens this guest has gone from the store with the installed disk, while this run was going; run again: \
         the guest is then installed and provisioned again"
    )]
    KeyGone,
    /// An earlier result was not handed over.
    #[error("no result was handed over as `{role}`; this is a bug in pipeline")]
    NoResult {
        /// As what it was to be taken.
        role: Role,
    },
    /// What was uploaded are other bytes than those to list.
    #[error("what is on `{target}` as {} is not what the store has; upload it again", file.display())]
    OtherUpload {
        /// The place.
        target: String,
        /// The file there.
        file: PathBuf,
    },
    /// What an earlier result tells is of another form.
    #[error("what {node} tells of its result cannot be read ({reason}); build it again: --rebuild {node}")]
    Record { node: String, reason: String },
    /// No session is open.
    #[error("the guest was not entered yet")]
    NotEntered,
    /// A packaged disk of another size.
    #[error("the packaged disk has {have}, and {wanted} was asked for; this is a bug in pipeline")]
    OtherSize {
        /// Size of the disk inside.
        have: crate::size::ByteSize,
        /// Size of the image.
        wanted: crate::size::ByteSize,
    },
    /// Compression.
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The cloud-init seed.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The way into the guest.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// A step ended badly.
    #[error("step `{step}` {why}{}", tail_text(.tail))]
    Step {
        /// Its label.
        step: String,
        /// "exited with code 3", "did not end within 30m 00s".
        why: String,
        tail: Vec<String>,
        log: PathBuf,
    },
    /// A step ended badly in a guest that was in trouble.
    #[error("{trouble}\n  {step}")]
    StepInTrouble {
        /// What its console said.
        trouble: Trouble,
        /// The step's own failure.
        step: Box<StageError>,
    },
    /// The guest went down while it was worked on.
    #[error(transparent)]
    WentDown(#[from] WentDown),
    /// Checksum files.
    #[error(transparent)]
    Sums(#[from] SumsError),
    /// A built-in template.
    #[error("the built-in template {name} cannot be rendered: {reason}")]
    Template { name: &'static str, reason: String },
    /// The image is smaller than what is in it.
    #[error(
        "the disk to grow is {have} already, larger than the {wanted} asked for; ask for a larger size in `sizes`"
    )]
    TooSmall {
        /// Size of the provisioned disk.
        have: crate::size::ByteSize,
        /// Size of the image.
        wanted: crate::size::ByteSize,
    },
    /// A disk that is larger than every image made of it.
    #[error(
        "{} is a disk of {have}, larger than the largest image made of it ({largest}): images only grow; ask for {have} or \
         more in `sizes`",
        path.display()
    )]
    LargerThanImages {
        path: PathBuf,
        /// Size of the disk.
        have: crate::size::ByteSize,
        /// Size of the largest image.
        largest: crate::size::ByteSize,
    },
    /// A host tool.
    #[error("{what}: {source}")]
    Tool {
        what: &'static str,
        log: Option<PathBuf>,
        source: ProcessError,
    },
    /// A playbook failed.
    #[error("step `{step}`: {source}")]
    Playbook {
        /// Its label.
        step: String,
        log: PathBuf,
        source: ProcessError,
    },
    /// Publishing.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// An ISO of no known layout.
    #[error(
        "{} has neither a .treeinfo nor the usual kernel and initrd; give a `boot_command`, or take its kernel and initrd as `netboot`",
        path.display()
    )]
    NoInstallerImages { path: PathBuf },
    /// The secret of a password is not there.
    #[error("cannot read the installer password: {source}")]
    NoPassword {
        /// Why it is missing.
        source: SecretError,
    },
    /// A password cannot be hashed.
    #[error("cannot hash the installer password: {reason}")]
    Password { reason: String },
    /// A loopback port.
    #[error("could not open a port on 127.0.0.1 for {what}: {source}")]
    Port {
        what: &'static str,
        source: std::io::Error,
    },
    /// A local medium that the manifest gives no digest for was written to meanwhile.
    #[error("{} changed after this run was planned; run again when nothing writes to it", path.display())]
    ChangedMedia { path: PathBuf },
    /// Media are not what the manifest says.
    #[error(
        "{} is not what the manifest says: it has\n  {found}\nbut the manifest wants\n  {wanted}\n\
         write the digest that its publisher announces, or get the file again", path.display()
    )]
    WrongMedia {
        path: PathBuf,
        /// From the manifest.
        wanted: Digest,
        /// Of the file.
        found: Digest,
    },
}

impl StageError {
    /// A failed call on a file.
    pub fn file(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
            return FsError::at(action, path)(source).into();
        }
        Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// No port.
    pub fn port(what: &'static str, source: std::io::Error) -> Self {
        Self::Port { what, source }
    }

    /// The file with the whole output of what failed, where there is one.
    pub fn log(&self) -> Option<&Path> {
        match self {
            Self::Step { log, .. } | Self::Playbook { log, .. } => Some(log),
            Self::Tool { log, .. } => log.as_deref(),
            Self::StepInTrouble { step, .. } => step.log(),
            _ => None,
        }
    }

    /// Whether qemu broke down: the same work, started again, may succeed.
    pub fn is_breakdown(&self) -> bool {
        matches!(self, Self::Machine(error) if error.is_breakdown())
    }

    /// Whether it is only that we were asked to stop.
    pub fn is_cancelled(&self) -> bool {
        matches!(
            self,
            Self::Cancelled
                | Self::Disk(DiskError::Cancelled)
                | Self::Fetch(FetchError::Cancelled)
                | Self::Fs(FsError::Cancelled)
                | Self::Index(IndexError::File(FsError::Cancelled))
                | Self::Iso(IsoError::Cancelled)
                | Self::Machine(MachineError::Cancelled | MachineError::Ssh(SshError::Cancelled))
                | Self::Package(PackageError::Cancelled | PackageError::File(FsError::Cancelled))
                | Self::Ssh(SshError::Cancelled)
                | Self::Signing(SigningError::Cancelled)
                | Self::Sums(SumsError::File(FsError::Cancelled))
                | Self::Playbook {
                    source: ProcessError::Cancelled,
                    ..
                }
                | Self::Tool {
                    source: ProcessError::Cancelled,
                    ..
                }
        ) || matches!(self, Self::Upload(error) if error.is_cancelled())
    }
}

/// Every failed check with what was expected and what was seen.
fn checks_text(results: &[CheckResult]) -> String {
    let failed = results
        .iter()
        .filter(|result| result.outcome == CheckOutcome::Failed);
    let skipped = results
        .iter()
        .filter(|result| result.outcome == CheckOutcome::Skipped);
    let names: Vec<_> = failed.clone().map(|result| result.check.as_str()).collect();
    let (all, names) = (results.len(), names.join(", "));
    let head = format!("{} of {all} checks failed: {names}", failed.clone().count());
    let mut text = failed.fold(head, |text, result| {
        let seen = result.seen.replace('\n', "\n            ");
        format!(
            "{text}\n  {}\n  expected  {}\n  seen      {seen}",
            result.check, result.expected
        )
    });
    let skipped: Vec<_> = skipped.map(|result| result.check.as_str()).collect();
    if !skipped.is_empty() {
        text += &format!("\n  not looked at because of that: {}", skipped.join(", "));
    }
    text
}
