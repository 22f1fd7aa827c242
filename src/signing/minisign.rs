//! Signatures by minisign.

use std::path::Path;

use super::{Scheme, SigningError, left, run};
use crate::host::cancel::Cancel;
use crate::host::process::Cmd;
use crate::host::tools;

/// Signs a file.
pub(super) fn sign(
    key: &Path,
    password: Option<&str>,
    data: &Path,
    folder: &Path,
    cancel: &Cancel,
) -> Result<Vec<u8>, SigningError> {
    let cmd = Cmd::new(tools::path("minisign"))
        .args(["-S", "-s"])
        .arg(key)
        .arg("-m")
        .arg(data)
        // It asks for the password of a key that has one.
        .stdin(format!("{}\n", password.unwrap_or_default()));
    run(
        &cmd,
        "minisign cannot sign with the key of `minisign`",
        folder,
        cancel,
    )?;
    left(data, Scheme::Minisign)
}
