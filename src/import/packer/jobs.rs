//! Which templates are read, each with its variables: those that the user named, or those that the playbook builds.

use std::borrow::Cow;
use std::sync::Arc;

use super::build::Importer;
use super::model::{Config, Fault, Input, Overrides, PlaybookPlan, Request, Template};
use super::{hcl, legacy};
use crate::import::note::{Notes, Weight};
use crate::import::path;

/// One command of Packer's.
#[derive(Clone, Debug)]
pub struct Job<'r> {
    /// Which template.
    pub config: usize,
    template: Cow<'r, Config>,
    vars: Vec<(String, String)>,
    var_files: Vec<Input>,
}

/// All commands.
pub fn jobs<'r>(
    request: &'r Request,
    plan: Option<&PlaybookPlan>,
    importer: &Importer<'_>,
) -> Result<Vec<Job<'r>>, Vec<Fault>> {
    let Some(plan) = plan else {
        let plain = |(config, template)| Job {
            config,
            template: Cow::Borrowed(template),
            vars: request.vars.clone(),
            var_files: request.var_files.clone(),
        };
        return Ok(request.configs.iter().enumerate().map(plain).collect());
    };
    let mut known: Vec<(String, Cow<'r, Config>)> = Vec::new();
    for config in &request.configs {
        let at = match config {
            Config::Json(input) => input.path.clone(),
            Config::Hcl { folder, .. } => folder.clone(),
        };
        known.push((at, Cow::Borrowed(config)));
    }
    let (mut jobs, mut faults, mut used) = (Vec::new(), Vec::new(), Vec::new());
    for command in &plan.builds {
        let found = command.templates.iter().find_map(|path| {
            let fits = |(at, config): &(String, Cow<'_, Config>)| {
                at == path
                    || matches!(config.as_ref(), Config::Hcl { files, .. } if files.iter().any(|file| file.path == *path))
            };
            known.iter().position(fits)
        });
        let at = found.or_else(|| {
            let read = |path: &String| importer.text(path).map(|text| (path.clone(), text));
            let (path, text) = command.templates.iter().find_map(read)?;
            let shown = path::relative(&request.folder, &path);
            let input = Input {
                shown: shown.clone(),
                path: path.clone(),
                text,
            };
            let config = if path.ends_with(".hcl") {
                let (folder, files) = (path::folder(&path), vec![input]);
                Config::Hcl { shown, folder, files }
            } else {
                Config::Json(input)
            };
            known.push((path, Cow::Owned(config)));
            Some(known.len() - 1)
        });
        let Some(at) = at else {
            faults.push(Fault::new(
                &command.place,
                format!("packer builds `{}`, which is not there", command.written),
                "name the template, or its folder, together with the playbook",
            ));
            continue;
        };
        let mut vars = command.vars.clone();
        vars.extend(request.vars.iter().cloned());
        let mut var_files = command.var_files.clone();
        var_files.extend(request.var_files.iter().cloned());
        used.push(at);
        jobs.push(Job {
            config: at,
            template: known[at].1.clone(),
            vars,
            var_files,
        });
    }
    for (at, (path, _)) in known.iter().enumerate() {
        if !used.contains(&at) {
            importer.note(
                Weight::Lost,
                None,
                path::relative(&request.folder, path),
                "the playbook does not build this template, so it is left out; import it by itself if it is wanted",
            );
        }
    }
    if faults.is_empty() { Ok(jobs) } else { Err(faults) }
}

/// Reads the template of a command.
pub fn read(job: &Job<'_>, importer: &Importer<'_>) -> Result<Template, Vec<Fault>> {
    let overrides = overrides(&job.var_files, &job.vars)?;
    let mut notes = Notes::default();
    let template = match job.template.as_ref() {
        Config::Json(input) => {
            let shown = Arc::from(input.shown.as_str());
            legacy::read(
                &shown,
                &input.text,
                &path::folder(&input.path),
                &overrides,
                &mut notes,
            )
        }
        Config::Hcl { shown, folder, files } => {
            let texts: Vec<_> = files
                .iter()
                .map(|file| (Arc::from(file.shown.as_str()), Arc::from(file.text.as_str())))
                .collect();
            hcl::read(&Arc::from(shown.as_str()), &texts, folder, &overrides, &mut notes)
        }
    };
    importer.notes.borrow_mut().extend(notes);
    let template = template?;
    for (name, _) in &job.vars {
        if !template.variables.iter().any(|variable| variable.name == *name) {
            let place = template.builders.first().map(|builder| &builder.options.place);
            importer.note(
                Weight::Lost,
                place,
                format!("-var {name}=…"),
                "the template has no such variable (Packer would refuse it)",
            );
        }
    }
    Ok(template)
}

/// Values from files of variables, and from `-var`, which count more.
fn overrides(files: &[Input], vars: &[(String, String)]) -> Result<Overrides, Vec<Fault>> {
    let mut all = Overrides::default();
    for file in files {
        let shown = Arc::from(file.shown.as_str());
        if file.path.ends_with(".json") {
            let values = legacy::variable_file(&shown, &file.text).map_err(|fault| vec![fault])?;
            all.texts.extend(values);
        } else {
            all.hcl_files.push((shown, Arc::from(file.text.as_str())));
        }
    }
    all.texts.extend(vars.iter().cloned());
    Ok(all)
}
