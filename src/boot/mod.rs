//! Booting an image to try it: the disk to boot, the boot-time agent that is watched, the keys of the
//! console. No terminal in here: the command line has that.

pub mod agent;
pub mod calm;
pub mod image;
pub mod keys;
pub mod login;
