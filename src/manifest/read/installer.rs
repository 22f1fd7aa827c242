//! `source.iso` and `source.netboot`: media of a distro's own installer, and how it is talked to.

use crate::boot_command;
use crate::installer::{self, Delivery, Installer};
use crate::manifest::error::ProblemKind;
use crate::manifest::fields::{Field, Fields};
use crate::manifest::model::{Family, InstallMedia, InstallerSource, Media};

use super::distro::{BESIDE_MEDIUM, PLACES, read_media, read_proof, url};
use super::step::read_secret;
use super::{Reading, Spot};

const BESIDE_PLACE: &[&str] = &[
    "sha256",
    "sha512",
    "md5",
    "checksums",
    "signature",
    "keyring",
    "answers_by",
    "arguments",
    "boot_command",
    "mirror",
    "password",
    "suite",
];
const DELIVERIES: [(&str, Delivery); 3] = [
    ("http", Delivery::Http),
    ("initrd", Delivery::Initrd),
    ("seed", Delivery::Seed),
];

/// The installer of a distro, where the table has one.
pub(super) fn known(family: Option<Family>, version: Option<&str>) -> Option<&'static Installer> {
    installer::find(family?.name(), version?)
}

/// Reads the source; its templates go to `templates`.
pub(super) fn read(
    reading: Reading<'_>,
    field: &Field<'_>,
    known: Option<&'static Installer>,
    templates: &mut Vec<Spot>,
) -> Option<InstallerSource> {
    let table = field.table("{ url = \"https://…/netinst.iso\", sha256 = \"…\" }")?;
    let media = if field.key == "iso" {
        let place = table.one_of(PLACES, BESIDE_PLACE);
        let proof = read_proof(reading, &table);
        let media = place.and_then(|place| read_media(reading, &place, &table, proof));
        media.map(InstallMedia::Iso)
    } else {
        table.know(&["kernel", "initrd"]);
        let part = |key| {
            let example = "{ url = \"https://…/linux\", sha256 = \"…\" }";
            medium(reading, &table.need(key, example)?)
        };
        let (kernel, initrd) = (part("kernel"), part("initrd"));
        kernel
            .zip(initrd)
            .map(|(kernel, initrd)| InstallMedia::Netboot { kernel, initrd })
    };
    let delivery = table.get("answers_by").and_then(|field| {
        let delivery = field.choice(&DELIVERIES)?;
        if known.is_some_and(|known| !known.takes(delivery)) {
            let cause = format!(
                "this installer does not take its answers by `{}`",
                delivery.name()
            );
            field.bad(cause, "leave it out, and the most robust way is taken");
        }
        Some(delivery)
    });
    let arguments = table.get("arguments").and_then(|field| {
        let text = field.text("\"console=ttyS1\"")?;
        templates.push(Spot::new(&field, text));
        Some(text.to_owned())
    });
    let boot_command = table.get("boot_command").map(|field| {
        if !matches!(media, None | Some(InstallMedia::Iso(_))) {
            field.bad(
                "there is nothing to type into: kernel and initrd are started directly",
                "take it out, or use an `iso`",
            );
        }
        if delivery == Some(Delivery::Initrd) {
            field.bad(
                "the medium's boot loader brings its own initrd, into which nothing can be put",
                "write answers_by = \"http\" and type the URL: {{ host.url }}",
            );
        }
        read_boot_command(reading, &field, templates)
    });
    let source = InstallerSource {
        media: media.unwrap_or(InstallMedia::Iso(Media::none())),
        delivery,
        mirror: table.get("mirror").and_then(|field| url(&field)),
        suite: table
            .get("suite")
            .and_then(|field| field.text("\"trixie\""))
            .map(str::to_owned),
        arguments,
        boot_command,
        password: table
            .get("password")
            .and_then(|field| read_secret(reading, &field)),
    };
    table.finish();
    if known.is_none() {
        field.bad(
            "no installer is known for this family",
            "take `disk = { … }` as source, or add the installer to templates/installers.toml",
        );
    }
    Some(source)
}

/// `{ url = …, sha256 = … }`, `{ path = … }`.
fn medium(reading: Reading<'_>, field: &Field<'_>) -> Option<Media> {
    let table: Fields<'_> = field.table("{ url = \"https://…/linux\", sha256 = \"…\" }")?;
    let place = table.one_of(PLACES, BESIDE_MEDIUM);
    let proof = read_proof(reading, &table);
    let media = place.and_then(|place| read_media(reading, &place, &table, proof));
    table.finish();
    media
}

/// A text, or a list of texts that are typed one after the other. Mistakes are shown at their place in the text.
fn read_boot_command(reading: Reading<'_>, field: &Field<'_>, templates: &mut Vec<Spot>) -> String {
    let mut whole = String::new();
    for item in field.one_or_list() {
        let Some(text) = item.text("\"<esc>auto url={{ host.url }}<enter>\"") else {
            continue;
        };
        if let Err(errors) = boot_command::parse(&boot_command::mask(text)) {
            for error in errors {
                let inner = reading.inner(item.span(), text, error.span.clone());
                let kind = ProblemKind::BadValue {
                    path: item.path.clone(),
                    cause: error.to_string(),
                    remedy: error.fault.remedy(),
                };
                reading.problems.add(inner.as_ref().unwrap_or(item.span()), kind);
            }
        }
        templates.push(Spot::new(&item, text));
        whole.push_str(text);
    }
    whole
}
