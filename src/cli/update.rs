//! `pipeline update`: moves the lock to what archives and publishers have now.

use std::collections::BTreeSet;

use clap_complete::ArgValueCandidates;

use super::complete;
use super::exit::Exit;
use super::outdated::{lock_failed, updates};
use super::report_error::{fail, note, out, talk};
use super::target::{ManifestArgs, StoreArgs};
use crate::host::cancel::Cancel;
use crate::host::process::withhold;
use crate::lock::path_of;
use crate::manifest::suggest;
use crate::run::lock::{Keeper, What, in_short};
use crate::run::prepare::{Ask, prepare};

/// Arguments of `pipeline update`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline update images.toml\n  pipeline update images.toml debian12\n  \
    pipeline update images.toml --dry-run\n\n\
    The lock is a file next to the manifest, images.lock for images.toml. It says which state of package archives and of \
    publishers' checksum files the images are built from; a run makes it, and builds from what it says until it is moved. \
    What is signed wrongly, expired or older than what the lock has, moves nothing."
)]
pub struct Args {
    #[command(flatten)]
    source: ManifestArgs,
    /// Distros; all when absent
    #[arg(value_name = "DISTRO", add = ArgValueCandidates::new(complete::distros))]
    distros: Vec<String>,
    /// Only show what would be moved
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let manifest = args.source.load()?;
    withhold(manifest.secret_variables());
    let known = || manifest.distros.iter().map(|distro| distro.name.as_str());
    for name in &args.distros {
        if manifest.distro(name).is_none() {
            let help = suggest::remedy(name, "distros", known());
            let error = miette::miette!(help = help, "the manifest has no distro `{name}`");
            return Err(fail(Exit::Usage, error));
        }
    }
    let named: BTreeSet<_> = args.distros.iter().cloned().collect();
    let all = || known().map(str::to_owned).collect();
    let distros = if named.is_empty() { all() } else { named };
    let selected: Vec<_> = (0..manifest.images.len()).collect();
    let store = args.store.look()?;
    let keeper = Keeper {
        manifest: &manifest,
        selected: &selected,
        store: &store,
        is_held: false,
        is_dry: args.dry_run,
        cancel: &Cancel::default(),
        say: &note,
    };
    let moved = keeper.renew(What::All(&distros)).map_err(lock_failed)?;
    // The lists of packages, for what is printed here and by `explain`.
    let now = if moved.changes.is_empty() {
        None
    } else {
        keeper.now().ok()
    };
    let prepared = prepare(&manifest, &selected, &store, Ask::default(), &note);
    let mut said = BTreeSet::new();
    for change in &moved.changes {
        out(&format!("{change}\n"));
        if let (Some(now), Ok(prepared)) = (&now, &prepared)
            && said.insert(&change.distro)
            && let Some(packages) = in_short(&updates(&change.distro, prepared, &store, now))
        {
            out(&format!("{}: {packages}\n", change.distro));
        }
    }
    let path = path_of(args.source.path());
    let said = match (moved.changes.len(), args.dry_run) {
        (0, _) => format!("{} is up to date", path.display()),
        (count, true) => format!("{count} would be moved in {}", path.display()),
        (count, false) => format!(
            "{count} moved in {}; `pipeline run` builds what depends on it",
            path.display()
        ),
    };
    talk(&format!("{said}\n"));
    Ok(Exit::Ok)
}
