//! `pipeline schema`: what a manifest may say, for editors and people.

use super::exit::Exit;
use super::report_error::out;
use crate::manifest::describe::{library, manual, schema};

/// Arguments of `pipeline schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  pipeline schema > pipeline.schema.json\n  \
    then, as first line of images.toml: #:schema ./pipeline.schema.json\n  \
    pipeline schema --format nickel > pipeline.ncl    for editors that look for the imported file")]
pub struct Args {
    /// In which form
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
}

/// Forms of the description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A JSON Schema (draft 7) of TOML manifests
    Json,
    /// The library that `import "pipeline.ncl"` finds
    Nickel,
    /// The manual's page of all keys
    Markdown,
}

/// Runs the verb.
pub fn run(args: &Args) -> Exit {
    let text = match args.format {
        Format::Json => format!("{:#}\n", schema()),
        Format::Nickel => library(),
        Format::Markdown => manual(),
    };
    out(&text);
    Exit::Ok
}
