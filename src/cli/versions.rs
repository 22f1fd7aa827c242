//! `pipeline promote`, `rollback` and `prune`: which version of an image `latest` names, and which versions are kept.

use clap_complete::ArgValueCandidates;

use super::complete;
use super::exit::Exit;
use super::report_error::{fail, out};
use super::target::{ManifestArgs, Selection};
use crate::host::cancel::Cancel;
use crate::manifest::model::{Image, KeepVersions, Manifest};
use crate::stage::versions::Versions;

/// Arguments of `pipeline promote`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline promote images.toml debian12-50G-base                     the newest version\n  \
    pipeline promote images.toml debian12-50G-base 20261129T164500Z\n\n\
    `latest` is a symbolic link, and is replaced by one rename. `pipeline ls --versions` lists what there is."
)]
pub struct Promote {
    #[command(flatten)]
    source: ManifestArgs,
    /// The image
    #[arg(add = ArgValueCandidates::new(complete::images_and_nodes))]
    image: String,
    /// The version [default: the newest]
    #[arg(id = "to", value_name = "VERSION")]
    version: Option<String>,
}

/// Arguments of `pipeline rollback`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  pipeline rollback images.toml 'debian12-*'\n\n\
    `latest` names the version before the one that it names now. The next build that succeeds is `latest` again, unless the\n\
    manifest has publish.versions.hold = true.")]
pub struct Rollback {
    #[command(flatten)]
    target: Selection,
}

/// Arguments of `pipeline prune`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline prune images.toml --dry-run\n  pipeline prune images.toml --keep 2\n\n\
    What `latest` names is never removed. A run does this too, with the number that the manifest has."
)]
pub struct Prune {
    #[command(flatten)]
    target: Selection,
    /// How many versions of each image are kept [default: as the manifest says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// Only show what would be removed
    #[arg(long)]
    dry_run: bool,
}

/// Runs `pipeline promote`.
pub fn promote(args: &Promote) -> Result<Exit, Exit> {
    let manifest = args.source.load()?;
    kept(&manifest)?;
    let Some(image) = manifest.images.iter().find(|image| image.id == args.image) else {
        let help = "`pipeline ls` lists the images";
        let error = miette::miette!(help = help, "there is no image `{}`", args.image);
        return Err(fail(Exit::Usage, error));
    };
    let promoted = of(&manifest, image).promote(args.version.as_deref(), &Cancel::default());
    say_latest(image, &promoted.map_err(failed)?);
    Ok(Exit::Ok)
}

/// Runs `pipeline rollback`.
pub fn roll_back(args: &Rollback) -> Result<Exit, Exit> {
    let (manifest, selected) = args.target.load()?;
    kept(&manifest)?;
    for image in selected.iter().filter_map(|&index| manifest.images.get(index)) {
        let latest = of(&manifest, image)
            .roll_back(&Cancel::default())
            .map_err(failed)?;
        say_latest(image, &latest);
    }
    Ok(Exit::Ok)
}

/// Runs `pipeline prune`.
pub fn prune(args: &Prune) -> Result<Exit, Exit> {
    let (manifest, selected) = args.target.load()?;
    let keep = args.keep.map_or(kept(&manifest)?.keep, |keep| keep as usize);
    for image in selected.iter().filter_map(|&index| manifest.images.get(index)) {
        let versions = of(&manifest, image);
        let removed = if args.dry_run {
            versions.old(keep)
        } else {
            versions.prune(keep, &Cancel::default())
        };
        for version in removed.map_err(failed)? {
            out(&format!("{} {version}\n", image.id));
        }
    }
    Ok(Exit::Ok)
}

/// What `pipeline ls --versions` prints.
pub(super) fn list(manifest: &Manifest, selected: &[usize]) -> Result<Exit, Exit> {
    kept(manifest)?;
    for image in selected.iter().filter_map(|&index| manifest.images.get(index)) {
        let versions = of(manifest, image);
        let latest = versions.latest();
        for version in versions.list().map_err(failed)? {
            let mark = if latest.as_ref() == Some(&version) {
                " latest"
            } else {
                ""
            };
            out(&format!("{} {version}{mark}\n", image.id));
        }
    }
    Ok(Exit::Ok)
}

fn say_latest(image: &Image, version: &str) {
    out(&format!("{} {version} latest\n", image.id));
}

fn of(manifest: &Manifest, image: &Image) -> Versions {
    Versions::of(&manifest.output, &image.id)
}

/// What the manifest says of versions.
fn kept(manifest: &Manifest) -> Result<KeepVersions, Exit> {
    manifest.publish.versions.ok_or_else(|| {
        let help = "write under [publish]: versions = { keep = 5 }";
        let path = manifest.path.display();
        fail(
            Exit::Usage,
            miette::miette!(help = help, "{path} keeps no versions of its images"),
        )
    })
}

fn failed(error: impl std::fmt::Display) -> Exit {
    fail(Exit::Failed, miette::miette!("{error}"))
}
