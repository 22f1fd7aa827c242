//! A plan over many hosts: cuts it into jobs, and has an engine start them. Schedules nothing itself: engines do.

pub mod chains;
pub mod ci;
pub mod crew;
pub mod engine;
mod follow;
pub mod job;
mod outage;
pub mod pieces;
pub mod slurm;
pub mod work;
pub mod workspace;
