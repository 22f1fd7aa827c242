//! A page for those who download images, and a feed for those who wait for new ones. Pure: plain data in, text out.

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::digest::{Algorithm, Digest, sha256_hex};
use crate::host::process::shell_quote;
use crate::packages::PackageChange;
use crate::report::changes::{self, PackageGroup};
use crate::report::html::{self, PageError};
use crate::size::ByteSize;

/// Suffixes of compressed files, with what unpacks them next to themselves, also those that have a second name in the store.
const UNPACK: [(&str, &str); 3] = [(".gz", "gzip -dkf"), (".zst", "zstd -df"), (".xz", "xz -dkf")];

/// All but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Name of the page, and of the feed next to it.
pub const PAGE: &str = "index.html";
pub const FEED: &str = "feed.xml";

/// What is shown.
#[derive(Clone, Debug)]
pub struct Gallery {
    /// Name of the pipeline.
    pub name: String,
    /// In manifest order.
    pub images: Vec<Image>,
}

/// An image that can be downloaded.
#[derive(Clone, Debug)]
pub struct Image {
    pub id: String,
    pub distro: String,
    pub flavor: String,
    /// Its path below the output folder.
    pub file: String,
    /// The URL of that folder, with a slash behind it; empty where the page is in it.
    pub base: String,
    /// As `qemu-img` spells it.
    pub format: &'static str,
    pub bytes: u64,
    pub disk_bytes: u64,
    pub created: Option<Timestamp>,
    /// Ways in which firmware starts it.
    pub firmware: Vec<&'static str>,
    /// How many checks it passed; none where they did not run.
    pub checks: Option<usize>,
    pub digests: Vec<Digest>,
    /// Where else it is published.
    pub urls: Vec<String>,
    /// URL of the list of its boxes.
    pub boxes: Option<String>,
    /// Name and URL of a place that Incus reads.
    pub streams: Option<(String, String)>,
    /// The builds that can be downloaded, the newest first; none where only the last one is kept.
    pub versions: Vec<Version>,
    /// Packages that changed since the build before; none where that is not known.
    pub changes: Option<Vec<PackageChange>>,
}

/// A build of an image.
#[derive(Clone, Debug)]
pub struct Version {
    pub name: String,
    /// Path of the image's file below the output folder.
    pub file: String,
    pub bytes: u64,
    pub sha256: String,
    pub is_latest: bool,
}

#[derive(Serialize)]
struct Page<'a> {
    name: &'a str,
    total: usize,
    distros: Vec<Distro<'a>>,
}

#[derive(Serialize)]
struct Distro<'a> {
    name: &'a str,
    /// The one that changed last.
    newest: String,
    images: Vec<Shown<'a>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    flavor: &'a str,
    href: String,
    size: String,
    disk: String,
    created: String,
    firmware: &'a [&'static str],
    checks: Option<usize>,
    digests: &'a [Digest],
    urls: &'a [String],
    verify: Option<String>,
    unpack: Option<String>,
    libvirt: String,
    proxmox: String,
    openstack: String,
    vagrant: Option<String>,
    incus: Option<String>,
    versions: Vec<ShownVersion<'a>>,
    changes: Option<PackageGroup<'a>>,
}

#[derive(Serialize)]
struct ShownVersion<'a> {
    name: &'a str,
    href: String,
    size: String,
    sha256: &'a str,
    is_latest: bool,
}

#[derive(Serialize)]
struct Feed<'a> {
    name: &'a str,
    id: String,
    updated: String,
    page: &'static str,
    feed: &'static str,
    entries: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    id: String,
    title: &'a str,
    updated: String,
    href: String,
    bytes: u64,
    summary: String,
}

/// The page.
///
/// # Errors
/// A bug in the template.
pub fn page(gallery: &Gallery) -> Result<String, PageError> {
    let mut distros: Vec<Distro<'_>> = Vec::new();
    for image in &gallery.images {
        let shown = shown(image);
        match distros.iter_mut().find(|distro| distro.name == image.distro) {
            Some(distro) => {
                distro.newest = std::cmp::max(std::mem::take(&mut distro.newest), shown.created.clone());
                distro.images.push(shown);
            }
            None => distros.push(Distro {
                name: &image.distro,
                newest: shown.created.clone(),
                images: vec![shown],
            }),
        }
    }
    let (name, total) = (gallery.name.as_str(), gallery.images.len());
    html::render("gallery.html", Page { name, total, distros })
}

/// The feed, in Atom: an entry for each build of an image, the newest first.
///
/// # Errors
/// A bug in the template.
pub fn feed(gallery: &Gallery) -> Result<String, PageError> {
    let mut images: Vec<&Image> = gallery
        .images
        .iter()
        .filter(|image| image.created.is_some())
        .collect();
    images.sort_by_key(|image| std::cmp::Reverse(image.created));
    let entries: Vec<_> = images
        .into_iter()
        .map(|image| entry(&gallery.name, image))
        .collect();
    // Of a feed without entries, a time that it has always had.
    let updated = entries.first().map_or_else(
        || Timestamp::UNIX_EPOCH.to_string(),
        |entry| entry.updated.clone(),
    );
    let id = uuid(&gallery.name);
    html::render(
        "feed.xml",
        Feed {
            name: &gallery.name,
            id,
            updated,
            page: PAGE,
            feed: FEED,
            entries,
        },
    )
}

