//! `pipeline farm`: what hosts that share results set up once.

use std::path::PathBuf;

use super::exit::Exit;
use super::report_error::{fail, out};
use crate::remote::sign::SignKey;

/// Arguments of `pipeline farm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a key that signs results, and print the public half for `remote.trust` of the other hosts
    Key {
        /// Where the private half goes; only hosts that build have it
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let Verb::Key { file } = &args.verb;
    let key = SignKey::make(file).map_err(|error| fail(Exit::Host, miette::miette!("{error}")))?;
    out(&format!("{}\n", key.public()));
    Ok(Exit::Ok)
}
