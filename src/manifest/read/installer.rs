//! `source.iso` and `source.netboot`: media of a distro's own installer, and how it is talked to.

use std::sync::Arc;

use crate::boot_command;
use crate::installer::{Delivery, Installer};
use crate::manifest::describe::row::{Cell, In};
use crate::manifest::describe::tables::{INSTALLER, IsoKeys, NETBOOT, NetbootKeys};
use crate::manifest::error::ProblemKind;
use crate::manifest::fields::Fields;
use crate::manifest::model::{InstallMedia, InstallerSource, Media};

use super::{Reading, Spot, medium};
use crate::platform::Arch;
use crate::releases::Kind;
use crate::syntax::secret::read_secret;

/// Reads `source.iso`; its templates go to `templates`.
pub(super) fn read_iso(
    reading: Reading<'_>,
    cell: &Cell<'_, In<IsoKeys>>,
    arch: Arch,
    known: Option<&Arc<Installer>>,
    templates: &mut Vec<Spot>,
) -> Option<InstallerSource> {
    let table = cell.fields()?;
    let media = medium::read(reading, &table, Some((Kind::Iso, arch))).unwrap_or_else(Media::none);
    Some(read(reading, &table, InstallMedia::Iso(media), known, templates))
}

/// Reads `source.netboot`; its templates go to `templates`.
pub(super) fn read_netboot(
    reading: Reading<'_>,
    cell: &Cell<'_, In<NetbootKeys>>,
    known: Option<&Arc<Installer>>,
    templates: &mut Vec<Spot>,
) -> Option<InstallerSource> {
    let table = cell.fields()?;
    let part = |row| {
        let fields = table.get(row)?.fields()?;
        medium::read(reading, &fields, None)
    };
    let media = InstallMedia::Netboot {
        kernel: part(&NETBOOT.kernel).unwrap_or_else(Media::none),
        initrd: part(&NETBOOT.initrd).unwrap_or_else(Media::none),
    };
    let source = read(reading, &table, media, known, templates);
    if let Some(known) = known
        && !can_start(known, &source)
    {
        let cause = format!(
            "without an image, this installer does not find its second part: none of its arguments is {}",
            known.netboot_needs.join(" or ")
        );
        let remedy = match known.mirror.is_empty() {
            true => "write `mirror`: the URL of an installation tree",
            false => {
                "name an image for its memory (it needs 5G): arguments = \"ip=dhcp url=http://…/server.iso\"; or take that as `iso`"
            }
        };
        cell.bad(cause, remedy);
    }
    Some(source)
}

/// Whether an installer without an image knows where the rest of it is.
fn can_start(known: &Installer, source: &InstallerSource) -> bool {
    let arguments = source.arguments.as_deref().unwrap_or_default();
    let has_mirror = source.mirror.is_some() || !known.mirror.is_empty();
    let is_told = |need: &String| arguments.split_whitespace().any(|word| word.starts_with(need));
    known.netboot_needs.is_empty()
        || has_mirror && known.netboot.contains("mirror")
        || known.netboot_needs.iter().any(is_told)
}

fn read(
    reading: Reading<'_>,
    table: &Fields<'_>,
    media: InstallMedia,
    known: Option<&Arc<Installer>>,
    templates: &mut Vec<Spot>,
) -> InstallerSource {
    let delivery = table.get(&INSTALLER.answers_by).and_then(|cell| {
        let delivery = cell.read()?;
        if known.is_some_and(|known| !known.takes(delivery)) {
            let cause = format!(
                "this installer does not take its answers by `{}`",
                delivery.name()
            );
            cell.bad(cause, "leave it out, and the most robust way is taken");
        }
        Some(delivery)
    });
    let arguments = table.get(&INSTALLER.arguments).and_then(|cell| Spot::of(&cell));
    templates.extend(arguments.clone());
    let boot_command = table.get(&INSTALLER.boot_command).map(|cell| {
        if !matches!(media, InstallMedia::Iso(_)) {
            cell.bad(
                "there is nothing to type into: kernel and initrd are started directly",
                "take it out, or use an `iso`",
            );
        }
        if delivery == Some(Delivery::Initrd) {
            cell.bad(
                "the medium's boot loader brings its own initrd, into which nothing can be put",
                "write answers_by = \"http\" and type the URL: {{ host.url }}",
            );
        }
        read_boot_command(reading, table, templates)
    });
    let program = known.and_then(|known| reading.tables.program(&known.program));
    InstallerSource {
        installer: known.cloned().unwrap_or_default(),
        program: program.cloned().unwrap_or_default(),
        media,
        delivery,
        mirror: table.read(&INSTALLER.mirror),
        suite: table.read(&INSTALLER.suite),
        archive_keyring: table
            .get(&INSTALLER.archive_keyring)
            .and_then(|cell| reading.file(&cell)),
        arguments: arguments.map(|spot| spot.text),
        boot_command,
        password: table
            .get(&INSTALLER.password)
            .and_then(|cell| read_secret(reading, &cell)),
    }
}

/// A text, or a list of texts that are typed one after the other. Mistakes are shown at their place in the text.
fn read_boot_command(reading: Reading<'_>, table: &Fields<'_>, templates: &mut Vec<Spot>) -> String {
    let items = table.items(&INSTALLER.boot_command);
    let spots: Vec<_> = items.iter().filter_map(|item| Spot::of(item)).collect();
    for spot in &spots {
        let errors = boot_command::parse(&boot_command::mask(&spot.text)).err();
        for error in errors.into_iter().flatten() {
            let inner = reading.inner(&spot.span, &spot.text, error.span.clone());
            let kind = ProblemKind::BadValue {
                path: spot.path.clone(),
                cause: error.to_string(),
                remedy: error.fault.remedy(),
            };
            reading.problems.add(inner.as_ref().unwrap_or(&spot.span), kind);
        }
    }
    let whole = spots.iter().map(|spot| spot.text.as_str()).collect();
    templates.extend(spots);
    whole
}
