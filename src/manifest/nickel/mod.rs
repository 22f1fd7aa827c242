//! Manifests in Nickel. They are programs, so they are evaluated in a process of its own, bounded in time and memory:
//! this side starts it, reads the tree or the mistakes that it found, and says in words how it died where it did.
//!
//! A thread would not do. Nickel has no fuel: an endless loop could not be stopped, its memory not be given back, and
//! a parser that recurses too deep ends the process with a signal, whoever started it.

mod evaluate;
mod exchange;
mod remedy;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use self::exchange::{Answer, Report, Request, TextKind};
use super::error::{ManifestErrors, ProblemKind, Problems};
use super::overrides::Override;
use super::parse::Node;
use super::sources::{COMMAND_LINE, Sources};
use crate::host::process::{Cmd, ProcessError, status_text};

pub use self::evaluate::serve;

/// The hidden verb of the command line that runs [`serve`].
pub const VERB: &str = "evaluate-nickel";
/// How long an evaluation may compute, in seconds; the largest manifests take a fraction of one.
const SECONDS: &str = "PIPELINE_NICKEL_SECONDS";
const DEFAULT_SECONDS: u64 = 20;
/// Asks this program for completions; a child of one that was asked does its own work.
const COMPLETE: &str = "COMPLETE";
/// The clock on the wall may run this much longer, for hosts that are busy with other things.
const PATIENCE: u32 = 5;
/// How often the parent looks: short compared with an evaluation.
const POLL: Duration = Duration::from_millis(2);
/// This program, even if its file was replaced meanwhile (proc(5)).
const OURSELVES: &str = "/proc/self/exe";

/// An evaluated manifest.
#[derive(Debug)]
pub struct Evaluated {
    pub tree: Node,
    /// The texts that its spans point into.
    pub sources: Sources,
    /// Imported files, absolute.
    pub imports: Vec<PathBuf>,
}

/// Evaluates a manifest; `path` is how the user named it.
///
/// # Errors
/// What Nickel has to say against it, or how its evaluation was stopped.
pub fn evaluate(
    path: &Path,
    absolute: &Path,
    text: &Arc<str>,
    overrides: &[Override],
) -> Result<Evaluated, ManifestErrors> {
    let seconds = std::env::var(SECONDS).ok().and_then(|value| value.parse().ok());
    let seconds = seconds.filter(|seconds| *seconds > 0).unwrap_or(DEFAULT_SECONDS);
    let request = Request {
        path: absolute.to_owned(),
        text: text.as_ref().to_owned(),
        overrides: overrides.iter().map(exchange::assignment).collect(),
        seconds,
    };
    let answer = match ask(&request) {
        Ok(answer) => answer,
        Err(stopped) => {
            let kind = ProblemKind::Unreadable {
                cause: format!("{}: {}", path.display(), stopped.cause),
                remedy: stopped.remedy,
            };
            let problems = Problems::new(Sources::new([]));
            problems.add_somewhere(kind);
            return Err(problems.into_errors(path.to_owned()));
        }
    };
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    let shown = path.parent().unwrap_or(Path::new(""));
    let mut imports = Vec::new();
    let texts = answer.texts.into_iter().map(|text| {
        let name = match text.kind {
            TextKind::Manifest => path.display().to_string(),
            TextKind::Library => exchange::LIBRARY_NAME.to_owned(),
            TextKind::CommandLine => COMMAND_LINE.to_owned(),
            TextKind::Import => {
                let beside = text.path.strip_prefix(folder).map(|rest| shown.join(rest));
                let name = beside.as_deref().unwrap_or(&text.path).display().to_string();
                imports.push(text.path);
                name
            }
        };
        (name, text.text.into())
    });
    let sources = Sources::new(texts.collect::<Vec<_>>());
    match answer.outcome {
        Ok(tree) => Ok(Evaluated {
            tree,
            sources,
            imports,
        }),
        Err(reports) => {
            let problems = Problems::new(sources);
            for report in reports {
                add(&problems, report);
            }
            Err(problems.into_errors(path.to_owned()))
        }
    }
}

fn add(problems: &Problems, report: Report) {
    let labels = report.labels.iter();
    let labels = labels.map(|label| (&label.span, label.text.as_str(), label.is_primary));
    let cause = report.message.clone();
    let remedy = remedy::remedy(&report);
    problems.add_labelled(labels, ProblemKind::Nickel { cause, remedy });
}

/// Why there is no answer.
struct Stopped {
    cause: String,
    remedy: String,
}

impl Stopped {
    fn broken(cause: impl ToString) -> Self {
        Self {
            cause: format!("it could not be evaluated: {}", cause.to_string()),
            remedy: "try again; if it stays so, this is a mistake of this program".to_owned(),
        }
    }
}

fn ask(request: &Request) -> Result<Answer, Stopped> {
    let question = serde_json::to_vec(request).map_err(Stopped::broken)?;
    let temporary = || tempfile::tempfile().map_err(Stopped::broken);
    let (mut output, mut talk) = (temporary()?, temporary()?);
    let to = |file: &File| file.try_clone().map(Stdio::from).map_err(Stopped::broken);
    let command = Cmd::new(OURSELVES).without(COMPLETE).arg(VERB).stdin(question);
    let mut running = command.spawn(to(&output)?, to(&talk)?).map_err(Stopped::broken)?;
    let limit = Duration::from_secs(request.seconds).saturating_mul(PATIENCE);
    let began = Instant::now();
    let status = loop {
        if let Some(status) = running
            .try_wait()
            .map_err(|error: ProcessError| Stopped::broken(error))?
        {
            break status;
        }
        if began.elapsed() > limit {
            running.kill();
            return Err(too_long(limit.as_secs()));
        }
        thread::sleep(POLL);
    };
    let talk = read(&mut talk).map_err(Stopped::broken)?;
    if !status.success() {
        return Err(died(status, &talk, request.seconds));
    }
    let text = read(&mut output).map_err(Stopped::broken)?;
    serde_json::from_str(&text).map_err(Stopped::broken)
}

fn read(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn too_long(seconds: u64) -> Stopped {
    Stopped {
        cause: format!("its evaluation was stopped after {seconds} s"),
        remedy: format!(
            "look for a function that calls itself without end, or a field that is defined by itself; \
             {SECONDS}=60 in the environment allows more time"
        ),
    }
}

/// How a child ended, from the signal and what the runtime of Rust said last.
fn died(status: ExitStatus, talk: &str, seconds: u64) -> Stopped {
    let xcpu = rustix::process::Signal::XCPU.as_raw();
    if status.signal() == Some(xcpu) {
        return too_long(seconds);
    }
    let segv = rustix::process::Signal::SEGV.as_raw();
    if talk.contains("overflowed its stack") || status.signal() == Some(segv) {
        return Stopped {
            cause: "it is nested too deep to be evaluated".to_owned(),
            remedy: "look for brackets that are opened again and again, or a function that calls itself without end"
                .to_owned(),
        };
    }
    if talk.contains("memory allocation of") {
        return Stopped {
            cause: format!(
                "its evaluation was stopped: it took more than {} MiB of memory",
                evaluate::MEMORY >> 20
            ),
            remedy: "look for a function that calls itself without end, or a list that grows without end"
                .to_owned(),
        };
    }
    let last = talk
        .lines()
        .find(|line| !line.trim().is_empty() && !line.starts_with("thread '"));
    Stopped::broken(last.map_or_else(
        || format!("the evaluation {}", status_text(status)),
        str::to_owned,
    ))
}
