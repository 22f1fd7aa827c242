//! `pipeline ls`: the images of a manifest, as they are. Changes nothing.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;

use super::exit::Exit;
use super::matrix::{Spot, causes, legend, matrix};
use super::remote::{RemoteArgs, failed};
use super::report_error::{fail, note, out, talk};
use super::show::OutputFormat;
use super::table::{Table, overflows_stdout, stdout_style, stdout_width};
use super::target::{Selection, StoreArgs};
use super::time::age;
use super::versions;
use crate::host::cancel::Cancel;
use crate::manifest::Manifest;
use crate::report::style::Role;
use crate::run::images::{ChecksState, ImageState, ImageStatus, images};
use crate::run::outputs::orphans;
use crate::run::prepare::{Ask, prepare};
use crate::size::ByteSize;
use crate::store::Store;

/// Digits of a digest that a table shows.
const DIGITS: usize = 12;
/// Columns that a reason is worth at least.
const LEAST_WHY: usize = 24;
/// Lines of a list that are no images.
const FRAME: usize = 4;

/// Arguments of `pipeline ls`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline ls images.toml\n  pipeline ls images.toml 'debian12-*'\n  \
    pipeline ls images.toml --format json | jq -r '.images[] | select(.state != \"current\") | .id'\n\n\
    current: as the manifest has it now. outdated: there, but something has changed since (pipeline explain says what). \
    unchecked: there, as the manifest has it now, but its checks have not run. missing: not there. failed: the last attempt \
    to build it failed. base: the age of what it was built from, which is the newest of its package archives or its medium in \
    the lock; where nothing was locked, that of the installed system. More images than the terminal has lines are \
    counted by distro and flavor; --full lists them."
)]
pub struct Args {
    #[command(flatten)]
    target: Selection,
    /// List the files in the output folder that belong to no image of the manifest any more, instead of the images
    #[arg(long)]
    orphans: bool,
    /// List the versions that are kept of each image, the newest first, and which one is `latest`
    #[arg(long, conflicts_with = "orphans")]
    versions: bool,
    /// With --versions: those at this place, [publish.PLACE], instead of those in the output folder
    #[arg(long, value_name = "PLACE", requires = "versions")]
    at: Option<String>,
    /// Show which images as the manifest has them now are in the store that hosts share: that of the settings, or this one
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true, default_missing_value = "",
          conflicts_with_all = ["orphans", "versions"])]
    remote: Option<String>,
    /// Only images in this state
    #[arg(long, value_name = "STATE", value_parser = states())]
    state: Vec<ImageState>,
    /// Only the numbers, by distro and flavor [default: where the list is longer than the terminal]
    #[arg(long, conflicts_with = "full")]
    summary: bool,
    /// Every image, however many there are
    #[arg(long)]
    full: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
    #[command(flatten)]
    store: StoreArgs,
}

/// The words of states.
fn states() -> impl TypedValueParser<Value = ImageState> {
    let words = PossibleValuesParser::new(ImageState::WORDS.map(|(_, word)| word));
    words.map(|word| {
        let found = ImageState::WORDS.iter().find(|(_, known)| *known == word);
        found.map_or(ImageState::Missing, |(state, _)| *state)
    })
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let (manifest, selected) = args.target.load()?;
    if args.versions {
        return versions::list(&manifest, &selected, args.at.as_deref());
    }
    let store = args.store.look()?;
    if args.orphans {
        let selecting = !args.target.is_all();
        return list_orphans(&manifest, &store, args.format, selecting);
    }
    let prepared = prepare(&manifest, &selected, &store, Ask::default(), &note)
        .map_err(|error| fail(Exit::Usage, error))?;
    let shared = match &args.remote {
        Some(url) => {
            let found = RemoteArgs::of(url).need()?.results(&Cancel::default());
            Some(found.map_err(|error| failed(&error))?)
        }
        None => None,
    };
    let mut images = images(&prepared, &store, shared.as_ref());
    images.retain(|image| args.state.is_empty() || args.state.contains(&image.state));
    if args.format == OutputFormat::Json {
        let all = serde_json::json!({
            "version": 1, "pipeline": manifest.name, "output": manifest.output, "images": images,
        });
        out(&format!("{all:#}\n"));
        return Ok(Exit::Ok);
    }
    let style = stdout_style();
    if args.summary || !args.full && overflows_stdout(images.len() + FRAME) {
        let spots = images.iter().map(|image| Spot {
            distro: &image.distro,
            flavor: &image.flavor,
            is_current: image.state == ImageState::Current,
            has_failed: image.state == ImageState::Failed,
        });
        out(&format!("{}\n", matrix(spots, style, stdout_width())));
        out(&legend(style));
        let failed = images.iter().filter_map(|image| image.failed.as_ref());
        out(&causes(
            failed.map(|failed| failed.last.why()),
            "image",
            style,
            stdout_width(),
        ));
        out("`--full` lists the images, `--state failed` only those that failed\n");
    } else {
        out(&table(&images).render(style, stdout_width()));
    }
    out(&format!("\n{}\n", totals(&images)));
    Ok(Exit::Ok)
}

