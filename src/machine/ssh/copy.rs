//! Files and folders into the guest, through `cat` and `tar` there: every guest has them, not every one has an SFTP
//! server.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

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
        // Renaming onto a folder would move the file into it.
        script.push_str(
            "[ ! -d \"$f\" ] || { echo \"$f is a folder in the guest; name the file\" >&2; exit 1; }\n",
        );
        script.push_str("case $f in */*) mkdir -p -- \"${f%/*}/\";; esac\n");
        // It must not be readable before its mode is set.
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

    /// Copies what is in the folder `local` into the folder `remote` (made if need be): symbolic links as links, the others
    /// with their modes; or all files with `mode`, and folders so that whoever may read their files may enter them. What is
    /// copied belongs to root, or to `owner` (`user` or `user:group`), where the commands run as root. Folders that the guest
    /// has keep their owner and mode, also where a link leads to them. The tree passes through memory.
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
        let tree = Tree::read(local)?;
        let owner = owner.map(|owner| self.owner(owner, limit, cancel)).transpose()?;
        let owner = owner.as_deref().unwrap_or("0:0");
        let new = self.absent(&tree.folders, remote, limit, cancel)?;
        let enter = mode.map(|mode| mode & 0o777 | (mode & 0o444) >> 2);
        let mut script = format!("set -e; umask 022; d={}\n", shell_quote(remote));
        // A link that leads to a folder is one.
        let dress = match enter {
            Some(enter) => format!("chown -- {owner} \"$d\"; chmod -- {enter:o} \"$d\""),
            None => format!("chown -- {owner} \"$d\""),
        };
        script.push_str(&format!("[ -d \"$d\" ] || {{ mkdir -p -- \"$d\"; {dress}; }}\n"));
        let archive = self.folder.path().join("tree.tar");
        let parts = [(&new, enter), (&tree.others, mode)];
        for (names, mode) in parts.into_iter().filter(|(names, _)| !names.is_empty()) {
            let (user, group) = owner.split_once(':').unwrap_or((owner, "0"));
            // The archive carries owners and modes: nothing but its members gets them, each with its content.
            let tar = Cmd::new("tar")
                .without("TAR_OPTIONS")
                .args([&format!("--owner={user}"), &format!("--group={group}")])
                .args(["--numeric-owner", "--no-recursion"])
                .args(mode.map(|mode| format!("--mode={mode:o}")))
                .arg("-C")
                .arg(local)
                .arg("-rf")
                .arg(&archive)
                .args(["--null", "-T", "-"])
                .stdin(listed(names));
            tar.read(cancel)?;
        }
        let mut bytes = Vec::new();
        if archive.exists() {
            bytes = fs::read(&archive).map_err(failed(&archive))?;
            fs::remove_file(&archive).map_err(failed(&archive))?;
            script.push_str("cd -- \"$d\"; tar -xpf -\n");
        }
        let title = format!("copy to {remote}");
        self.feed(&titled(&title, &script), bytes, Some(limit), cancel)?;
        if tree.links.is_empty() || owner == "0:0" {
            return Ok(());
        }
        // busybox's tar leaves the owner of links as it is.
        let script = format!("cd -- {} && xargs -0 chown -h -- {owner}", shell_quote(remote));
        self.feed(&titled(&title, &script), listed(&tree.links), Some(limit), cancel)
            .map(drop)
    }

    /// The numbers that `user` or `user:group` has in the guest, as `1000:1000`.
    fn owner(&self, owner: &str, limit: Duration, cancel: &Cancel) -> Result<String, SshError> {
        let script = format!(
            "f=$(mktemp) || exit; chown -- {} \"$f\" && stat -c %u:%g \"$f\"; code=$?; rm -f \"$f\"; exit $code",
            shell_quote(owner)
        );
        self.feed(
            &titled(&format!("look up {owner}"), &script),
            Vec::new(),
            Some(limit),
            cancel,
        )
    }

    /// Those of the folders that are not there below `remote`.
    fn absent(
        &self,
        folders: &[PathBuf],
        remote: &str,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<Vec<PathBuf>, SshError> {
        if folders.is_empty() {
            return Ok(Vec::new());
        }
        let look = "for p; do if [ -d \"$p\" ]; then echo there; else echo absent; fi; done";
        let script = format!(
            "if [ -d {0} ]; then cd -- {0}; exec xargs -0 sh -c {1} sh; fi; cat >/dev/null; echo none",
            shell_quote(remote),
            shell_quote(look)
        );
        let script = titled(&format!("look at {remote}"), &script);
        let said = self.feed(&script, listed(folders), Some(limit), cancel)?;
        if said == "none" {
            return Ok(folders.to_vec());
        }
        let said: Vec<_> = said.lines().collect();
        if said.len() != folders.len() {
            let tail = said.iter().take(3).map(|&line| line.to_owned()).collect();
            let command = format!("look at {remote}");
            return Err(SshError::Failed {
                command,
                code: 0,
                tail,
            });
        }
        let absent = folders.iter().zip(said).filter(|(_, said)| *said == "absent");
        Ok(absent.map(|(path, _)| path.clone()).collect())
    }
}

/// What a folder holds, as paths that begin with `./`; a folder stands before what is in it.
#[derive(Debug, Default)]
struct Tree {
    folders: Vec<PathBuf>,
    others: Vec<PathBuf>,
    /// Those of the others that are symbolic links.
    links: Vec<PathBuf>,
}

impl Tree {
    fn read(root: &Path) -> Result<Self, SshError> {
        let mut tree = Self::default();
        tree.walk(root, Path::new("."))?;
        Ok(tree)
    }

    fn walk(&mut self, root: &Path, folder: &Path) -> Result<(), SshError> {
        let path = root.join(folder);
        let mut entries = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed(&path))? {
            let entry = entry.map_err(failed(&path))?;
            // Of the link itself, not of what it leads to.
            let kind = entry.file_type().map_err(failed(&entry.path()))?;
            entries.push((folder.join(entry.file_name()), kind));
        }
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (path, kind) in entries {
            if kind.is_dir() {
                self.folders.push(path.clone());
                self.walk(root, &path)?;
            } else {
                if kind.is_symlink() {
                    self.links.push(path.clone());
                }
                self.others.push(path);
            }
        }
        Ok(())
    }
}

/// Names as `tar -T` and `xargs -0` read them.
fn listed(names: &[PathBuf]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in names {
        bytes.extend_from_slice(name.as_os_str().as_bytes());
        bytes.push(0);
    }
    bytes
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> SshError {
    let path = path.to_owned();
    move |source| SshError::File { path, source }
}

/// A first line that says in messages what the script is for.
fn titled(title: &str, script: &str) -> String {
    format!("# {}\n{script}", title.replace(['\n', '\r'], " "))
}
