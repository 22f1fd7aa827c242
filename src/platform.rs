//! What kind of computer an image is made for, in one table: emulator and board, the guest's names of disk and console, the
//! boot loader. Every layer that needs one of these words takes it from here; templates receive them as `platform`.

use serde::{Deserialize, Serialize};

/// Kind of a partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// The PC's first.
    Dos,
    /// GUID partition table.
    Gpt,
}

/// A kind of computer, by the name of its row. A new one is a variant and a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Platform {
    /// An x86-64 PC with BIOS firmware, as manifests that name no platform mean it.
    #[default]
    #[serde(rename = "amd64-bios")]
    Amd64Bios,
    /// An x86-64 PC with UEFI firmware.
    #[serde(rename = "amd64-uefi")]
    Amd64Uefi,
    /// A 64-bit ARM computer, which has UEFI firmware.
    #[serde(rename = "arm64-uefi")]
    Arm64Uefi,
}

/// An architecture of processors, as a manifest names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    #[default]
    Amd64,
    Arm64,
}

impl Arch {
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// As in a manifest, and as Debian names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The platform that starts by BIOS; none where there is no BIOS.
    pub fn bios(self) -> Option<Platform> {
        match self {
            Self::Amd64 => Some(Platform::Amd64Bios),
            Self::Arm64 => None,
        }
    }

    /// The platform that starts by UEFI.
    pub fn uefi(self) -> Platform {
        match self {
            Self::Amd64 => Platform::Amd64Uefi,
            Self::Arm64 => Platform::Arm64Uefi,
        }
    }
}

/// A computer to start a disk in: of which kind, and what else of it the disk's system sees. Serialised, what is as in
/// plain computers is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Computer {
    pub platform: Platform,
    /// Whether its firmware starts signed boot loaders only.
    #[serde(skip_serializing_if = "is_false")]
    pub secure_boot: bool,
    /// Whether it has a TPM 2.0.
    #[serde(skip_serializing_if = "is_false")]
    pub tpm: bool,
}

// What serde calls takes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Computer {
    /// Itself, for keys: nothing where it is as in manifests that say nothing of it.
    pub fn unusual(self) -> Option<Self> {
        (self != Self::default()).then_some(self)
    }

    /// The way it starts a disk.
    pub fn start(self) -> Start {
        match (&self.platform.hardware().emulator.uefi, self.secure_boot) {
            (None, _) => Start::Bios,
            (Some(_), false) => Start::Uefi,
            (Some(_), true) => Start::SecureBoot,
        }
    }
}

impl From<Platform> for Computer {
    fn from(platform: Platform) -> Self {
        Self {
            platform,
            ..Self::default()
        }
    }
}

/// A way in which firmware starts a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// By its boot sector.
    Bios,
    /// By its EFI system partition.
    Uefi,
    /// The same, and only what is signed.
    SecureBoot,
}

impl Start {
    /// As in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
            Self::SecureBoot => "secure-boot",
        }
    }
}

/// A row of the table.
#[derive(Debug, Serialize)]
pub struct Hardware {
    /// Architecture, as Debian and `installers.toml` name it.
    pub arch: &'static str,
    /// Architecture in the multiarch paths of Debian's libraries, as in `/usr/lib/x86_64-linux-gnu`.
    pub library_triplet: &'static str,
    /// The guest's name of its first disk, below `/dev`.
    pub disk: &'static str,
    /// The guest's name of its first serial port, below `/dev`.
    pub serial: &'static str,
    /// Kernel arguments for a screen and a serial console. The last one is `/dev/console`.
    pub consoles: &'static str,
    /// Whether GRUB drives the serial port itself. Otherwise the firmware does, whose console it takes.
    pub grub_serial: bool,
    /// Partition table of a disk that is made here. Disks of installers and others' images have their own.
    #[serde(skip)]
    pub partition_table: TableKind,
    /// Whether a GPT made here has GRUB's partition for BIOS, whatever is to start the disk.
    #[serde(skip)]
    pub bios_partition: bool,
    /// How an emulator plays this computer.
    #[serde(skip)]
    pub emulator: Emulator,
    /// What makes its disk start by itself.
    #[serde(skip)]
    pub boot_loader: BootLoader,
}

