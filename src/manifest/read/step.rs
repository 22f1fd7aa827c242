//! `[flavors.*]`: lists of steps.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::manifest::builtin;
use crate::manifest::error::ProblemKind;
use crate::manifest::fields::{Field, Fields};
use crate::manifest::files::{Extent, FileError};
use crate::manifest::model::{AnsibleStep, CopyStep, EnvValue, RunStep, Secret, Step, StepKind};
use crate::manifest::parse::Value;
use crate::manifest::script;
use crate::manifest::suggest;
use crate::size::parse_duration;

use super::{FlavorDraft, Reading, Spot, check};

/// Time for one attempt of a step: an upgrade over a slow mirror under emulation takes less.
const TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Folder of the built-in scripts.
const BUILT_IN: &str = "guest/";
/// How much of an inline script's first line its label shows.
const LABEL_WIDTH: usize = 40;

const KINDS: &[&str] = &["run", "inline", "copy", "reboot", "install", "ansible"];
/// Keys of one kind or another, and those of all.
const BESIDE_KIND: &[&str] = &[
    "name",
    "timeout",
    "retries",
    "env",
    "interpreter",
    "exit_codes",
    "to",
    "mode",
    "owner",
    "args",
];

pub(super) fn read_all(reading: Reading<'_>, root: &Fields<'_>) -> Vec<FlavorDraft> {
    let table = root
        .get("flavors")
        .and_then(|field| field.table("{ … }; or a table: [flavors.base]"));
    let all = table.iter().flat_map(Fields::all);
    all.map(|field| read(reading, &field)).collect()
}

fn read(reading: Reading<'_>, field: &Field<'_>) -> FlavorDraft {
    reading.file_name(field.key_span, "the name of a flavor", field.key);
    let mut draft = FlavorDraft {
        name: field.key.to_owned(),
        name_span: field.key_span.clone(),
        extends: None,
        steps: Vec::new(),
        checks: Vec::new(),
        env: Vec::new(),
    };
    let Some(table) = field.table("{ steps = [{ run = \"guest/update.sh\" }] }") else {
        return draft;
    };
    draft.extends = table.get("extends").and_then(|field| {
        let text = field.text("\"base\"")?;
        Some(Spot::new(&field, text))
    });
    let steps = table
        .get("steps")
        .and_then(|field| field.list("[{ run = \"guest/update.sh\" }]"));
    for field in steps.unwrap_or_default() {
        let step = read_step(reading, &field, &mut draft.env);
        draft.steps.extend(step);
    }
    draft.checks = check::read_sets(&table);
    table.finish();
    draft
}

fn read_step(reading: Reading<'_>, field: &Field<'_>, env: &mut Vec<Spot>) -> Option<Step> {
    let table = field.table("{ run = \"guest/update.sh\" }")?;
    let one = table.one_of(KINDS, BESIDE_KIND);
    // A restart takes as long as the guest shows signs of life, and one that failed has no guest left to try again in.
    let is_tried = one.as_ref().is_none_or(|one| one.key != "reboot");
    let attempts = |key| is_tried.then(|| table.get(key)).flatten();
    let timeout = attempts("timeout").and_then(|field| field.parsed("\"30m\"", timeout));
    let retries = attempts("retries").and_then(|field| field.whole(0..=100, "2"));
    let name = table.get("name").and_then(|field| field.text("\"upgrade\""));
    let kind = match &one {
        Some(one) => read_kind(reading, one, &table, env),
        None => {
            // Which kind it was meant to be is unknown; the keys of all kinds are then right.
            table.know(BESIDE_KIND);
            None
        }
    };
    table.finish();
    let (label, kind) = kind?;
    Some(Step {
        label: name.map_or(label, str::to_owned),
        kind,
        timeout: timeout.unwrap_or(TIMEOUT),
        retries: retries.and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
    })
}

