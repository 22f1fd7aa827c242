//! `[distros.*]`: what is installed, and where it comes from.

use std::str::FromStr;

use crate::digest::{Algorithm, Digest};
use crate::manifest::builtin;
use crate::manifest::error::{ProblemKind, Span};
use crate::manifest::fields::{Field, Fields};
use crate::manifest::files::{Extent, FileError};
use crate::manifest::model::{
    Access, Bootstrap, ChecksumList, DiskSource, Distro, Family, Keyring, Media, Proof, Source, Template,
};
use crate::manifest::script;
use crate::manifest::suggest;
use crate::platform::Platform;
use crate::size::{ByteSize, GIB};

use super::{DistroDraft, Reading, Spot, Vars, cpus, installer, size};
use crate::installer::Installer;

/// Install disk of a `bootstrap` source: holds a small Debian twice over, and takes a second to copy.
const BOOTSTRAP_DISK: ByteSize = ByteSize(2 * GIB);
/// Memory of build VMs.
const MEMORY: ByteSize = ByteSize(GIB);
/// Virtual CPUs of build VMs.
const CPUS: u32 = 2;

const FAMILIES: [(&str, Family); 4] = [
    ("debian", Family::Debian),
    ("ubuntu", Family::Ubuntu),
    ("rhel", Family::Rhel),
    ("alpine", Family::Alpine),
];
const SOURCES: &[&str] = &["bootstrap", "disk", "iso", "netboot"];
const SOURCE_EXAMPLE: &str = "{ bootstrap = { suite = \"bookworm\" } }";
pub(super) const PLACES: &[&str] = &["path", "url", "urls"];
const BESIDE_PLACE: &[&str] = &[
    "sha256",
    "sha512",
    "md5",
    "checksums",
    "signature",
    "keyring",
    "access",
    "user",
];
/// What tells the right bytes.
const PROOFS: &[&str] = &["sha256", "sha512", "md5", "checksums"];
/// All that may stand beside the place of a medium that is nothing else.
pub(super) const BESIDE_MEDIUM: &[&str] = &["sha256", "sha512", "md5", "checksums", "signature", "keyring"];

pub(super) fn read_all(reading: Reading<'_>, root: &Fields<'_>, vars: &Vars) -> Vec<DistroDraft> {
    let Some(field) = root.get("distros") else {
        let kind = ProblemKind::MissingKey {
            path: root.path.clone(),
            key: "distros",
            example: "[distros.debian12]".to_owned(),
        };
        root.report(kind);
        return Vec::new();
    };
    let table = field.table("{ … }; or a table: [distros.debian12]");
    let all = table.iter().flat_map(Fields::all);
    all.filter_map(|field| read(reading, &field, vars)).collect()
}

