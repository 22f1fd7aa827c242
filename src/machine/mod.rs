//! A virtual machine from its plain description to its end, the way into it, and its disks.
//! Knows nothing of distros, steps or images; those who call it are the stages.

pub mod argv;
mod arrive;
pub mod console;
pub mod disk;
pub mod door;
pub mod ending;
pub mod error;
pub mod firmware;
pub mod knock;
pub mod media;
mod parts;
pub mod qemu;
pub mod qmp;
pub mod screen;
pub mod seed;
pub mod share;
pub mod spec;
pub mod ssh;
pub mod systemd;
pub mod typing;
mod watch;
mod wire;
