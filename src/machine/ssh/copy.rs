//! Files and folders into the guest, through `cat` and `tar` there: every guest has them, not every one has an SFTP
//! server.

use std::path::Path;

use super::{Ssh, SshError};
use crate::host::cancel::Cancel;
use crate::host::process::{Cmd, shell_quote};

impl Ssh {
    /// Writes a file in the guest, with its parent folders, so that it is never seen half-written.
    /// `owner` is `user` or `user:group`; none leaves it to whoever runs the command.
    ///
    /// # Errors
    /// As [`Ssh::read`].
    pub fn put_bytes(
        &self,
        bytes: Vec<u8>,
        path: &str,
        mode: u32,
        owner: Option<&str>,
        cancel: &Cancel,
    ) -> Result<(), SshError> {
        let mut script = format!("set -e; f={}\n", shell_quote(path));
        script.push_str("case $f in */*) mkdir -p -- \"${f%/*}/\";; esac\n");
        // Nobody may read it before its mode is set.
        script.push_str("umask 077; cat >\"$f.part\"\n");
        if let Some(owner) = owner {
            script.push_str(&format!("chown -- {} \"$f.part\"\n", shell_quote(owner)));
        }
        script.push_str(&format!(
            "chmod -- {mode:o} \"$f.part\"\nmv -f -- \"$f.part\" \"$f\""
        ));
        self.feed(&titled(&format!("write {path}"), &script), bytes, cancel)
            .map(drop)
    }

    /// Copies what is in the folder `local` into the folder `remote` (made if need be; its own mode stays): files with
    /// their modes, symbolic links as links. They belong to root, or to `owner` (`user` or `user:group`), where the
    /// commands run as root. The tree passes through memory.
    ///
    /// # Errors
    /// As [`Ssh::read`], and [`SshError::File`].
    pub fn put_tree(
        &self,
        local: &Path,
        remote: &str,
        owner: Option<&str>,
        cancel: &Cancel,
    ) -> Result<(), SshError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SshError::File { path, source }
        };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(local).map_err(failed(local))? {
            names.push(entry.map_err(failed(local))?.file_name());
        }
        names.sort();
        let mut script = format!("set -e; d={}; mkdir -p -- \"$d\"\n", shell_quote(remote));
        let mut bytes = Vec::new();
        if !names.is_empty() {
            let archive = self.folder.path().join("tree.tar");
            let tar = Cmd::new("tar")
                .args(["--owner=0", "--group=0", "--numeric-owner", "--sort=name", "-cf"])
                .arg(&archive)
                .arg("-C")
                .arg(local)
                .arg("--");
            tar.args(&names).read(cancel)?;
            bytes = std::fs::read(&archive).map_err(failed(&archive))?;
            std::fs::remove_file(&archive).map_err(failed(&archive))?;
            script.push_str("cd -- \"$d\"; tar -xpf -\n");
        }
        if let Some(owner) = owner {
            let owner = shell_quote(owner);
            for name in &names {
                let name = shell_quote(&format!("./{}", name.to_string_lossy()));
                script.push_str(&format!("chown -hR -- {owner} {name}\n"));
            }
        }
        self.feed(&titled(&format!("copy to {remote}"), &script), bytes, cancel)
            .map(drop)
    }
}

/// A first line that says in messages what the script is for.
fn titled(title: &str, script: &str) -> String {
    format!("# {}\n{script}", title.replace(['\n', '\r'], " "))
}