fn read(reading: Reading<'_>, field: &Field<'_>, vars: &Vars) -> Option<DistroDraft> {
    reading.file_name(field.key_span, "the name of a distro", field.key);
    let table = field.table("{ family = \"debian\", version = \"12\", source = … }")?;
    let family = table
        .need("family", "\"debian\"")
        .and_then(|field| field.choice(&FAMILIES));
    let version = table
        .need("version", "\"12\"")
        .and_then(|field| field.text("\"12\""));
    let known = installer::known(family, version);
    let mut source_templates = Vec::new();
    let source = table
        .need("source", SOURCE_EXAMPLE)
        .and_then(|field| read_source(reading, &field, family, known, &mut source_templates));
    let is_bootstrap = matches!(source, Some(Source::Bootstrap(_)));
    let known = known.filter(|_| matches!(source, Some(Source::Installer(_))));
    let usual = |of: fn(&Installer) -> &String| known.and_then(|known| of(known).parse().ok());
    let place = |field: &Option<Field<'_>>| {
        field
            .as_ref()
            .map_or(field_span(&table), |field| field.span().clone())
    };
    let (disk, memory, cpu_count) = (table.get("disk"), table.get("memory"), table.get("cpus"));
    let answers = table.get("answers");
    let mut merged = vars.clone();
    merged.extend(reading.vars(&table));
    let disk_size = match &disk {
        Some(field) => size(field, "\"2G\""),
        None => usual(|known| &known.disk).or(is_bootstrap.then_some(BOOTSTRAP_DISK)),
    };
    let distro = Distro {
        name: field.key.to_owned(),
        family: family.unwrap_or(Family::Debian),
        version: version.unwrap_or_default().to_owned(),
        platform: Platform::default(),
        source: source.unwrap_or_else(no_source),
        disk: disk_size.unwrap_or_default(),
        memory: memory
            .as_ref()
            .and_then(|field| size(field, "\"1G\""))
            .or(usual(|known| &known.memory))
            .unwrap_or(MEMORY),
        cpus: cpu_count.as_ref().and_then(cpus).unwrap_or(CPUS),
        answers: match &answers {
            Some(field) => read_answers(reading, field),
            None if known.is_some() => built_in(known.map_or("", |known| &known.answers)),
            None if is_bootstrap => built_in(builtin::bootstrap_answers(family.unwrap_or(Family::Debian))),
            None => None,
        },
        vars: merged,
    };
    let draft = DistroDraft {
        distro,
        name_span: field.key_span.clone(),
        disk_span: place(&disk),
        memory_span: place(&memory),
        cpus_span: place(&cpu_count),
        answers_span: place(&answers),
        source_templates,
    };
    table.finish();
    Some(draft)
}

fn field_span(table: &Fields<'_>) -> Span {
    table.span.clone()
}

/// Stands in for a source that was reported.
fn no_source() -> Source {
    Source::Disk(DiskSource {
        media: Media::none(),
        access: Access::CloudInit,
        user: "root".to_owned(),
    })
}

fn built_in(name: &str) -> Option<Template> {
    let text = builtin::template(name)?.to_owned();
    let name = name.to_owned();
    Some(Template { name, text })
}

fn read_answers(reading: Reading<'_>, field: &Field<'_>) -> Option<Template> {
    let name = field.text("\"my-setup.sh.j2\"")?;
    match reading.files.text(name) {
        Ok(text) => {
            // Shell commands stand in all of them; YAML alone takes either line end for one.
            if let Some(fault) = script::fault(&text, Some("sh")).filter(|_| !is_yaml(name, &text)) {
                field.bad(format!("`{name}` {fault}"), script::remedy(name));
            }
            Some(Template {
                name: name.to_owned(),
                text: text.as_ref().to_owned(),
            })
        }
        Err(error) => {
            let is_missing = matches!(error, FileError::Missing { .. });
            if let Some(template) = built_in(name).filter(|_| is_missing) {
                return Some(template);
            }
            let names = builtin::TEMPLATES.iter().map(|(name, _)| *name);
            let near = suggest::near(name, names);
            let remedy = match near.first() {
                Some(best) if is_missing => format!("did you mean the built-in `{best}`?"),
                _ => error.remedy(),
            };
            reading.file_problem(field, &error, remedy);
            None
        }
    }
}

fn is_yaml(name: &str, text: &str) -> bool {
    let name = name.trim_end_matches(".j2");
    let named = [".yaml", ".yml", "user-data"]
        .iter()
        .any(|end| name.ends_with(end));
    named || text.starts_with("#cloud-config")
}

