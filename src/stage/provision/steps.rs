//! The steps of a flavor, one after the other, each with its attempts and its deadline.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::event::{Stream, Unit, What};
use crate::guest;
use crate::host::process::{Cmd, ProcessError, shell_quote};
use crate::machine::ssh::Key;
use crate::manifest::model::{AnsibleStep, CopyStep};
use crate::plan::node::{Action, PlannedStep};
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::guest::Session;

/// Pause before another attempt at a failed step.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Folder in the guest for what steps bring along; sealing empties it.
const GUEST_FOLDER: &str = "/tmp/pipeline-step";

/// Runs all of them.
///
/// # Errors
/// [`StageError`] of the first step that fails for good.
pub fn run_all(
    steps: &[PlannedStep],
    session: &mut Session<'_>,
    key: &Key,
    site: &Site,
) -> Result<(), StageError> {
    for (number, step) in steps.iter().enumerate() {
        let total = steps.len();
        site.emit
            .phase(format!("step {}/{total}: {}", number + 1, step.label));
        let mut attempt = 0;
        loop {
            match run(step, session, key, site) {
                Ok(()) => break,
                Err(error) if attempt < step.retries && !error.is_cancelled() => {
                    attempt += 1;
                    let text = format!(
                        "step {} failed; trying again (attempt {} of {}): {error}",
                        step.label,
                        attempt + 1,
                        step.retries + 1
                    );
                    site.emit.warn(text);
                    if site.cancel.sleep(RETRY_PAUSE) {
                        return Err(StageError::Cancelled);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        site.emit.emit(What::Progress {
            done: number as u64 + 1,
            total: total as u64,
            unit: Unit::Steps,
        });
    }
    Ok(())
}

fn run(step: &PlannedStep, session: &mut Session<'_>, key: &Key, site: &Site) -> Result<(), StageError> {
    match &step.action {
        Action::Run {
            script,
            interpreter,
            env,
            secrets: wanted,
            exit_codes,
        } => {
            let mut env = env.clone();
            let mut hidden = Vec::new();
            for (variable, secret) in wanted {
                let value = secret.read().map_err(|source| StageError::NoSecret {
                    step: step.label.clone(),
                    variable: variable.clone(),
                    source,
                })?;
                hidden.push(value.clone());
                env.insert(variable.clone(), value);
            }
            session.hide(&hidden);
            let input = envelope(script, interpreter.as_deref(), &env);
            let ran = session.run(&step.label, "/bin/sh -s", input, step.timeout);
            session.hide(&[]);
            let ran = ran?;
            if exit_codes.contains(&ran.code) {
                Ok(())
            } else {
                Err(ran.failed(&step.label))
            }
        }
        Action::Copy(copy) => copy_in(copy, session, step.timeout, site),
        Action::Reboot => session.reboot(key),
        Action::InstallAgent => install_agent(&step.label, session, step.timeout, site),
        Action::Ansible(ansible) => playbook(ansible, step, session, key, site),
    }
}

/// What the guest's `/bin/sh` reads: sets the environment, writes the script to a file of its own (so that its `#!` and
/// its standard input are its own) and runs it. Values travel here, never in an argument that `ps` could show.
fn envelope(script: &str, interpreter: Option<&str>, env: &BTreeMap<String, String>) -> Vec<u8> {
    use std::fmt::Write as _;
    let mut text = String::from("set -eu\numask 077\n");
    for (name, value) in env {
        let _ = writeln!(text, "{name}={}; export {name}", shell_quote(value));
    }
    let marker = marker_not_in(script);
    let end_of_line = if script.ends_with('\n') { "" } else { "\n" };
    let _ = write!(
        text,
        "mkdir -p {GUEST_FOLDER}\ncat > {GUEST_FOLDER}/script <<'{marker}'\n{script}{end_of_line}{marker}\n\
         chmod 700 {GUEST_FOLDER}/script\numask 022\ncd /\n"
    );
    let run = match interpreter {
        Some(interpreter) => format!("{interpreter} {GUEST_FOLDER}/script"),
        None if script.starts_with("#!") => format!("{GUEST_FOLDER}/script"),
        None => format!("/bin/sh {GUEST_FOLDER}/script"),
    };
    let _ = write!(
        text,
        "set +e\n{run} </dev/null\ncode=$?\nrm -rf {GUEST_FOLDER}\nexit $code\n"
    );
    text.into_bytes()
}

/// A here-document marker that no line of the script is.
fn marker_not_in(script: &str) -> String {
    let mut marker = "END_OF_STEP".to_owned();
    while script.lines().any(|line| line == marker) {
        marker.push('_');
    }
    marker
}

fn copy_in(
    copy: &CopyStep,
    session: &mut Session<'_>,
    limit: Duration,
    site: &Site,
) -> Result<(), StageError> {
    let owner = copy.owner.as_deref().unwrap_or("root:root");
    let from = &copy.from;
    let copied = if copy.is_folder {
        session
            .ssh()?
            .put_tree(from, &copy.to, copy.mode, Some(owner), limit, &site.cancel)
    } else {
        let read = || Ok((fs::read(from)?, fs::metadata(from)?.permissions().mode()));
        let (bytes, mode) = read().map_err(|e| StageError::file("read", from, e))?;
        let mode = copy.mode.unwrap_or(mode & 0o7777);
        session
            .ssh()?
            .put_bytes(bytes, &copy.to, mode, Some(owner), limit, &site.cancel)
    };
    copied.map_err(|error| session.explain(error))
}

fn install_agent(
    label: &str,
    session: &mut Session<'_>,
    limit: Duration,
    site: &Site,
) -> Result<(), StageError> {
    let folder = format!("{GUEST_FOLDER}-agent");
    for (name, text) in [
        ("vm-bootstrap", guest::AGENT),
        ("install-agent.sh", guest::INSTALL_AGENT),
    ] {
        let path = format!("{folder}/{name}");
        let put = session
            .ssh()?
            .put_bytes(text.as_bytes().to_vec(), &path, 0o755, None, limit, &site.cancel);
        put.map_err(|error| session.explain(error))?;
    }
    let script = format!("cd {folder} && sh ./install-agent.sh; code=$?; rm -rf {folder}; exit $code\n");
    session.script(label, &script, limit)
}

/// Runs ansible-playbook on the host against the guest's own sshd.
fn playbook(
    ansible: &AnsibleStep,
    step: &PlannedStep,
    session: &Session<'_>,
    key: &Key,
    site: &Site,
) -> Result<(), StageError> {
    let ssh = session.ssh()?;
    let user = &ssh.target().user;
    let inventory = site.scratch.join("inventory");
    let line = format!(
        "guest ansible_host=127.0.0.1 ansible_port={} ansible_user={user} ansible_ssh_private_key_file={} \
         ansible_python_interpreter=auto_silent{}\n",
        ssh.port(),
        shell_quote(&key.path().to_string_lossy()),
        if user == "root" {
            ""
        } else {
            " ansible_become=true"
        },
    );
    fs::write(&inventory, line).map_err(|e| StageError::file("write", &inventory, e))?;
    let emit = site.emit.clone();
    let (log, mut file) = session.open_log(&step.label)?;
    let ran = Cmd::new("ansible-playbook")
        .arg("--inventory")
        .arg(&inventory)
        .args(&ansible.args)
        .arg(&ansible.playbook)
        .env("ANSIBLE_HOST_KEY_CHECKING", "False")
        .env("ANSIBLE_NOCOLOR", "1")
        .env(
            "ANSIBLE_SSH_ARGS",
            "-F /dev/null -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
        )
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
        source => StageError::Tool {
            what: "ansible",
            log: Some(log),
            source,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_runs_the_script_with_its_environment_and_code() {
        let env = BTreeMap::from([("GREETING".to_owned(), "it's $HOME".to_owned())]);
        let text = envelope("echo \"$GREETING\"\ncat\nexit 7", None, &env);
        // The guest's folder is a fixed one; here it is a private one.
        let folder = tempfile::tempdir().unwrap();
        let text = String::from_utf8(text)
            .unwrap()
            .replace(GUEST_FOLDER, &folder.path().join("x").to_string_lossy());
        let mut lines = Vec::new();
        let cmd = Cmd::new("/bin/sh").arg("-s").stdin(text);
        let ran = cmd.run(&crate::host::cancel::Cancel::default(), None, &mut |_, l| {
            lines.push(l.to_owned());
        });
        assert!(
            matches!(ran, Err(ProcessError::Failed { code: Some(7), .. })),
            "{ran:?}"
        );
        assert_eq!(lines, ["it's $HOME"]);
        assert!(!folder.path().join("x").exists());
    }

    #[test]
    fn a_script_may_contain_our_marker() {
        assert_eq!(marker_not_in("a\nEND_OF_STEP\nb"), "END_OF_STEP_");
    }
}