/// The words of qemu's command line that depend on the platform.
#[derive(Debug)]
pub struct Emulator {
    /// Architecture, as QEMU, Rust and the descriptors of firmware name it.
    pub processor: &'static str,
    /// Its number in the headers of programs (`e_machine` of ELF).
    pub elf_machine: u8,
    /// The program's name, looked up in PATH.
    pub program: &'static str,
    /// Value of `-machine`.
    pub machine: &'static str,
    /// Option of the machine that makes the firmware, and a boot loader that asks it, print on the serial port as well;
    /// empty where they do so anyway.
    pub serial_firmware: &'static str,
    /// Value of `-cpu` where guest code is translated in software.
    pub emulated_cpu: &'static str,
    /// Arguments for a screen that nothing shows.
    pub screen: &'static [&'static str],
    /// Device by which the guest reports a panic.
    pub panic_device: &'static str,
    /// Bus and address of the first network card: the slot that it has by default, which its name in the guest follows.
    pub first_network_slot: &'static str,
    /// The same for the second one.
    pub second_network_slot: &'static str,
    /// Device of a disk; its guest's names follow from it.
    pub disk_device: &'static str,
    /// Device of a CD drive.
    pub cdrom: &'static str,
    /// How lines of the firmware on the serial console begin.
    pub firmware_lines: &'static [&'static str],
    /// Which UEFI firmware it takes; absent: the emulator's own BIOS.
    pub uefi: Option<Uefi>,
    /// Device of a TPM.
    pub tpm_device: &'static str,
}

/// UEFI firmware, as the descriptors of QEMU's packages know it.
#[derive(Debug)]
pub struct Uefi {
    /// How the names of the machine's versions begin, of which `Emulator::machine` is the newest.
    pub machine: &'static str,
    /// Packages that bring it, by distribution.
    pub packages: &'static str,
    /// Option of the machine that Secure Boot needs; empty where it needs none.
    pub secure_machine: &'static str,
    /// Further arguments for Secure Boot: nothing but the firmware may write the variable store.
    pub secure: &'static [&'static str],
}

/// A boot loader, as Debian and Ubuntu install it.
#[derive(Debug)]
pub struct BootLoader {
    /// Packages that bring it.
    pub packages: &'static [&'static str],
    /// Answers to what they ask debconf when they are upgraded.
    pub debconf: &'static str,
    /// GRUB's name of the platform.
    pub grub_target: &'static str,
    /// GRUB's module that reads disks there.
    pub grub_disk: &'static str,
    /// What stands at the end of the names of EFI programs (`grubx64.efi`); empty where there are none.
    pub efi_suffix: &'static str,
}

impl Platform {
    pub const ALL: [Self; 3] = [Self::Amd64Bios, Self::Amd64Uefi, Self::Arm64Uefi];

    pub fn hardware(self) -> &'static Hardware {
        match self {
            Self::Amd64Bios => &AMD64_BIOS,
            Self::Amd64Uefi => &AMD64_UEFI,
            Self::Arm64Uefi => &ARM64_UEFI,
        }
    }

    pub fn arch(self) -> Arch {
        match self {
            Self::Amd64Bios | Self::Amd64Uefi => Arch::Amd64,
            Self::Arm64Uefi => Arch::Arm64,
        }
    }

    /// Whether this host's processor is of another architecture, so that all of its programs are emulated.
    pub fn is_foreign(self) -> bool {
        self.hardware().emulator.processor != std::env::consts::ARCH
    }
}

