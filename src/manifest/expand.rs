//! `[[images]]` tables to single images: distro x flavor x size, each with its id and its published file. No two share
//! either. Knows names and templates, nothing of TOML or of how disks are made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::describe::tables::{IMAGE, PUBLISH};
use super::error::{ProblemKind, Span};
use super::image_checks::give_checks;
use super::model::{Format, Image};
use super::read::{DistroDraft, ImageDraft, Spot, TargetDraft};
use super::rules::Rules;
use super::template::{Base, Compiled};
use super::{context, names};
use crate::platform::Computer;

/// Files that the program writes into the output folder itself.
const OWN_FILES: [(&str, &str); 8] = [
    ("MD5SUM.txt", "a checksum file"),
    ("SHA256SUMS", "a checksum file"),
    ("SHA512SUM.txt", "a checksum file"),
    ("URL.txt", "the list of URLs"),
    ("feed.xml", "the feed of `pipeline gallery`"),
    ("index.html", "the page of `pipeline gallery`"),
    ("index.json", "the catalog of what is published"),
    ("versions", "the folder of `publish.versions`"),
];

/// An image and where its size stands.
struct Entry<'a> {
    image: Image,
    span: &'a Span,
    /// Which `[[images]]` table it comes from.
    table: usize,
}

/// Expands and checks. What is reported is left out.
pub fn images(rules: &Rules<'_>) -> Vec<Image> {
    let usual_id = IMAGE.id.default_value().unwrap_or_default();
    let usual_file = PUBLISH.file.default_value().unwrap_or_default();
    // With a faulty file template, ids are still checked.
    let all_distros: Vec<_> = rules.draft.distros.iter().collect();
    let file_names = |spot| Names::new(rules, spot, "publish.file", &usual_file, &all_distros);
    let formats = rules.draft.formats.iter().map(|format| {
        let own = format.file.as_ref();
        own.and_then(|spot| file_names(Some(spot)))
    });
    let files = Files {
        image: file_names(rules.draft.file.as_ref()),
        formats: formats.collect(),
    };
    // Every table without an `id` shares the compiled default.
    let default_id = Names::new(rules, None, "images.id", &usual_id, &[]);
    let bases = rules.draft.distros.iter().map(|draft| {
        let context = context::distro_context(&draft.distro);
        (draft.distro.name.as_str(), Base::from(&context))
    });
    let bases: BTreeMap<_, _> = bases.collect();
    let mut entries = Vec::new();
    for (table, draft) in rules.draft.images.iter().enumerate() {
        let own_distros: Vec<_> = draft
            .distros
            .iter()
            .filter_map(|spot| rules.distro(&spot.text))
            .collect();
        let own_id = draft
            .id
            .as_ref()
            .and_then(|id| Names::new(rules, Some(id), "images.id", &usual_id, &own_distros));
        let id = if draft.id.is_some() { &own_id } else { &default_id };
        if let Some(id) = id {
            expand(rules, draft, table, (id, &files), &bases, &mut entries);
        }
    }
    let entries = without_duplicates(rules, entries);
    if files.image.is_some() {
        check_files(rules, &entries);
    }
    let sets: Vec<_> = entries
        .iter()
        .filter_map(|entry| rules.draft.images.get(entry.table))
        .map(|draft| draft.checks.as_slice())
        .collect();
    let mut images: Vec<_> = entries.into_iter().map(|entry| entry.image).collect();
    give_checks(rules, &mut images, &sets);
    images
}

/// Templates for the files of images.
struct Files<'a> {
    /// Of the image itself; none where it was reported.
    image: Option<Names<'a>>,
    /// Of the further formats that have one of their own.
    formats: Vec<Option<Names<'a>>>,
}

/// A template for ids or files.
struct Names<'a> {
    template: Compiled<'a>,
    spot: Option<&'a Spot>,
}

impl<'a> Names<'a> {
    /// Lints the template for these distros; `None` when it was reported.
    fn new(
        rules: &Rules<'_>,
        spot: Option<&'a Spot>,
        path: &'static str,
        default: &'a str,
        distros: &[&DistroDraft],
    ) -> Option<Self> {
        let mut reported = BTreeSet::new();
        let mut fine = true;
        if let Some(spot) = spot {
            for draft in distros {
                let mut context = context::distro_context(&draft.distro);
                context.extend(["flavor", "size"].map(|key| (key.to_owned(), "x".into())));
                if path == "publish.file" {
                    context.extend(["id", "format", "suffix"].map(|key| (key.to_owned(), "x".into())));
                }
                fine &= rules.check_inline(spot, "", &context, &mut reported);
            }
        }
        let (name, text) = spot.map_or((path, default), |spot| (spot.path.as_str(), spot.text.as_str()));
        let template = Compiled::new(name, text).ok()?;
        fine.then_some(Self { template, spot })
    }

