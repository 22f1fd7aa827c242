//! `pipeline`: one manifest in, VM images out. Layers, each importing only downwards, are drawn in `ARCHITECTURE.md`.

pub mod boot;
pub mod boot_command;
pub mod checksum_list;
pub mod cli;
pub mod digest;
pub mod disk_format;
pub mod event;
pub mod guest;
pub mod host;
#[cfg(feature = "import-packer")]
pub mod import;
pub mod installer;
pub mod machine;
pub mod manifest;
pub mod plan;
pub mod platform;
pub mod report;
pub mod run;
pub mod size;
pub mod stage;
pub mod store;
