//! Secrets: known by where they are, read only when a run needs them. Nothing here prints, logs or stores a value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::ProblemKind;
use super::parse::Value;
use super::reading::Reading;
use super::row::{Cell, In, Row};
use super::table::{one_of, table};
use super::text::{AnyText, Text, Variable};

table! {
    SECRET: SecretKeys = "secret", "Where a secret is; never the secret itself", "{ env = \"TOKEN\" }",
        groups [needed SecretKey];
    env: Variable = "\"TOKEN\"", "an environment variable of the host";
    file: Text = "\"token\"", "a file, whose text it is without its last newline";
    default: AnyText = "\"\"", "what it is where the variable is not set"
        .default("none: a run refuses to start").goes_with(|| vec![&SECRET.env.key]);
}

one_of! {
    /// Where a secret is.
    SecretKey of SECRET { Env: env, File: file }
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Secret {
    /// An environment variable of the host.
    Env(String),
    /// The same; what it is where that is not set.
    EnvOr(String, String),
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

/// Values of secrets that came with a request from another process; all others are read where they are.
#[derive(Clone, Debug, Default)]
pub struct Secrets(BTreeMap<Secret, SecretValue>);

impl Secrets {
    /// The value of a secret.
    ///
    /// # Errors
    /// As [`Secret::read`].
    pub fn read(&self, secret: &Secret) -> Result<SecretValue, SecretError> {
        self.0
            .get(secret)
            .map_or_else(|| secret.read(), |value| Ok(value.clone()))
    }
}

impl FromIterator<(Secret, SecretValue)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (Secret, SecretValue)>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl Secret {
    /// The environment variable that holds it.
    pub fn variable(&self) -> Option<&str> {
        match self {
            Self::Env(name) | Self::EnvOr(name, _) => Some(name),
            Self::File(_) => None,
        }
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// When it is not there or is not text.
    pub fn read(&self) -> Result<SecretValue, SecretError> {
        let text = match self {
            Self::Env(name) => of_variable(name)?,
            Self::EnvOr(name, default) => match of_variable(name) {
                Err(SecretError::Unset(_)) => default.clone(),
                read => read?,
            },
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

fn of_variable(name: &str) -> Result<String, SecretError> {
    std::env::var(name).map_err(|error| match error {
        std::env::VarError::NotPresent => SecretError::Unset(name.to_owned()),
        std::env::VarError::NotUnicode(_) => SecretError::NotText(name.to_owned()),
    })
}

/// Reads where a secret is; one that is not there now is only a warning.
pub fn read_secret(reading: Reading<'_>, cell: &Cell<'_, In<SecretKeys>>) -> Option<Secret> {
    let table = cell.fields()?;
    let (key, one) = table.one_of::<SecretKey>()?;
    let (secret, fault) = match key {
        SecretKey::Env => {
            let name = table.read(&SECRET.env)?;
            let default = table.get(&SECRET.default);
            let default = default.and_then(|cell| match &cell.node.value {
                Value::Text(text) => Some(text.clone()),
                _ => cell.wrong("a text"),
            });
            match default {
                Some(default) => (Secret::EnvOr(name, default), None),
                None => {
                    let is_unset = std::env::var_os(&name).is_none();
                    let fault = is_unset.then(|| format!("the environment variable `{name}` is not set"));
                    (Secret::Env(name), fault)
                }
            }
        }
        SecretKey::File => {
            let name = table.read(&SECRET.file)?;
            let fault = reading.files.regular(&name).err().map(|error| error.to_string());
            (Secret::File(reading.files.path(&name)), fault)
        }
    };
    if let Some(cause) = fault {
        let path = cell.path.clone();
        one.report(ProblemKind::UnsetSecret { path, cause });
    }
    Some(secret)
}

/// Where a secret is that the manifest says nothing about. That it is there, a run asks.
pub fn default_secret(row: &Row<In<SecretKeys>>) -> Option<Secret> {
    let variable = row.default_with(|cell| cell.fields()?.read(&SECRET.env));
    variable.map(Secret::Env)
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
