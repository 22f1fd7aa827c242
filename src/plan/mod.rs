//! The plan: a graph of nodes, the key of each, which of them must run and why. Pure, and generic over what nodes do:
//! the stages say that (`stage`), and which of them an image goes through (`stage::recipe`). The same nodes and the same
//! answers about the store give the same plan, byte for byte.

pub mod assess;
pub mod explain;
pub mod graph;
pub mod node;
pub mod reason;
pub mod show;
