//! Other people's programs from the Python package index, each set in a folder of its own below `target/`, installed on
//! first use.

use std::fs::{self, File};
use std::path::PathBuf;
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

fn folder(requirement: &str) -> PathBuf {
    let name = requirement.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
    let all = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("python");
    fs::create_dir_all(&all).unwrap();
    let folder = all.join(&name);
    let lock = File::create(all.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if !folder.exists() {
        let part = all.join(format!("{name}.part"));
        drop(fs::remove_dir_all(&part));
        let output = Command::new("python3")
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                // Python compiles what it imports; of a package like moto that is little.
                "--no-compile",
                "--target",
            ])
            .arg(&part)
            .args(requirement.split(' '))
            .output()
            .unwrap_or_else(|e| panic!("python3: {e}; `make setup` installs what the tests need"));
        assert!(
            output.status.success(),
            "pip cannot install {requirement} (is there a network, and python3-pip?): {}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::rename(&part, &folder).unwrap();
    }
    folder
}
