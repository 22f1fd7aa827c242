//! Root's work without being root: commands inside namespaces of their own, where they are root over a range of ids that
//! the system gave to the user (/etc/subuid), and where nothing they start or mount outlives them.

use std::fs;
use std::path::Path;

use super::cancel::Cancel;
use super::process::{Cmd, ProcessError};

/// A program as root in its own PID and mount namespaces; for a plain user in a user namespace too. When the program's
/// parent dies, all of the namespace dies (`unshare --kill-child`, and the parent-death signal of every [`Cmd`]).
pub fn as_root(program: &str) -> Cmd {
    let cmd = Cmd::new("unshare").called(program);
    let cmd = if rustix::process::geteuid().is_root() {
        cmd
    } else {
        cmd.args(["--user", "--map-root-user", "--map-auto"])
    };
    // A plain user's PATH often lacks the sbin folders, and root's work lives there.
    let path = std::env::var("PATH").unwrap_or_default();
    cmd.args([
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--",
        program,
    ])
    .env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"))
}

/// Removes a folder and everything in it, also what belongs to ids of the user's range.
///
/// # Errors
/// [`ProcessError`] when it could not be removed in either way.
pub fn remove_tree(folder: &Path) -> Result<(), ProcessError> {
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(_) => as_root("rm")
            .args(["-rf", "--"])
            .arg(folder)
            .read(&Cancel::default())
            .map(drop),
    }
}
