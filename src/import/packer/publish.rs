//! What becomes of results: names of the files, compression, checksums, places of publication.

use std::collections::BTreeMap;

use super::build::{Build, Importer};
use super::model::{Block, Fleet, Key, PlaybookPlan, Publish};
use super::options::{self, Fate};
use crate::import::note::Weight;
use crate::import::path;

pub fn publish(
    fleet: &Fleet,
    builds: &[(Key, Build<'_>)],
    plan: Option<&PlaybookPlan>,
    importer: &Importer<'_>,
) -> Publish {
    let mut publish = Publish {
        format: "qcow2".to_owned(),
        compress: "none",
        ..Publish::default()
    };
    let mut formats: Vec<String> = Vec::new();
    for (_, build) in builds {
        let format = build.text("format").unwrap_or_else(|| "qcow2".to_owned());
        if !formats.contains(&format) {
            formats.push(format);
        }
        for block in &build.builder.post_processors {
            post_processor(build, block, &mut publish, importer);
        }
    }
    match formats.first().map(String::as_str) {
        Some(format @ ("qcow2" | "raw")) => publish.format = format.to_owned(),
        Some(format) => importer.note(
            Weight::Lost,
            None,
            format!("format = {format}"),
            "images are qcow2 or raw; qcow2 is taken",
        ),
        None => {}
    }
    if formats.len() > 1 {
        importer.note(Weight::Lost, None, format!("formats {}", formats.join(", ")), "a manifest has one format for all its images: the first is taken; write another manifest for the others");
    }
    if let Some(plan) = plan {
        if let Some((kind, place)) = &plan.compress {
            publish.compress = kind;
            importer.note(
                Weight::Decided,
                Some(place),
                "compression by the playbook",
                format!("`compress = \"{kind}\"`: a file appears whole, or not at all"),
            );
        }
        for (kind, place) in &plan.checksums {
            if !publish.checksums.contains(kind) {
                publish.checksums.push(kind);
            }
            importer.note(
                Weight::Decided,
                Some(place),
                format!("{kind}sum by the playbook"),
                "`checksums`: a line is written when its image is; the lines of others stay",
            );
        }
        if let Some(place) = &plan.shacache {
            publish.shacache = true;
            importer.note(Weight::Decided, Some(place), "upload to a shacache by the playbook", "`[publish.shacache]`: `pipeline run --upload` (or UPLOAD=yes) sends what is not there, and reads it back");
        }
    }
    // The order of the playbook is that of chance; this is the usual one.
    publish
        .checksums
        .sort_by_key(|kind| ["sha512", "sha256", "md5"].iter().position(|known| known == kind));
    publish.file = file(fleet, &publish, importer);
    publish
}

fn post_processor(build: &Build<'_>, block: &Block, publish: &mut Publish, importer: &Importer<'_>) {
    match block.kind.as_str() {
        "compress" => compress(build, block, publish, importer),
        "checksum" => checksum(build, block, publish, importer),
        kind => {
            let (weight, text) = match options::of_post_processor(kind) {
                Some(Fate::Ours(text) | Fate::Taken(text)) => (Weight::Decided, text.as_str()),
                Some(Fate::Lost(text)) => (Weight::Lost, text.as_str()),
                None => (
                    Weight::Lost,
                    "not known here; do it with the published image, after `pipeline run`",
                ),
            };
            let subject = format!("post-processor {kind}");
            for (key, node) in block.options.entries() {
                importer.note(
                    Weight::Lost,
                    Some(&node.place),
                    format!("{subject}: {key} = {}", node.short()),
                    "went with that post-processor",
                );
            }
            importer.note(weight, Some(&block.options.place), subject, text);
        }
    }
}

/// Reports a key of a post-processor that has no place, where it is set.
fn lost(block: &Block, key: &str, text: &str, importer: &Importer<'_>) {
    if let Some(node) = block.options.get(key) {
        let subject = format!("{}: {key}", block.kind);
        importer.note(Weight::Lost, Some(&node.place), subject, text);
    }
}

fn compress(build: &Build<'_>, block: &Block, publish: &mut Publish, importer: &Importer<'_>) {
    let option = |key: &str| block.options.text_of(key).map(|text| build.resolve(&text));
    let note = |kind: &str, text: &str| {
        let subject = format!("post-processor compress: {kind}");
        importer.note(Weight::Lost, Some(&block.options.place), subject, text);
    };
    let output = option("output").unwrap_or_default();
    let kind = option("format").unwrap_or_else(|| output.rsplit('.').next().unwrap_or_default().to_owned());
    let kind = kind.trim_start_matches('.').to_owned();
    publish.compress = match kind.as_str() {
        "gz" | "gzip" | "pgz" | "bgzf" | "tar.gz" | "" => "gzip",
        "xz" => "xz",
        "zst" | "zstd" => "zstd",
        other => {
            note(other, "compression here is gzip, xz or zstd; gzip is taken");
            "gzip"
        }
    };
    if kind.starts_with("tar") {
        note(
            &kind,
            "an archive; images are compressed as they are, without one",
        );
    }
    let level = option("compression_level").and_then(|text| text.parse::<i64>().ok());
    publish.level = level.filter(|level| (1..=9).contains(level));
    let text = "name of the compressed file; `publish.file` names all files";
    lost(block, "output", text, importer);
    let text = "kept the uncompressed file too; the compressed one is what is published";
    lost(block, "keep_input_artifact", text, importer);
}

fn checksum(build: &Build<'_>, block: &Block, publish: &mut Publish, importer: &Importer<'_>) {
    let types = block.options.texts_of("checksum_types");
    let mut types: Vec<_> = types
        .iter()
        .map(|kind| build.resolve(kind).to_lowercase())
        .collect();
    if types.is_empty() {
        types.push("md5".to_owned());
    }
    for kind in types {
        match ["sha512", "sha256", "md5"]
            .into_iter()
            .find(|known| *known == kind)
        {
            Some(known) if publish.checksums.contains(&known) => {}
            Some(known) => publish.checksums.push(known),
            None => importer.note(
                Weight::Lost,
                Some(&block.options.place),
                format!("post-processor checksum: {kind}"),
                "checksums here are sha512, sha256 and md5",
            ),
        }
    }
    let text = "name of the checksum file; here it is SHA512SUM.txt, SHA256SUM.txt or MD5SUM.txt of the output folder, with \
                a line for each image";
    lost(block, "output", text, importer);
}

/// The template for names of files that most images agree on; the others are reported.
fn file(fleet: &Fleet, publish: &Publish, importer: &Importer<'_>) -> Option<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let files: Vec<_> = fleet.images.iter().flat_map(|images| &images.files).collect();
    let templates: Vec<_> = files
        .iter()
        .map(|(distro, id, (folder, name))| template(distro, id, folder, name, &publish.format))
        .collect();
    for template in &templates {
        *counts.entry(template.clone()).or_default() += 1;
    }
    // One name for all images would not do.
    let apart = |template: &String| files.len() < 2 || template.contains("{{ id }}");
    let best = counts
        .iter()
        .filter(|(template, _)| apart(template))
        .max_by_key(|(_, count)| **count)?
        .0
        .clone();
    for ((_, id, (folder, name)), template) in files.iter().zip(&templates) {
        if *template != best {
            let text = format!(
                "was written to {folder}/{name}; names of all files follow one template, which most of the images agree on: {best}"
            );
            importer.note(Weight::Lost, None, format!("image {id}"), text);
        }
    }
    Some(best)
}

fn template(distro: &str, id: &str, folder: &str, name: &str, format: &str) -> String {
    // Of a path of that host, only its end belongs to the image.
    let folder = match folder.starts_with('/') {
        true => path::name(folder.trim_end_matches('/')),
        false => folder,
    };
    let plain = path::plain(&format!("{folder}/{name}"));
    let parts = plain
        .trim_start_matches('/')
        .split('/')
        .filter(|part| *part != "..");
    let parts: Vec<_> = parts.map(path::plain_name).collect();
    let text = parts.join("/");
    let with_id = worded(&text, id, "{{ id }}");
    let text = if with_id == text {
        worded(&text, distro, "{{ distro }}")
    } else {
        with_id
    };
    let dotted = format!(".{format}");
    match text.strip_suffix(&dotted) {
        Some(start) => format!("{start}.{{{{ format }}}}{{{{ suffix }}}}"),
        None => format!("{text}{{{{ suffix }}}}"),
    }
}

/// A text in which a word is replaced, where it stands by itself.
fn worded(text: &str, word: &str, with: &str) -> String {
    let (mut made, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(word).filter(|_| !word.is_empty()) {
        let after = &rest[at + word.len()..];
        let is_inside =
            rest[..at].ends_with(char::is_alphanumeric) || after.starts_with(char::is_alphanumeric);
        made.push_str(&rest[..at]);
        made.push_str(if is_inside { word } else { with });
        rest = after;
    }
    made + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_become_a_template() {
        assert_eq!(
            template("d", "d-50G-x", "output-d-50G-x", "packer-d-50G-x", "qcow2"),
            "output-{{ id }}/packer-{{ id }}{{ suffix }}"
        );
        assert_eq!(
            template("d", "d-1", "../builds", "d-1.qcow2", "qcow2"),
            "builds/{{ id }}.{{ format }}{{ suffix }}"
        );
        assert_eq!(
            template("d", "d", "/srv/images/debian", "packer-d", "qcow2"),
            "debian/packer-{{ id }}{{ suffix }}"
        );
    }
}
