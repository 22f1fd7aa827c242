//! A mount namespace of the test's own, for real file systems of a few megabytes.

use std::path::Path;
use std::process::Command;

use super::tool;

/// The variable that says to the test that it is inside.
const INSIDE: &str = "PIPELINE_TEST_INSIDE";

/// Runs the test of this name once more in a mount namespace, where it may mount; true: this is that run. Its failure is
/// ours.
pub fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(
        output.status.success() && said[0].contains("1 passed"),
        "{}",
        said.concat()
    );
    false
}

/// Mounts a file system in memory, with options of tmpfs(5).
pub fn mount(folder: &Path, options: &str) {
    let folder = folder.to_str().unwrap();
    tool(
        "mount",
        &["-t", "tmpfs", "-o", options, "tmpfs", folder],
        Path::new("/"),
    );
}
