//! User variables as the manifest's vars: which are kept, what they are called there, and which are not.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::build::{Build, Importer};
use super::model::{Kept, Key};
use crate::import::note::Weight;
use crate::manifest::context::RESERVED;
use crate::manifest::template;

/// Vars of the built-in answers.
static ANSWERS: LazyLock<BTreeSet<String>> = LazyLock::new(template::builtin_vars);

/// Decides for all builds which variables are kept: those with one value in all builds of one builder. Tells of the
/// others. Gives what each builder keeps.
pub fn keep(builds: &mut [(Key, Build<'_>)], importer: &Importer<'_>) -> Vec<(Key, Vec<Kept>)> {
    let mut keys: Vec<Key> = builds.iter().map(|(key, _)| *key).collect();
    keys.dedup();
    keys.sort_unstable();
    keys.dedup();
    let varying = |name: &str| {
        keys.iter().any(|key| {
            let of_key = builds.iter().filter(|(of, _)| of == key);
            let values: BTreeSet<_> = of_key
                .filter_map(|(_, build)| Some(build.scope.vars.get(name)?.value.clone()))
                .collect();
            values.len() > 1
        })
    };
    let names: BTreeSet<String> = builds
        .iter()
        .flat_map(|(_, build)| build.scope.vars.keys().cloned())
        .collect();
    let varying: BTreeSet<String> = names.into_iter().filter(|name| varying(name)).collect();
    let mut all = Vec::new();
    for key in keys {
        let of_key: Vec<usize> = (0..builds.len()).filter(|at| builds[*at].0 == key).collect();
        let Some(first) = of_key.first() else { continue };
        let template = builds[*first].1.template;
        let mut kept = Vec::new();
        for variable in &template.variables {
            let known = |at: &usize| builds[*at].1.scope.vars.get(&variable.name).cloned();
            let Some(one) = known(first) else { continue };
            let place = Some(&variable.place);
            let subject = format!("variable {}", variable.name);
            if one.secret {
                let text = format!(
                    "a secret: where it is needed, the manifest takes it from the environment as {}; its value is not \
                     written down",
                    super::go::env_name(&variable.name)
                );
                importer.note(Weight::Decided, place, subject, text);
                continue;
            }
            if let Some(env) = &one.env {
                let text = match importer.request.env.contains_key(env) {
                    true => format!(
                        "taken from the environment ({env}): now where its value is written down, at each run where a step has it"
                    ),
                    false => format!(
                        "taken from the environment ({env}), which does not say it now: empty, as in Packer, where its value \
                         is written down; a step takes what is set at each run"
                    ),
                };
                importer.note(Weight::Decided, place, subject, text);
                continue;
            }
            let mut values: Vec<_> = of_key.iter().filter_map(known).map(|known| known.value).collect();
            values.sort_unstable();
            values.dedup();
            if varying.contains(&variable.name) {
                let text = format!(
                    "differs from build to build ({}), so it is written where it is used",
                    values.join(", ")
                );
                importer.note(Weight::Decided, place, subject, text);
                continue;
            }
            let name = plain_name(&variable.name);
            if name != variable.name {
                let text = format!(
                    "called `{name}` here: `{}` is not free in a manifest",
                    variable.name
                );
                importer.note(Weight::Decided, place, subject, text);
            }
            kept.push(Kept {
                name: name.clone(),
                value: one.value,
                description: variable.description.clone(),
            });
            for at in &of_key {
                if let Some(known) = builds[*at].1.scope.vars.get_mut(&variable.name) {
                    known.kept = Some(name.clone());
                }
            }
        }
        all.push((key, kept));
    }
    all
}

/// A name that the manifest's templates can use.
fn plain_name(name: &str) -> String {
    let fits = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '_'
        }
    };
    let plain: String = name.chars().map(fits).collect();
    let words = [
        "and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "loop", "self", "super",
    ];
    // A variable of the template's is not what a var of the same name says to built-in answers.
    if RESERVED.contains(&plain.as_str()) || words.contains(&plain.as_str()) || ANSWERS.contains(&plain) {
        format!("packer_{plain}")
    } else if plain.starts_with(|c: char| c.is_ascii_digit()) || plain.is_empty() {
        format!("_{plain}")
    } else {
        plain
    }
}
