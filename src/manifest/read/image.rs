//! `[[images]]` and `[publish]`: what is wanted, and in which form.

use crate::disk_format::{DiskFormat, Form};
use crate::manifest::describe::row::{Cell, In};
use crate::manifest::describe::tables::{IMAGE, ImageKeys, MANIFEST, PUBLISH, VERSIONS};
use crate::manifest::error::ProblemKind;
use crate::manifest::fields::Fields;
use crate::manifest::model::{Compression, Publish, Signer};
use crate::manifest::parse::Value;
use crate::places::{Keep, Offered};
use crate::signing;

use super::{FormatDraft, ImageDraft, Reading, Spot, TargetDraft, check, target};

pub(super) fn read_all(root: &Fields<'_>) -> Vec<ImageDraft> {
    let Some(cell) = root.get(&MANIFEST.images) else {
        return Vec::new();
    };
    let items = root.items(&MANIFEST.images);
    if items.is_empty() && matches!(cell.node.value, Value::List(_)) {
        cell.report(ProblemKind::NoImages);
    }
    items.iter().filter_map(read).collect()
}

fn read(cell: &Cell<'_, In<ImageKeys>>) -> Option<ImageDraft> {
    let table = cell.fields()?;
    let distros = table.items(&IMAGE.distro);
    let flavors = table.items(&IMAGE.flavor);
    let sizes = table.items(&IMAGE.sizes);
    let firmware = table.items(&IMAGE.firmware);
    Some(ImageDraft {
        distros: distros.iter().filter_map(|cell| Spot::of(cell)).collect(),
        flavors: flavors.iter().filter_map(|cell| Spot::of(cell)).collect(),
        sizes: sizes
            .iter()
            .filter_map(|cell| Some((cell.read()?, Spot::of(cell)?)))
            .collect(),
        id: table.get(&IMAGE.id).and_then(|cell| Spot::of(&cell)),
        checks: check::read_sets(&table, &IMAGE.checks),
        firmware: firmware
            .iter()
            .filter_map(|cell| Some((cell.read()?, Spot::of(cell)?)))
            .collect(),
    })
}

pub(super) fn read_publish(
    reading: Reading<'_>,
    root: &Fields<'_>,
    formats: &[FormatDraft],
) -> (Publish, Option<Spot>, Vec<TargetDraft>) {
    let table = root.table(&MANIFEST.publish);
    let compress = table.read_or_default(&PUBLISH.compress);
    let versions = versions(&table);
    let format: DiskFormat = table.read_or_default(&PUBLISH.format);
    let own = (compress == Compression::None).then_some(Form::from(format));
    let plain = formats
        .iter()
        .filter(|format| format.compress == Compression::None);
    let offered = Offered {
        keep: versions,
        forms: own.into_iter().chain(plain.map(|format| format.form)).collect(),
    };
    let targets = target::read_all(reading, &table, &offered);
    let publish = Publish {
        format,
        compress,
        level: level(&table, compress),
        checksums: table.once(&PUBLISH.checksums),
        sbom: table.once(&PUBLISH.sbom),
        provenance: table.read(&PUBLISH.provenance).is_some(),
        versions,
        sign: signers(reading, &table),
        targets: targets.iter().map(|draft| draft.target.clone()).collect(),
    };
    let file = table.get(&PUBLISH.file).and_then(|cell| Spot::of(&cell));
    (publish, file, targets)
}

fn versions(table: &Fields<'_>) -> Option<Keep> {
    let table = table.get(&PUBLISH.versions)?.fields()?;
    Some(Keep {
        keep: table.read(&VERSIONS.keep)?,
        hold: table.read(&VERSIONS.hold).is_some(),
    })
}

fn signers(reading: Reading<'_>, table: &Fields<'_>) -> Vec<Signer> {
    let mut signers: Vec<Signer> = Vec::new();
    for item in table.items(&PUBLISH.sign) {
        let read = item.fields().and_then(|fields| signing::read(reading, &fields));
        match read {
            Some(signer) if signers.iter().any(|other| other.scheme == signer.scheme) => {
                let (name, ending) = (signer.scheme.name(), signer.scheme.ending());
                item.bad(
                    format!("`{name}` is there twice, and both would write the same `{ending}` files"),
                    "take one of them out",
                );
            }
            signer => signers.extend(signer),
        }
    }
    signers
}

/// Levels as the compressors' own command line tools take them (zstd without its ultra levels).
fn level(table: &Fields<'_>, compress: Compression) -> Option<u32> {
    let cell = table.get(&PUBLISH.level)?;
    let range = match compress {
        Compression::Gzip => 1..=9,
        Compression::Zstd => 1..=19,
        Compression::Xz => 0..=9,
        Compression::None => {
            cell.bad("nothing is compressed", "take `level` out, or set `compress`");
            return None;
        }
    };
    let level = cell.read()?;
    if !range.contains(&level) {
        cell.bad(
            format!("{level} is out of range for {}", compress.name()),
            format!("write a number from {} to {}", range.start(), range.end()),
        );
    }
    Some(level)
}
