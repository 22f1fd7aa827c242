//! A step of a flavor, planned: its values rendered, and what it adds to the inputs of its node.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::build::Inputs;
use super::error::PlanError;
use super::node::{Action, PlannedStep};
use crate::digest::sha256_hex;
use crate::guest;
use crate::manifest::context;
use crate::manifest::model::{Distro, EnvValue, Step, StepKind, Template};
use crate::manifest::template;

/// Revision of what the copy of a folder leaves in the guest; see [`super::build`].
const REVISION_COPY_FOLDER: u32 = 2;

/// What to do, and what the key is made of: scripts by their hash, secrets by their fingerprint, no time limits.
pub(super) fn plan_step(
    distro: &Distro,
    flavor: &str,
    step: &Step,
    inputs: &Inputs<'_>,
) -> Result<(PlannedStep, Value), PlanError> {
    let fingerprint = inputs.fingerprint;
    let (action, inputs) = match &step.kind {
        StepKind::Run(run) => {
            let (mut env, mut secrets, mut shown) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
            for (name, value) in &run.env {
                match value {
                    EnvValue::Text(text) => {
                        let text = render_value(distro, flavor, step, name, text)?;
                        shown.insert(name, text.clone());
                        env.insert(name.clone(), text);
                    }
                    EnvValue::Secret(secret) => {
                        shown.insert(name, format!("secret:{}", fingerprint(secret)));
                        secrets.insert(name.clone(), secret.clone());
                    }
                }
            }
            let inputs = json!({
                "step": step.label, "script": sha256_hex(run.script.as_bytes()),
                "interpreter": run.interpreter, "environment": shown, "exit codes": run.exit_codes,
            });
            let action = Action::Run {
                script: run.script.clone(),
                interpreter: run.interpreter.clone(),
                env,
                secrets,
                exit_codes: run.exit_codes.clone(),
            };
            (action, inputs)
        }
        StepKind::Copy(copy) => {
            let mut inputs = json!({
                "step": step.label, "content": copy.digest, "to": copy.to, "mode": copy.mode,
                "owner": copy.owner,
            });
            if copy.is_folder {
                inputs["revision"] = REVISION_COPY_FOLDER.into();
            }
            (Action::Copy(copy.clone()), inputs)
        }
        StepKind::Reboot => (Action::Reboot, json!({ "step": step.label, "reboot": true })),
        StepKind::InstallAgent => {
            let agent = sha256_hex(format!("{}\0{}", guest::AGENT, guest::INSTALL_AGENT).as_bytes());
            (
                Action::InstallAgent,
                json!({ "step": step.label, "agent": agent }),
            )
        }
        StepKind::Ansible(ansible) => {
            let inputs = json!({ "step": step.label, "playbook": ansible.digest, "arguments": ansible.args });
            (Action::Ansible(ansible.clone()), inputs)
        }
    };
    let planned = PlannedStep {
        label: step.label.clone(),
        action,
        timeout: step.timeout,
        retries: step.retries,
    };
    Ok((planned, inputs))
}

fn render_value(
    distro: &Distro,
    flavor: &str,
    step: &Step,
    variable: &str,
    text: &str,
) -> Result<String, PlanError> {
    if !text.contains('{') {
        return Ok(text.to_owned());
    }
    let template = Template {
        name: format!("{}: {variable}", step.label),
        text: text.to_owned(),
    };
    let context = context::env_context(distro, flavor);
    template::render(&template, &context).map_err(|error| PlanError::Environment {
        step: step.label.clone(),
        variable: variable.to_owned(),
        reason: error.to_string(),
    })
}
