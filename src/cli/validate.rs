//! `pipeline validate`.

use super::Exit;

/// Arguments of `pipeline validate`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: &Args) -> Exit {
    Exit::Ok
}
