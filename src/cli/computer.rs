//! What kind of computer an image is started in, by the options of a command line.

use super::exit::Exit;
use super::report_error::fail;
use crate::host::tools;
use crate::machine::firmware;
use crate::platform::{Arch, Computer};

/// Options of the verbs that start an image.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ComputerArgs {
    /// Architecture of the machine [default: for an image of a manifest its distro's, else amd64]
    #[arg(long, value_enum)]
    arch: Option<ArchName>,
    /// What starts the disk [default: for an image of a manifest what its distro is built with, else bios; on arm64 uefi]
    #[arg(long, value_enum)]
    firmware: Option<FirmwareKind>,
    /// Start by UEFI that takes only what is signed
    #[arg(long)]
    secure_boot: bool,
    /// Give the machine a TPM 2.0
    #[arg(long)]
    tpm: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ArchName {
    #[value(alias = "x86_64")]
    Amd64,
    #[value(alias = "aarch64")]
    Arm64,
}

/// What starts a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FirmwareKind {
    Bios,
    Uefi,
}

impl ComputerArgs {
    /// The computer that they ask for; `usual` is the image's own.
    pub fn computer(self, usual: Computer) -> Result<Computer, Exit> {
        let arch = match self.arch {
            Some(ArchName::Amd64) => Arch::Amd64,
            Some(ArchName::Arm64) => Arch::Arm64,
            None => usual.platform.arch(),
        };
        let platform = match (self.firmware, self.secure_boot) {
            (Some(FirmwareKind::Bios), true) => {
                return Err(refuse(
                    "BIOS has no Secure Boot",
                    "leave --firmware bios or --secure-boot out",
                ));
            }
            (Some(FirmwareKind::Bios), false) => arch.bios().ok_or_else(|| {
                refuse(
                    &format!("{} computers have no BIOS", arch.name()),
                    "leave --firmware bios out",
                )
            })?,
            (Some(FirmwareKind::Uefi), _) | (_, true) => arch.uefi(),
            (None, false) if arch == usual.platform.arch() => usual.platform,
            (None, false) => arch.bios().unwrap_or(arch.uefi()),
        };
        let usual_secure = self.firmware.is_none() && usual.secure_boot && platform == usual.platform;
        Ok(Computer {
            platform,
            secure_boot: self.secure_boot || usual_secure,
            tpm: self.tpm || usual.tpm,
        })
    }
}

fn refuse(what: &str, help: &str) -> Exit {
    fail(Exit::Usage, miette::miette!(help = help.to_owned(), "{what}"))
}

/// Refuses a machine for which this host lacks a program or firmware.
pub fn must_be_there(programs: &[&'static str], computer: Computer) -> Result<(), Exit> {
    if let Some(program) = programs.iter().find(|program| tools::find(program).is_none()) {
        let help = match tools::packages(program) {
            Some(packages) => format!("install it: {packages}; nothing was started"),
            None => "nothing was started".to_owned(),
        };
        return Err(fail(
            Exit::Host,
            miette::miette!(help = help, "this host lacks {program}"),
        ));
    }
    firmware::find(computer).map_err(|error| fail(Exit::Host, miette::miette!("{error}")))?;
    Ok(())
}
