//! Secrets: known by where they are, read only when a run needs them. Nothing here prints, logs or stores a value.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::model::{EnvValue, Manifest, Source, StepKind};

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Secret {
    /// An environment variable of the host.
    Env(String),
    /// A file on the host; its text without the last newline.
    File(PathBuf),
}

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

/// Why a secret could not be read. Never says what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The environment lacks it.
    #[error("the environment variable `{0}` is not set; export it before the run")]
    Unset(String),
    /// The environment has bytes that are not text.
    #[error("the environment variable `{0}` is not text (UTF-8)")]
    NotText(String),
    /// The file is absent, unreadable or not text.
    #[error("the secret in `{}` cannot be read: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: String,
    },
}

impl Secret {
    /// Reads the secret. The caller must keep it out of arguments, logs, events, keys and images.
    ///
    /// # Errors
    /// When it is not there or is not text.
    pub fn read(&self) -> Result<String, SecretError> {
        match self {
            Self::Env(name) => std::env::var(name).map_err(|error| match error {
                std::env::VarError::NotPresent => SecretError::Unset(name.clone()),
                std::env::VarError::NotUnicode(_) => SecretError::NotText(name.clone()),
            }),
            Self::File(path) => {
                let mut text = std::fs::read_to_string(path).map_err(|error| SecretError::File {
                    path: path.clone(),
                    cause: error.to_string(),
                })?;
                if text.ends_with('\n') {
                    text.pop();
                    // An editor on Windows ends a line so.
                    if text.ends_with('\r') {
                        text.pop();
                    }
                }
                Ok(text)
            }
        }
    }
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

    /// Every variable of the environment that holds a secret of this manifest: of steps, of answers, of places.
    pub fn secret_variables(&self) -> BTreeSet<&str> {
        let steps = self.secrets().into_iter().map(|use_| use_.secret);
        let answers = self.distros.iter().filter_map(|distro| match &distro.source {
            Source::Installer(source) => source.password.as_ref(),
            Source::Bootstrap(_) | Source::Disk(_) => None,
        });
        let places = self.publish.targets.iter().flat_map(|target| target.secrets());
        steps
            .chain(answers)
            .chain(places.map(|(_, secret)| secret))
            .filter_map(|secret| match secret {
                Secret::Env(name) => Some(name.as_str()),
                Secret::File(_) => None,
            })
            .collect()
    }
}
