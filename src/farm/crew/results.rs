//! Results of jobs in the remote store: which are there, and those that this host takes.

use std::collections::BTreeSet;

use petgraph::graph::NodeIndex;

use super::{Crew, Hired};
use crate::farm::outage::outlast;
use crate::remote::Remote;
use crate::remote::error::RemoteError;
use crate::run::elsewhere::Elsewhere as _;
use crate::run::error::NodeError;
use crate::run::look::address;
use crate::store::StoreError;
use crate::verdict::Verdict;

impl Crew<'_> {
    /// Whether all results of a chain that others take are there.
    pub(super) fn is_done(&self, at: usize, remote: &Remote) -> bool {
        self.are_there(self.chains[at].results.clone(), remote)
    }

    pub(super) fn can_start(&self, at: usize, remote: &Remote) -> bool {
        let takes = self.chains[at]
            .nodes
            .iter()
            .flat_map(|index| self.plan.needs(*index));
        let takes = takes.filter(|taken| !self.chains[at].nodes.contains(taken));
        self.are_there(takes.collect(), remote)
    }

    fn are_there(&self, nodes: Vec<NodeIndex>, remote: &Remote) -> bool {
        let addresses: BTreeSet<_> = nodes
            .into_iter()
            .map(|index| address(self.plan.node(index)))
            .collect();
        let all: Vec<_> = addresses.into_iter().collect();
        remote.has(&all, self.cancel).len() == all.len()
    }

    /// Ends the nodes whose results a job made, once whatever takes them here finds them.
    pub(super) fn settle(&self, job: &mut Hired, remote: &Remote) {
        job.made.retain(|index, made| {
            let is_there = !self.is_taken(*index) || self.are_there(vec![*index], remote);
            if is_there {
                self.end_if_not(*index, || Ok(made.clone()));
            }
            !is_there
        });
    }

    /// Whether something takes its result on this host.
    pub(super) fn is_taken(&self, node: NodeIndex) -> bool {
        self.plan.dependents(node).any(|taker| !self.has(taker))
    }

    /// Takes a result into this host's store, for what takes it here.
    pub(super) fn take(&self, index: NodeIndex) -> Result<u64, NodeError> {
        let node = self.plan.node(index);
        let lost = |cause: String| NodeError::Elsewhere {
            verdict: Verdict::Other,
            message: format!("{} was built elsewhere and cannot be taken: {cause}", node.id()),
        };
        let remote = Remote::open(self.terms.remote).map_err(|error| lost(error.to_string()))?;
        let remote = remote.ok_or_else(|| lost("there is no remote store".to_owned()))?;
        let emit = self.emit.for_node(&node.id());
        let address = address(node);
        let pulled = outlast(&remote, self.cancel, || {
            let pulled = remote.pull(&address, self.store, self.scratch, false, &emit, self.cancel)?;
            if pulled.is_none() && remote.is_away() {
                return Err(RemoteError::Away);
            }
            Ok(pulled)
        });
        match pulled {
            Ok(Some(entry)) => Ok(entry.bytes()),
            Ok(None) => Err(lost(remote.doubts().join("; "))),
            Err(error) if error.is_cancelled() => Err(StoreError::Cancelled.into()),
            Err(error) => Err(lost(error.to_string())),
        }
    }
}