fn timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("a step needs more than no time".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

fn read_kind(
    reading: Reading<'_>,
    one: &Field<'_>,
    table: &Fields<'_>,
    env: &mut Vec<Spot>,
) -> Option<(String, StepKind)> {
    match one.key {
        "run" => {
            // The other keys first: a missing script must not hide what is wrong with them.
            let rest = read_run(reading, table, env);
            let name = one.text("\"guest/update.sh\"")?;
            let script = read_script(reading, one, name)?;
            if let Some(fault) = script::fault(&script, rest.interpreter.as_deref()) {
                one.bad(format!("`{name}` {fault}"), script::remedy(name));
            }
            let (origin, step) = (name.to_owned(), rest);
            Some((
                name.to_owned(),
                StepKind::Run(RunStep {
                    origin,
                    script,
                    ..step
                }),
            ))
        }
        "inline" => {
            let step = read_run(reading, table, env);
            let script = one.text("\"echo hello > /etc/motd\"")?.to_owned();
            if let Some(fault) = script::fault(&script, step.interpreter.as_deref()) {
                one.bad(format!("this script {fault}"), script::REMEDY_INLINE);
            }
            let first = script.trim().lines().next().unwrap_or_default();
            let label: String = first.chars().take(LABEL_WIDTH).collect();
            Some((label, StepKind::Run(RunStep { script, ..step })))
        }
        "copy" => read_copy(reading, one, table),
        "reboot" => {
            if !matches!(one.node.value, Value::Boolean(true)) {
                one.bad(
                    "a step that does nothing",
                    "write reboot = true, or take the step out",
                );
            }
            Some(("reboot".to_owned(), StepKind::Reboot))
        }
        "install" => {
            one.choice(&[("vm-bootstrap", ())])?;
            Some(("install vm-bootstrap".to_owned(), StepKind::InstallAgent))
        }
        _ => read_ansible(reading, one, table),
    }
}

fn read_script(reading: Reading<'_>, field: &Field<'_>, name: &str) -> Option<String> {
    match reading.files.text(name) {
        Ok(text) => Some(text.as_ref().to_owned()),
        Err(error) => {
            let is_missing = matches!(error, FileError::Missing { .. });
            let may_be_built_in = is_missing && name.starts_with(BUILT_IN);
            if let Some(text) = builtin::script(name).filter(|_| may_be_built_in) {
                return Some(text.to_owned());
            }
            let remedy = if may_be_built_in {
                let names = builtin::SCRIPTS.iter().map(|(name, _)| *name);
                suggest::remedy(name, "built-in scripts", names)
            } else {
                error.remedy()
            };
            reading.file_problem(field, &error, remedy);
            None
        }
    }
}

fn read_run(reading: Reading<'_>, table: &Fields<'_>, env: &mut Vec<Spot>) -> RunStep {
    let interpreter = table.get("interpreter").and_then(|field| field.text("\"bash\""));
    let codes = table.get("exit_codes").and_then(|field| {
        let items = field.list("[0, 3]")?;
        if items.is_empty() {
            field.bad("no exit code would mean success", "write exit_codes = [0]");
        }
        let codes = items.iter().filter_map(|item| item.whole(0..=255, "3"));
        Some(codes.filter_map(|code| i32::try_from(code).ok()).collect())
    });
    let mut values = BTreeMap::new();
    let fields = table
        .get("env")
        .and_then(|field| field.table("{ PACKAGES = \"wget\" }"));
    for field in fields.iter().flat_map(Fields::all) {
        reading.variable_name(field.key_span, field.key);
        let value = match &field.node.value {
            Value::Text(text) => {
                env.push(Spot::new(&field, text));
                Some(EnvValue::Text(text.clone()))
            }
            _ => read_secret(reading, &field).map(EnvValue::Secret),
        };
        if let Some(value) = value {
            values.insert(field.key.to_owned(), value);
        }
    }
    RunStep {
        origin: "inline".to_owned(),
        script: String::new(),
        interpreter: interpreter.map(str::to_owned),
        env: values,
        exit_codes: codes.unwrap_or_else(|| vec![0]),
    }
}

pub(super) fn read_secret(reading: Reading<'_>, field: &Field<'_>) -> Option<Secret> {
    if !matches!(field.node.value, Value::Table(_)) {
        field.report(ProblemKind::WrongType {
            path: field.path.clone(),
            found: field.node.type_name(),
            wanted: "a text, { env = … } or { file = … }",
            example: format!("{} = \"1\"", field.key),
        });
        return None;
    }
    let table = field.table("{ env = \"TOKEN\" }")?;
    let one = table.one_of(&["env", "file"], &[]);
    table.finish();
    let one = one?;
    let name = one.text("\"TOKEN\"")?;
    let secret = if one.key == "env" {
        reading.variable_name(one.span(), name);
        Secret::Env(name.to_owned())
    } else {
        Secret::File(reading.files.path(name))
    };
    let cause = match &secret {
        Secret::Env(name) if std::env::var_os(name).is_none() => {
            Some(format!("the environment variable `{name}` is not set"))
        }
        Secret::Env(_) => None,
        Secret::File(_) => reading.files.file(name).err().map(|error| error.to_string()),
    };
    if let Some(cause) = cause {
        let path = field.path.clone();
        one.report(ProblemKind::UnsetSecret { path, cause });
    }
    Some(secret)
}

fn read_copy(reading: Reading<'_>, one: &Field<'_>, table: &Fields<'_>) -> Option<(String, StepKind)> {
    let mode = table.get("mode").and_then(|field| field.parsed("\"0644\"", mode));
    let owner = table
        .get("owner")
        .and_then(|field| field.parsed("\"root:root\"", owner));
    let to = table
        .need("to", "\"/etc/motd\"")
        .and_then(|field| field.parsed("\"/etc/motd\"", guest_path));
    let name = one.text("\"files/motd\"")?;
    let from = reading.files.path(name);
    let digest = reading.found(one, reading.files.digest(&from, Extent::Whole))?;
    let to = to?;
    let is_folder = from.is_dir();
    if to.ends_with('/') && !is_folder {
        one.bad(
            format!("`{name}` is a file, but `{to}` is the name of a folder"),
            "name the file itself, as in to = \"/etc/motd\"",
        );
    }
    let short = from
        .file_name()
        .map_or(name.into(), |name| name.to_string_lossy());
    let step = CopyStep {
        to,
        mode,
        owner,
        digest,
        is_folder,
        from: from.clone(),
    };
    Some((format!("copy {short}"), StepKind::Copy(step)))
}

fn mode(text: &str) -> Result<u32, String> {
    let digits = matches!(text.len(), 3 | 4) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if digits => Ok(mode),
        _ => Err(format!(
            "`{text}` is not a file mode (three or four octal digits)"
        )),
    }
}

