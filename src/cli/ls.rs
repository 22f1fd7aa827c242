//! `pipeline ls`: the images of a manifest, as they are. Changes nothing.

use jiff::Timestamp;

use super::exit::Exit;
use super::report_error::{fail, note, out};
use super::show::OutputFormat;
use super::table::{Table, stdout_style, stdout_width};
use super::target::{Selection, StoreArgs};
use super::time::age;
use crate::report::style::Role;
use crate::run::images::{ChecksState, ImageState, ImageStatus, images};
use crate::run::prepare::prepare;
use crate::size::ByteSize;
use crate::stage::recipe::Wanted;
use crate::store::Store;

/// Digits of a digest that a table shows.
const DIGITS: usize = 12;

/// Arguments of `pipeline ls`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline ls images.toml\n  pipeline ls images.toml 'debian12-*'\n  \
    pipeline ls images.toml --format json | jq -r '.images[] | select(.state != \"current\") | .id'\n\n\
    current: as the manifest has it now. outdated: there, but something has changed since (pipeline explain says what)."
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

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let (manifest, selected) = args.target.load()?;
    let store = Store::peek(&args.store.folder());
    let prepared = prepare(&manifest, &selected, &store, Wanted::default(), &|_| false, &note)
        .map_err(|error| fail(Exit::Usage, error))?;
    let images = images(&prepared, &store);
    if args.format == OutputFormat::Json {
        let all = serde_json::json!({
            "version": 1, "pipeline": manifest.name, "output": manifest.output, "images": images,
        });
        out(&format!("{all:#}\n"));
        return Ok(Exit::Ok);
    }
    out(&table(&images).render(stdout_style(), stdout_width()));
    out(&format!("\n{}\n", totals(&images)));
    Ok(Exit::Ok)
}

fn table(images: &[ImageStatus]) -> Table {
    let mut table = Table::new(&["image", "state", "disk", "size", "age", "checks", "digest"], 3);
    let now = Timestamp::now();
    for image in images {
        let (state, role) = match image.state {
            ImageState::Current => ("current", Role::Good),
            ImageState::Outdated => ("outdated", Role::Attention),
            ImageState::Missing => ("missing", Role::Bad),
        };
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
            (role, state.to_owned()),
            plain(ByteSize(image.disk_bytes).to_string()),
            plain(
                image
                    .bytes
                    .map_or_else(String::new, |bytes| ByteSize(bytes).to_string()),
            ),
            plain(image.created.map_or_else(String::new, |at| age(at, now))),
            plain(checks),
            (Role::Dim, digest),
        ]);
    }
    table
}

fn totals(images: &[ImageStatus]) -> String {
    let number = |state| images.iter().filter(|image| image.state == state).count();
    let bytes: u64 = images.iter().filter_map(|image| image.bytes).sum();
    let mut parts = vec![format!("{} current", number(ImageState::Current))];
    for (state, word) in [
        (ImageState::Outdated, "outdated"),
        (ImageState::Missing, "missing"),
    ] {
        if number(state) > 0 {
            parts.push(format!("{} {word}", number(state)));
        }
    }
    format!("{}; {} in all", parts.join(", "), ByteSize(bytes))
}
