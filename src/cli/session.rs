//! Work of a verb that is no run: shown as a run's is, Ctrl-C heard, but without a store and a journal.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::exit::Exit;
use super::report_error::fail;
use super::show::ShowArgs;
use crate::emit::Emitter;
use crate::event::{EVENTS_VERSION, FailureInfo, NodeInfo, Outcome, What};
use crate::host::cancel::Cancel;
use crate::report::summary::RunSummary;
use crate::report::{self, Verbosity};
use crate::run::signals::{self, Listening};
use crate::verdict::Verdict;

/// The work under way.
pub struct Session {
    /// For the work as a whole.
    pub emit: Emitter,
    /// Whether to stop.
    pub cancel: Cancel,
    listening: Listening,
    reader: JoinHandle<RunSummary>,
}

/// A thing to do, as it is shown.
pub fn node(verb: &str, subject: &str) -> NodeInfo {
    NodeInfo {
        id: format!("{verb}/{subject}"),
        stage: verb.to_owned(),
        subject: subject.to_owned(),
        ..NodeInfo::default()
    }
}

impl Session {
    /// Begins to show these things and to listen.
    ///
    /// # Errors
    /// [`Exit::Host`], after saying why on stderr.
    pub fn start(show: &ShowArgs, nodes: Vec<NodeInfo>) -> Result<Self, Exit> {
        let (sender, receiver) = mpsc::channel();
        let (emit, cancel) = (Emitter::new(sender), Cancel::default());
        let listening = signals::listen(&cancel, &emit)
            .map_err(|error| fail(Exit::Host, miette::miette!("cannot listen for Ctrl-C: {error}")))?;
        let options = show.options(Verbosity::Normal);
        let reader = thread::spawn(move || report::run(&receiver, options));
        emit.emit(What::RunStarted {
            version: EVENTS_VERSION,
            run: String::new(),
            folder: String::new(),
            pipeline: String::new(),
            manifest: String::new(),
            nodes,
            images: Vec::new(),
        });
        Ok(Self {
            emit,
            cancel,
            listening,
            reader,
        })
    }

    /// Does one of the things. `is_cancelled` tells whether it only was asked to stop, `well` how a success ended, and what is said of it.
    ///
    /// # Errors
    /// What the work gives; it is reported already.
    pub fn perform<T, E: std::fmt::Display>(
        &self,
        node: &NodeInfo,
        work: impl FnOnce(&Emitter) -> Result<T, E>,
        is_cancelled: fn(&E) -> bool,
        verdict: fn(&E) -> Verdict,
        well: impl FnOnce(&T) -> (Outcome, Option<String>),
    ) -> Result<T, E> {
        let emit = self.emit.for_node(&node.id);
        emit.emit(What::NodeStarted);
        let started = Instant::now();
        let result = work(&emit);
        let (outcome, message) = match &result {
            Ok(done) => well(done),
            Err(error) if is_cancelled(error) => (Outcome::Cancelled, None),
            Err(error) => (Outcome::Failed, Some(error.to_string())),
        };
        emit.emit(What::NodeFinished {
            outcome,
            seconds: started.elapsed().as_secs_f64(),
            bytes: None,
            message,
            failure: result.as_ref().err().map(|error| FailureInfo {
                verdict: verdict(error),
                cause: error.to_string().lines().next().unwrap_or_default().to_owned(),
                log: String::new(),
                kept: false,
            }),
        });
        result
    }

    /// Waits until all is shown. Tells whether it was asked to stop, and what was seen.
    pub fn finish(self) -> (bool, Option<RunSummary>) {
        let Self {
            emit,
            cancel,
            listening,
            reader,
        } = self;
        drop((listening, emit));
        let summary = reader.join().ok();
        (cancel.is_cancelled(), summary)
    }
}
