//! Plans a provision: a flavor's steps, rendered, and what its result depends on. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::BASE;
use super::step::{StepInput, plan_step};
use crate::digest::sha256_hex;
use crate::guest;
use crate::key;
use crate::lock::Lock;
use crate::manifest::model::{AnsibleStep, CopyStep, Distro, EnvValue, Flavor, Secret, Step, StepKind};
use crate::plan::graph::{Draft, Nodes};
use crate::plan::node::{Cost, Input, Named, Results, Stage};
use crate::platform::Computer;
use crate::stage::Work;
use crate::stage::distro::{GuestAccess, MachineWish, access, data_bound, user, wish};
use crate::stage::install::{guest_archives, locked};
use crate::stage::layer::Checkpoint;
use crate::stage::recipe::PlanError;

/// Runs a flavor's steps on a distro's disk and seals it.
pub const STAGE: Stage = Stage {
    name: "provision",
    results: Results::Stored,
    inputs: &[
        ("steps", Input::Named(STEPS)),
        ("archives", Input::Archives),
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
const REVISION: u32 = 4;
/// Revision of layers: see [`checkpoints`].
const LAYER_REVISION: u32 = 1;

/// Work of [`STAGE`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProvisionWork {
    /// Who lives in the guest.
    pub guest: GuestAccess,
    /// Steps in order.
    pub steps: Vec<PlannedStep>,
    /// Where its work can be kept.
    pub checkpoints: Vec<Checkpoint>,
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
    /// Suites that steps install from, as the lock has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    archives: Option<&'a Value>,
    seal: String,
    /// Absent for a plain computer.
    #[serde(skip_serializing_if = "Option::is_none")]
    computer: Option<Computer>,
}

/// What the key of a layer is made of.
#[derive(Serialize)]
struct LayerInputs<'a> {
    revision: u32,
    install: &'a str,
    user: &'a str,
    steps: &'a [StepInput<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    archives: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    computer: Option<Computer>,
}

/// One after each step, up to the first that is given a secret: what a step did with it, and deleted, could still be in
/// the free blocks of a layer.
fn checkpoints(
    distro: &Distro,
    flavor: &Flavor,
    inputs: &[StepInput<'_>],
    install: &str,
    archives: Option<&Value>,
) -> Vec<Checkpoint> {
    let is_open = |step: &&Step| match &step.kind {
        StepKind::Run(run) => !run.env.values().any(|value| matches!(value, EnvValue::Secret(_))),
        _ => true,
    };
    let open = flavor.steps.iter().take_while(is_open).zip(1..);
    let checkpoint = |(step, steps): (&Step, usize)| {
        let inputs = LayerInputs {
            revision: LAYER_REVISION,
            install,
            user: user(distro),
            steps: inputs.get(..steps)?,
            archives,
            computer: distro.computer().unusual(),
        };
        let shared = flavor.ends.contains(&steps);
        Some(Checkpoint {
            key: key::of(&serde_json::to_value(inputs).ok()?),
            steps,
            always: step.checkpoint,
            shared,
        })
    };
    open.filter_map(checkpoint).collect()
}

/// The node that makes a flavor of a distro. `fingerprint` gives what stands for a secret.
pub(in crate::stage) fn plan(
    nodes: &mut Nodes<Work>,
    (distro, flavor): (&Distro, &Flavor),
    fingerprint: &dyn Fn(&Secret) -> String,
    install: NodeIndex,
    lock: &Lock,
) -> Result<NodeIndex, PlanError> {
    let mut planned = Vec::with_capacity(flavor.steps.len());
    let mut steps = Vec::with_capacity(flavor.steps.len());
    for step in &flavor.steps {
        let (step, input) = plan_step(distro, &flavor.name, step, fingerprint)?;
        planned.push(step);
        steps.push(input);
    }
    let installed = nodes.key(install).to_owned();
    let archives = locked(&guest_archives(distro), lock);
    let work = ProvisionWork {
        guest: access(distro),
        checkpoints: checkpoints(distro, flavor, &steps, &installed, archives.as_ref()),
        steps: planned,
        machine: wish(distro),
    };
    let draft = Draft {
        stage: STAGE,
        revision: REVISION,
        subject: &format!("{}-{}", distro.name, flavor.name),
        inputs: Inputs {
            install: &installed,
            user: user(distro),
            steps,
            archives: archives.as_ref(),
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

#[cfg(test)]
mod tests {
    use crate::manifest::load::load_text;
    use crate::stage::recipe::testing::planned;

    const FLAVORS: &str = r#"
[distros.tiny]
family = "debian"
version = "12"
source = { disk = { path = "tiny.raw", user = "root" } }
[flavors.base]
steps = [{ inline = "one" }, { inline = "two" }]
[flavors.app]
extends = "base"
steps = [
  { inline = "three", checkpoint = true },
  { inline = "four", env = { TOKEN = { env = "TOKEN" } } },
  { inline = "five" },
]
[flavors.other]
extends = "base"
steps = [{ inline = "THREE" }]
[[images]]
distro = "tiny"
flavor = ["base", "app", "other"]
sizes = ["3G"]
"#;

    #[test]
    fn flavors_share_the_checkpoints_of_their_first_steps_and_none_follows_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tiny.raw"), vec![0; 1 << 20]).unwrap();
        let plan = planned(&load_text(&folder.path().join("m.toml"), FLAVORS).unwrap());
        let of = |flavor: &str| {
            let mut nodes = plan.nodes().map(|(_, node)| node);
            let id = format!("provision/tiny-{flavor}");
            nodes
                .find(|node| node.id() == id)
                .unwrap()
                .work
                .checkpoints()
                .to_vec()
        };
        let (base, app, other) = (of("base"), of("app"), of("other"));
        assert_eq!(app[..2], base);
        assert_eq!(other[..2], base);
        assert_ne!(app[2].key, other[2].key);
        let found: Vec<_> = app
            .iter()
            .map(|one| (one.steps, one.shared, one.always))
            .collect();
        assert_eq!(found, [(1, false, false), (2, true, false), (3, false, true)]);
    }
}
