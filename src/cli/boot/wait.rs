//! `--wait`: shows what the boot-time agent does until it is done. Its log goes to standard output, all else to standard
//! error.

use std::time::{Duration, Instant};

use super::start::{BootSetup, Started};
use super::{Args, print, say};
use crate::boot::agent::{Outcome, Report, Watch};
use crate::cli::exit::Exit;
use crate::cli::report_error::{fail, talk};
use crate::machine::door::REPORTS;
use crate::machine::error::{MachineError, Tail};
use crate::size::show_duration;

/// How often to look.
const POLL: Duration = Duration::from_millis(100);
/// Lines of the console that an error shows.
const SHOWN: usize = 15;

/// Waits for the outcome.
pub(super) fn run(args: &Args, started: &mut Started, setup: &BootSetup) -> Result<Exit, Exit> {
    let began = Instant::now();
    let mut watch = Watch::default();
    let mut resets = 0;
    talk("waiting for the boot-time agent (Ctrl-C ends it)\n");
    let outcome = loop {
        let mut outcome = None;
        started.tell_visits(&mut |visit| {
            let report = watch.take(visit);
            if let Some(Report::Log(lines)) = report {
                return print(&lines);
            }
            // Reports are shown in words; all else that the guest asks is shown as it is.
            if !visit.path.starts_with(REPORTS) {
                say(&visit.to_string());
            }
            match report {
                Some(Report::Started { run, max }) => say(&format!("run {run} of at most {max} begins")),
                Some(Report::Failed { run, code, max }) => {
                    say(&format!(
                        "run {run} of at most {max} exited with {code}; the agent tries again in a minute"
                    ));
                }
                Some(Report::Ended(ended)) => outcome = Some(ended),
                Some(Report::Log(_)) | None => {}
            }
        });
        if let Some(outcome) = outcome {
            break outcome;
        }
        if began.elapsed() > args.timeout {
            return Err(too_late(args, started, &watch));
        }
        match started.machine.poll() {
            Ok(()) => {}
            Err(MachineError::Cancelled) => return Ok(Exit::Interrupted),
            Err(error) => {
                return Err(started.give_up("the machine ended before the agent was done: ", error));
            }
        }
        let now = started.machine.resets();
        if now > resets {
            resets = now;
            say("the guest restarts");
        }
        let _ = setup.cancel.sleep(POLL);
    };
    print(&watch.rest().into_iter().collect::<Vec<_>>());
    say(&format!("{outcome} ({})", show_duration(began.elapsed())));
    match outcome {
        Outcome::Succeeded { .. } => Ok(Exit::Ok),
        Outcome::GaveUp { .. } | Outcome::Disabled { .. } => Err(Exit::Failed),
    }
}

fn too_late(args: &Args, started: &Started, watch: &Watch) -> Exit {
    let console = Tail {
        from: "console",
        lines: started.machine.console().last_lines(SHOWN),
    };
    let limit = show_duration(args.timeout);
    let (what, help) = if watch.asked {
        (
            format!("the boot-time agent was not done within {limit}{console}"),
            "allow more with --timeout, as in --timeout 3h",
        )
    } else {
        (
            format!("the guest never asked for /vm-bootstrap within {limit}{console}"),
            "is the agent installed in this image (install = \"vm-bootstrap\" in its flavor), enabled, and its first \
             network card up by DHCP? --timeout allows more time",
        )
    };
    fail(Exit::Failed, miette::miette!(help = help, "{what}"))
}
