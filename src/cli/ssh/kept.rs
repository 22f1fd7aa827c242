//! A VM that was kept after a failure: started again, entered, powered off.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::{Args, failed, lend};
use crate::cli::attach::attach;
use crate::cli::exit::Exit;
use crate::cli::report_error::talk;
use crate::cli::run::run_id;
use crate::emit::Emitter;
use crate::event::What;
use crate::host::cancel::Cancel;
use crate::host::facts;
use crate::machine::qemu::Machine;
use crate::machine::spec::Accel;
use crate::machine::ssh::Key;
use crate::run::signals;
use crate::stage::aftermath::Kept;
use crate::stage::guest::scaled;
use crate::stage::presence::Login;
use crate::store::{KeptFolder, Store};

/// How long a guest may show no sign of life before it is given up, under KVM.
const SILENCE: Duration = Duration::from_secs(3 * 60);
/// How long a guest may take to power off in order, under KVM.
const POWER_OFF: Duration = Duration::from_secs(90);
/// How often to look whether it has.
const POLL: Duration = Duration::from_millis(100);

/// Starts it, gives the terminal to a shell or its console, and powers it off.
pub(super) fn enter(store: &Store, folder: &KeptFolder, kept: &Kept, args: &Args) -> Result<Exit, Exit> {
    let cannot = |error: &dyn std::fmt::Display| failed(&error.to_string());
    let Some(_mine) = store.enter_kept(&folder.path).map_err(|error| cannot(&error))? else {
        return Err(failed(&format!(
            "the kept VM of {} is in use by another `pipeline ssh`",
            kept.node
        )));
    };
    let (sender, receiver) = mpsc::channel();
    let emit = Emitter::new(sender);
    thread::spawn(move || {
        for event in receiver {
            if let What::Warning { text } = event.what {
                talk(&format!("warning: {text}\n"));
            }
        }
    });
    let cancel = Cancel::default();
    let _listening = signals::listen(&cancel, &emit).map_err(|error| cannot(&error))?;
    let processor = kept.computer.platform.hardware().emulator.processor;
    let accel: Accel = (&facts::accelerator_for(processor)).into();
    let spec = kept.machine(&folder.path, accel);
    let id = format!("ssh-{}", run_id());
    // By which a clean-up knows that these logs are being written.
    let _alive = store.scratch(&id).map_err(|error| cannot(&error))?;
    let logs = store.run_folder(&id);
    talk(&format!(
        "starting the VM in which {} failed: {}\n",
        kept.node, kept.why
    ));
    let mut machine = Machine::start(&spec, &logs, &emit, &cancel).map_err(|error| cannot(&error))?;
    let entered = if args.console {
        let share = machine.share_console().map_err(|error| cannot(&error))?;
        attach(share.socket())
            .map(|_| Exit::Ok)
            .map_err(|error| cannot(&error))
    } else {
        log_in(&mut machine, kept, folder, accel, args)
    };
    power_off(&mut machine, scaled(accel, POWER_OFF), &cancel);
    if cancel.is_cancelled() {
        return Ok(Exit::Interrupted);
    }
    entered
}

/// In order, where the guest is well and the user is not in a hurry.
fn power_off(machine: &mut Machine, limit: Duration, cancel: &Cancel) {
    let began = Instant::now();
    if machine.poll().is_ok() && machine.power_off().is_ok() {
        talk("powering it off, so that its disk is whole… (Ctrl-C ends it at once)\n");
        while !machine.is_off() && began.elapsed() < limit && !cancel.sleep(POLL) {}
    }
    machine.stop(Duration::ZERO);
}

fn log_in(
    machine: &mut Machine,
    kept: &Kept,
    folder: &KeptFolder,
    accel: Accel,
    args: &Args,
) -> Result<Exit, Exit> {
    let path = Kept::key(&folder.path);
    let key = Key::load(&path).map_err(|error| failed(&error.to_string()))?;
    talk("waiting until it lets us in…\n");
    let ssh = machine.wait_ssh(&key, &kept.user, scaled(accel, SILENCE));
    let ssh = ssh.map_err(|error| failed(&error.to_string()))?;
    let login = Login {
        port: ssh.port(),
        user: kept.user.clone(),
        key: path,
    };
    let entered = lend(&login, &args.command, "it does not let us in any more");
    drop(ssh);
    entered
}
