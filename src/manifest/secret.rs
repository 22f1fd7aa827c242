//! Secrets: known by where they are, read only when a run needs them. Nothing here prints, logs or stores a value.

use std::collections::BTreeSet;
use std::fmt;
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

/// What a secret says. It has no `Display`, is not serialised, and its `Debug` shows nothing, so that no message, event or
/// key can hold it by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(String);

impl SecretValue {
    /// The text itself, for the one place that must send it. It belongs into no argument, log, event, key or image.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretValue {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
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
        path: PathBuf,
        /// What the system says.
        cause: String,
    },
}

impl Secret {
    /// Reads the secret.
    ///
    /// # Errors
    /// When it is not there or is not text.
    pub fn read(&self) -> Result<SecretValue, SecretError> {
        let text = match self {
            Self::Env(name) => std::env::var(name).map_err(|error| match error {
                std::env::VarError::NotPresent => SecretError::Unset(name.clone()),
                std::env::VarError::NotUnicode(_) => SecretError::NotText(name.clone()),
            })?,
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
                text
            }
        };
        Ok(SecretValue(text))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_not_shown() {
        let value = SecretValue::from("hunter2".to_owned());
        assert_eq!(
            format!("{value:?} {:?}", Some(&value)),
            "SecretValue(…) Some(SecretValue(…))"
        );
        assert_eq!(value.expose(), "hunter2");
    }
}
