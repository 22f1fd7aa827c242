//! Python programs that judge files, from the Python Package Index, in a folder below `target/` that is made once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of a package of exactly this version.
pub fn program(package: &str, version: &str, program: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::File::create(folder.join(format!("{package}.lock"))).unwrap();
    lock.lock().unwrap();
    let home = folder.join(format!("{package}-{version}"));
    let (done, found) = (home.join("complete"), home.join("bin").join(program));
    if !done.exists() {
        let _ = fs::remove_dir_all(&home);
        run(Command::new("virtualenv").arg("--quiet").arg(&home));
        let wanted = format!("{package}=={version}");
        run(Command::new(home.join("bin/pip")).args(["install", "--quiet", &wanted]));
        fs::write(done, "").unwrap();
    }
    assert!(found.exists(), "{package} {version} has no program {program}");
    found
}

fn run(command: &mut Command) {
    let output = command.output();
    let output =
        output.unwrap_or_else(|e| panic!("{command:?}: {e}; `make setup` installs what the tests need"));
    assert!(
        output.status.success(),
        "{command:?} failed (it needs the Python Package Index, or PIP_INDEX_URL for a mirror of it):\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
