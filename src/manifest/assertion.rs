//! What can be asserted of a booted image, as plain data, and the sets that are built in. How it is found out is not
//! known here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::describe::row::words;

/// How long an image may take to boot in the standard set, under KVM.
const BOOT: Duration = Duration::from_secs(5 * 60);
/// Port of SSH.
pub const SSH: u16 = 22;

/// One assertion with its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What reports call it; no two checks of an image have the same.
    #[serde(rename = "check")]
    pub name: String,
    /// What must hold.
    #[serde(rename = "asserts")]
    pub assertion: Assertion,
}

/// What must hold. The serialised form is part of the keys of check nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assertion {
    /// Userland shows a first sign of life (a login prompt, a request, a greeting of sshd) within this time under KVM;
    /// without KVM it may take as much longer as every other wait.
    BootsWithin(Duration),
    /// Somebody at the console or the screen is asked to log in.
    LoginPrompt,
    /// The first network card has its address by DHCP.
    Network,
    /// A port answers through the NAT; on 22 with the greeting of SSH.
    Port(u16),
    /// Disk, partition and root file system have the image's size.
    RootSize,
    /// systemd has started everything it was told to.
    NoFailedUnits,
    /// Two clones have machine ids and SSH host keys of their own.
    Identity,
    /// Nothing of the build is left: its key, its settings, addresses of its host.
    NoTraces,
    /// The boot-time agent keeps its contract.
    Agent,
    /// A command in the guest, run by root's `sh`.
    Command(CommandCheck),
}

/// A command and what it must do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandCheck {
    /// For `/bin/sh`.
    pub command: String,
    pub exit_code: i32,
    /// A text that its output must have.
    pub output: Option<String>,
    /// A regular expression that its output must match.
    pub matches: Option<String>,
    /// Longest time. No part of keys.
    pub timeout: Duration,
}

impl Assertion {
    /// What a check is called that names itself nothing else.
    pub fn default_name(&self) -> String {
        match self {
            Self::BootsWithin(_) => "boots-within".to_owned(),
            Self::LoginPrompt => "login-prompt".to_owned(),
            Self::Network => "network".to_owned(),
            Self::Port(port) => format!("port-{port}"),
            Self::RootSize => "root-size".to_owned(),
            Self::NoFailedUnits => "no-failed-units".to_owned(),
            Self::Identity => "identity".to_owned(),
            Self::NoTraces => "no-traces".to_owned(),
            Self::Agent => "agent".to_owned(),
            Self::Command(command) => {
                let first = command.command.trim().lines().next().unwrap_or_default();
                first.chars().take(40).collect()
            }
        }
    }
}

impl From<Assertion> for Check {
    fn from(assertion: Assertion) -> Self {
        let name = assertion.default_name();
        Self { name, assertion }
    }
}

/// A built-in set of checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckSet {
    /// What every image must do.
    Standard,
    /// What an image with the boot-time agent must do beside it.
    VmBootstrap,
}

words! { CheckSet: Standard, VmBootstrap; }

impl CheckSet {
    /// As in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::VmBootstrap => "vm-bootstrap",
        }
    }

    pub fn checks(self) -> Vec<Check> {
        let assertions = match self {
            Self::Standard => vec![
                Assertion::BootsWithin(BOOT),
                Assertion::LoginPrompt,
                Assertion::Network,
                Assertion::Port(SSH),
                Assertion::RootSize,
                Assertion::NoFailedUnits,
                Assertion::Identity,
                Assertion::NoTraces,
            ],
            Self::VmBootstrap => vec![Assertion::Agent],
        };
        assertions.into_iter().map(Check::from).collect()
    }
}