fn read_source(
    reading: Reading<'_>,
    field: &Field<'_>,
    family: Option<Family>,
    known: Option<&'static Installer>,
    templates: &mut Vec<Spot>,
) -> Option<Source> {
    let table = field.table(SOURCE_EXAMPLE)?;
    let one = table.one_of(SOURCES, &[]);
    table.finish();
    let one = one?;
    match one.key {
        "bootstrap" => {
            if matches!(family, Some(Family::Rhel | Family::Alpine)) {
                one.bad(
                    "only debian and ubuntu can be bootstrapped",
                    "take `disk = { … }` as source, or another family",
                );
            }
            read_bootstrap(reading, &one).map(Source::Bootstrap)
        }
        "disk" => read_disk(reading, &one, family).map(Source::Disk),
        _ => {
            installer::read(reading, &one, known, templates).map(|source| Source::Installer(Box::new(source)))
        }
    }
}

fn read_bootstrap(reading: Reading<'_>, field: &Field<'_>) -> Option<Bootstrap> {
    let table = field.table("{ suite = \"bookworm\" }")?;
    let text = |key: &'static str, example: &str| {
        let text = table.get(key).and_then(|field| field.text(example));
        text.map(str::to_owned)
    };
    let suite = table
        .need("suite", "\"bookworm\"")
        .and_then(|field| field.text("\"bookworm\""));
    let mirror = table.get("mirror").and_then(|field| url(&field));
    let components = table
        .get("components")
        .and_then(|field| field.texts("\"main\""))
        .unwrap_or_else(|| vec!["main".to_owned()]);
    let kernel = text("kernel", "\"linux-image-amd64\"");
    let packages = table
        .get("packages")
        .and_then(|field| field.texts("\"vim\""))
        .unwrap_or_default();
    let keyring = table.get("keyring").and_then(|field| {
        let name = field.text("\"keyring.gpg\"")?;
        reading.found(&field, reading.files.file(name))
    });
    table.finish();
    Some(Bootstrap {
        suite: suite?.to_owned(),
        mirror,
        components,
        kernel,
        packages,
        keyring,
    })
}

fn read_disk(reading: Reading<'_>, field: &Field<'_>, family: Option<Family>) -> Option<DiskSource> {
    let table = field.table("{ path = \"base.qcow2\" }")?;
    let place = table.one_of(PLACES, BESIDE_PLACE);
    let proof = read_proof(reading, &table);
    let access = table
        .get("access")
        .map_or(Some(Access::CloudInit), |field| read_access(reading, &field));
    let user = table.get("user").and_then(|field| field.text("\"debian\""));
    let default_user = match (&access, family) {
        (Some(Access::Key(_)), _) | (_, None) => "root",
        (_, Some(Family::Debian)) => "debian",
        (_, Some(Family::Ubuntu)) => "ubuntu",
        (_, Some(Family::Rhel)) => "cloud-user",
        (_, Some(Family::Alpine)) => "alpine",
    };
    let user = user.unwrap_or(default_user).to_owned();
    let media = place.and_then(|place| read_media(reading, &place, &table, proof));
    table.finish();
    Some(DiskSource {
        media: media?,
        access: access?,
        user,
    })
}

