//! A playbook, run by Ansible on this host against the guest's own sshd.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use super::plan::PlannedStep;
use crate::event::Stream;
use crate::host::process::{Cmd, ProcessError, shell_quote};
use crate::machine::ssh::{SharedConnections, Ssh};
use crate::manifest::model::AnsibleStep;
use crate::stage::Site;
use crate::stage::error::StageError;

/// What Ansible's ssh must do in addition to what it does by default: know nothing of the user's configuration, and keep
/// no host key of a guest.
const SSH_ARGS: &str = "-F /dev/null -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";
/// The argument and the variable that add to Ansible's ssh arguments. `ssh_args` would replace them, and with them the
/// connection that Ansible keeps from one task to the next.
const COMMON_ARGS: &str = "--ssh-common-args";
const COMMON_ARGS_VARIABLE: &str = "ANSIBLE_SSH_COMMON_ARGS";

/// Runs it; what it says goes to the log, and becomes events.
///
/// # Errors
/// [`StageError::NoAnsible`], [`StageError::Playbook`], [`StageError::File`] and those of the connection.
pub fn playbook(
    ansible: &AnsibleStep,
    step: &PlannedStep,
    ssh: &Ssh,
    (log, mut file): (PathBuf, File),
    site: &Site,
) -> Result<(), StageError> {
    let user = &ssh.target().user;
    let inventory = site.scratch.join("inventory");
    let line = format!(
        "guest ansible_host=127.0.0.1 ansible_port={} ansible_user={user} ansible_ssh_private_key_file={} \
         ansible_python_interpreter=auto_silent{}\n",
        ssh.port(),
        shell_quote(&ssh.key_path().to_string_lossy()),
        if user == "root" {
            ""
        } else {
            " ansible_become=true"
        },
    );
    fs::write(&inventory, line).map_err(|e| StageError::file("write", &inventory, e))?;
    // Its connections end with the step.
    let connections = SharedConnections::new()?;
    let inherited = std::env::var(COMMON_ARGS_VARIABLE).unwrap_or_default();
    let common = format!("{inherited} {SSH_ARGS}");
    let emit = site.emit.clone();
    let ran = Cmd::new("ansible-playbook")
        .arg("--inventory")
        .arg(&inventory)
        .args(with_ours(&ansible.args))
        .arg(&ansible.playbook)
        .env("ANSIBLE_HOST_KEY_CHECKING", "False")
        .env("ANSIBLE_NOCOLOR", "1")
        .env(COMMON_ARGS_VARIABLE, common.trim_start())
        // Names of its own below the folder: one that a configuration gives may not tell one guest from another.
        .env("ANSIBLE_SSH_CONTROL_PATH", "")
        .env("ANSIBLE_SSH_CONTROL_PATH_DIR", connections.folder())
        .env("ANSIBLE_LOCAL_TEMP", site.scratch.join("ansible"))
        .run(&site.cancel, Some(step.timeout), &mut |_, line| {
            // A full disk must not hide what it says: the event carries it too.
            let _ = writeln!(file, "{line}");
            if !line.trim().is_empty() {
                emit.line(Stream::Step, line);
            }
        });
    ran.map_err(|source| match source {
        ProcessError::NotFound { .. } => StageError::NoAnsible {
            step: step.label.clone(),
        },
        source => StageError::Playbook {
            step: step.label.clone(),
            log,
            source,
        },
    })
}

/// The user's arguments: common ones of ssh among them would replace ours.
fn with_ours(args: &[String]) -> Vec<String> {
    let mut is_value = false;
    let one = |arg: &String| {
        let value = std::mem::replace(&mut is_value, arg == COMMON_ARGS);
        let joined = arg
            .strip_prefix(COMMON_ARGS)
            .is_some_and(|rest| rest.starts_with('='));
        if value || joined {
            format!("{arg} {SSH_ARGS}")
        } else {
            arg.clone()
        }
    };
    args.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_arguments_of_the_user_are_kept_beside_ours() {
        let args = |args: &[&str]| {
            let args: Vec<_> = args.iter().map(|&arg| arg.to_owned()).collect();
            with_ours(&args).join("|").replace(SSH_ARGS, "OURS")
        };
        assert_eq!(
            args(&["--diff", "--ssh-common-args", "-o Compression=no", "-v"]),
            "--diff|--ssh-common-args|-o Compression=no OURS|-v"
        );
        assert_eq!(
            args(&["--ssh-common-args=-v", "--check"]),
            "--ssh-common-args=-v OURS|--check"
        );
    }
}
