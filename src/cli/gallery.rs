//! `pipeline gallery`: a page about the images of an output folder for those who download them, and a feed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::exit::Exit;
use super::report_error::{fail, note, out};
use super::target::{Selection, StoreArgs};
use crate::digest::Digest;
use crate::host::fs::write_atomic;
use crate::manifest::Manifest;
use crate::packages::PackageChange;
use crate::places::catalogs::Catalog;
use crate::places::versions;
use crate::report::gallery::{FEED, Gallery, Image, PAGE, Version, feed, page};
use crate::report::html::PageError;
use crate::run::builds::package_changes;
use crate::run::images::{ChecksState, ImageState, ImageStatus, images};
use crate::run::prepare::{Ask, prepare};
use crate::stage::index::{self, catalog::Published};
use crate::stage::versions::Versions;

/// Arguments of `pipeline gallery`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline gallery images.toml                  into the output folder, next to the images\n  \
    pipeline gallery images.toml -o site --url https://images.example.org/\n\n\
    index.html is for people: every image that is there, with its digests, the commands that verify it and import it into \
    libvirt, Proxmox and OpenStack (and, from a place with catalogs, Vagrant and Incus), what changed in its packages, and the \
    versions that are kept. feed.xml (Atom) announces new builds to feed readers. Any server of static files will do."
)]
pub struct Args {
    #[command(flatten)]
    target: Selection,
    /// Folder for the page and the feed [default: the output folder of the manifest]
    #[arg(long, short, value_name = "DIR", requires = "url")]
    output: Option<PathBuf>,
    /// Where people find what is in the output folder [default: next to the page]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let (manifest, selected) = args.target.load()?;
    let store = args.store.look()?;
    let prepared = prepare(&manifest, &selected, &store, Ask::default(), &note)
        .map_err(|error| fail(Exit::Usage, error))?;
    let known =
        index::catalog(&manifest.output).map_err(|error| fail(Exit::Failed, miette::miette!("{error}")))?;
    let all = images(&prepared, &store, None);
    let plan = &prepared.plan;
    let always = Timestamp::MIN..=Timestamp::MAX;
    let changes = package_changes(&store, &plan.pipeline, &always);
    let shown = all.iter().zip(&plan.images).filter_map(|(status, planned)| {
        let changes = changes.get(&plan.node(planned.provision).id());
        image(status, &manifest, &known, changes, args.url.as_deref())
    });
    let gallery = Gallery {
        name: manifest.name.clone(),
        images: shown.collect(),
    };
    if gallery.images.is_empty() {
        let error = miette::miette!(
            help = "`pipeline run` builds them",
            "none of the images is in {}",
            manifest.output.display()
        );
        return Err(fail(Exit::Failed, error));
    }
    let folder = args.output.as_ref().unwrap_or(&manifest.output);
    for (name, text) in [(FEED, feed(&gallery)), (PAGE, page(&gallery))] {
        write(&folder.join(name), text)?;
    }
    Ok(Exit::Ok)
}

fn write(path: &Path, text: Result<String, PageError>) -> Result<(), Exit> {
    let text = text.map_err(|error| fail(Exit::Failed, miette::miette!("{error}")))?;
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let written = folder.map_err(|error| error.to_string());
    let written =
        written.and_then(|()| write_atomic(path, text.as_bytes()).map_err(|error| error.to_string()));
    written.map_err(|error| {
        fail(
            Exit::Failed,
            miette::miette!("the page {}: {error}", path.display()),
        )
    })?;
    out(&format!("{}\n", path.display()));
    Ok(())
}

/// The first place on the web with such a catalog, and the URL of the image's list of versions there.
fn list_at(manifest: &Manifest, published: &Published, catalog: Catalog) -> Option<(String, String)> {
    published.urls.iter().find_map(|(name, place)| {
        let mut targets = manifest.publish.targets.iter();
        let target = targets.find(|target| target.name == *name)?;
        let list = place.versions.as_ref().filter(|list| list.starts_with("http"))?;
        let has = target.catalogs.contains(&catalog);
        has.then(|| (name.clone(), list.clone()))
    })
}

/// An image that is in the output folder.
fn image(
    status: &ImageStatus,
    manifest: &Manifest,
    known: &index::catalog::Catalog,
    changes: Option<&Vec<PackageChange>>,
    url: Option<&str>,
) -> Option<Image> {
    let bytes = status.bytes?;
    let file = status
        .path
        .strip_prefix(&manifest.output)
        .ok()?
        .display()
        .to_string();
    let published = known
        .images
        .iter()
        .find(|published| published.image.id == status.id);
    // What is listed may be an older build.
    let same = |digests: &BTreeMap<_, String>| {
        let is_listed = |digest: &Digest| digests.get(&digest.algorithm) == Some(&digest.hex);
        status.digests.iter().any(is_listed)
    };
    let published = published.filter(|published| same(&published.digests));
    let urls = published.map_or_else(Vec::new, |published| {
        published.urls.values().map(|place| place.url.clone()).collect()
    });
    let at = |catalog: Catalog| published.and_then(|published| list_at(manifest, published, catalog));
    Some(Image {
        id: status.id.clone(),
        distro: status.distro.clone(),
        flavor: status.flavor.clone(),
        file,
        base: url.map_or_else(String::new, |url| format!("{}/", url.trim_end_matches('/'))),
        format: manifest.publish.format.name(),
        bytes,
        disk_bytes: status.disk_bytes,
        created: status.created,
        firmware: status.firmware.iter().map(|start| start.name()).collect(),
        checks: match status.checks {
            ChecksState::Passed { count } => Some(count),
            ChecksState::None | ChecksState::Pending => None,
        },
        digests: status.digests.clone(),
        urls,
        boxes: at(Catalog::Vagrant).map(|(_, list)| list.replace("/index.json", "/vagrant.json")),
        streams: at(Catalog::Simplestreams).and_then(|(name, list)| {
            let base = list.strip_suffix(&format!("/versions/{}/index.json", status.id))?;
            Some((name, base.to_owned()))
        }),
        versions: versions(&manifest.output, &status.id),
        // What the store knows best is the newest build.
        changes: changes.filter(|_| status.state == ImageState::Current).cloned(),
    })
}

/// The versions of an image that are kept. A folder that cannot be read has none to download.
fn versions(output: &Path, image: &str) -> Vec<Version> {
    let Ok(list) = Versions::of(output, image).list() else {
        return Vec::new();
    };
    let version = |version: &versions::Version| {
        let file = version.files.first()?;
        Some(Version {
            file: versions::path(image, &version.name, &file.path)
                .display()
                .to_string(),
            name: version.name.clone(),
            bytes: file.bytes,
            sha256: file.sha256.clone(),
            is_latest: list.latest.as_ref() == Some(&version.name),
        })
    };
    list.versions.iter().filter_map(version).collect()
}
