//! The one integration binary: user stories against the real program, real qemu, real HTTP, real sshd.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]
#![expect(clippy::too_many_lines, reason = "a story is read from top to bottom")]

mod answers;
mod boot;
#[path = "../chaos/mod.rs"]
mod chaos;
mod ci;
mod daily;
mod doctor;
mod failures;
mod families;
mod farm;
mod fetch;
mod found_before;
mod freshness;
mod full_guest;
mod gate;
mod guest;
mod hosts;
#[cfg(feature = "import-packer")]
mod import;
#[cfg(feature = "import-packer")]
mod imported;
mod init;
mod installed;
mod installer;
mod interfaces;
mod layers;
mod loaded;
mod machine;
mod manifest;
mod media;
#[cfg(feature = "nickel")]
mod nickel;
mod offered;
mod package;
mod page;
mod plan;
mod publish;
mod refusals;
mod releases;
mod remote;
mod report;
mod run;
mod schema;
mod support;
mod survive;
