//! Files and folders into the guest, through `cat` and `tar` there: every guest has them, not every one has an SFTP
//! server.

use std::path::Path;
use std::time::Duration;

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
        limit: Duration,
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
        let script = titled(&format!("write {path}"), &script);
        self.feed(&script, bytes, Some(limit), cancel).map(drop)
    }

    /// Copies what is in the folder `local` into the folder `remote` (made if need be; its own mode stays): symbolic links
    /// as links, the others with their modes; or all files with `mode`, and folders so that whoever may read their files
    /// may enter them. They belong to root, or to `owner` (`user` or `user:group`), where the
    /// commands run as root. The tree passes through memory.
    ///
    /// # Errors
    /// As [`Ssh::read`], and [`SshError::File`].
    pub fn put_tree(
        &self,
        local: &Path,
        remote: &str,
        mode: Option<u32>,
        owner: Option<&str>,
        limit: Duration,
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
            // Nobody may read them before their modes are set.
            let private = mode.map(|_| "--mode=go-rwx");
            let tar = Cmd::new("tar")
                .args(["--owner=0", "--group=0", "--numeric-owner", "--sort=name"])
                .args(private)
                .arg("-cf")
                .arg(&archive)
                .arg("-C")
                .arg(local)
                .arg("--");
            tar.args(&names).read(cancel)?;
            bytes = std::fs::read(&archive).map_err(failed(&archive))?;
            std::fs::remove_file(&archive).map_err(failed(&archive))?;
            script.push_str("cd -- \"$d\"; tar -xpf -\n");
        }
        for name in &names {
            let name = shell_quote(&format!("./{}", name.to_string_lossy()));
            if let Some(owner) = owner.map(shell_quote) {
                script.push_str(&format!("chown -hR -- {owner} {name}\n"));
            }
            // A change of owners takes setuid bits away, so it comes first.
            if let Some(mode) = mode {
                let enter = mode & 0o777 | (mode & 0o444) >> 2;
                script.push_str(&format!(
                    "find {name} -type d -exec chmod {enter:o} {{}} +\n\
                     find {name} -type f -exec chmod {mode:o} {{}} +\n"
                ));
            }
        }
        let script = titled(&format!("copy to {remote}"), &script);
        self.feed(&script, bytes, Some(limit), cancel).map(drop)
    }
}

/// A first line that says in messages what the script is for.
fn titled(title: &str, script: &str) -> String {
    format!("# {}\n{script}", title.replace(['\n', '\r'], " "))
}