    fn render(&self, rules: &Rules<'_>, base: &Base, facts: &[(&str, &str)]) -> Option<String> {
        match (self.template.render(base, facts), self.spot) {
            (Ok(text), _) => Some(text),
            (Err(error), Some(spot)) => {
                rules.report_inline(spot, "", error);
                None
            }
            (Err(error), None) => unreachable!("a default template failed: {error}"),
        }
    }
}

/// Adds the images of one table; stops at the first id or file that is no good, as the others have the same template.
fn expand<'a>(
    rules: &Rules<'_>,
    draft: &'a ImageDraft,
    table: usize,
    (id, files): (&Names<'_>, &Files<'_>),
    bases: &BTreeMap<&str, Base>,
    entries: &mut Vec<Entry<'a>>,
) {
    for distro in &draft.distros {
        let Some(base) = bases.get(distro.text.as_str()) else {
            continue;
        };
        for flavor in &draft.flavors {
            for (size, label) in &draft.sizes {
                let mut facts = vec![("flavor", flavor.text.as_str()), ("size", label.text.as_str())];
                let id_span = draft.id.as_ref().map_or(&label.span, |spot| &spot.span);
                // A name that was reported would only be reported again as part of every id.
                if [distro, flavor]
                    .iter()
                    .any(|spot| names::file_fault(&spot.text).is_some())
                {
                    continue;
                }
                let Some(id) = image_id(rules, id, base, &facts, id_span) else {
                    return;
                };
                facts.push(("id", &id));
                let Some((file, formats)) = image_files(rules, files, base, &facts, &label.span) else {
                    return;
                };
                let image = Image {
                    distro: distro.text.clone(),
                    flavor: flavor.text.clone(),
                    size: *size,
                    size_label: label.text.clone(),
                    file,
                    formats,
                    id,
                    checks: Vec::new(),
                    computers: computers(rules, draft, &distro.text),
                };
                let span = &label.span;
                entries.push(Entry { image, span, table });
            }
        }
    }
}

/// The computers that its checks start an image in.
fn computers(rules: &Rules<'_>, draft: &ImageDraft, distro: &str) -> Vec<Computer> {
    let Some(distro) = rules.distro(distro).map(|draft| &draft.distro) else {
        return Vec::new();
    };
    if draft.firmware.is_empty() {
        return distro.computers.clone();
    }
    let starts = draft.firmware.iter().map(|(start, _)| *start);
    starts.filter_map(|start| distro.started_by(start)).collect()
}

fn image_id(
    rules: &Rules<'_>,
    template: &Names<'_>,
    base: &Base,
    facts: &[(&str, &str)],
    span: &Span,
) -> Option<String> {
    let id = template.render(rules, base, facts)?;
    let Some(cause) = names::file_fault(&id) else {
        return Some(id);
    };
    let (what, remedy) = ("the id of an image", names::FILE_REMEDY);
    let kind = ProblemKind::BadName {
        what,
        name: id,
        cause,
        remedy,
    };
    rules.reading.problems.add(span, kind);
    None
}

/// The file of an image, and those of its further formats.
fn image_files(
    rules: &Rules<'_>,
    files: &Files<'_>,
    base: &Base,
    facts: &[(&str, &str)],
    span: &Span,
) -> Option<(PathBuf, Vec<Format>)> {
    let Some(image) = &files.image else {
        return Some((PathBuf::new(), Vec::new()));
    };
    let publish = &rules.draft.publish;
    let more = (publish.format.name(), publish.compress.suffix());
    let file = image_file(rules, image, base, facts, more, span)?;
    let formats = rules
        .draft
        .formats
        .iter()
        .zip(&files.formats)
        .map(|(draft, own)| {
            let template = own.as_ref().unwrap_or(image);
            let more = (draft.form.ending(), draft.compress.suffix());
            Some(Format {
                form: draft.form,
                compress: draft.compress,
                file: image_file(rules, template, base, facts, more, span)?,
            })
        });
    Some((file, formats.collect::<Option<_>>()?))
}

