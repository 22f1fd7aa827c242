//! `[distros.*]`: what is installed, and where it comes from.

use crate::installer::Installer;
use crate::manifest::builtin;
use crate::manifest::describe::row::{Cell, Choice, Either, In};
use crate::manifest::describe::tables::{
    ACCESS, AccessKeys, BOOTSTRAP, BootstrapKeys, DISK, DISTRO, DiskKeys, DistroKeys, MANIFEST, SOURCE,
    Seeded, SourceKey, SourceKeys,
};
use crate::manifest::fields::{Field, Fields};
use crate::manifest::files::FileError;
use crate::manifest::model::{Access, Bootstrap, DiskSource, Distro, Family, Media, Source, Template};
use crate::manifest::script;
use crate::manifest::suggest;
use crate::platform::Platform;
use crate::size::{ByteSize, GIB};

use super::{DistroDraft, Reading, Spot, Vars, installer, medium};

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
    let family = table.read(&DISTRO.family);
    let version = table.read(&DISTRO.version);
    let known = installer::known(family, version.as_deref());
    let mut source_templates = Vec::new();
    let source = table
        .get(&DISTRO.source)
        .and_then(|cell| read_source(reading, &cell, family, known, &mut source_templates));
    let is_bootstrap = matches!(source, Some(Source::Bootstrap(_)));
    let known = known.filter(|_| matches!(source, Some(Source::Installer(_))));
    let usual = |of: fn(&Installer) -> &String| known.and_then(|known| of(known).parse().ok());
    let (disk, memory, cpus) = (
        table.get(&DISTRO.disk),
        table.get(&DISTRO.memory),
        table.get(&DISTRO.cpus),
    );
    let answers = table.get(&DISTRO.answers);
    let place = |field: Option<&Field<'_>>| field.map_or(&table.span, |field| field.span()).clone();
    let mut merged = vars.clone();
    merged.extend(reading.vars(table.get(&DISTRO.vars)));
    let disk_size = match &disk {
        Some(cell) => cell.read(),
        None => usual(|known| &known.disk).or(is_bootstrap.then_some(BOOTSTRAP_DISK)),
    };
    let distro = Distro {
        name: cell.key.to_owned(),
        family: family.unwrap_or(Family::Debian),
        version: version.unwrap_or_default(),
        platform: Platform::default(),
        source: source.unwrap_or_else(no_source),
        disk: disk_size.unwrap_or_default(),
        memory: memory
            .as_ref()
            .and_then(Cell::read)
            .or(usual(|known| &known.memory))
            .or_else(|| DISTRO.memory.default_value())
            .unwrap_or_default(),
        cpus: table.read_or_default(&DISTRO.cpus),
        answers: match &answers {
            Some(cell) => read_answers(reading, cell),
            None if known.is_some() => built_in(known.map_or("", |known| &known.answers)),
            None if is_bootstrap => built_in(builtin::bootstrap_answers(family.unwrap_or(Family::Debian))),
            None => None,
        },
        vars: merged,
    };
    Some(DistroDraft {
        distro,
        name_span: cell.key_span.clone(),
        disk_span: place(disk.as_deref()),
        memory_span: place(memory.as_deref()),
        cpus_span: place(cpus.as_deref()),
        answers_span: place(answers.as_deref()),
        source_templates,
    })
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
    family: Option<Family>,
    known: Option<&'static Installer>,
    templates: &mut Vec<Spot>,
) -> Option<Source> {
    let table = cell.fields()?;
    let (key, one) = table.one_of::<SourceKey>()?;
    let source = match key {
        SourceKey::Bootstrap => {
            if matches!(family, Some(Family::Rhel | Family::Alpine)) {
                one.bad(
                    "only debian and ubuntu can be bootstrapped",
                    "take `disk = { … }` as source, or another family",
                );
            }
            return read_bootstrap(reading, &table.get(&SOURCE.bootstrap)?).map(Source::Bootstrap);
        }
        SourceKey::Disk => {
            return read_disk(reading, &table.get(&SOURCE.disk)?, family).map(Source::Disk);
        }
        SourceKey::Iso => installer::read_iso(reading, &table.get(&SOURCE.iso)?, known, templates)?,
        SourceKey::Netboot => {
            installer::read_netboot(reading, &table.get(&SOURCE.netboot)?, known, templates)?
        }
    };
    if known.is_none() {
        one.bad(
            "no installer is known for this family",
            "take an image of it as source: disk = { … }",
        );
    }
    Some(Source::Installer(Box::new(source)))
}

fn read_bootstrap(reading: Reading<'_>, cell: &Cell<'_, In<BootstrapKeys>>) -> Option<Bootstrap> {
    let table = cell.fields()?;
    let bootstrap = Bootstrap {
        suite: String::new(),
        mirror: table.read(&BOOTSTRAP.mirror),
        components: table.read_or_default(&BOOTSTRAP.components),
        kernel: table.read(&BOOTSTRAP.kernel),
        packages: table.read_or_default(&BOOTSTRAP.packages),
        keyring: table.get(&BOOTSTRAP.keyring).and_then(|cell| reading.file(&cell)),
    };
    let suite = table.read(&BOOTSTRAP.suite)?;
    Some(Bootstrap { suite, ..bootstrap })
}

fn read_disk(
    reading: Reading<'_>,
    cell: &Cell<'_, In<DiskKeys>>,
    family: Option<Family>,
) -> Option<DiskSource> {
    let table = cell.fields()?;
    let access = table
        .get(&DISK.access)
        .map_or(Some(Access::CloudInit), |cell| read_access(reading, &cell));
    let default_user = match (&access, family) {
        (Some(Access::Key(_)), _) | (_, None) => "root",
        (_, Some(Family::Debian)) => "debian",
        (_, Some(Family::Ubuntu)) => "ubuntu",
        (_, Some(Family::Rhel)) => "cloud-user",
        (_, Some(Family::Alpine)) => "alpine",
    };
    let user = table.read(&DISK.user);
    let media = medium::read(reading, &table);
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
