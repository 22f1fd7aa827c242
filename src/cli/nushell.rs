//! Completions for nushell, which clap does not know: a completer that asks this program, as other shells do.

use std::ffi::OsString;
use std::io::{Result, Write};
use std::path::Path;

use clap::Command;
use clap_complete::engine::complete;
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Shells, Zsh};
use serde_json::json;

/// All shells that are known.
pub(super) const SHELLS: Shells<'static> = Shells(&[&Bash, &Elvish, &Fish, &Nushell, &Powershell, &Zsh]);

/// Other programs' completions are left to the completer that was there before. Where we have nothing, null makes
/// nushell complete files.
const REGISTRATION: &str = r#"do --env {
    let before = $env.config.completions.external.completer?
    $env.config.completions.external.completer = {|spans|
        if ($spans.0 | path basename) == "BIN" {
            let found = (with-env { VAR: nushell } { ^"COMPLETER" -- ...$spans } | from json)
            if ($found | is-empty) { null } else { $found }
        } else if $before != null {
            do $before $spans
        }
    }
}
"#;

struct Nushell;

impl EnvCompleter for Nushell {
    fn name(&self) -> &'static str {
        "nushell"
    }

    fn is(&self, name: &str) -> bool {
        name == "nushell" || name == "nu"
    }

    fn write_registration(
        &self,
        var: &str,
        _name: &str,
        bin: &str,
        completer: &str,
        buf: &mut dyn Write,
    ) -> Result<()> {
        let script = REGISTRATION
            .replace("BIN", bin)
            .replace("COMPLETER", completer)
            .replace("VAR", var);
        buf.write_all(script.as_bytes())
    }

    fn write_complete(
        &self,
        cmd: &mut Command,
        args: Vec<OsString>,
        current_dir: Option<&Path>,
        buf: &mut dyn Write,
    ) -> Result<()> {
        let index = args.len().saturating_sub(1);
        let found = complete(cmd, args, index, current_dir)?;
        let records = found.iter().map(|candidate| {
            let help = candidate.get_help().map(ToString::to_string);
            let help = help
                .as_deref()
                .and_then(|help| help.lines().next())
                .unwrap_or_default();
            json!({ "value": candidate.get_value().to_string_lossy(), "description": help })
        });
        writeln!(buf, "{}", json!(records.collect::<Vec<_>>()))
    }
}
