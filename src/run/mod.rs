//! The run: makes a plan of a manifest against a store and carries it out. Brings the layers below together; prints
//! nothing, everything that happens is an event.

pub mod builds;
pub mod bundle;
pub mod elsewhere;
pub mod error;
#[cfg(test)]
mod example;
pub mod execute;
pub mod facts;
pub mod hooks;
pub mod images;
mod layers;
pub mod lock;
pub mod look;
mod media;
pub mod mirrors;
pub mod outputs;
pub mod prepare;
mod probe;
pub mod process;
pub mod schedule;
pub mod share;
pub mod signals;
pub mod workers;
