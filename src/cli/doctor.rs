//! `pipeline doctor`.

use super::Exit;

/// Arguments of `pipeline doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: &Args) -> Exit {
    Exit::Ok
}
