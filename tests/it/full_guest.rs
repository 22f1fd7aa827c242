//! Stories that need a full guest. Without KVM they take most of the time; `make quick` leaves them out. What each one alone
//! proves is in docs/testing.md.

mod agent;
mod checks;
mod cloud_init;
mod firmware;
mod hosts;
mod installer;
mod kills;
mod lockout;
mod login;
mod plain_boot;
mod quickstart;
mod rebuild;
mod steps;
