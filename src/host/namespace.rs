//! Root's work without being root: commands inside namespaces of their own, where they are root over a range of ids that
//! the system gave to the user (/etc/subuid), and where nothing they start or mount outlives them.

use std::fs;
use std::path::Path;

use super::cancel::Cancel;
use super::facts::is_root;
use super::foreign::Handler;
use super::process::{Cmd, ProcessError};

/// Enters a new user namespace that has all of root's ids, which unshare(1) gives for ranges of subuid(5) alone: another
/// process makes it, and its ids are written from outside. The process stays the one that was started, and never without
/// capabilities: with those that an exec brings back, the kernel would forget its parent-death signal.
const ALL_IDS: &str = r#"
outside=$(readlink /proc/self/ns/user)
unshare --user -- sleep 20 </dev/null >/dev/null 2>&1 &
until [ "$(readlink /proc/$!/ns/user)" != "$outside" ]; do sleep 0.02; done
for map in uid_map gid_map; do awk '{ print $1, $1, $3 }' /proc/self/$map >/proc/$!/$map; done
exec nsenter --user=/proc/$!/ns/user -- sh -euc 'kill "$0"; exec "$@"' $! "$@"
"#;
/// Registers the handler that is its first argument, for programs of this user namespace.
const REGISTER: &str = r#"
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
printf %s "$1" >/proc/sys/fs/binfmt_misc/register
shift
exec "$@"
"#;

/// A program as root in its own PID and mount namespaces; for a plain user in a user namespace too. When the program's
/// parent dies, all of the namespace dies (`unshare --kill-child`, and the parent-death signal of every [`Cmd`]).
pub fn as_root(program: &str) -> Cmd {
    as_root_with(program, None)
}

/// The same, where a handler runs programs of another architecture. It is the namespace's alone.
pub fn as_root_with(program: &str, handler: Option<&Handler>) -> Cmd {
    const OWN: [&str; 6] = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
    let ids = ["--user", "--map-root-user", "--map-auto"];
    let cmd = match (is_root(), handler) {
        (true, None) => Cmd::new("unshare").called(program),
        // Handlers belong to a user namespace: root's own would be the host's.
        (true, Some(_)) => Cmd::new("sh")
            .called(program)
            .args(["-euc", ALL_IDS, "sh", "unshare"]),
        (false, _) => Cmd::new("unshare").called(program).args(ids),
    };
    let cmd = cmd.args(OWN);
    let cmd = match handler {
        Some(handler) => cmd
            .args(["sh", "-euc", REGISTER, "sh"])
            .arg(handler.registration()),
        None => cmd,
    };
    // A plain user's PATH often lacks the sbin folders, and root's work lives there.
    let path = std::env::var("PATH").unwrap_or_default();
    cmd.arg(program)
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::host::foreign::has_own_handlers;

    /// echo(1) for an interpreter: it prints which program it was to run.
    #[test]
    fn a_handler_is_the_namespaces_alone_and_its_programs_die_with_who_started_them() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("foreign");
        // The head of an ELF file for a processor that no host has.
        let mut elf = vec![0; 64];
        elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        (elf[16], elf[18]) = (2, 0xfe);
        fs::write(&program, elf).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let handler = Handler {
            interpreter: "/bin/echo".into(),
            elf_machine: 0xfe,
        };
        let inside = as_root_with("sh", Some(&handler)).args(["-c", "\"$0\" hello && id -u"]);
        let ran = inside.arg(&program).read(&Cancel::default());
        if !has_own_handlers() {
            ran.unwrap_err();
            return;
        }
        assert_eq!(ran.unwrap(), format!("{} hello\n0\n", program.display()));
        Cmd::new(&program).read(&Cancel::default()).unwrap_err();

        let mut running = std::thread::spawn(move || {
            let cmd = as_root_with("sh", Some(&handler)).args(["-c", "echo up; sleep 60"]);
            let mut running = cmd.converse().unwrap();
            let mut up = [0; 3];
            std::io::Read::read_exact(&mut running.child.stdout.take().unwrap(), &mut up).unwrap();
            running
        })
        .join()
        .unwrap();
        let ended = Instant::now();
        while running.try_wait().unwrap().is_none() {
            assert!(
                ended.elapsed() < Duration::from_secs(20),
                "it outlives its parent"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
