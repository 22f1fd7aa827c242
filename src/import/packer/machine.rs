//! The machine that a build starts: memory, processors, firmware, a TPM.

use toml_edit::Value;

use super::build::Build;
use super::model::Distro;
use crate::import::node::Node;
use crate::import::note::Weight;
use crate::import::path;

/// Reads what the machine has.
pub fn read(build: &Build<'_>, distro: &mut Distro) {
    let said = arguments(build);
    processors(build, &said, distro);
    firmware(build, &said, distro);
}

/// What raw arguments of qemu say.
#[derive(Default)]
struct Arguments {
    memory: Option<String>,
    cpus: Option<String>,
    /// Firmware files.
    firmware: Vec<String>,
}

/// Memory and processors.
fn processors(build: &Build<'_>, said: &Arguments, distro: &mut Distro) {
    if let Some(memory) = said.memory.clone().or_else(|| build.text("memory")) {
        let number = memory.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = memory[number.len()..]
            .trim_end_matches(['b', 'B', 'i'])
            .to_uppercase();
        let unit = if unit.is_empty() { "M" } else { &unit };
        match number.parse::<u64>() {
            Ok(number) if number >= 10 || unit == "G" => {
                distro
                    .keys
                    .push(("memory", Value::from(format!("{number}{unit}"))));
            }
            _ => build.note(
                Weight::Lost,
                "memory",
                "not a number of MiB; the installer's usual memory is taken",
            ),
        }
    } else if build.option("memory").is_none() {
        let text = "Packer gave the machine 512 MiB and one processor by default; here it gets what its installer needs";
        build
            .importer
            .note(Weight::Decided, Some(build.place()), "memory, cpus", text);
    }
    let valid = |text: String| text.parse::<i64>().ok().filter(|n| (1..=512).contains(n));
    let number = |key: &str| build.text(key).and_then(valid);
    let product = ["sockets", "cores", "threads"]
        .iter()
        .filter_map(|key| number(key))
        .product::<i64>();
    let cpus = said.cpus.clone().and_then(valid).or_else(|| number("cpus"));
    let cpus = cpus.or((product > 1 && product <= 512).then_some(product));
    if let Some(cpus) = cpus {
        distro.keys.push(("cpus", Value::from(cpus)));
    }
}

/// What starts the disk, and a TPM.
fn firmware(build: &Build<'_>, said: &Arguments, distro: &mut Distro) {
    let is_true = |key: &str| build.text(key).is_some_and(|text| text == "true");
    if is_true("vtpm") {
        distro.keys.push(("tpm", Value::from(true)));
    }
    let files = ["efi_firmware_code", "efi_firmware_vars", "firmware"].map(|key| build.text(key));
    let files: Vec<_> = files
        .into_iter()
        .flatten()
        .chain(said.firmware.iter().cloned())
        .collect();
    let named = |names: &[&str]| {
        let mut files = files.iter().map(|file| path::name(file).to_lowercase());
        files.any(|file| names.iter().any(|name| file.contains(name)))
    };
    let by_key = ["efi_firmware_code", "efi_firmware_vars"]
        .iter()
        .any(|key| build.text(key).is_some());
    if !is_true("efi_boot") && !by_key && !named(&["ovmf", "aavmf", "edk2", "efi"]) {
        return;
    }
    distro.keys.push(("firmware", Value::from("uefi")));
    // A store of variables with keys in it.
    if named(&["vars.ms", "vars_4m.ms", "vars.secboot", "vars_4m.secboot"]) {
        distro.keys.push(("secure_boot", Value::from(true)));
    }
    build.note(
        Weight::Decided,
        "efi_boot",
        "started by UEFI: `firmware = \"uefi\"`; the firmware's files are those that qemu's packages bring",
    );
}

/// Reads raw arguments of qemu; those that have no place are reported.
fn arguments(build: &Build<'_>) -> Arguments {
    let mut said = Arguments::default();
    for argument in build.option("qemuargs").map(Node::items).unwrap_or_default() {
        let words = argument.items().iter().filter_map(Node::text);
        let words: Vec<_> = words.map(|word| build.resolve(&word)).collect();
        let value = words.get(1).map(String::as_str).unwrap_or_default();
        let of = |key: &str| {
            let mut parts = value.split(',');
            let named = parts
                .clone()
                .find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
            named
                .or_else(|| parts.next().filter(|part| !part.contains('=')))
                .map(str::to_owned)
        };
        match words.first().map(String::as_str) {
            Some("-m") => said.memory = of("size"),
            Some("-smp") => said.cpus = of("cpus"),
            Some("-bios" | "-pflash") => said.firmware.push(value.to_owned()),
            Some("-drive") if value.contains("if=pflash") => said.firmware.extend(of("file")),
            _ => {
                let subject = format!("qemuargs {}", words.join(" "));
                let text = "a raw argument of qemu; machines are described by keys of the distro alone";
                build
                    .importer
                    .note(Weight::Lost, Some(&argument.place), subject, text);
            }
        }
    }
    said
}
