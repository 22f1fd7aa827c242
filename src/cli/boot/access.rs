//! How to get into a machine: in words, and by SSH for the user.

use std::path::Path;
use std::time::Duration;

use super::start::{BootSetup, Started};
use super::{Args, Mode, failed, mode};
use crate::cli::exit::Exit;
use crate::cli::report_error::{fail, talk};
use crate::host::process::{Cmd, ProcessError, shell_quote};
use crate::host::tools;
use crate::machine::error::MachineError;
use crate::machine::qemu::CONSOLE_LOG;
use crate::report::style::{Role, Style, pad};
use crate::stage::guest::scaled;

/// Columns of the first word of a line.
const LABEL: usize = 9;
/// How long a guest may show no sign of life before its sshd is no longer waited for, under KVM.
const SILENCE: Duration = Duration::from_secs(3 * 60);
/// How long a login may take, under KVM.
const LOGIN: Duration = Duration::from_secs(30);
/// Exit code of ssh itself (ssh(1)).
const SSH_FAILED: i32 = 255;

/// What the user needs to know of the machine; `stop` is the process that ends it when asked to.
pub(super) fn text(
    args: &Args,
    started: &Started,
    setup: &BootSetup,
    stop: Option<u32>,
    style: Style,
) -> String {
    let machine = &started.machine;
    let mut text = format!(
        "{} ({}), {}; {} of memory, {} CPU{}\n",
        style.paint(Role::Strong, &started.name),
        started.image.size,
        if args.write {
            "changes are kept"
        } else {
            "changes are thrown away"
        },
        args.memory,
        started.cpus,
        if started.cpus == 1 { "" } else { "s" },
    );
    let mut line = |label: &str, value: &str| {
        text += &format!("  {}{value}\n", style.paint(Role::Dim, &pad(label, LABEL)));
    };
    if let Some(port) = machine.ssh_port() {
        let words = ssh_words(port, args.user(), started.key.as_deref());
        let words: Vec<_> = words.iter().map(|word| shell_quote(word)).collect();
        line("ssh", &words.join(" "));
    }
    if let Some(screen) = &started.screen {
        line(
            "screen",
            &format!("VNC at 127.0.0.1:{}, password {}", screen.port, screen.password),
        );
    }
    for forward in machine.forwards().iter().filter(|forward| forward.guest != 22) {
        line(
            "port",
            &format!(
                "127.0.0.1:{} leads to {} in the guest",
                forward.host, forward.guest
            ),
        );
    }
    if let Some(received) = &started.received {
        let mut served: Vec<_> = args
            .bootstrap
            .iter()
            .map(|file| format!("vm-bootstrap is {}", file.display()))
            .collect();
        served.extend(
            args.serve
                .iter()
                .map(|folder| format!("files of {}", folder.display())),
        );
        served.push(format!("posts go to {}", received.display()));
        line(
            "door",
            &format!("http://10.0.2.100/ in the guest: {}", served.join(", ")),
        );
    }
    line("logs", &setup.logs.display().to_string());
    if let Some(pid) = stop {
        line(
            "console",
            &format!(
                "tail -f {}",
                shell_quote(&setup.logs.join(CONSOLE_LOG).display().to_string())
            ),
        );
        line("stop", &format!("kill {pid}"));
    }
    if stop.is_none() && mode(args) == Ok(Mode::Console) {
        text += "The guest's console follows. Ctrl-A X ends the machine, Ctrl-A H tells the other keys.\n";
    }
    text
}

/// The command that logs in. A guest that was made a minute ago has a new host key each time; on loopback there is
/// no one in between.
fn ssh_words(port: u16, user: &str, key: Option<&Path>) -> Vec<String> {
    let words = [
        "ssh",
        "-p",
        &port.to_string(),
        "-o",
        "NoHostAuthenticationForLocalhost=yes",
    ];
    let mut words: Vec<_> = words.map(str::to_owned).to_vec();
    if let Some(key) = key {
        words.extend(["-o", "IdentitiesOnly=yes", "-i"].map(str::to_owned));
        words.push(key.display().to_string());
    }
    words.push(format!("{user}@127.0.0.1"));
    words
}

/// Whether sshd lets the user in by this key.
fn is_accepted(port: u16, user: &str, key: &Path, setup: &BootSetup) -> bool {
    let words = ssh_words(port, user, Some(key));
    let asked = Cmd::new(tools::path("ssh"))
        .args(["-o", "BatchMode=yes", "-o", "LogLevel=ERROR"])
        .args(&words[1..])
        .arg("true")
        .run(&setup.cancel, Some(scaled(setup.accel, LOGIN)), &mut |_, _| {});
    // What the account's shell makes of the command does not matter.
    !matches!(
        asked,
        Err(ProcessError::Failed {
            code: Some(SSH_FAILED),
            ..
        })
    )
}

/// Waits until sshd greets, and gives the terminal to ssh.
pub(super) fn log_in(args: &Args, started: &mut Started, setup: &BootSetup) -> Result<Exit, Exit> {
    let user = args.user();
    talk("waiting for the guest's sshd…\n");
    match started
        .machine
        .wait_sshd(user, scaled(setup.accel, SILENCE), args.timeout)
    {
        Ok(()) => {}
        Err(MachineError::Cancelled) => return Ok(Exit::Interrupted),
        Err(error) => return Err(started.give_up("", error)),
    }
    let port = started.machine.ssh_port().unwrap_or_default();
    // A guest that took no key of ours may know one of the user's own.
    let key = started.key.as_deref();
    let key = key.filter(|key| is_accepted(port, user, key, setup));
    let words = ssh_words(port, user, key);
    let ssh = Cmd::new(tools::path("ssh")).args(&words[1..]);
    let status = ssh.lend_terminal(&setup.cancel).map_err(failed)?;
    if status.code() != Some(SSH_FAILED) {
        return Ok(Exit::Ok);
    }
    let help = if started.key.is_some() {
        "its sshd took no key of this user: is there such a user (--ssh=USER), and may they log in? `pipeline boot` without \
         --ssh shows the console"
    } else {
        "with --write no key is put into the image: use one that it knows, or leave --write out"
    };
    Err(fail(
        Exit::Failed,
        miette::miette!(help = help, "ssh could not log in as {user}"),
    ))
}
