//! Commands of the user's on this host, when a run is over. Each gets what happened as JSON, has a time limit, and can fail:
//! nothing that was built depends on it.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::host::cancel::Cancel;
use crate::host::process::{Cmd, ProcessError};
use crate::manifest::model::Hook;

/// Why a hook failed.
#[derive(Debug, thiserror::Error)]
#[error("the hook after {after} failed: {source}; its output is in {log}; what was built stays as it is")]
pub struct HookError {
    after: &'static str,
    source: ProcessError,
    log: String,
}

/// Runs a hook in the manifest's folder until it exits, and keeps its output.
///
/// # Errors
/// [`HookError`].
pub fn call(
    hook: &Hook,
    folder: &Path,
    happened: &Value,
    log: &Path,
    cancel: &Cancel,
) -> Result<(), HookError> {
    let failed = |source| HookError {
        after: hook.after.name(),
        source,
        log: log.display().to_string(),
    };
    // Without its output, a hook can still do its work.
    let mut output = File::create(log).ok();
    let cmd = Cmd::new("/bin/sh").called("sh").args(["-c", &hook.command]);
    let cmd = cmd.folder(folder).stdin(format!("{happened}\n"));
    let ran = cmd.run(cancel, Some(hook.timeout), &mut |_, line| {
        if let Some(file) = &mut output {
            let _ = writeln!(file, "{line}");
        }
    });
    ran.map_err(failed)
}