fn list_orphans(
    manifest: &Manifest,
    store: &Store,
    format: OutputFormat,
    selecting: bool,
) -> Result<Exit, Exit> {
    if selecting {
        let error = miette::miette!(
            help = "leave the selectors out",
            "--orphans is about files without an image, so none can be selected"
        );
        return Err(fail(Exit::Usage, error));
    }
    let orphans = orphans(manifest, store);
    if format == OutputFormat::Json {
        let all = serde_json::json!({
            "version": 1, "pipeline": manifest.name, "output": manifest.output, "orphans": orphans,
        });
        out(&format!("{all:#}\n"));
        return Ok(Exit::Ok);
    }
    if orphans.is_empty() {
        out("no orphans\n");
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["file", "size", "changed"], 3);
    let now = Timestamp::now();
    for orphan in &orphans {
        let changed = orphan
            .changed
            .map_or_else(String::new, |at| format!("{} ago", age(at, now)));
        let cells = [
            orphan.path.display().to_string(),
            ByteSize(orphan.bytes).to_string(),
            changed,
        ];
        table.row(cells.map(|text| (Role::Plain, text)).to_vec());
    }
    out(&table.render(stdout_style(), stdout_width()));
    talk(
        "\nno image of the manifest has them; what you remove, the next run takes out of the checksum files\n",
    );
    Ok(Exit::Ok)
}

fn table(images: &[ImageStatus]) -> Table<'static> {
    // Of what failed, why counts for more than what is there.
    let has_failed = images.iter().any(|image| image.state == ImageState::Failed);
    let last = if has_failed { "last attempt" } else { "digest" };
    let heads = [
        "image", "state", "disk", "size", "age", "base", "checks", "shared", last,
    ];
    let table = Table::new(&heads, 3);
    let mut table = if has_failed {
        table.cut_last(LEAST_WHY)
    } else {
        table
    };
    let now = Timestamp::now();
    for image in images {
        let role = match image.state {
            ImageState::Current => Role::Good,
            ImageState::Outdated | ImageState::Unchecked => Role::Attention,
            ImageState::Failed | ImageState::Missing => Role::Bad,
        };
        let why = image.failed.as_ref().map_or_else(String::new, |failed| {
            format!(
                "{} ago: {}: {}",
                age(failed.last.at, now),
                failed.node,
                failed.last.why()
            )
        });
        let base = image.sources.or(image.base_created);
        let digest = image.digests.first().map_or_else(String::new, |digest| {
            format!(
                "{} {}",
                digest.algorithm,
                digest.hex.get(..DIGITS).unwrap_or(&digest.hex)
            )
        });
        let checks = match image.checks {
            ChecksState::None => "none".to_owned(),
            ChecksState::Pending => "to do".to_owned(),
            ChecksState::Passed { count } => format!("{count} passed"),
        };
        let plain = |text: String| (Role::Plain, text);
        table.row(vec![
            plain(image.id.clone()),
            (role, image.state.word().to_owned()),
            plain(ByteSize(image.disk_bytes).to_string()),
            plain(
                image
                    .bytes
                    .map_or_else(String::new, |bytes| ByteSize(bytes).to_string()),
            ),
            plain(image.created.map_or_else(String::new, |at| age(at, now))),
            plain(base.map_or_else(String::new, |at| age(at, now))),
            plain(checks),
            plain(match image.remote {
                Some(true) => "yes".to_owned(),
                Some(false) => "no".to_owned(),
                None => String::new(),
            }),
            if has_failed {
                plain(why)
            } else {
                (Role::Dim, digest)
            },
        ]);
    }
    table
}

fn totals(images: &[ImageStatus]) -> String {
    let number = |state| images.iter().filter(|image| image.state == state).count();
    let bytes: u64 = images.iter().filter_map(|image| image.bytes).sum();
    let shown = |state| state == ImageState::Current || number(state) > 0;
    let states = ImageState::WORDS.iter().filter(|(state, _)| shown(*state));
    let parts: Vec<_> = states
        .map(|(state, word)| format!("{} {word}", number(*state)))
        .collect();
    format!("{}; {} in all", parts.join(", "), ByteSize(bytes))
}