/// An entry of the feed: another build is another one.
fn entry<'a>(pipeline: &str, image: &'a Image) -> Entry<'a> {
    let build = strongest(image).map_or_else(String::new, Digest::to_string);
    Entry {
        id: uuid(&format!("{}\n{}\n{build}", pipeline, image.id)),
        title: &image.id,
        updated: image.created.map_or_else(String::new, |at| at.to_string()),
        href: href(image, &image.file),
        bytes: image.bytes,
        summary: format!(
            "{} on a disk of {}; {build}",
            ByteSize(image.bytes),
            ByteSize(image.disk_bytes)
        ),
    }
}

fn shown(image: &Image) -> Shown<'_> {
    let name = image.file.rsplit('/').next().unwrap_or(&image.file);
    let unpacked = UNPACK
        .iter()
        .find_map(|(suffix, program)| Some((name.strip_suffix(suffix)?, *program)));
    let disk = shell_quote(unpacked.map_or(name, |(disk, _)| disk));
    let (id, format) = (shell_quote(&image.id), image.format);
    Shown {
        id: &image.id,
        flavor: &image.flavor,
        href: href(image, &image.file),
        versions: image
            .versions
            .iter()
            .map(|version| ShownVersion {
                name: &version.name,
                href: href(image, &version.file),
                size: ByteSize(version.bytes).to_string(),
                sha256: &version.sha256,
                is_latest: version.is_latest,
            })
            .collect(),
        changes: image.changes.as_ref().map(|changes| changes::group("", changes)),
        size: ByteSize(image.bytes).to_string(),
        disk: ByteSize(image.disk_bytes).to_string(),
        created: image.created.map_or_else(String::new, day),
        firmware: &image.firmware,
        checks: image.checks,
        digests: &image.digests,
        urls: &image.urls,
        verify: strongest(image).map(|digest| verify(digest, name)),
        unpack: unpacked.map(|(_, program)| format!("{program} {}", shell_quote(name))),
        libvirt: format!(
            "virt-install --import --name {id} --memory 2048 --osinfo detect=on,require=off --disk {disk},format={format}{}",
            if image.firmware.contains(&"bios") || image.firmware.is_empty() {
                ""
            } else {
                " --boot uefi"
            },
        ),
        proxmox: format!(
            "qm create 120 --name {id} --memory 2048 --net0 virtio,bridge=vmbr0 --serial0 socket && \
             qm set 120 --scsi0 local-lvm:0,import-from=\"$PWD\"/{disk} --boot order=scsi0"
        ),
        openstack: format!(
            "openstack image create --disk-format {format} --container-format bare --file {disk} {id}"
        ),
        vagrant: image
            .boxes
            .as_ref()
            .map(|url| format!("vagrant box add {}", shell_quote(url))),
        incus: incus(image),
    }
}

/// Of images that start by UEFI: Incus has no other machines.
fn incus(image: &Image) -> Option<String> {
    let (remote, url) = image.streams.as_ref()?;
    let secure_boot = match image.firmware.as_slice() {
        with if with.contains(&"secure-boot") => "",
        with if with.contains(&"uefi") => " -c security.secureboot=false",
        _ => return None,
    };
    let (name, url) = (shell_quote(&format!("{remote}:{}", image.id)), shell_quote(url));
    let remote = shell_quote(remote);
    Some(format!(
        "incus remote add {remote} {url} --protocol simplestreams && incus launch {name} --vm{secure_boot}"
    ))
}

fn strongest(image: &Image) -> Option<&Digest> {
    image.digests.iter().max_by_key(|digest| digest.algorithm)
}

/// The line that verifies a download.
fn verify(digest: &Digest, name: &str) -> String {
    let program = match digest.algorithm {
        Algorithm::Md5 => "md5sum",
        Algorithm::Sha256 => "sha256sum",
        Algorithm::Sha512 => "sha512sum",
    };
    format!(
        "echo {} | {program} -c",
        shell_quote(&format!("{}  {name}", digest.hex))
    )
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// What leads to a file of the output folder: what has a meaning in URLs is encoded.
fn href(image: &Image, file: &str) -> String {
    let parts: Vec<_> = file
        .split('/')
        .map(|part| utf8_percent_encode(part, ENCODED).to_string())
        .collect();
    format!("{}{}", image.base, parts.join("/"))
}

/// An id that is the same for the same words (RFC 9562, version 8).
fn uuid(words: &str) -> String {
    let digits = sha256_hex(words.as_bytes());
    format!(
        "urn:uuid:{}-{}-8{}-a{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[13..16],
        &digits[17..20],
        &digits[20..32]
    )
}
