//! `arch`, `firmware`, `secure_boot` and `tpm` of a distro: the computers that its images start in, and what does not go
//! together.

use crate::families::Family;
use crate::manifest::describe::row::{Cell, Choice};
use crate::manifest::describe::tables::{ArchName, DISTRO, Firmware};
use crate::manifest::fields::Fields;
use crate::manifest::model::{Bootstrap, InstallMedia, InstallerSource, Source};
use crate::platform::{Arch, Computer, Platform};

/// The architecture of a distro's machines.
pub(super) fn arch(table: &Fields<'_>) -> Arch {
    let name = table.read(&DISTRO.arch);
    name.map_or_else(Arch::default, ArchName::arch)
}

/// The computers that its images start in, the one that it is built in first.
pub(super) fn read(table: &Fields<'_>, source: Option<&Source>, family: Option<&Family>) -> Vec<Computer> {
    let arch = arch(table);
    let cell = table.get(&DISTRO.firmware);
    let usual = match arch.bios() {
        Some(_) => Firmware::Bios,
        None => Firmware::Uefi,
    };
    let firmware = cell.as_ref().and_then(Cell::read).unwrap_or(usual);
    let secure = table.get(&DISTRO.secure_boot);
    let (tpm, secure_boot) = (table.get(&DISTRO.tpm).is_some(), secure.is_some());
    if firmware == Firmware::Bios
        && let Some(secure) = secure
    {
        secure.bad(
            "BIOS has no Secure Boot",
            "set `firmware = \"uefi\"` or `firmware = \"bios+uefi\"`, or take `secure_boot` out",
        );
    }
    let by_bios = (firmware != Firmware::Uefi).then(|| arch.bios());
    if let (Some(None), Some(cell)) = (by_bios, &cell) {
        cell.bad(
            format!("{} computers have no BIOS", arch.name()),
            "write `firmware = \"uefi\"`, or take `firmware` out",
        );
    } else {
        match source {
            Some(Source::Installer(source)) => of_installer(table, cell.as_ref(), arch, firmware, source),
            Some(Source::Bootstrap(source)) => {
                of_bootstrap(table, cell.as_ref(), arch, firmware, source, family);
            }
            Some(Source::Disk(_)) | None => {}
        }
    }
    let computer = |platform: Platform| Computer {
        platform,
        secure_boot: secure_boot && platform.hardware().emulator.uefi.is_some(),
        tpm,
    };
    let uefi = (firmware != Firmware::Bios).then(|| arch.uefi());
    let platforms = by_bios.flatten().into_iter().chain(uefi);
    platforms.map(computer).collect()
}

fn of_bootstrap(
    table: &Fields<'_>,
    cell: Option<&Cell<'_, Choice<Firmware>>>,
    arch: Arch,
    firmware: Firmware,
    source: &Bootstrap,
    family: Option<&Family>,
) {
    // One that cannot be bootstrapped at all was reported.
    let Some(family) = family.filter(|family| family.bootstrap.is_some()) else {
        return;
    };
    let family = &family.name;
    if let Some(cell) =
        cell.filter(|_| firmware == Firmware::Both && source.base.both_boot_loaders.is_empty())
    {
        cell.bad(
            format!("no boot loader of `{family}` for both firmwares is known"),
            "name its packages by the key `both_boot_loaders` of the family, or take `bios` or `uefi`",
        );
    }
    if let Some(cell) = table.get(&DISTRO.arch)
        && source.base.kernel.is_empty()
        && source.kernel.is_none()
    {
        cell.bad(
            format!("no kernel of `{family}` for {} is known", arch.name()),
            "name its package by `kernel` of the source, and by `mirror` an archive that has this architecture",
        );
    }
}

fn of_installer(
    table: &Fields<'_>,
    cell: Option<&Cell<'_, Choice<Firmware>>>,
    arch: Arch,
    firmware: Firmware,
    source: &InstallerSource,
) {
    let known = &source.installer;
    if let Some(cell) = cell.filter(|_| firmware == Firmware::Both) {
        cell.bad(
            "an installer installs the boot loader of one firmware",
            "take `bios` or `uefi`; `bootstrap` as source makes one disk for both",
        );
    } else if let Some(cell) = cell
        && firmware == Firmware::Uefi
        && !known.uefi
        && table.get(&DISTRO.answers).is_none()
    {
        cell.bad(
            "the built-in answers of this installer partition for BIOS",
            "take `firmware` out, or name answers of your own that make an EFI system partition: answers = \"…\"",
        );
    }
    if let Some(cell) = table.get(&DISTRO.arch)
        && matches!(source.media, InstallMedia::Iso(_))
        && source.boot_command.is_none()
        && !known.images.contains_key(arch.name())
    {
        cell.bad(
            format!("where media of this installer keep a kernel for {} is not known", arch.name()),
            "take its kernel and initrd as source: netboot = { … }; or name their places in a row of your own (`images`)",
        );
    }
}
