//! The asking side: starts the process of a node, passes its events on, and says how it ended.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};

use super::{Failure, FailureKind, PROTOCOL, RELEASED, Request, Said, VERB};
use crate::event::{Event, Stream, What};
use crate::host::cancel::Cancel;
use crate::host::facts::{OomKill, OomWatch};
use crate::host::process::{Cmd, Output, keep_tail, read_lines, status_text, tail_text};
use crate::run::error::NodeError;
use crate::stage::error::StageError;
use crate::stage::presence::{self, Presence};
use crate::stage::result::Taken;
use crate::stage::task::Made;
use crate::stage::{Order, Site, Work};
use crate::verdict::Verdict;

/// This program, even if its file was replaced meanwhile (proc(5)).
const OURSELVES: &str = "/proc/self/exe";
/// How often it looks whether it should stop, and whether the process is still there.
const POLL: Duration = Duration::from_millis(50);
/// How long to wait for what a process wrote before it ended.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How a process ends by a fault of its own.
const FAULTS: [i32; 7] = [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP];

/// Shows a machine that a failed node holds, and what went wrong; comes back when it may go.
pub type Attend<'a> = dyn Fn(&Presence, &str) + Sync + 'a;

/// Stores a layer that a node has made: its key, the steps that are done in it, its file.
pub type Keep<'a> = dyn FnMut(&str, usize, &Path) + 'a;

/// Does a node's work in a process of its own. `keep` is called for each layer that it makes, and `attend` is called for a machine that is held after a failure.
///
/// # Errors
/// As the work itself; [`NodeError::Crashed`], [`NodeError::Killed`] and [`NodeError::HostMemory`] when the process ends
/// without an answer.
pub fn ask(
    work: &Work,
    taken: &Taken,
    out: PathBuf,
    site: &Site,
    keep: &mut Keep<'_>,
    attend: &Attend<'_>,
) -> Result<Made, NodeError> {
    let request = request(work, taken, out, site);
    let mut line = serde_json::to_vec(&request).map_err(|error| NodeError::Request(error.to_string()))?;
    line.push(b'\n');
    let kills = OomWatch::begin();
    // Dropped, the process is killed, and the kernel ends its machines with it.
    let mut running = Cmd::new(OURSELVES)
        .arg(VERB)
        .arg(&request.node)
        .converse()
        .map_err(NodeError::NotStarted)?;
    let (sender, lines) = mpsc::channel();
    if let Some(pipe) = running.child.stdout.take() {
        read_answers(pipe, sender.clone());
    }
    if let Some(pipe) = running.child.stderr.take() {
        read_lines(pipe, Output::Stderr, sender);
    }
    let mut input = running.child.stdin.take();
    write(input.as_mut(), &line);
    drop((line, request));

    let mut answer = None;
    let mut tail = Vec::new();
    let mut gone = false;
    loop {
        match lines.recv_timeout(if gone { LAST_WORDS } else { POLL }) {
            Ok((Output::Stdout, line)) => match serde_json::from_str(&line) {
                Ok(Said::Event(event)) => {
                    if let What::Layer { key, steps, file } = &event.what {
                        keep(key, *steps, file);
                    }
                    pass_on(*event, site, attend, input.as_mut());
                }
                Ok(Said::Made(made)) => answer = Some(Ok(*made)),
                Ok(Said::Failed(failure)) => answer = Some(Err(failure)),
                Err(_) => keep_tail(&mut tail, line),
            },
            Ok((Output::Stderr, line)) => {
                site.emit.line(Stream::Tool, line.clone());
                keep_tail(&mut tail, line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) if gone => break,
            Err(mpsc::RecvTimeoutError::Timeout) => gone = matches!(running.try_wait(), Ok(Some(_))),
        }
        if site.cancel.is_cancelled() {
            // It stops its machines in order, however long that takes; a second Ctrl-C ends us, and it with us.
            drop(input.take());
        }
    }
    drop(input);
    match answer {
        Some(Ok(made)) => Ok(made),
        Some(Err(failure)) => Err(failed(failure, &tail, &site.cancel)),
        None if site.cancel.is_cancelled() => Err(StageError::Cancelled.into()),
        None => {
            let process = running.id();
            let ended = running.wait(&Cancel::default()).map_err(NodeError::NotStarted)?;
            let starved = || kills.killed(process);
            Err(ended_early(ended, starved, &tail))
        }
    }
}

fn request(work: &Work, taken: &Taken, out: PathBuf, site: &Site) -> Request {
    let secrets = work.secrets().into_iter();
    // One that is not there is reported by the work, which knows what it is for.
    let secrets =
        secrets.filter_map(|secret| Some((secret.clone(), secret.read().ok()?.expose().to_owned())));
    Request {
        protocol: PROTOCOL,
        node: site.emit.node().unwrap_or_default().to_owned(),
        key: site.key.clone(),
        work: work.clone(),
        taken: taken.clone(),
        before: site.before.clone(),
        earlier: site.earlier.clone(),
        keeps_layers: site.keeps_layers,
        room: site.room,
        order: Order::clone(&site.order),
        out,
        scratch: site.scratch.clone(),
        logs: site.logs.clone(),
        keep: site.keep.clone(),
        lasting: site.lasting.clone(),
        on_error: site.on_error,
        accel: site.accel,
        cpus: site.cpus,
        program: site.program.clone(),
        secrets: secrets.collect(),
    }
}

/// Writes to the process. One that has gone says so by how it ended.
fn write(input: Option<&mut ChildStdin>, bytes: &[u8]) {
    if let Some(input) = input {
        drop(input.write_all(bytes));
    }
}

/// Passes an event on. A machine that is held is shown, and let go after that.
fn pass_on(event: Event, site: &Site, attend: &Attend<'_>, input: Option<&mut ChildStdin>) {
    let held = match &event.what {
        What::MachineHeld { machine, error } => Some((machine.clone(), error.clone())),
        _ => None,
    };
    site.emit.pass_on(event);
    let Some((machine, error)) = held else { return };
    let machines = presence::read(&site.scratch);
    if let Some(presence) = machines.iter().find(|one| one.name == machine) {
        attend(presence, &error);
    }
    write(input, format!("{RELEASED}\n").as_bytes());
}

/// Reads answers, however long their lines are, on a thread of its own.
fn read_answers(pipe: ChildStdout, sender: mpsc::Sender<(Output, String)>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send((Output::Stdout, line)).is_err() {
                break;
            }
        }
    });
}