fn image_file(
    rules: &Rules<'_>,
    template: &Names<'_>,
    base: &Base,
    facts: &[(&str, &str)],
    (format, suffix): (&str, &str),
    span: &Span,
) -> Option<PathBuf> {
    let more = [("format", format), ("suffix", suffix)];
    let facts: Vec<_> = facts.iter().copied().chain(more).collect();
    let file = template.render(rules, base, &facts)?;
    let Some(cause) = names::output_fault(&file) else {
        return Some(PathBuf::from(file));
    };
    let image = facts
        .iter()
        .find(|(key, _)| *key == "id")
        .map_or("", |(_, id)| id)
        .to_owned();
    let span = template.spot.map_or(span, |spot| &spot.span);
    let kind = ProblemKind::OutputPath { image, file, cause };
    rules.reading.problems.add(span, kind);
    None
}

/// Reports ids that come twice, once a table, and leaves the later images out.
fn without_duplicates<'a>(rules: &Rules<'_>, entries: Vec<Entry<'a>>) -> Vec<Entry<'a>> {
    let mut seen: BTreeMap<String, &Span> = BTreeMap::new();
    let mut reported = BTreeSet::new();
    let mut kept = Vec::with_capacity(entries.len());
    for entry in entries {
        let Some(first) = seen.get(&entry.image.id) else {
            seen.insert(entry.image.id.clone(), entry.span);
            kept.push(entry);
            continue;
        };
        if reported.insert(entry.table) {
            let own = rules
                .draft
                .images
                .get(entry.table)
                .and_then(|draft| draft.id.as_ref());
            let remedy = match own {
                Some(_) => "put {{ distro }}, {{ size }} and {{ flavor }} into its `id` where they differ",
                None => {
                    "take one of them out, or give it an `id` of its own: id = \"{{ distro }}-{{ size }}-two\""
                }
            };
            let (id, remedy) = (entry.image.id, remedy.to_owned());
            let kind = ProblemKind::DuplicateImage { id, remedy };
            rules
                .reading
                .problems
                .add_pair((first, "first here"), entry.span, kind);
        }
    }
    kept
}

/// Reports images with a file that another one has, that is a folder of another one's, or that is a checksum file.
fn check_files(rules: &Rules<'_>, entries: &[Entry<'_>]) {
    let mut files: BTreeMap<&Path, &Entry<'_>> = BTreeMap::new();
    let mut reported = BTreeSet::new();
    let mut collide = |file: &Path, first: String, other: Option<&Entry<'_>>, entry: &Entry<'_>| {
        if !reported.insert(entry.table) {
            return;
        }
        let kind = ProblemKind::Collision {
            file: file.display().to_string(),
            first,
            second: entry.image.id.clone(),
        };
        let other = other.map_or(entry.span, |other| other.span);
        rules
            .reading
            .problems
            .add_pair((other, "this image"), entry.span, kind);
    };
    for entry in entries {
        for file in entry.image.files() {
            let top = file.iter().next().unwrap_or_default();
            let mut own = OWN_FILES.iter();
            let is_used = |name: &str| name != "versions" || rules.draft.publish.versions.is_some();
            if let Some((_, what)) = own.find(|(name, _)| top == *name && is_used(name)) {
                collide(file, (*what).to_owned(), None, entry);
            } else if let Some(other) = files.insert(file, entry) {
                let first = format!("the file of image `{}` already", other.image.id);
                collide(file, first, Some(other), entry);
            }
        }
    }
    let mut targets = rules.draft.targets.iter();
    if let Some(target) = targets.find(|draft| draft.target.to.lists_urls()) {
        check_names(rules, target, entries);
    }
    for entry in entries {
        for file in entry.image.files() {
            let mut folders = file.ancestors().skip(1);
            if let Some(other) = folders.find_map(|folder| files.get(folder)) {
                let first = format!("below the file of image `{}`", other.image.id);
                collide(file, first, Some(other), entry);
            }
        }
    }
}

/// Reports two images of one file name: `URL.txt` names files without their folders.
fn check_names(rules: &Rules<'_>, target: &TargetDraft, entries: &[Entry<'_>]) {
    let mut names: BTreeMap<_, &Entry<'_>> = BTreeMap::new();
    let files = entries.iter().flat_map(|entry| {
        let files = entry.image.files();
        files.map(move |file| (file.file_name().unwrap_or_default(), entry))
    });
    for (name, entry) in files {
        let Some(other) = names.insert(name, entry) else {
            continue;
        };
        let kind = ProblemKind::BadValue {
            path: "publish.file".to_owned(),
            cause: format!(
                "images `{}` and `{}` both have the file name `{}`, which URL.txt (of `publish.{}`) cannot tell apart",
                other.image.id,
                entry.image.id,
                name.display(),
                target.target.name
            ),
            remedy: "put {{ id }} into the last part of `publish.file`".to_owned(),
        };
        let span = rules.draft.file.as_ref().map_or(entry.span, |spot| &spot.span);
        rules.reading.problems.add(span, kind);
        return;
    }
}
