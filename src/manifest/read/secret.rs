//! Secrets: where they are.

use crate::manifest::describe::row::{Cell, In, Row};
use crate::manifest::describe::tables::{SECRET, SecretKey, SecretKeys};
use crate::manifest::error::ProblemKind;
use crate::manifest::model::Secret;

use super::Reading;

/// Reads where a secret is; one that is not there now is only a warning.
pub(super) fn read_secret(reading: Reading<'_>, cell: &Cell<'_, In<SecretKeys>>) -> Option<Secret> {
    let table = cell.fields()?;
    let (key, one) = table.one_of::<SecretKey>()?;
    let (secret, fault) = match key {
        SecretKey::Env => {
            let name = table.read(&SECRET.env)?;
            let fault = std::env::var_os(&name)
                .is_none()
                .then(|| format!("the environment variable `{name}` is not set"));
            (Secret::Env(name), fault)
        }
        SecretKey::File => {
            let name = table.read(&SECRET.file)?;
            let fault = reading.files.file(&name).err().map(|error| error.to_string());
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
pub(super) fn default_secret(row: &Row<In<SecretKeys>>) -> Option<Secret> {
    let variable = row.default_with(|cell| cell.fields()?.read(&SECRET.env));
    variable.map(Secret::Env)
}
