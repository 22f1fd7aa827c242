//! Install: makes a distro's disk, by one of several sources.

mod bootstrap;
mod disk;
mod installer;

pub use bootstrap::bootstrap;
pub use disk::disk;
pub use installer::{InstallerFailure, installer};
