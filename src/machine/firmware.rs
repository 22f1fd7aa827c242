//! UEFI firmware: found by the descriptors that QEMU's packages install (QEMU's `docs/interop/firmware.json`), which say for
//! which machines a file of code is, what it can, and which variable store belongs to it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::disk;
use super::spec::DiskFormat;
use crate::platform::{Computer, Emulator};
use crate::size::ByteSize;

/// Where descriptors are; one in a later folder stands for one of the same name in an earlier folder.
const FOLDERS: [&str; 2] = ["/usr/share/qemu/firmware", "/etc/qemu/firmware"];
/// The user's own, below their configuration.
const OWN_FOLDER: &str = "qemu/firmware";

/// A file of flash memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flash {
    pub path: PathBuf,
    pub format: DiskFormat,
}

/// A firmware: code, and variables as they are before the first start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    pub code: Flash,
    pub variables: Flash,
}

/// Why a machine has no firmware.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    #[error(
        "no UEFI firmware for {processor} is described in {}; install it: {packages}",
        show(.folders)
    )]
    Missing {
        processor: &'static str,
        packages: &'static str,
        folders: Vec<PathBuf>,
    },
    #[error(
        "no UEFI firmware with Secure Boot and enrolled keys for {processor} is described in {}, only {}; \
         install one that has it: {packages}",
        show(.folders), show(.others)
    )]
    NotSecure {
        processor: &'static str,
        packages: &'static str,
        folders: Vec<PathBuf>,
        /// Descriptors of firmware without.
        others: Vec<PathBuf>,
    },
    #[error(
        "the UEFI firmware that `{descriptor}` describes cannot be used: {why}; reinstall its package, or correct the descriptor"
    )]
    Unfit { descriptor: PathBuf, why: String },
}

fn show(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

/// The part of a descriptor that matters here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Descriptor {
    interface_types: Vec<String>,
    mapping: Mapping,
    targets: Vec<Target>,
    features: Vec<String>,
}

/// Other kinds than flash have other members.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mapping {
    device: String,
    /// `split` where it is absent.
    mode: Option<String>,
    executable: Option<File>,
    nvram_template: Option<File>,
}

#[derive(Debug, Deserialize)]
struct File {
    filename: PathBuf,
    format: DiskFormat,
}

#[derive(Debug, Deserialize)]
struct Target {
    architecture: String,
    machines: Vec<String>,
}

/// The firmware of a computer; none where the emulator has its own.
///
/// # Errors
/// [`FirmwareError`].
pub fn find(computer: Computer) -> Result<Option<Firmware>, FirmwareError> {
    let config = std::env::var_os("XDG_CONFIG_HOME").filter(|path| Path::new(path).is_absolute());
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".config"));
    let own = config.map(PathBuf::from).or_else(home);
    let own = own.map(|config| config.join(OWN_FOLDER));
    let folders: Vec<_> = FOLDERS.map(PathBuf::from).into_iter().chain(own).collect();
    find_in(
        &folders,
        &computer.platform.hardware().emulator,
        computer.secure_boot,
    )
}

fn find_in(
    folders: &[PathBuf],
    emulator: &Emulator,
    secure_boot: bool,
) -> Result<Option<Firmware>, FirmwareError> {
    let Some(uefi) = &emulator.uefi else {
        return Ok(None);
    };
    let (mut others, mut unusable) = (Vec::new(), None);
    for path in descriptors(folders) {
        let unfit = |why: String| FirmwareError::Unfit {
            descriptor: path.clone(),
            why,
        };
        // Some of other architectures and kinds have members that are not known here.
        let text = fs::read_to_string(&path).map_err(|error| unfit(error.to_string()))?;
        let Ok(found) = serde_json::from_str::<Descriptor>(&text) else {
            continue;
        };
        if !found.is_for(emulator.processor, uefi.machine) {
            continue;
        }
        if found.has(secure_boot) {
            match found.into_firmware() {
                Ok(firmware) => return Ok(Some(firmware)),
                // Debian 12 describes a build for aarch64 that it does not have, in front of one that it has.
                Err(why) => drop(unusable.get_or_insert(unfit(why))),
            }
            continue;
        }
        others.push(path);
    }
    if let Some(error) = unusable {
        return Err(error);
    }
    let (processor, packages, folders) = (emulator.processor, uefi.packages, folders.to_vec());
    Err(if secure_boot && !others.is_empty() {
        FirmwareError::NotSecure {
            processor,
            packages,
            folders,
            others,
        }
    } else {
        FirmwareError::Missing {
            processor,
            packages,
            folders,
        }
    })
}

/// The descriptors of all folders by their names, which begin with a priority. An empty one only hides another.
fn descriptors(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for folder in folders {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let paths = entries.map(|entry| (entry.file_name(), entry.path()));
        found.extend(paths.filter(|(_, path)| path.extension().is_some_and(|end| end == "json")));
    }
    let has_text = |path: &PathBuf| path.metadata().is_ok_and(|data| data.len() > 0);
    found.into_values().filter(has_text).collect()
}

impl Descriptor {
    fn is_for(&self, processor: &str, machine: &str) -> bool {
        let is_split = self.mapping.mode.as_deref().is_none_or(|mode| mode == "split");
        let fits = |target: &Target| {
            let mut machines = target.machines.iter();
            target.architecture == processor && machines.any(|name| name.starts_with(machine))
        };
        self.interface_types.iter().any(|kind| kind == "uefi")
            && self.mapping.device == "flash"
            && is_split
            && self.targets.iter().any(fits)
    }

    /// Secure Boot takes all three of its features; without it a firmware has none of them, so that any boot loader starts.
    fn has(&self, secure_boot: bool) -> bool {
        let has = |name: &str| self.features.iter().any(|feature| feature == name);
        if secure_boot {
            has("secure-boot") && has("enrolled-keys")
        } else {
            !has("enrolled-keys") && !has("requires-smm")
        }
    }

    fn into_firmware(self) -> Result<Firmware, String> {
        let flash = |file: Option<File>, what: &str| {
            let file = file.ok_or_else(|| format!("it names no {what}"))?;
            let data = disk::look_as(&file.filename, file.format).map_err(|error| error.to_string())?;
            let flash = Flash {
                path: file.filename,
                format: file.format,
            };
            Ok::<_, String>((flash, data.virtual_size.0))
        };
        let (code, code_size) = flash(self.mapping.executable, "code")?;
        let (variables, variables_size) = flash(self.mapping.nvram_template, "variable store")?;
        // Both are made as parts of one flash memory: a store of another build does not fill it.
        if !(code_size + variables_size).is_power_of_two() {
            return Err(format!(
                "its code `{}` has {} and its variable store `{}` {}, which are not of one build",
                code.path.display(),
                ByteSize(code_size),
                variables.path.display(),
                ByteSize(variables_size),
            ));
        }
        Ok(Firmware { code, variables })
    }
}
