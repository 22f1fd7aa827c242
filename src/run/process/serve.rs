//! The serving side: what the hidden verb does.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::{Failure, FailureKind, RELEASED, Request, Said};
use crate::emit::Emitter;
use crate::event::Event;
use crate::host::cancel::Cancel;
use crate::manifest::secret::SecretValue;
use crate::run::signals;
use crate::stage::error::StageError;
use crate::stage::result::Taken;
use crate::stage::{Site, Work};
use crate::verdict::Verdict;

/// How often it looks whether all events are written.
const POLL: Duration = Duration::from_millis(20);

/// Does the work that standard input asks for. It stops in order at the end of its input, and at SIGTERM.
///
/// # Errors
/// Those of the pipes.
pub fn serve() -> io::Result<()> {
    let cancel = Cancel::default();
    let (unheard, _) = mpsc::channel();
    let _listening = signals::listen(&cancel, &Emitter::new(unheard))?;
    let mut input = BufReader::new(io::stdin());
    let mut line = String::new();
    input.read_line(&mut line)?;
    let request = match Request::read(&line) {
        Ok(request) => request,
        Err(message) => return say(&failed(message, Verdict::Other)),
    };
    drop(line);
    let released = Cancel::default();
    listen(input, cancel.clone(), released.clone());
    let (sender, events) = mpsc::channel();
    let secrets = request.secrets.into_iter();
    let site = Site {
        scratch: request.scratch,
        logs: request.logs,
        keep: request.keep,
        on_error: request.on_error,
        emit: Emitter::new(sender).for_node(&request.node),
        cancel,
        released,
        secrets: secrets
            .map(|(secret, value)| (secret, SecretValue::from(value)))
            .collect(),
        accel: request.accel,
        cpus: request.cpus,
        program: request.program,
        key: request.key,
        lasting: request.lasting,
        before: request.before,
        earlier: request.earlier,
        keeps_layers: request.keeps_layers,
        room: request.room,
        order: Arc::new(request.order),
    };
    let over = Cancel::default();
    let writer = {
        let over = over.clone();
        thread::spawn(move || write_events(&events, &over))
    };
    let said = work(&request.work, &request.taken, &request.out, &site);
    drop(site);
    over.cancel();
    let written = writer.join();
    written.map_err(|_| io::Error::other("the events could not be written"))??;
    say(&said)
}

/// On the thread that calls, which is to live as long as the process: machines die with the thread that started them.
fn work(work: &Work, taken: &Taken, out: &Path, site: &Site) -> Said {
    match catch_unwind(AssertUnwindSafe(|| work.run(taken, out, site))) {
        Ok(Ok(made)) => Said::Made(Box::new(made)),
        Ok(Err(error)) => Said::Failed(Failure {
            message: error.to_string(),
            verdict: error.verdict(),
            log: error.log().map(Path::to_owned),
            kind: kind(&error),
        }),
        Err(panic) => {
            let what = panic.downcast_ref::<String>().map(String::as_str);
            let what = what.or_else(|| panic.downcast_ref::<&str>().copied());
            let message = format!("a bug in pipeline: {}", what.unwrap_or("no message"));
            failed(message, Verdict::Bug)
        }
    }
}

fn failed(message: String, verdict: Verdict) -> Said {
    Said::Failed(Failure {
        message,
        verdict,
        log: None,
        kind: FailureKind::Failed,
    })
}

fn kind(error: &StageError) -> FailureKind {
    if error.is_cancelled() {
        FailureKind::Cancelled
    } else if error.is_breakdown() {
        FailureKind::Breakdown
    } else {
        FailureKind::Failed
    }
}

/// Follows what comes after the request.
fn listen(input: BufReader<io::Stdin>, cancel: Cancel, released: Cancel) {
    thread::spawn(move || {
        for line in input.lines().map_while(Result::ok) {
            if line == RELEASED {
                released.cancel();
            }
        }
        cancel.cancel();
    });
}

/// Writes events until the work is over and no more come. Some senders may live a little longer than the work.
fn write_events(events: &mpsc::Receiver<Event>, over: &Cancel) -> io::Result<()> {
    loop {
        match events.recv_timeout(POLL) {
            Ok(event) => say(&Said::Event(Box::new(event)))?,
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
            Err(mpsc::RecvTimeoutError::Timeout) if over.is_cancelled() => return Ok(()),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
    }
}

fn say(said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    let mut output = io::stdout().lock();
    output.write_all(&line)?;
    output.flush()
}
