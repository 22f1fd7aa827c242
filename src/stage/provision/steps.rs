//! The steps of a flavor, one after the other, each with its attempts and its deadline.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use crate::event::{Unit, What};
use crate::guest;
use crate::host::process::shell_quote;
use crate::machine::ssh::Key;
use crate::manifest::model::CopyStep;
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::guest::Session;
use crate::stage::provision::layers::KeptLayers;
use crate::stage::provision::{Action, PlannedStep, ansible};

/// Pause before another attempt at a failed step.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Folder in the guest for what steps bring along; sealing empties it.
const GUEST_FOLDER: &str = "/tmp/pipeline-step";

/// Runs those that the layers below do not have, and keeps layers of what they do.
///
/// # Errors
/// [`StageError`] of the first step that fails for good.
pub fn run_all(
    steps: &[PlannedStep],
    layers: &mut KeptLayers<'_>,
    session: &mut Session<'_>,
    key: &Key,
    site: &Site,
) -> Result<(), StageError> {
    let total = steps.len();
    for (number, step) in steps.iter().enumerate().skip(layers.done()) {
        site.emit
            .phase(format!("step {}/{total}: {}", number + 1, step.label));
        session.begin_step(&step.label);
        let mut attempt = 0;
        let started = Instant::now();
        loop {
            match run_and_look(step, session, key, site) {
                Ok(()) => break,
                Err(error) if attempt < step.retries && may_try_again(&error) => {
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
        layers.after_step(number + 1, started.elapsed(), session, site)?;
        site.emit.emit(What::Progress {
            done: number as u64 + 1,
            total: total as u64,
            unit: Unit::Steps,
        });
    }
    Ok(())
}

/// Whether another attempt makes sense: the user did not stop us, and the guest is still up.
fn may_try_again(error: &StageError) -> bool {
    !error.is_cancelled() && !matches!(error, StageError::WentDown(_))
}

/// Runs a step, and looks whether the guest it ran in stays up: neither the next step nor another attempt may run in a
/// system that is going down.
fn run_and_look(
    step: &PlannedStep,
    session: &mut Session<'_>,
    key: &Key,
    site: &Site,
) -> Result<(), StageError> {
    let ran = run(step, session, key, site);
    if ran.as_ref().is_err_and(|error| !may_try_again(error)) {
        return ran;
    }
    match (ran, session.stays_up()) {
        (Err(ran), Err(looked)) if may_try_again(&looked) => Err(ran),
        (_, Err(looked)) => Err(looked),
        (ran, Ok(())) => ran,
    }
}

fn run(step: &PlannedStep, session: &mut Session<'_>, key: &Key, site: &Site) -> Result<(), StageError> {
    match &step.action {
        Action::Run {
            script,
            interpreter,
            user,
            env,
            secrets: wanted,
            exit_codes,
        } => {
            let mut env = env.clone();
            let mut hidden = Vec::new();
            for (variable, secret) in wanted {
                let value = site.secrets.read(secret).map_err(|source| StageError::NoSecret {
                    step: step.label.clone(),
                    variable: variable.clone(),
                    source,
                })?;
                env.insert(variable.clone(), value.expose().to_owned());
                hidden.push(value);
            }
            session.hide(&hidden);
            let input = envelope(script, interpreter.as_deref(), user.as_deref(), &env);
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
        Action::Ansible(ansible) => {
            let log = session.open_log(&step.label)?;
            ansible::playbook(ansible, step, session.ssh()?, log, site)
        }
    }
}

/// What the guest's `/bin/sh` reads: sets the environment, writes the script to a file of its own (so that its `#!` and
/// its standard input are its own) and runs it. Values travel here, never in an argument that `ps` could show.
fn envelope(
    script: &str,
    interpreter: Option<&str>,
    user: Option<&str>,
    env: &BTreeMap<String, String>,
) -> Vec<u8> {
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
        None => format!("{} {GUEST_FOLDER}/script", by_first_line(script)),
    };
    // `su` keeps the environment but for what tells who and where the user is.
    let run = match user.map(shell_quote) {
        Some(user) => {
            let run = shell_quote(&format!("cd && {run}"));
            format!("chown -R {user} {GUEST_FOLDER} && su -s /bin/sh -c {run} {user}")
        }
        None => run,
    };
    let _ = write!(
        text,
        "set +e\n{run} </dev/null\ncode=$?\nrm -rf {GUEST_FOLDER}\nexit $code\n"
    );
    text.into_bytes()
}

/// What the kernel would run for the script's first line, quoted: the interpreter and, as one word, what follows it
/// (execve(2)). The file itself need not be executable then: a guest may have /tmp mounted with noexec.
fn by_first_line(script: &str) -> String {
    let line = script.strip_prefix("#!").and_then(|rest| rest.lines().next());
    let line = line.unwrap_or_default().trim_matches([' ', '\t']);
    match line.split_once([' ', '\t']) {
        None if line.is_empty() => "/bin/sh".to_owned(),
        None => shell_quote(line),
        Some((interpreter, rest)) => {
            let argument = rest.trim_start_matches([' ', '\t']);
            format!("{} {}", shell_quote(interpreter), shell_quote(argument))
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::process::{Cmd, ProcessError};

    #[test]
    fn the_envelope_runs_the_script_with_its_environment_and_code() {
        let env = BTreeMap::from([("GREETING".to_owned(), "it's $HOME".to_owned())]);
        let text = envelope("echo \"$GREETING\"\ncat\nexit 7", None, None, &env);
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
    fn a_script_runs_by_its_first_line_although_its_file_may_not_be_executed() {
        let folder = tempfile::tempdir().unwrap();
        let run = |script: &str| {
            // As in a folder that is mounted with noexec: the file cannot be executed.
            let text = String::from_utf8(envelope(script, None, None, &BTreeMap::new()))
                .unwrap()
                .replace(GUEST_FOLDER, &folder.path().join("x").to_string_lossy())
                .replace("chmod 700", "chmod 600");
            let mut lines = Vec::new();
            let cmd = Cmd::new("/bin/sh").arg("-s").stdin(text);
            let ran = cmd.run(&crate::host::cancel::Cancel::default(), None, &mut |_, l| {
                lines.push(l.to_owned());
            });
            (ran.is_ok(), lines.join("|"))
        };
        // All behind the interpreter is one argument, as in execve(2).
        let env = run("#! /usr/bin/env -S sh -eu\necho $-; false; echo not reached\n");
        assert!(!env.0 && env.1.contains('e') && env.1.contains('u'), "{env:?}");
        assert_eq!(
            run("#!/usr/bin/perl  -l\nprint \"by perl: $0\" =~ s/ .*x/ x/r;").1,
            "by x/script"
        );
        assert_eq!(run("#!/bin/sh\necho \"$0\" | sed 's/.*x/x/'").1, "x/script");
        assert_eq!(run("#!\necho plain").1, "plain");
        let quoted = by_first_line("#!/bin/it's -a b c \n");
        assert_eq!(quoted, "'/bin/it'\\''s' '-a b c'");
    }

    #[test]
    fn a_script_may_contain_our_marker() {
        assert_eq!(marker_not_in("a\nEND_OF_STEP\nb"), "END_OF_STEP_");
    }
}
