//! Asks servers what they can say before hours of work: whether a mirror has the suite, a URL the file. Each is asked
//! once, several at the same time, and only for nodes that are to run.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use super::prepare::Prepared;
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::stage::Node;
use crate::stage::task::Finding;

/// Questions at the same time.
const AT_ONCE: usize = 8;
/// After so long it is worth saying what is waited for.
const LONG: Duration = Duration::from_secs(2);

/// What was found, each with the ids of the nodes that it is about.
pub(super) fn probe(prepared: &Prepared, cancel: &Cancel, emit: &Emitter) -> Vec<(Finding, Vec<String>)> {
    let mut questions: BTreeMap<String, Vec<&Node>> = BTreeMap::new();
    // Where nothing is to be built, an upload itself finds out as soon.
    let only_publishes = prepared.todo().all(|(_, node)| node.work.publishes());
    for (_, node) in prepared.todo().filter(|_| !only_publishes) {
        if let Some(question) = node.work.asks() {
            questions.entry(question).or_default().push(node);
        }
    }
    if questions.is_empty() {
        return Vec::new();
    }
    let count = questions.len();
    let queue: Mutex<VecDeque<_>> = Mutex::new(questions.into_values().collect());
    let take = || {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.pop_front().filter(|_| !cancel.is_cancelled())
    };
    thread::scope(|scope| {
        let (sender, answers) = mpsc::channel();
        for _ in 0..AT_ONCE.min(count) {
            let sender = sender.clone();
            let take = &take;
            scope.spawn(move || {
                while let Some(nodes) = take() {
                    let Some(first) = nodes.first() else { continue };
                    let found = first.work.probe(cancel);
                    let ids: Vec<_> = nodes.iter().map(|node| node.id()).collect();
                    // Whoever listens waits for all of us.
                    let _ = sender.send((found, ids));
                }
            });
        }
        drop(sender);
        let mut found = Vec::new();
        let mut has_said = false;
        loop {
            match answers.recv_timeout(LONG) {
                Ok((findings, ids)) => {
                    found.extend(findings.into_iter().map(|finding| (finding, ids.clone())));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return found,
                Err(mpsc::RecvTimeoutError::Timeout) if has_said => {}
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    has_said = true;
                    emit.phase("waiting for answers of mirrors and servers");
                }
            }
        }
    })
}
