//! A plan over many hosts: cuts it into jobs for those who start them elsewhere. Starts nothing on other hosts itself.

pub mod chains;
pub mod ci;
pub mod workspace;
