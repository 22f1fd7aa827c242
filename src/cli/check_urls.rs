//! `pipeline check-urls`: verifies published images, and reports missing or changed files.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::exit::Exit;
use super::report_error::{fail, out};
use super::session::{Session, node};
use super::show::ShowArgs;
use super::target::Selection;
use crate::digest::{Algorithm, Digest};
use crate::event::{NodeInfo, Outcome};
use crate::manifest::model::Manifest;
use crate::places::read_back::Want;
use crate::places::{self, UploadError, check_url};
use crate::stage::index;

/// Arguments of `pipeline check-urls`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline check-urls images.toml\n  pipeline check-urls images.toml 'debian12-*'\n\n\
    Reads what index.json and URL.txt of the output folder list. Prints a line for each URL: ok, gone, wrong (other \
    bytes) or failed (could not be read), and ends with 1 unless all are ok."
)]
pub struct Args {
    #[command(flatten)]
    target: Selection,
    #[command(flatten)]
    show: ShowArgs,
}

/// A published URL and what must be there.
struct Listing<'a> {
    subject: String,
    url: String,
    name: PathBuf,
    want: Want,
    target: Option<&'a places::Target>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let (manifest, selected) = args.target.load()?;
    let listings =
        listings(&manifest, &selected).map_err(|error| fail(Exit::Failed, miette::miette!("{error}")))?;
    if listings.is_empty() {
        let folder = manifest.output.display();
        let error = miette::miette!(
            help = "publish it: `pipeline run --upload` or `pipeline upload`",
            "nothing of it is listed in {folder}/{} or {folder}/{}",
            index::CATALOG_FILE,
            index::URL_FILE
        );
        return Err(fail(Exit::Failed, error));
    }
    let session = Session::start(&args.show, listings.iter().map(shown).collect())?;
    let mut bad = 0;
    for listing in &listings {
        let read = session.perform(
            &shown(listing),
            |emit| {
                let Listing {
                    target,
                    url,
                    name,
                    want,
                    ..
                } = listing;
                check_url(*target, url, name, want, &session.cancel, emit)
            },
            UploadError::is_cancelled,
            UploadError::verdict,
            |()| (Outcome::Present, None),
        );
        if session.cancel.is_cancelled() {
            break;
        }
        bad += usize::from(read.is_err());
        if args.show.is_text() {
            out(&format!(
                "{:<6}  {}  {}\n",
                verdict(&read),
                listing.subject,
                listing.url
            ));
        }
    }
    Ok(match (session.finish().0, bad) {
        (true, _) => Exit::Interrupted,
        (false, 0) => Exit::Ok,
        (false, _) => Exit::Failed,
    })
}

fn shown(listing: &Listing<'_>) -> NodeInfo {
    node("check-urls", &listing.subject)
}

fn verdict(read: &Result<(), UploadError>) -> &'static str {
    match read {
        Ok(()) => "ok",
        Err(UploadError::Differs { .. }) => "wrong",
        Err(UploadError::Refused { head, .. }) if matches!(head.status, 404 | 410) => "gone",
        Err(UploadError::File(error)) if error.is_not_found() => "gone",
        Err(_) => "failed",
    }
}

/// Everything that is listed of the selected images, and lines of `URL.txt` that the catalog does not know.
fn listings<'a>(manifest: &'a Manifest, selected: &[usize]) -> Result<Vec<Listing<'a>>, index::IndexError> {
    let images: Vec<_> = selected
        .iter()
        .filter_map(|&at| manifest.images.get(at))
        .collect();
    let all = selected.len() == manifest.images.len();
    let of_manifest: BTreeSet<_> = manifest.images.iter().map(|image| image.id.as_str()).collect();
    let catalog = index::catalog(&manifest.output)?;
    let mut found = Vec::new();
    let mut known = BTreeSet::new();
    for published in &catalog.images {
        known.extend(published.urls.values().map(|place| place.url.clone()));
        let id = published.image.id.as_str();
        // What the manifest has no more is still published.
        let wanted = images.iter().any(|image| image.id == id) || all && !of_manifest.contains(id);
        let Some(hex) = published.digests.get(&Algorithm::Sha512).filter(|_| wanted) else {
            continue;
        };
        for (name, place) in &published.urls {
            found.push(Listing {
                subject: format!("{id}@{name}"),
                url: place.url.clone(),
                name: place.path(&published.image),
                want: Want {
                    bytes: Some(published.bytes),
                    digest: Digest {
                        algorithm: Algorithm::Sha512,
                        hex: hex.clone(),
                    },
                },
                target: manifest
                    .publish
                    .targets
                    .iter()
                    .find(|target| target.name == *name),
            });
        }
    }
    for line in index::url_lines(&manifest.output)? {
        let of_selected = images
            .iter()
            .any(|image| image.file.file_name().is_some_and(|name| *name == *line.name));
        if known.contains(&line.url) || !(all || of_selected) {
            continue;
        }
        found.push(Listing {
            subject: line.name.clone(),
            name: PathBuf::from(&line.name),
            url: line.url,
            want: Want {
                bytes: None,
                digest: Digest {
                    algorithm: Algorithm::Md5,
                    hex: line.md5,
                },
            },
            target: None,
        });
    }
    Ok(found)
}
