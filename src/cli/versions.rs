//! `pipeline promote`, `rollback` and `prune`: which version of an image `latest` names, and which versions are kept.

use clap_complete::ArgValueCandidates;

use super::complete;
use super::exit::Exit;
use super::report_error::{fail, out};
use super::target::{ManifestArgs, Selection};
use std::path::Path;
use std::sync::mpsc;

use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::manifest::model::{Image, Manifest};
use crate::places::retry::Policy;
use crate::places::versions::{AtPlace, List, NoVersion};
use crate::places::{Around, Keep, Target};
use crate::stage::versions::{VersionError, Versions};

/// Whose versions.
#[derive(Debug, clap::Args)]
pub struct At {
    /// Versions at this place, [publish.PLACE], instead of those in the output folder
    #[arg(long, value_name = "PLACE")]
    at: Option<String>,
}

/// Arguments of `pipeline promote`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline promote images.toml debian12-50G-base                     the newest version\n  \
    pipeline promote images.toml debian12-50G-base 20261129T164500Z\n\n\
    In the output folder, `latest` is a symbolic link, which one rename replaces; at a place, `index.json` says which version \
    is `latest`. `pipeline ls --versions` lists what there is."
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
    #[command(flatten)]
    at: At,
}

/// Arguments of `pipeline rollback`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  pipeline rollback images.toml 'debian12-*'\n\n\
    `latest` names the version before the one that it names now. The next build that succeeds is `latest` again, unless the \
    manifest has publish.versions.hold = true.")]
pub struct Rollback {
    #[command(flatten)]
    target: Selection,
    #[command(flatten)]
    at: At,
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
    #[command(flatten)]
    at: At,
}

/// Runs `pipeline promote`.
pub fn promote(args: &Promote) -> Result<Exit, Exit> {
    let manifest = args.source.load()?;
    let kept = Kept::of(&manifest, args.at.at.as_deref())?;
    let Some(image) = manifest.images.iter().find(|image| image.id == args.image) else {
        let help = "`pipeline ls` lists the images";
        let error = miette::miette!(help = help, "there is no image `{}`", args.image);
        return Err(fail(Exit::Usage, error));
    };
    kept.point(image, |list| list.promote(args.version.as_deref()))?;
    Ok(Exit::Ok)
}

/// Runs `pipeline rollback`.
pub fn roll_back(args: &Rollback) -> Result<Exit, Exit> {
    let (manifest, selected) = args.target.load()?;
    let kept = Kept::of(&manifest, args.at.at.as_deref())?;
    for image in selected.iter().filter_map(|&index| manifest.images.get(index)) {
        kept.point(image, List::roll_back)?;
    }
    Ok(Exit::Ok)
}

/// Runs `pipeline prune`.
pub fn prune(args: &Prune) -> Result<Exit, Exit> {
    let (manifest, selected) = args.target.load()?;
    let kept = Kept::of(&manifest, args.at.at.as_deref())?;
    let keep = args.keep.map_or(kept.keep.keep, |keep| keep as usize);
    for image in selected.iter().filter_map(|&index| manifest.images.get(index)) {
        let removed = if args.dry_run {
            kept.list(image)?.old(keep)
        } else {
            kept.prune(image, keep)?
        };
        for version in removed {
            out(&format!("{} {version}\n", image.id));
        }
    }
    Ok(Exit::Ok)
}

/// What `pipeline ls --versions` prints.
pub(super) fn list(manifest: &Manifest, selected: &[usize], at: Option<&str>) -> Result<Exit, Exit> {
    let kept = Kept::of(manifest, at)?;
    for image in selected.iter().filter_map(|&index| manifest.images.get(index)) {
        let list = kept.list(image)?;
        for version in list.names() {
            let mark = if list.latest.as_ref() == Some(&version) {
                " latest"
            } else {
                ""
            };
            out(&format!("{} {version}{mark}\n", image.id));
        }
    }
    Ok(Exit::Ok)
}

/// Where versions are kept: in the output folder, or at a place.
struct Kept<'a> {
    manifest: &'a Manifest,
    keep: Keep,
    at: Option<&'a Target>,
    emit: Emitter,
    cancel: Cancel,
}

impl<'a> Kept<'a> {
    fn of(manifest: &'a Manifest, at: Option<&str>) -> Result<Self, Exit> {
        let refuse = |what: String, help: &str| {
            let path = manifest.path.display();
            fail(Exit::Usage, miette::miette!(help = help, "{path} {what}"))
        };
        let keep = manifest.publish.versions.ok_or_else(|| {
            refuse(
                "keeps no versions of its images".to_owned(),
                "write under [publish]: versions = { keep = 5 }",
            )
        })?;
        let mut targets = manifest.publish.targets.iter();
        let at = at.map(|name| {
            let target = targets.find(|target| target.name == name);
            target.filter(|target| target.versions.is_some()).ok_or_else(|| {
                refuse(
                    format!("keeps no versions at a place `{name}`"),
                    &format!("write under [publish.{name}]: versions = true"),
                )
            })
        });
        Ok(Self {
            manifest,
            keep,
            at: at.transpose()?,
            emit: Emitter::new(mpsc::channel().0),
            cancel: Cancel::default(),
        })
    }

    fn list(&self, image: &Image) -> Result<List, Exit> {
        self.with(image, |folder| Ok(folder.list()?), |there| Ok(there.read()?))
    }

    /// Changes what `latest` names, and prints it.
    fn point(
        &self,
        image: &Image,
        change: impl Fn(&mut List) -> Result<String, NoVersion>,
    ) -> Result<(), Exit> {
        let latest = self.with(
            image,
            |folder| folder.point(&change, &self.cancel),
            |there| there.point(&change),
        )?;
        out(&format!("{} {latest} latest\n", image.id));
        Ok(())
    }

    fn prune(&self, image: &Image, keep: usize) -> Result<Vec<String>, Exit> {
        self.with(
            image,
            |folder| Ok(folder.prune(keep, &self.cancel)?),
            |there| Ok(there.prune(keep)?),
        )
    }

    fn with<T>(
        &self,
        image: &Image,
        in_folder: impl FnOnce(&Versions) -> Result<T, VersionError>,
        at_place: impl FnOnce(&AtPlace<'_>) -> Result<T, VersionError>,
    ) -> Result<T, Exit> {
        let folder = Versions::of(&self.manifest.output, &image.id);
        let Some(target) = self.at else {
            return in_folder(&folder).map_err(failed);
        };
        let scratch = tempfile::tempdir().map_err(failed)?;
        let around = Around {
            cancel: &self.cancel,
            emit: &self.emit,
            state: Path::new(""),
            policy: Policy::default(),
        };
        let _lock = folder.lock(&self.cancel).map_err(failed)?;
        let there = AtPlace::open(target, &image.id, &self.manifest.output, &around, scratch.path())
            .map_err(failed)?;
        at_place(&there).map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> Exit {
    fail(Exit::Failed, miette::miette!("{error}"))
}
