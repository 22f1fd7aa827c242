//! `--on-error=shell`: this terminal, lent to a shell in the VM in which something failed.

use std::io::IsTerminal as _;

use super::exit::Exit;
use super::report_error::{fail, talk};
use super::run::AfterError;
use crate::host::cancel::Cancel;
use crate::host::terminal;
use crate::stage::aftermath::OnError;
use crate::stage::presence::Presence;

/// What a run does with a machine that failed.
///
/// # Errors
/// [`Exit::Usage`] when a shell is wanted where there is no terminal, after saying so: a run must never wait for a person who is not there.
pub(super) fn on_error(wanted: AfterError) -> Result<OnError, Exit> {
    match wanted {
        AfterError::Abort => Ok(OnError::Abort),
        AfterError::Keep => Ok(OnError::Keep),
        AfterError::Shell if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() => {
            Ok(OnError::Hold)
        }
        AfterError::Shell => {
            let error = miette::miette!(
                help = "without one, keep the machine for later: --on-error=keep; nothing was started",
                "--on-error=shell needs a terminal"
            );
            Err(fail(Exit::Usage, error))
        }
    }
}

/// Gives the terminal to a shell in the guest until it is left.
pub(super) fn show(presence: &Presence, error: &str) {
    let Some(login) = &presence.login else { return };
    // Others may be looking into machines of theirs; their turn ends when they like.
    let Some(borrowed) = terminal::borrow(|| true) else {
        return;
    };
    talk(&format!(
        "\n{} failed: {error}\n\nThis is a shell in its VM, as {}. The run continues, with the node failed, after you exit.\n",
        presence.node, login.user
    ));
    if let Err(error) = login.client().lend_terminal(&Cancel::default()) {
        talk(&format!("no shell: {error}\n"));
    }
    drop(borrowed);
}
