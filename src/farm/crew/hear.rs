//! What happens in jobs, by what they leave in the remote store, passed on as events of this run.

use std::sync::PoisonError;

use petgraph::graph::NodeIndex;

use super::{Crew, Hired};
use crate::event::{Event, Outcome, What};
use crate::farm::pieces::Piece;
use crate::remote::Remote;
use crate::remote::error::RemoteError;
use crate::run::execute::Done;
use crate::verdict::Verdict;

impl Crew<'_> {
    /// Passes on what happened in a job since the last time.
    pub(super) fn listen(&self, at: usize, job: &mut Hired, remote: &Remote) -> Result<(), RemoteError> {
        while let Some(reader) = &mut job.reader
            && let Some(piece) = reader.next(remote, &self.names[at], self.cancel)?
        {
            let Piece { host, events, over } = piece;
            if let Some(host) = host {
                job.start_over();
                job.host = host;
            }
            for event in events {
                self.hear(at, job, event);
            }
            job.has_left |= over;
        }
        Ok(())
    }

    fn hear(&self, at: usize, job: &mut Hired, event: Event) {
        let mut nodes = self.chains[at].nodes.iter().copied();
        let node = event.node.as_deref();
        let own = node.and_then(|id| nodes.find(|index| self.plan.node(*index).id() == id));
        if let Some(index) = own {
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            hosts.insert(index, job.host.clone());
        }
        match (own, event.what) {
            (
                Some(index),
                What::NodeFinished {
                    outcome,
                    seconds,
                    bytes,
                    message,
                    failure,
                },
            ) => {
                match outcome {
                    Outcome::Built | Outcome::Present | Outcome::Shared => {
                        let done = Done {
                            outcome,
                            bytes: bytes.unwrap_or(0),
                            message,
                        };
                        job.made.insert(index, (done, seconds));
                    }
                    Outcome::Failed => {
                        let verdict = failure.map_or(Verdict::Other, |failure| failure.verdict);
                        let message = message.unwrap_or_default();
                        job.failure
                            .get_or_insert_with(|| format!("on {}: {message}", job.host));
                        // The engine may start it again; it is reported when it does not.
                        job.failures.insert(index, (verdict, message));
                    }
                    Outcome::Skipped | Outcome::Cancelled => {}
                }
            }
            // What was stopped from outside has not failed.
            (
                _,
                What::RunRefused {
                    error,
                    interrupted: false,
                    ..
                },
            ) => job.failure = Some(format!("on {}: {error}", job.host)),
            (_, What::RunRefused { .. } | What::RunStarted { .. } | What::RunFinished { .. }) => {}
            (None, What::Warning { text }) if event.node.is_none() => self.emit.pass_on(Event {
                what: What::Warning {
                    text: format!("on {}: {text}", job.host),
                },
                host: Some(job.host.clone()),
                ..event
            }),
            // Another chain makes it too, or it was made before its job was started again.
            (Some(index), _) if !self.speaks(at, index) => {}
            (_, what) => {
                let host = Some(job.host.clone());
                self.emit.pass_on(Event { what, host, ..event });
            }
        }
    }

    /// Whether what a job says of a node is passed on: the first of those that make it is heard, until one has.
    fn speaks(&self, at: usize, index: NodeIndex) -> bool {
        let first = self.chains.iter().position(|chain| chain.nodes.contains(&index));
        first == Some(at) && !self.ended().contains_key(&index)
    }
}
