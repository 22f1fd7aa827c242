//! Other people's programs from the Python package index, each set in a folder of its own below `target/`, installed on
//! first use.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A command that runs a program of packages (pinned, as in `name==1.0 other==2.0`), or Python itself with them.
pub fn python(requirement: &str) -> Command {
    let mut command = Command::new("python3");
    command
        .env("PYTHONPATH", folder(requirement))
        .env("PYTHONUNBUFFERED", "1");
    command
}

/// Where a program that a package brings along is.
pub fn program(requirement: &str, name: &str) -> PathBuf {
    folder(requirement).join("bin").join(name)
}

/// The folder of packages, installed if it is not there yet.
pub fn folder(requirement: &str) -> PathBuf {
    let name = requirement.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
    installed(&format!("python/{name}"), |part| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        // Python compiles what it imports; of a package like moto that is little.
        pip.arg("--no-compile").arg("--target").arg(part);
        pip.args(requirement.split(' '));
        pip
    })
}

/// A folder below `target/` that a command fills at its first use. It appears whole.
pub fn installed(name: &str, fill: impl FnOnce(&Path) -> Command) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    let lock = File::create(format!("{}.lock", folder.display())).unwrap();
    lock.lock().unwrap();
    if !folder.exists() {
        let part = PathBuf::from(format!("{}.part", folder.display()));
        drop(fs::remove_dir_all(&part));
        let mut command = fill(&part);
        let output = command
            .output()
            .unwrap_or_else(|e| panic!("{command:?}: {e}; `make setup` installs what the tests need"));
        assert!(
            output.status.success(),
            "cannot install {name} (is there a network, and python3-pip?): {}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::rename(&part, &folder).unwrap();
    }
    folder
}
