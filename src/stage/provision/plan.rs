//! Plans a provision: a flavor's steps, rendered, and what its result depends on. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};

use super::BASE;
use super::step::{StepInput, plan_step};
use crate::digest::sha256_hex;
use crate::guest;
use crate::manifest::model::{AnsibleStep, CopyStep, Distro, Flavor, Secret};
use crate::plan::graph::{Draft, Nodes};
use crate::plan::node::{Cost, Input, Named, Results, Stage};
use crate::platform::Computer;
use crate::stage::Work;
use crate::stage::distro::{GuestAccess, MachineWish, access, data_bound, user, wish};
use crate::stage::recipe::PlanError;

/// Runs a flavor's steps on a distro's disk and seals it.
pub const STAGE: Stage = Stage {
    name: "provision",
    results: Results::Stored,
    inputs: &[
        ("steps", Input::Named(STEPS)),
        ("seal", Input::BuiltIn("the sealing script changed")),
    ],
};
/// What `--rebuild` selects nodes of it by.
pub const TERM: &str = "flavor";
/// Its steps, in its keys.
const STEPS: Named = Named {
    noun: "step",
    members: &[
        ("script", Input::Content),
        ("content", Input::Content),
        ("playbook", Input::Content),
        ("agent", Input::BuiltIn("the boot-time agent changed")),
        ("environment", Input::Variables),
    ],
};

/// Revision of what it makes; see [`Draft::revision`].
const REVISION: u32 = 3;

/// Work of [`STAGE`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProvisionWork {
    /// Who lives in the guest.
    pub guest: GuestAccess,
    /// Steps in order.
    pub steps: Vec<PlannedStep>,
    /// The VM.
    pub machine: MachineWish,
}

/// A step, rendered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlannedStep {
    /// For people.
    pub label: String,
    pub action: Action,
    /// Longest time for one attempt.
    pub timeout: Duration,
    /// Further attempts.
    pub retries: u32,
}

/// What a step does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Run {
        script: String,
        /// Interpreter, absent: its `#!`, else `/bin/sh`.
        interpreter: Option<String>,
        /// Account that runs it, absent: root.
        user: Option<String>,
        /// Plain environment.
        env: BTreeMap<String, String>,
        /// Secrets for the environment.
        secrets: BTreeMap<String, Secret>,
        /// Codes that mean success.
        exit_codes: Vec<i32>,
    },
    /// Copies.
    Copy(CopyStep),
    /// Restarts the guest.
    Reboot,
    /// Installs the boot-time agent.
    InstallAgent,
    /// Runs a playbook.
    Ansible(AnsibleStep),
}

/// What the key of a provision is made of.
#[derive(Serialize)]
struct Inputs<'a> {
    install: &'a str,
    user: &'a str,
    steps: Vec<StepInput<'a>>,
    seal: String,
    /// Absent for a plain computer.
    #[serde(skip_serializing_if = "Option::is_none")]
    computer: Option<Computer>,
}

/// The node that makes a flavor of a distro. `fingerprint` gives what stands for a secret.
pub(in crate::stage) fn plan(
    nodes: &mut Nodes<Work>,
    distro: &Distro,
    flavor: &Flavor,
    fingerprint: &dyn Fn(&Secret) -> String,
    install: NodeIndex,
) -> Result<NodeIndex, PlanError> {
    let mut planned = Vec::with_capacity(flavor.steps.len());
    let mut steps = Vec::with_capacity(flavor.steps.len());
    for step in &flavor.steps {
        let (step, input) = plan_step(distro, &flavor.name, step, fingerprint)?;
        planned.push(step);
        steps.push(input);
    }
    let work = ProvisionWork {
        guest: access(distro),
        steps: planned,
        machine: wish(distro),
    };
    let installed = nodes.key(install).to_owned();
    let draft = Draft {
        stage: STAGE,
        revision: REVISION,
        subject: &format!("{}-{}", distro.name, flavor.name),
        inputs: Inputs {
            install: &installed,
            user: user(distro),
            steps,
            seal: sha256_hex(guest::SEAL.as_bytes()),
            computer: distro.computer().unusual(),
        },
        takes: vec![BASE.of(install)],
        cost: Cost {
            machines: 1,
            memory: distro.memory.0,
            cpus: distro.cpus,
            scratch: 2 * data_bound(distro),
        },
    };
    let node = nodes.add(draft, work);
    Ok(nodes.known_as(node, TERM, flavor.name.clone()))
}
