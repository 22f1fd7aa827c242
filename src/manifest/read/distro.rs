//! `[distros.*]`: what is installed, and where it comes from.

use std::sync::Arc;

use crate::families::{Base, Family};
use crate::installer::Installer;
use crate::manifest::builtin;
use crate::manifest::describe::row::{Cell, Choice, Either, In};
use crate::manifest::describe::tables::{
    ACCESS, ARCHIVE, AccessKeys, ArchiveKeys, BOOTSTRAP, BootstrapKeys, DISK, DISTRO, DiskKeys, DistroKeys,
    MANIFEST, SOURCE, Seeded, SourceKey, SourceKeys,
};
use crate::manifest::describe::text::Name;
use crate::manifest::fields::{Field, Fields};
use crate::manifest::files::FileError;
use crate::manifest::model::{Access, Bootstrap, DiskSource, Distro, GuestArchive, Media, Source, Template};
use crate::manifest::{script, suggest};
use crate::platform::Arch;
use crate::releases::Kind;
use crate::size::{ByteSize, GIB};

use super::{DistroDraft, Reading, Spot, Vars, computers, installer, medium};

/// Install disk of a `bootstrap` source: holds a small Debian twice over, and takes a second to copy.
const BOOTSTRAP_DISK: ByteSize = ByteSize(2 * GIB);

pub(super) fn read_all(reading: Reading<'_>, root: &Fields<'_>, vars: &Vars) -> Vec<DistroDraft> {
    let named = root.get(&MANIFEST.distros).map(|cell| cell.named());
    let named = named.unwrap_or_default();
    named
        .iter()
        .filter_map(|cell| read(reading, cell, vars))
        .collect()
}

fn read(reading: Reading<'_>, cell: &Cell<'_, In<DistroKeys>>, vars: &Vars) -> Option<DistroDraft> {
    reading.file_name(cell.key_span, "the name of a distro", cell.key);
    let table = cell.fields()?;
    let family = table
        .get(&DISTRO.family)
        .and_then(|cell| read_family(reading, &cell));
    let version = table.read(&DISTRO.version);
    let known = family.zip(version.as_deref());
    let known = known.and_then(|(family, version)| reading.tables.installer(&family.name, version));
    let mut source_templates = Vec::new();
    let source_cell = table.get(&DISTRO.source);
    let arch = computers::arch(&table);
    let source = source_cell
        .as_ref()
        .and_then(|cell| read_source(reading, cell, (family, arch), known, &mut source_templates));
    let usual_disk = match &source {
        Some(Source::Bootstrap(_)) => Some(BOOTSTRAP_DISK),
        Some(Source::Installer(source)) => Some(source.installer.disk),
        Some(Source::Disk(_)) | None => None,
    };
    let usual_memory = match &source {
        Some(Source::Installer(source)) => Some(source.installer.memory),
        Some(Source::Bootstrap(_) | Source::Disk(_)) | None => DISTRO.memory.default_value(),
    };
    let (disk, memory, cpus) = (
        table.get(&DISTRO.disk),
        table.get(&DISTRO.memory),
        table.get(&DISTRO.cpus),
    );
    let answers = table.get(&DISTRO.answers);
    let place = |field: Option<&Field<'_>>| field.map_or(&table.span, |field| field.span()).clone();
    let mut merged = vars.clone();
    merged.extend(reading.vars(table.get(&DISTRO.vars)));
    let answers_template = match &answers {
        Some(cell) => read_answers(reading, cell),
        None => source
            .as_ref()
            .and_then(|source| usual_answers(reading, source, family)),
    };
    let disk_size = match &disk {
        Some(cell) => cell.read(),
        None => usual_disk,
    };
    let distro = Distro {
        name: cell.key.to_owned(),
        family: family.cloned().unwrap_or_default(),
        version: version.unwrap_or_default(),
        computers: computers::read(&table, source.as_ref(), family.map(Arc::as_ref)),
        source: source.unwrap_or_else(no_source),
        disk: disk_size.unwrap_or_default(),
        memory: memory
            .as_ref()
            .and_then(Cell::read)
            .or(usual_memory)
            .unwrap_or_default(),
        cpus: table.read_or_default(&DISTRO.cpus),
        archives: read_archives(reading, &table, family.map(Arc::as_ref)),
        max_age: table.read(&DISTRO.max_age),
        answers: answers_template,
        vars: merged,
    };
    Some(DistroDraft {
        distro,
        name_span: cell.key_span.clone(),
        disk_span: place(disk.as_deref()),
        memory_span: place(memory.as_deref()),
        cpus_span: place(cpus.as_deref()),
        answers_span: place(answers.as_deref()),
        source_span: place(source_cell.as_deref()),
        source_templates,
    })
}

fn read_archives(reading: Reading<'_>, table: &Fields<'_>, family: Option<&Family>) -> Vec<GuestArchive> {
    let cells = table.items(&DISTRO.archives);
    if let (Some(first), Some(family)) = (cells.first(), family)
        && family.apt.is_none()
    {
        first.bad(
            format!(
                "only archives of apt are locked, and guests of `{}` have none",
                family.name
            ),
            "bound the age of what steps install by `max_age`",
        );
    }
    let read = |cell| read_archive(reading, cell);
    cells.iter().filter_map(read).collect()
}

fn read_archive(reading: Reading<'_>, cell: &Cell<'_, In<ArchiveKeys>>) -> Option<GuestArchive> {
    let table = cell.fields()?;
    let components = table.read_or_default(&ARCHIVE.components);
    let keyring = table.get(&ARCHIVE.keyring).and_then(|cell| reading.file(&cell));
    let (url, suites) = (table.read(&ARCHIVE.url), table.read(&ARCHIVE.suites));
    Some(GuestArchive {
        url: url?,
        suites: suites?,
        components,
        keyring,
    })
}

