//! A step of a flavor, planned: its values rendered, and what it adds to the inputs of its node.

use std::collections::BTreeMap;

use serde::Serialize;

use super::plan::{Action, PlannedStep};
use crate::digest::sha256_hex;
use crate::guest;
use crate::manifest::model::{Distro, EnvValue, Secret, Step, StepKind, Template};
use crate::manifest::{context, template};
use crate::stage::recipe::PlanError;

/// Revision of what the copy of a folder leaves in the guest.
const REVISION_COPY_FOLDER: u32 = 2;

/// What a step adds to the key of its node: scripts by their hash, secrets by their fingerprint, no time limits.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum StepInput<'a> {
    Run {
        step: &'a str,
        script: String,
        interpreter: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        user: Option<&'a str>,
        environment: BTreeMap<&'a str, String>,
        #[serde(rename = "exit codes")]
        exit_codes: &'a [i32],
    },
    Copy {
        step: &'a str,
        content: &'a str,
        to: &'a str,
        mode: Option<u32>,
        owner: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        revision: Option<u32>,
    },
    Reboot {
        step: &'a str,
        reboot: bool,
    },
    Agent {
        step: &'a str,
        agent: String,
    },
    Ansible {
        step: &'a str,
        playbook: &'a str,
        arguments: &'a [String],
    },
}

/// What to do, and what the key is made of.
pub(super) fn plan_step<'a>(
    distro: &Distro,
    flavor: &str,
    step: &'a Step,
    fingerprint: &dyn Fn(&Secret) -> String,
) -> Result<(PlannedStep, StepInput<'a>), PlanError> {
    let label = step.label.as_str();
    let (action, input) = match &step.kind {
        StepKind::Run(run) => {
            let (mut env, mut secrets, mut environment) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
            for (name, value) in &run.env {
                match value {
                    EnvValue::Text(text) => {
                        let text = render_value(distro, flavor, step, name, text)?;
                        environment.insert(name.as_str(), text.clone());
                        env.insert(name.clone(), text);
                    }
                    EnvValue::Secret(secret) => {
                        environment.insert(name.as_str(), format!("secret:{}", fingerprint(secret)));
                        secrets.insert(name.clone(), secret.clone());
                    }
                }
            }
            let input = StepInput::Run {
                step: label,
                script: sha256_hex(run.script.as_bytes()),
                interpreter: run.interpreter.as_deref(),
                user: run.user.as_deref(),
                environment,
                exit_codes: &run.exit_codes,
            };
            let action = Action::Run {
                script: run.script.clone(),
                interpreter: run.interpreter.clone(),
                user: run.user.clone(),
                env,
                secrets,
                exit_codes: run.exit_codes.clone(),
            };
            (action, input)
        }
        StepKind::Copy(copy) => {
            let input = StepInput::Copy {
                step: label,
                content: &copy.digest,
                to: &copy.to,
                mode: copy.mode,
                owner: copy.owner.as_deref(),
                revision: copy.is_folder.then_some(REVISION_COPY_FOLDER),
            };
            (Action::Copy(copy.clone()), input)
        }
        StepKind::Reboot => {
            let input = StepInput::Reboot {
                step: label,
                reboot: true,
            };
            (Action::Reboot, input)
        }
        StepKind::InstallAgent => {
            let agent = sha256_hex(format!("{}\0{}", guest::AGENT, guest::INSTALL_AGENT).as_bytes());
            (Action::InstallAgent, StepInput::Agent { step: label, agent })
        }
        StepKind::Ansible(ansible) => {
            let input = StepInput::Ansible {
                step: label,
                playbook: &ansible.digest,
                arguments: &ansible.args,
            };
            (Action::Ansible(ansible.clone()), input)
        }
    };
    let planned = PlannedStep {
        label: step.label.clone(),
        action,
        timeout: step.timeout,
        retries: step.retries,
    };
    Ok((planned, input))
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
