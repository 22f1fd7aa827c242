//! The plan: which nodes a manifest needs, what each depends on, the key of each, and why it must run. Pure: the same
//! manifest and the same inputs give the same plan, byte for byte. Knows nothing of how nodes are run.

pub mod assess;
pub mod build;
pub mod error;
pub mod explain;
pub mod families;
#[cfg(test)]
mod golden;
pub mod graph;
pub mod installer;
pub mod key;
pub mod node;
mod publish;
pub mod reason;
pub mod show;
mod step;