fn read_family<'a>(reading: Reading<'a>, cell: &Cell<'_, Name>) -> Option<&'a Arc<Family>> {
    let name = cell.read()?;
    let family = reading.tables.family(&name);
    if family.is_none() {
        let known = reading.tables.families().map(|family| family.name.as_str());
        let remedy = suggest::remedy(&name, "families", known);
        cell.bad(
            format!("there is no family `{name}`"),
            format!("{remedy}; files of the manifest's key `families` add others"),
        );
    }
    family
}

/// Stands in for a source that was reported.
fn no_source() -> Source {
    Source::Disk(DiskSource {
        media: Media::none(),
        access: Access::CloudInit,
        user: "root".to_owned(),
    })
}

/// The answers where the manifest names none. A row whose answers are missing was reported.
fn usual_answers(reading: Reading<'_>, source: &Source, family: Option<&Arc<Family>>) -> Option<Template> {
    let (name, origin) = match source {
        Source::Bootstrap(source) => (&source.base.answers, &family?.origin),
        Source::Installer(source) => (&source.installer.answers, &source.installer.origin),
        Source::Disk(_) => return None,
    };
    match origin {
        Some(origin) => super::family::answers(reading, origin, name).ok(),
        None => built_in(name),
    }
}

pub(super) fn built_in(name: &str) -> Option<Template> {
    let text = builtin::template(name)?.to_owned();
    let name = name.to_owned();
    Some(Template { name, text })
}

fn read_answers(reading: Reading<'_>, field: &Field<'_>) -> Option<Template> {
    let name = field.text()?;
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
    cell: &Cell<'_, In<SourceKeys>>,
    (family, arch): (Option<&Arc<Family>>, Arch),
    known: Option<&Arc<Installer>>,
    templates: &mut Vec<Spot>,
) -> Option<Source> {
    let table = cell.fields()?;
    let (key, one) = table.one_of::<SourceKey>()?;
    let source = match key {
        SourceKey::Bootstrap => {
            let base = family.map(|family| family.bootstrap.as_ref());
            if base == Some(None) {
                let families = reading.tables.families();
                let can = families.filter(|family| family.bootstrap.is_some());
                let can: Vec<_> = can.map(|family| family.name.as_str()).collect();
                one.bad(
                    format!("only {} can be bootstrapped", can.join(", ")),
                    "take `disk = { … }` as source, or another family",
                );
            }
            let cell = table.get(&SOURCE.bootstrap)?;
            return read_bootstrap(reading, &cell, base.flatten(), arch).map(Source::Bootstrap);
        }
        SourceKey::Disk => {
            return read_disk(reading, &table.get(&SOURCE.disk)?, (family, arch)).map(Source::Disk);
        }
        SourceKey::Iso => installer::read_iso(reading, &table.get(&SOURCE.iso)?, arch, known, templates)?,
        SourceKey::Netboot => {
            installer::read_netboot(reading, &table.get(&SOURCE.netboot)?, known, templates)?
        }
    };
    if let (None, Some(family)) = (known, family) {
        one.bad(
            format!("no installer is known for this version of `{}`", family.name),
            "take an image of it as source: disk = { … }; or describe its installer in a file of the manifest's key `families`",
        );
    }
    Some(Source::Installer(Box::new(source)))
}

fn read_bootstrap(
    reading: Reading<'_>,
    cell: &Cell<'_, In<BootstrapKeys>>,
    base: Option<&Base>,
    arch: Arch,
) -> Option<Bootstrap> {
    let table = cell.fields()?;
    let bootstrap = Bootstrap {
        suite: String::new(),
        base: Base::default(),
        mirror: table.read(&BOOTSTRAP.mirror),
        snapshot: table.read(&BOOTSTRAP.snapshot),
        components: table.read_or_default(&BOOTSTRAP.components),
        kernel: table.read(&BOOTSTRAP.kernel),
        packages: table.read_or_default(&BOOTSTRAP.packages),
        keyring: table.get(&BOOTSTRAP.keyring).and_then(|cell| reading.file(&cell)),
    };
    let suite = table.read(&BOOTSTRAP.suite)?;
    Some(Bootstrap {
        base: base.map(|base| base.of(&suite, arch)).unwrap_or_default(),
        suite,
        ..bootstrap
    })
}

fn read_disk(
    reading: Reading<'_>,
    cell: &Cell<'_, In<DiskKeys>>,
    (family, arch): (Option<&Arc<Family>>, Arch),
) -> Option<DiskSource> {
    let table = cell.fields()?;
    let access = table
        .get(&DISK.access)
        .map_or(Some(Access::CloudInit), |cell| read_access(reading, &cell));
    let default_user = match (&access, family) {
        (Some(Access::Key(_)), _) | (_, None) => "root",
        (_, Some(family)) => family.user.as_str(),
    };
    let user = table.read(&DISK.user);
    let media = medium::read(reading, &table, Some((Kind::Disk, arch)));
    Some(DiskSource {
        media: media?,
        access: access?,
        user: user.unwrap_or_else(|| default_user.to_owned()),
    })
}

fn read_access(
    reading: Reading<'_>,
    cell: &Cell<'_, Either<Choice<Seeded>, In<AccessKeys>>>,
) -> Option<Access> {
    match cell.either() {
        Ok(word) => word.read().map(|Seeded::CloudInit| Access::CloudInit),
        Err(table) => {
            let key = table.fields()?.get(&ACCESS.key)?;
            reading.file(&key).map(Access::Key)
        }
    }
}
