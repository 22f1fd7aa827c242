//! Install: makes a distro's disk, by one of several sources.

mod bootstrap;
mod disk;

pub use bootstrap::bootstrap;
pub use disk::disk;