fn owner(text: &str) -> Result<String, String> {
    let (user, group) = text.split_once(':').unwrap_or((text, "root"));
    let fits = |name: &str| {
        let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        starts && name.chars().all(rest)
    };
    if fits(user) && fits(group) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not `user` or `user:group`"))
    }
}

fn guest_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        Err(format!("`{text}` is not an absolute path in the guest"))
    } else if text.split('/').any(|part| part == "..") || text.contains(char::is_control) {
        Err(format!("{text:?} is not a plain path"))
    } else {
        Ok(text.to_owned())
    }
}

fn read_ansible(reading: Reading<'_>, one: &Field<'_>, table: &Fields<'_>) -> Option<(String, StepKind)> {
    let args = table.get("args").and_then(|field| field.texts("\"--diff\""));
    let name = one.text("\"site.yml\"")?;
    let playbook = reading.found(one, reading.files.file(name))?;
    let folder = playbook.parent()?.to_owned();
    let digest = reading.found(one, reading.files.digest(&folder, Extent::Sources))?;
    let step = AnsibleStep {
        playbook,
        args: args.unwrap_or_default(),
        digest,
    };
    Some((format!("ansible {name}"), StepKind::Ansible(step)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_owners_and_guest_paths() {
        assert_eq!(mode("0644"), Ok(0o644));
        assert_eq!(mode("755"), Ok(0o755));
        for bad in ["", "rw-r--r--", "0899", "0o644", "+644", "00644"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
        for bad in ["", ":", "root:", "-x", "a b", "a:b:c"] {
            assert!(owner(bad).is_err(), "{bad}");
        }
        assert!(owner("www-data:adm").is_ok() && owner("1000").is_ok());
        for bad in ["etc/motd", "/etc/../x", "/a\nb"] {
            assert!(guest_path(bad).is_err(), "{bad}");
        }
        assert!(timeout("0s").is_err() && timeout("90s").is_ok());
    }
}