const AMD64_BIOS: Hardware = Hardware {
    arch: "amd64",
    library_triplet: "x86_64-linux-gnu",
    disk: "vda",
    serial: "ttyS0",
    consoles: "console=tty0 console=ttyS0,115200",
    grub_serial: true,
    // A DOS table could not take an image of more than 2 TiB, and which sizes are made of a disk is no input of it.
    partition_table: TableKind::Gpt,
    bios_partition: true,
    emulator: Emulator {
        processor: "x86_64",
        elf_machine: 0x3e,
        program: "qemu-system-x86_64",
        machine: "pc",
        // Without it "No bootable device" would be seen on the screen alone.
        serial_firmware: "graphics=off",
        // All that qemu can emulate, except for what costs time and gives a guest nothing that it is built or checked for: a
        // fifth level of page tables, protection keys, and the guard of user memory (each switch of it ends a block of
        // translated code). A boot of Debian 12 to its login took a tenth less processor time without them.
        emulated_cpu: "max,la57=off,pku=off,smap=off",
        screen: &["-vga", "std", "-display", "none"],
        panic_device: "pvpanic",
        first_network_slot: "0x3",
        second_network_slot: "0x4",
        disk_device: "virtio-blk-pci",
        cdrom: "ide-cd",
        // SeaBIOS, as qemu has it, with its network loader.
        firmware_lines: &["SeaBIOS", "Machine UUID", "iPXE", "Press Ctrl-B", "Booting from"],
        uefi: None,
        tpm_device: "tpm-crb",
    },
    boot_loader: BootLoader {
        packages: &["grub-pc"],
        debconf: "grub-pc grub-pc/install_devices multiselect /dev/vda",
        grub_target: "i386-pc",
        grub_disk: "biosdisk",
        efi_suffix: "",
    },
};

const AMD64_UEFI: Hardware = Hardware {
    emulator: Emulator {
        // The board of real computers with UEFI, and the one on which firmware can have Secure Boot.
        machine: "q35",
        firmware_lines: &["BdsDxe:", ">>Start", "UEFI"],
        uefi: Some(Uefi {
            machine: "pc-q35-",
            packages: "ovmf (Debian, Ubuntu), edk2-ovmf (Fedora, Arch)",
            secure_machine: "smm=on",
            secure: &["-global", "driver=cfi.pflash01,property=secure,value=on"],
        }),
        ..AMD64_BIOS.emulator
    },
    boot_loader: BootLoader {
        packages: &["grub-efi-amd64", "grub-efi-amd64-signed", "shim-signed"],
        // Clones bring no variable store along: what is started is found where removable disks have it.
        debconf: "grub-efi-amd64 grub2/force_efi_extra_removable boolean true\n\
                  grub-efi-amd64 grub2/update_nvram boolean false",
        grub_target: "x86_64-efi",
        grub_disk: "",
        efi_suffix: "x64",
    },
    ..AMD64_BIOS
};

const ARM64_UEFI: Hardware = Hardware {
    arch: "arm64",
    library_triplet: "aarch64-linux-gnu",
    serial: "ttyAMA0",
    consoles: "console=tty0 console=ttyAMA0,115200",
    grub_serial: false,
    bios_partition: false,
    emulator: Emulator {
        processor: "aarch64",
        elf_machine: 0xb7,
        program: "qemu-system-aarch64",
        // The newest interrupt controller that the accelerator has.
        machine: "virt,gic-version=max",
        serial_firmware: "",
        // Signed pointers by QEMU's own hash, not by the architecture's cipher: that one takes half of the time of a boot.
        emulated_cpu: "max,pauth-impdef=on",
        // The board has neither: without them there is nothing to see or to type to by VNC.
        screen: &[
            "-device",
            "virtio-gpu-pci,addr=0x10",
            "-device",
            "qemu-xhci,addr=0x11",
            "-device",
            "usb-kbd",
            "-display",
            "none",
        ],
        panic_device: "pvpanic-pci",
        first_network_slot: "0x1",
        second_network_slot: "0x2",
        cdrom: "usb-storage",
        tpm_device: "tpm-tis-device",
        uefi: Some(Uefi {
            machine: "virt-",
            packages: "qemu-efi-aarch64 (Debian, Ubuntu), edk2-aarch64 (Fedora, Arch)",
            secure_machine: "",
            secure: &[],
        }),
        ..AMD64_UEFI.emulator
    },
    boot_loader: BootLoader {
        packages: &["grub-efi-arm64", "grub-efi-arm64-signed", "shim-signed"],
        debconf: "grub-efi-arm64 grub2/force_efi_extra_removable boolean true\n\
                  grub-efi-arm64 grub2/update_nvram boolean false",
        grub_target: "arm64-efi",
        grub_disk: "",
        efi_suffix: "aa64",
    },
    ..AMD64_BIOS
};
