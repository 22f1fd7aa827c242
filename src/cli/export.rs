//! `pipeline export`: a manifest's data in another language, as it is after evaluation.

use super::exit::Exit;
use super::report_error::out;
use super::target::ManifestArgs;
use crate::manifest::export::{json, nickel, toml};

/// Arguments of `pipeline export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  pipeline export images.ncl > images.toml\n  \
    pipeline export images.toml --format nickel > images.ncl\n  \
    pipeline export images.ncl -D vars.keymap=us --format json | jq .vars")]
pub struct Args {
    #[command(flatten)]
    source: ManifestArgs,
    /// In which language
    #[arg(long, value_enum, default_value_t = Format::Toml)]
    format: Format,
}

/// Languages of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Toml,
    /// For programs
    Json,
    /// To go on from
    Nickel,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let tree = args.source.evaluate()?;
    let text = match args.format {
        Format::Toml => toml(&tree),
        Format::Json => format!("{:#}\n", json(&tree)),
        Format::Nickel => format!("{}\n", nickel(&tree)),
    };
    out(&text);
    Ok(Exit::Ok)
}
