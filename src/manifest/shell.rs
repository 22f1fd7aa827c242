//! Asks this host's bash whether it can read a script at all: a missing `fi` should not cost an installation and a boot.
//! bash reads what `sh`, `dash` and `ash` read, so no script of theirs is refused by mistake. A host without bash asks no one.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::host::cancel::Cancel;
use crate::host::process::{Cmd, ProcessError};
use crate::host::tools;
use crate::syntax::script;

/// Shells whose scripts bash can read.
const READABLE: [&str; 4] = ["ash", "bash", "dash", "sh"];
/// Longest time for one script. Reading takes milliseconds.
const LIMIT: Duration = Duration::from_secs(10);

/// What bash said of scripts: flavors share them, and some commands load a manifest twice.
static KNOWN: Mutex<BTreeMap<String, Option<String>>> = Mutex::new(BTreeMap::new());

/// Why a shell would not run a script to its end, in bash's words with their line.
pub(super) fn fault(text: &str, interpreter: Option<&str>) -> Option<String> {
    let shell = script::shell(text, interpreter)?;
    if !READABLE.contains(&shell) || tools::find("bash").is_none() {
        return None;
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let words = known.entry(text.to_owned()).or_insert_with(|| {
        let words = refused(text, &[])?;
        // Patterns as in `!(a|b)` are only read where they are switched on, which a script does while it runs.
        refused(text, &["-O", "extglob"])?;
        Some(words)
    });
    words
        .as_ref()
        .map(|words| format!("cannot be read by a shell: {words}"))
}

/// What to do about it, for a file.
pub(super) fn remedy(name: &str) -> String {
    format!("correct it until `bash -n {name}` says nothing")
}

/// What to do about it where the script stands in the manifest.
pub(super) const REMEDY_INLINE: &str = "correct the script; a line of it is counted from its first one";

/// What bash says about a script, if it refuses it.
fn refused(text: &str, options: &[&str]) -> Option<String> {
    let command = Cmd::new(tools::path("bash"))
        .args(["--norc", "-n"])
        .args(options)
        .arg("/dev/stdin");
    let command = command.env("LC_ALL", "C.UTF-8").without("BASH_ENV").stdin(text);
    let mut last = Vec::new();
    let run = command.run(&Cancel::default(), Some(LIMIT), &mut |_, line| {
        last.push(line.to_owned());
    });
    match run {
        // 2 is bash's code for scripts that it cannot read.
        Err(ProcessError::Failed { .. }) => {}
        _ => return None,
    }
    let said = last.iter().find(|line| line.contains(": line "))?;
    let (_, said) = said.split_once(": line ")?;
    Some(format!("line {}", said.trim()))
}
