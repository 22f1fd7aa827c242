//! `pipeline`: one manifest in, VM images out. Layers, each importing only downwards, are drawn in `ARCHITECTURE.md`.

mod boot;
mod boot_command;
mod checks;
mod checksum_list;
mod cli;
mod deciding;
mod digest;
mod disk_format;
mod emit;
mod event;
mod families;
mod farm;
mod guest;
mod host;
#[cfg(feature = "import-packer")]
mod import;
mod installer;
#[doc(hidden)]
pub mod internals;
mod key;
mod lock;
mod machine;
mod manifest;
mod packages;
mod places;
mod plan;
mod platform;
mod releases;
mod remote;
mod report;
mod run;
mod signing;
mod size;
mod stage;
mod store;
mod syntax;
mod took;
mod verdict;

pub use cli::main;
