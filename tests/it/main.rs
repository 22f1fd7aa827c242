//! The one integration binary: user stories against the real program, real qemu, real HTTP, real sshd.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

mod boot;
mod doctor;
mod fetch;
mod guest;
mod layers;
mod machine;
mod manifest;
mod package;
mod plan;
mod quickstart;
mod refusals;
mod report;
mod run;
mod support;
