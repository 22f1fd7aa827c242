//! `[flavors.*]`: lists of steps.

use std::collections::BTreeMap;

use crate::manifest::describe::row::{Cell, In};
use crate::manifest::describe::tables::{FLAVOR, FlavorKeys, Installed, MANIFEST, STEP, StepKey, StepKeys};
use crate::manifest::fields::{Field, Fields};
use crate::manifest::files::{Extent, FileError};
use crate::manifest::model::{AnsibleStep, CopyStep, EnvValue, RunStep, Step, StepKind};
use crate::manifest::parse::Value;
use crate::manifest::{builtin, script, shell, suggest};

use super::{FlavorDraft, Reading, Spot, check};
use crate::syntax::secret::read_secret;

/// Folder of the built-in scripts.
const BUILT_IN: &str = "guest/";
/// How much of an inline script's first line its label shows.
const LABEL_WIDTH: usize = 40;

pub(super) fn read_all(reading: Reading<'_>, root: &Fields<'_>) -> Vec<FlavorDraft> {
    let named = root.get(&MANIFEST.flavors).map(|cell| cell.named());
    let named = named.unwrap_or_default();
    named.iter().map(|cell| read(reading, cell)).collect()
}

fn read(reading: Reading<'_>, cell: &Cell<'_, In<FlavorKeys>>) -> FlavorDraft {
    reading.file_name(cell.key_span, "the name of a flavor", cell.key);
    let mut draft = FlavorDraft {
        name: cell.key.to_owned(),
        name_span: cell.key_span.clone(),
        extends: None,
        steps: Vec::new(),
        checks: Vec::new(),
        env: Vec::new(),
    };
    let Some(table) = cell.fields() else {
        return draft;
    };
    draft.extends = table.get(&FLAVOR.extends).and_then(|cell| Spot::of(&cell));
    for cell in table.items(&FLAVOR.steps) {
        draft.steps.extend(read_step(reading, &cell, &mut draft.env));
    }
    draft.checks = check::read_sets(&table, &FLAVOR.checks);
    draft
}

fn read_step(reading: Reading<'_>, cell: &Cell<'_, In<StepKeys>>, env: &mut Vec<Spot>) -> Option<Step> {
    let table = cell.fields()?;
    let timeout = table.read_or_default(&STEP.timeout);
    let retries = table.read_or_default(&STEP.retries);
    let checkpoint = table.read(&STEP.checkpoint).is_some();
    let name = table.read(&STEP.name);
    let (key, _) = table.one_of::<StepKey>()?;
    let (label, kind) = match key {
        StepKey::Run => read_run(reading, &table, env)?,
        StepKey::Inline => read_inline(reading, &table, env)?,
        StepKey::Copy => read_copy(reading, &table)?,
        StepKey::Reboot => {
            table.read(&STEP.reboot)?;
            ("reboot".to_owned(), StepKind::Reboot)
        }
        StepKey::Install => match table.read(&STEP.install)? {
            Installed::VmBootstrap => ("install vm-bootstrap".to_owned(), StepKind::InstallAgent),
        },
        StepKey::Ansible => read_ansible(reading, &table)?,
    };
    Some(Step {
        label: name.unwrap_or(label),
        kind,
        timeout,
        retries,
        checkpoint,
    })
}

fn read_run(reading: Reading<'_>, table: &Fields<'_>, env: &mut Vec<Spot>) -> Option<(String, StepKind)> {
    // The other keys first: a missing script must not hide what is wrong with them.
    let rest = read_script_keys(reading, table, env);
    let cell = table.get(&STEP.run)?;
    let origin = cell.read()?;
    let script = read_script(reading, &cell, &origin)?;
    if let Some(fault) = script::fault(&script, rest.interpreter.as_deref()) {
        cell.bad(format!("`{origin}` {fault}"), script::remedy(&origin));
    } else if let Some(fault) = shell::fault(&script, rest.interpreter.as_deref()) {
        cell.bad(format!("`{origin}` {fault}"), shell::remedy(&origin));
    }
    let label = origin.clone();
    Some((
        label,
        StepKind::Run(RunStep {
            origin,
            script,
            ..rest
        }),
    ))
}

