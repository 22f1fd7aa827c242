//! `--detach`: a second process of this program keeps the machine, its door and its scratch space. It is in a session of
//! its own, so it lives on; asked to stop, it ends the machine and cleans up.

use std::fs;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::start::{BootSetup, Started};
use super::{Args, failed, say};
use crate::cli::exit::Exit;
use crate::cli::report_error::{fail, out, talk};
use crate::cli::run::run_id;
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::host::fs::{private_dir, write_atomic};
use crate::host::process::Cmd;
use crate::run::signals;
use crate::store::Store;

/// What the keeping process says.
const LOG: &str = "boot.log";
/// How to get in; appears as a whole when the machine runs.
const READY: &str = "ready";
/// How often to look for it.
const POLL: Duration = Duration::from_millis(50);

/// Starts the keeping process, and returns when the machine runs or does not start.
pub(super) fn leave(args: &Args) -> Result<Exit, Exit> {
    let host = |error: &dyn std::fmt::Display| fail(Exit::Host, miette::miette!("{error}"));
    let store = Store::open(&args.store.folder()).map_err(|error| host(&error))?;
    let folder = store.run_folder(&format!("boot-{}", run_id()));
    private_dir(&folder).map_err(|error| host(&error))?;
    let log = folder.join(LOG);
    let file = OpenOptions::new().create_new(true).append(true).open(&log);
    let file = file.map_err(|error| failed(format!("cannot write {}: {error}", log.display())))?;
    let program = std::env::current_exe().map_err(failed)?;
    // The same words with one more option, right behind the verb.
    let mut words: Vec<_> = std::env::args_os().skip(1).collect();
    let verb = words.iter().position(|word| word == "boot").unwrap_or(0);
    words.splice(verb + 1..verb + 1, ["--supervise".into(), folder.clone().into()]);
    let cancel = Cancel::default();
    let (unheard, _) = mpsc::channel();
    // The other process would not hear a Ctrl-C of this terminal.
    let _listening = signals::listen(&cancel, &Emitter::new(unheard)).map_err(|error| host(&error))?;
    let mut child = Cmd::new(program).args(words).leave(file).map_err(failed)?;

    let mut said = fs::File::open(&log).map_err(failed)?;
    let mut pass_on = || {
        let mut text = String::new();
        if said.read_to_string(&mut text).is_ok() {
            talk(&text);
        }
    };
    loop {
        let ended = child.try_wait().map_err(failed)?;
        pass_on();
        if let Ok(how) = fs::read_to_string(folder.join(READY)) {
            out(&how);
            return Ok(Exit::Ok);
        }
        if let Some(status) = ended {
            return Err(match status.code() {
                Some(2) => Exit::Usage,
                Some(3) => Exit::Host,
                _ => Exit::Failed,
            });
        }
        if cancel.sleep(POLL) {
            child.tell_to_end();
            return Ok(Exit::Interrupted);
        }
    }
}

/// The keeping process: tells how to get in, and waits for the end.
pub(super) fn supervise(
    folder: &Path,
    how: &str,
    started: &mut Started,
    setup: &BootSetup,
) -> Result<Exit, Exit> {
    write_atomic(&folder.join(READY), how.as_bytes()).map_err(failed)?;
    while !started.machine.is_off() && !setup.cancel.is_cancelled() {
        started.tell_visits(&mut |visit| say(&visit.to_string()));
        let _ = setup.cancel.sleep(POLL * 4);
    }
    Ok(Exit::Ok)
}
