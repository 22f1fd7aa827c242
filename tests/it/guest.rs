//! What runs inside guests, as far as it can be told without a VM.

mod agent;
mod reporting;
mod sealing;
mod templates;

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::support::tool;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
const BUILD_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMgaXMgbm90IGEga2V5IG9mIGFueW9uZSBhbGl2ZQ build";

fn repository(name: &str) -> PathBuf {
    Path::new(REPOSITORY).join(name)
}

#[test]
fn every_script_is_clean() {
    let scripts: Vec<PathBuf> = fs::read_dir(repository("guest"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(scripts.len() >= 8, "{scripts:?}");
    for path in scripts {
        let name = path.to_str().unwrap();
        tool("shellcheck", &[name], Path::new("/"));
        let shell = if name.ends_with(".sh") { "dash" } else { "bash" };
        tool(shell, &["-n", name], Path::new("/"));
    }
}
