//! `pipeline outdated`: what has moved since the images were built. Changes nothing, builds nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use super::exit::Exit;
use super::report_error::{fail, note, out};
use super::show::OutputFormat;
use super::table::stdout_style;
use super::target::{Selection, StoreArgs};
use crate::host::cancel::Cancel;
use crate::lock::Change;
use crate::manifest::model::Manifest;
use crate::report::style::Role;
use crate::run::builds::builds;
use crate::run::lock::{Keeper, LockError, Now, Update};
use crate::run::prepare::{Ask, Prepared, prepare};
use crate::stage::provision::inside;
use crate::store::Store;

/// Packages of a distro that are listed for people.
const SHOWN: usize = 12;

/// Arguments of `pipeline outdated`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline outdated images.toml\n  pipeline outdated images.toml --format json\n  \
    pipeline outdated images.toml || pipeline update images.toml\n\n\
    Asked are the archives and lists that the lock has, by conditional requests. The packages are those that the guests \
    reported when they were provisioned. Exit code 0: nothing has moved; 4: something has."
)]
pub struct Args {
    #[command(flatten)]
    target: Selection,
    /// How to print it
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
    #[command(flatten)]
    store: StoreArgs,
}

/// What has moved for a distro. The fields are an interface.
#[derive(Serialize)]
struct Outdated<'a> {
    distro: &'a str,
    /// Archives and media that are newer than what the lock has.
    moved: Vec<&'a Change>,
    /// Installed packages of which there are newer versions.
    packages: Vec<Update>,
    /// Its images, among those selected.
    images: Vec<&'a str>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let (manifest, selected) = args.target.load()?;
    let store = args.store.look()?;
    let keeper = Keeper {
        manifest: &manifest,
        selected: &selected,
        store: &store,
        is_held: false,
        is_dry: true,
        cancel: &Cancel::default(),
        say: &note,
    };
    let now = keeper.now().map_err(lock_failed)?;
    let prepared = prepare(&manifest, &selected, &store, Ask::default(), &note)
        .map_err(|error| fail(Exit::Usage, error))?;
    let all = outdated(&manifest, &prepared, &store, &now);
    match args.format {
        OutputFormat::Text => print(&all),
        OutputFormat::Json => {
            let all = serde_json::json!({ "version": 1, "pipeline": manifest.name, "distros": all });
            out(&format!("{all:#}\n"));
        }
    }
    Ok(if all.is_empty() { Exit::Ok } else { Exit::Todo })
}

fn outdated<'a>(
    manifest: &'a Manifest,
    prepared: &'a Prepared,
    store: &Store,
    now: &'a Now,
) -> Vec<Outdated<'a>> {
    let mut all = Vec::new();
    for distro in &manifest.distros {
        let images = prepared
            .plan
            .images
            .iter()
            .filter(|image| image.distro == distro.name);
        // What is not in the lock yet has not moved.
        let moved = now
            .changes
            .iter()
            .filter(|change| change.distro == distro.name && change.old.is_some());
        let one = Outdated {
            distro: &distro.name,
            moved: moved.collect(),
            packages: updates(&distro.name, prepared, store, now),
            images: images.map(|image| image.id.as_str()).collect(),
        };
        if !one.moved.is_empty() || !one.packages.is_empty() {
            all.push(one);
        }
    }
    all
}

/// The packages of a distro's newest builds that have newer versions.
pub(super) fn updates(distro: &str, prepared: &Prepared, store: &Store, now: &Now) -> Vec<Update> {
    let mut all = BTreeMap::new();
    for image in prepared.plan.images.iter().filter(|image| image.distro == distro) {
        let newest = builds(store, &prepared.plan, image).into_iter().next();
        let inside = newest.and_then(|built| inside(&built)).unwrap_or_default();
        for update in now.updates(distro, &inside) {
            all.insert((update.name.clone(), update.old.clone()), update);
        }
    }
    all.into_values().collect()
}

/// Reports why the lock could not be compared or moved.
pub(super) fn lock_failed(error: LockError) -> Exit {
    match error {
        LockError::Cancelled => Exit::Interrupted,
        error @ LockError::File(_) => fail(Exit::Usage, error),
        error => fail(Exit::Failed, error),
    }
}

fn print(all: &[Outdated<'_>]) {
    let style = stdout_style();
    if all.is_empty() {
        out("Nothing has moved: the lock has what there is.\n");
    }
    for one in all {
        out(&format!("{}\n", style.paint(Role::Strong, one.distro)));
        for change in &one.moved {
            let (old, new) = (change.old.as_deref(), change.new.as_deref());
            out(&format!(
                "  {} {} → {}\n",
                change.what,
                old.unwrap_or_default(),
                new.unwrap_or_default()
            ));
        }
        let (security, other): (Vec<_>, Vec<_>) = one.packages.iter().partition(|update| update.security);
        for update in security.iter().chain(&other).take(SHOWN) {
            out(&format!("  {update}\n"));
        }
        if one.packages.len() > SHOWN {
            let more = one.packages.len() - SHOWN;
            out(&format!(
                "  {more} more packages; {} security updates in all\n",
                security.len()
            ));
        }
        out(&format!("  images: {}\n", one.images.join(", ")));
    }
}
