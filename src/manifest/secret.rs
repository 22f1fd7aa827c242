//! The secrets that a manifest names.

use std::collections::BTreeSet;

use super::model::{EnvValue, Manifest, Signer, Source, StepKind};
pub use crate::syntax::secret::{Secret, SecretError, SecretValue, Secrets};

/// A secret with the step that wants it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SecretUse<'a> {
    /// Name of the flavor.
    pub flavor: &'a str,
    /// Label of the step.
    pub step: &'a str,
    /// The variable that carries it in the guest.
    pub variable: &'a str,
    /// Where it is on the host.
    pub secret: &'a Secret,
}

impl Manifest {
    /// Every secret that the images of this manifest may need, for the check before a run.
    pub fn secrets(&self) -> Vec<SecretUse<'_>> {
        let mut uses = Vec::new();
        for flavor in &self.flavors {
            for step in &flavor.steps {
                let StepKind::Run(run) = &step.kind else { continue };
                for (variable, value) in &run.env {
                    if let EnvValue::Secret(secret) = value {
                        let (flavor, step) = (flavor.name.as_str(), step.label.as_str());
                        uses.push(SecretUse {
                            flavor,
                            step,
                            variable,
                            secret,
                        });
                    }
                }
            }
        }
        uses
    }

    /// Every variable of the environment that holds a secret of this manifest: of steps, of answers, of places, of signers. Proxies
    /// are none of them: programs that fetch something depend on these.
    pub fn secret_variables(&self) -> BTreeSet<&str> {
        let steps = self.secrets().into_iter().map(|use_| use_.secret);
        let answers = self.distros.iter().filter_map(|distro| match &distro.source {
            Source::Installer(source) => source.password.as_ref(),
            Source::Bootstrap(_) | Source::Disk(_) => None,
        });
        let signers = self.publish.sign.iter().flat_map(Signer::secrets);
        let places = self.publish.targets.iter().flat_map(|target| target.to.secrets());
        steps
            .chain(answers)
            .chain(places.map(|(_, secret)| secret))
            .chain(signers)
            .filter_map(Secret::variable)
            .filter(|name| !name.to_ascii_lowercase().ends_with("_proxy"))
            .collect()
    }
}