/// A failure that the process reported.
fn failed(mut failure: Failure, tail: &[String], cancel: &Cancel) -> NodeError {
    // We did not ask it to stop.
    if failure.kind == FailureKind::Cancelled && !cancel.is_cancelled() {
        return NodeError::Killed {
            how: "was stopped by a signal".to_owned(),
            tail: tail.to_vec(),
        };
    }
    if failure.verdict == Verdict::Bug {
        failure.message += &tail_text(tail);
    }
    NodeError::Process(failure)
}

/// What it means that a process ended without an answer.
fn ended_early(ended: ExitStatus, starved: impl FnOnce() -> Option<OomKill>, tail: &[String]) -> NodeError {
    let (how, tail) = (status_text(ended), tail.to_vec());
    match ended.signal() {
        Some(signal) if FAULTS.contains(&signal) => NodeError::Crashed { how, tail },
        Some(signal) => match starved().filter(|_| signal == signal_hook::consts::SIGKILL) {
            Some(kill) => NodeError::HostMemory { kill },
            None => NodeError::Killed { how, tail },
        },
        None => NodeError::Crashed { how, tail },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As wait(2) has it: an exit code in the second byte, a signal in the first.
    #[test]
    fn a_process_that_gives_no_answer_crashed_was_killed_or_starved() {
        let verdict = |status: i32, starved: Option<OomKill>| {
            ended_early(
                ExitStatus::from_raw(status),
                || starved,
                &["last words".to_owned()],
            )
        };
        for (status, starved, expected, words) in [
            (9, None, Verdict::Killed, "was killed by signal 9"),
            (15, None, Verdict::Killed, "was killed by signal 15"),
            (
                9,
                Some(OomKill::Counted),
                Verdict::HostOutOfMemory,
                "ran out of memory",
            ),
            // Killed by hand while the kernel killed others.
            (
                15,
                Some(OomKill::Counted),
                Verdict::Killed,
                "was killed by signal 15",
            ),
            (
                11,
                Some(OomKill::Counted),
                Verdict::Bug,
                "was killed by signal 11",
            ),
            (6, None, Verdict::Bug, "| last words"),
            (1 << 8, None, Verdict::Bug, "exited with code 1"),
        ] {
            let error = verdict(status, starved);
            assert_eq!(error.verdict(), expected, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