fn read_inline(reading: Reading<'_>, table: &Fields<'_>, env: &mut Vec<Spot>) -> Option<(String, StepKind)> {
    let rest = read_script_keys(reading, table, env);
    let cell = table.get(&STEP.inline)?;
    let script = cell.read()?;
    if let Some(fault) = script::fault(&script, rest.interpreter.as_deref()) {
        cell.bad(format!("this script {fault}"), script::REMEDY_INLINE);
    } else if let Some(fault) = shell::fault(&script, rest.interpreter.as_deref()) {
        cell.bad(format!("this script {fault}"), shell::REMEDY_INLINE);
    }
    let first = script.trim().lines().next().unwrap_or_default();
    let label = first.chars().take(LABEL_WIDTH).collect();
    Some((label, StepKind::Run(RunStep { script, ..rest })))
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

/// Keys of all steps that are scripts.
fn read_script_keys(reading: Reading<'_>, table: &Fields<'_>, env: &mut Vec<Spot>) -> RunStep {
    let codes = table.get(&STEP.exit_codes);
    let exit_codes = table.read_or_default(&STEP.exit_codes);
    if let Some(cell) =
        codes.filter(|cell| matches!(&cell.node.value, Value::List(items) if items.is_empty()))
    {
        cell.bad("no exit code would mean success", "write exit_codes = [0]");
    }
    let mut values = BTreeMap::new();
    for cell in table.get(&STEP.env).iter().flat_map(Cell::named) {
        reading.variable_name(cell.key_span, cell.key);
        let value = match (&cell.node.value, cell.either()) {
            (Value::Text(text), _) => {
                env.push(Spot::new(&cell, text));
                Some(EnvValue::Text(text.clone()))
            }
            (_, Err(secret)) => read_secret(reading, &secret).map(EnvValue::Secret),
            (_, Ok(_)) => cell.wrong("a text, { env = … } or { file = … }"),
        };
        values.extend(value.map(|value| (cell.key.to_owned(), value)));
    }
    RunStep {
        origin: "inline".to_owned(),
        script: String::new(),
        interpreter: table.read(&STEP.interpreter),
        user: table.read(&STEP.user),
        env: values,
        exit_codes,
    }
}

fn read_copy(reading: Reading<'_>, table: &Fields<'_>) -> Option<(String, StepKind)> {
    let mode = table.read(&STEP.mode);
    let owner = table.read(&STEP.owner);
    let to = table.read(&STEP.to);
    let cell = table.get(&STEP.copy)?;
    let name = cell.read()?;
    let from = reading.files.path(&name);
    let digest = reading.found(&cell, reading.files.digest(&from, Extent::Whole))?;
    let to = to?;
    let is_folder = from.is_dir();
    if to.ends_with('/') && !is_folder {
        cell.bad(
            format!("`{name}` is a file, but `{to}` is the name of a folder"),
            "name the file itself, as in to = \"/etc/motd\"",
        );
    }
    let short = from
        .file_name()
        .map_or(name.as_str().into(), |name| name.to_string_lossy());
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

fn read_ansible(reading: Reading<'_>, table: &Fields<'_>) -> Option<(String, StepKind)> {
    let args = table.read_or_default(&STEP.args);
    let cell = table.get(&STEP.ansible)?;
    let playbook = reading.file(&cell)?;
    let folder = playbook.parent()?.to_owned();
    let digest = reading.found(&cell, reading.files.digest(&folder, Extent::Sources))?;
    let label = format!("ansible {}", cell.read()?);
    let step = AnsibleStep {
        playbook,
        args,
        digest,
    };
    Some((label, StepKind::Ansible(step)))
}