/// `None`: there is one, but it was reported.
pub(super) fn read_proof(reading: Reading<'_>, table: &Fields<'_>) -> Option<Option<Proof>> {
    let found = table.which(PROOFS);
    if let [first, second, ..] = found.as_slice() {
        let kind = ProblemKind::OneOf {
            path: table.path.clone(),
            found: found.iter().map(|field| format!("`{}`", field.key)).collect(),
            wanted: PROOFS,
        };
        reading
            .problems
            .add_pair((first.key_span, "this"), second.key_span, kind);
        return None;
    }
    let (signature, keyring) = (table.get("signature"), table.get("keyring"));
    let lists = found.first().is_some_and(|field| field.key == "checksums");
    for field in [&signature, &keyring].into_iter().flatten().filter(|_| !lists) {
        let cause = "only a checksum file is signed";
        field.bad(cause, "add it: checksums = \"https://…/SHA256SUMS\"");
    }
    let Some(field) = found.first() else {
        return Some(None);
    };
    if lists {
        let url = place(reading, field)?;
        let signature = signature.and_then(|field| place(reading, &field));
        let keyring = keyring.and_then(|field| {
            let name = field.text("\"publisher.gpg\"")?;
            let path = reading.found(&field, reading.files.file(name))?;
            let digest = reading.found(&field, reading.files.digest(&path, Extent::Whole))?;
            Some(Keyring { path, digest })
        });
        return Some(Some(Proof::List(ChecksumList {
            url,
            signature,
            keyring,
        })));
    }
    let algorithm = Algorithm::ALL.into_iter().find(|a| a.name() == field.key)?;
    let text = field.text("\"<hex digits>\"")?;
    let bare = text
        .strip_prefix(algorithm.name())
        .and_then(|t| t.strip_prefix(':'));
    let hex = bare.unwrap_or(text);
    match Digest::from_str(&format!("{algorithm}:{hex}")) {
        Ok(digest) => Some(Some(Proof::Digest(digest))),
        Err(_) => {
            let length = hex.chars().count();
            let odd = hex.chars().find(|c| !c.is_ascii_hexdigit());
            let cause = match odd {
                Some(odd) => format!("{odd:?} is not a hexadecimal digit"),
                None => format!(
                    "a {algorithm} has {} hexadecimal digits, not {length}",
                    algorithm.hex_len()
                ),
            };
            field.bad(cause, "copy it from where the publisher of the file gives it");
            None
        }
    }
}

pub(super) fn read_media(
    reading: Reading<'_>,
    place: &Field<'_>,
    table: &Fields<'_>,
    proof: Option<Option<Proof>>,
) -> Option<Media> {
    if place.key == "path" {
        let name = place.text("\"base.qcow2\"")?;
        let path = reading.found(place, reading.files.file(name))?;
        let digest = match proof? {
            None => None,
            Some(Proof::Digest(digest)) => Some(digest),
            Some(Proof::List(_)) => {
                place.bad(
                    "a checksum file goes with a URL",
                    "write the file's digest: sha256 = \"…\"",
                );
                return None;
            }
        };
        return Some(Media::Path { path, digest });
    }
    let urls: Vec<_> = if place.key == "url" {
        url(place).into_iter().collect()
    } else {
        let items = place.list("[\"https://…\"]")?;
        if items.is_empty() {
            place.bad("the list is empty", "name at least one URL");
        }
        items.iter().filter_map(url).collect()
    };
    let Some(proof) = proof? else {
        let path = table.path.clone();
        place.report(ProblemKind::Unverified { path });
        return None;
    };
    Some(Media::Urls { urls, proof })
}

/// A URL, or a file as an absolute path.
fn place(reading: Reading<'_>, field: &Field<'_>) -> Option<String> {
    let text = field.text("\"https://…/SHA256SUMS\"")?;
    if text.contains("://") {
        return url(field);
    }
    let path = reading.found(field, reading.files.file(text))?;
    Some(path.display().to_string())
}

pub(super) fn url(field: &Field<'_>) -> Option<String> {
    field.parsed("\"https://…\"", |text| {
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let fits = host.is_some_and(|host| !host.is_empty() && !host.starts_with('/'));
        if fits && !text.contains(char::is_whitespace) {
            Ok(text.to_owned())
        } else {
            Err(format!("`{text}` is not an http:// or https:// URL"))
        }
    })
}

fn read_access(reading: Reading<'_>, field: &Field<'_>) -> Option<Access> {
    let example = "\"cloud-init\"  or  access = { key = \"id_ed25519\" }";
    if matches!(field.node.value, crate::manifest::parse::Value::Text(_)) {
        return field.choice(&[("cloud-init", ())]).map(|()| Access::CloudInit);
    }
    let table = field.table(example)?;
    let key = table.need("key", "\"id_ed25519\"");
    table.finish();
    let key = key?;
    let name = key.text("\"id_ed25519\"")?;
    reading.found(&key, reading.files.file(name)).map(Access::Key)
}
