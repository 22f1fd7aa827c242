//! `[[images]]` and `[publish]`: what is wanted, and in which form.

use std::ops::RangeInclusive;

use crate::digest::Algorithm;
use crate::manifest::error::ProblemKind;
use crate::manifest::fields::{Field, Fields};
use crate::manifest::model::{Compression, DiskFormat, Publish};
use crate::manifest::parse::Value;

use super::{ImageDraft, Reading, Spot, TargetDraft, check, size, target};

const FORMATS: [(&str, DiskFormat); 2] = [("qcow2", DiskFormat::Qcow2), ("raw", DiskFormat::Raw)];
const COMPRESSIONS: [(&str, Compression); 4] = [
    ("gzip", Compression::Gzip),
    ("zstd", Compression::Zstd),
    ("xz", Compression::Xz),
    ("none", Compression::None),
];
const ALGORITHMS: [(&str, Algorithm); 3] = [
    ("sha512", Algorithm::Sha512),
    ("sha256", Algorithm::Sha256),
    ("md5", Algorithm::Md5),
];

pub(super) fn read_all(root: &Fields<'_>) -> Vec<ImageDraft> {
    let Some(field) = root.get("images") else {
        root.report(ProblemKind::NoImages);
        return Vec::new();
    };
    let items = field.list("[{ … }]; or a table: [[images]]").unwrap_or_default();
    if items.is_empty() && matches!(field.node.value, Value::List(_)) {
        field.report(ProblemKind::NoImages);
    }
    items.iter().filter_map(read).collect()
}

fn read(field: &Field<'_>) -> Option<ImageDraft> {
    let table = field.table("{ distro = \"debian12\", flavor = \"base\", sizes = [\"20G\"] }")?;
    let spots = |key: &'static str, example: &str| {
        let fields = table
            .need(key, example)
            .map(|field| filled(&field))
            .unwrap_or_default();
        let spot = |field: &Field<'_>| Some(Spot::new(field, field.text(example)?));
        fields.iter().filter_map(spot).collect::<Vec<_>>()
    };
    let distros = spots("distro", "\"debian12\"");
    let flavors = spots("flavor", "\"base\"");
    let sizes = table
        .need("sizes", "[\"20G\"]")
        .map(|field| filled(&field))
        .unwrap_or_default();
    let sizes = sizes
        .iter()
        .filter_map(|field| {
            let bytes = size(field, "\"20G\"")?;
            Some((bytes, Spot::new(field, field.text("\"20G\"")?)))
        })
        .collect();
    let id = table.get("id").and_then(|field| {
        let text = field.text("\"{{ distro }}-{{ size }}\"")?;
        Some(Spot::new(&field, text))
    });
    let checks = check::read_sets(&table);
    table.finish();
    Some(ImageDraft {
        distros,
        flavors,
        sizes,
        id,
        checks,
    })
}

fn filled<'a>(field: &Field<'a>) -> Vec<Field<'a>> {
    let items = field.one_or_list();
    if items.is_empty() {
        field.bad("the list is empty", "name at least one, or take the image out");
    }
    items
}

pub(super) fn read_publish(
    reading: Reading<'_>,
    root: &Fields<'_>,
) -> (Publish, Option<Spot>, Vec<TargetDraft>) {
    let mut publish = Publish {
        format: DiskFormat::Qcow2,
        compress: Compression::Gzip,
        level: None,
        checksums: vec![Algorithm::Sha512, Algorithm::Md5],
        targets: Vec::new(),
    };
    let table = root
        .get("publish")
        .and_then(|field| field.table("{ compress = \"gzip\" }"));
    let Some(table) = table else {
        return (publish, None, Vec::new());
    };
    if let Some(format) = table.get("format").and_then(|field| field.choice(&FORMATS)) {
        publish.format = format;
    }
    let compress = table
        .get("compress")
        .map_or(Some(publish.compress), |field| field.choice(&COMPRESSIONS));
    if let Some(compress) = compress {
        publish.compress = compress;
    }
    if let Some(field) = table.get("level") {
        publish.level = compress.and_then(|compress| level(&field, compress));
    }
    if let Some(items) = table
        .get("checksums")
        .and_then(|field| field.list("[\"sha512\"]"))
    {
        publish.checksums.clear();
        for item in items {
            match item.choice(&ALGORITHMS) {
                Some(algorithm) if publish.checksums.contains(&algorithm) => {
                    item.bad(format!("{algorithm} is there twice"), "take one of them out");
                }
                algorithm => publish.checksums.extend(algorithm),
            }
        }
    }
    let file = table.get("file").and_then(|field| {
        let text = field.text("\"{{ id }}.{{ format }}{{ suffix }}\"")?;
        Some(Spot::new(&field, text))
    });
    let targets = target::read_all(reading, &table);
    publish.targets = targets.iter().map(|draft| draft.target.clone()).collect();
    table.finish();
    (publish, file, targets)
}

/// Levels as the compressors' own command line tools take them (zstd without its ultra levels).
fn level(field: &Field<'_>, compress: Compression) -> Option<u32> {
    let range: RangeInclusive<i64> = match compress {
        Compression::Gzip => 1..=9,
        Compression::Zstd => 1..=19,
        Compression::Xz => 0..=9,
        Compression::None => {
            field.bad("nothing is compressed", "take `level` out, or set `compress`");
            return None;
        }
    };
    u32::try_from(field.whole(range, "6")?).ok()
}
