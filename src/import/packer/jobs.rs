//! Which templates are read, each with its variables: those that the user named, or those that the playbook builds.

use std::borrow::Cow;
use std::sync::Arc;

use globset::Glob;

use super::build::Importer;
use super::model::{
    Builder, Config, Fault, Found, Input, LARGEST_FILE, Look, Overrides, PlaybookPlan, Request, Template,
};
use super::{hcl, legacy};
use crate::import::note::{Notes, Weight};
use crate::import::path;

const TEMPLATES: &str = "name templates (*.json, *.pkr.hcl, *.pkr.json), or folders of them";

/// One command of Packer's.
#[derive(Clone, Debug)]
pub struct Job<'r> {
    /// Which template.
    pub config: usize,
    template: Cow<'r, Config>,
    vars: Vec<(String, String)>,
    var_files: Vec<Input>,
    only: Vec<String>,
    except: Vec<String>,
}

/// A file with a text of a reasonable size.
///
/// # Errors
/// There is none.
pub fn input(shown: &str, folder: &str, look: Look<'_>) -> Result<Input, Fault> {
    let fault = |cause: String, remedy: &str| Fault {
        place: None,
        cause,
        remedy: remedy.to_owned(),
    };
    let shown = shown.strip_prefix("./").unwrap_or(shown).to_owned();
    let path = path::join(folder, &shown);
    match look(&path) {
        Found::Text(text) => Ok(Input { shown, path, text }),
        Found::Missing => Err(fault(
            format!("there is no file `{shown}`"),
            "name a file that is there and can be read",
        )),
        _ => Err(fault(
            format!(
                "`{shown}` is larger than {} MiB, or not a text",
                LARGEST_FILE >> 20
            ),
            "name a template, a playbook or a file of variables",
        )),
    }
}

/// Whether a file is one of HCL, in either of its forms.
fn is_hcl(name: &str) -> bool {
    name.ends_with(".pkr.hcl") || name.ends_with(".pkr.json")
}

/// Templates at a path: a file, or a folder of them.
///
/// # Errors
/// There is nothing, or no template.
pub fn configs(shown: &str, folder: &str, look: Look<'_>) -> Result<Vec<Config>, Fault> {
    let absolute = path::join(folder, shown);
    let Found::Folder(names) = look(&absolute) else {
        let input = input(shown, folder, look).map_err(|fault| Fault {
            remedy: TEMPLATES.to_owned(),
            ..fault
        })?;
        if !is_hcl(shown) && !shown.ends_with(".hcl") {
            return Ok(vec![Config::Json(input)]);
        }
        return Ok(vec![Config::Hcl {
            shown: input.shown.clone(),
            folder: path::folder(&absolute),
            files: vec![input],
            auto: Vec::new(),
        }]);
    };
    let (mut configs, mut files, mut auto) = (Vec::new(), Vec::new(), Vec::new());
    let plain = shown.trim_end_matches('/');
    for name in names {
        let read = || input(&format!("{plain}/{name}"), folder, look);
        if is_hcl(&name) {
            files.push(read()?);
        } else if name.ends_with(".auto.pkrvars.hcl") || name.ends_with(".auto.pkrvars.json") {
            auto.push(read()?);
        } else if name.ends_with(".json") {
            // Folders have other JSON too.
            configs.extend(
                read()
                    .ok()
                    .filter(|input| input.text.contains("\"builders\""))
                    .map(Config::Json),
            );
        }
    }
    if !files.is_empty() {
        configs.push(Config::Hcl {
            shown: shown.to_owned(),
            folder: absolute,
            files,
            auto,
        });
    }
    if configs.is_empty() {
        return Err(Fault {
            place: None,
            cause: format!("there are no templates in `{shown}`"),
            remedy: "templates are *.pkr.hcl, *.pkr.json, and *.json with `builders`".to_owned(),
        });
    }
    Ok(configs)
}

/// Adds templates; HCL files of one folder that were named one by one belong together, if Packer could read them so.
pub fn add(known: &mut Vec<Config>, more: Vec<Config>) {
    for config in more {
        let same = known.iter_mut().find_map(|known| match (known, &config) {
            (Config::Hcl { folder, files, .. }, Config::Hcl { folder: other, .. }) if folder == other => {
                Some(files)
            }
            _ => None,
        });
        match (same, config) {
            (Some(files), Config::Hcl { files: more, .. }) => {
                files.extend(
                    more.into_iter()
                        .filter(|file| !files.iter().any(|known| known.path == file.path))
                        .collect::<Vec<_>>(),
                );
            }
            (_, config) => known.push(config),
        }
    }
}

/// HCL files that declare the same names are templates of their own: no command of Packer's reads them together.
fn apart<'r>(configs: &'r [Config], importer: &Importer<'_>) -> Vec<Cow<'r, Config>> {
    let mut all: Vec<Cow<'r, Config>> = Vec::new();
    for config in configs {
        let (folder, files) = match config {
            Config::Hcl { folder, files, .. } => (folder, files),
            Config::Json(_) => {
                all.push(Cow::Borrowed(config));
                continue;
            }
        };
        let Some((name, places)) = hcl::declared_twice(&texts(files)) else {
            all.push(Cow::Borrowed(config));
            continue;
        };
        let text = format!(
            "declared at {} and at {}: files that Packer cannot read together, so each is a template of its own",
            places.0, places.1
        );
        importer.note(Weight::Decided, Some(&places.0), name, text);
        for (file, (name, text)) in files.iter().zip(texts(files)) {
            if hcl::has_build(&name, &text) {
                all.push(Cow::Owned(Config::Hcl {
                    shown: file.shown.clone(),
                    folder: folder.clone(),
                    files: vec![file.clone()],
                    auto: Vec::new(),
                }));
            } else {
                let text = "builds nothing, and Packer does not read it together with the others";
                importer.note(Weight::Lost, None, &file.shown, text);
            }
        }
    }
    all
}

fn texts(files: &[Input]) -> Vec<(Arc<str>, Arc<str>)> {
    let pair = |file: &Input| (Arc::from(file.shown.as_str()), Arc::from(file.text.as_str()));
    files.iter().map(pair).collect()
}

/// All commands.
pub fn jobs<'r>(
    request: &'r Request,
    plan: Option<&PlaybookPlan>,
    importer: &Importer<'_>,
) -> Result<Vec<Job<'r>>, Vec<Fault>> {
    let named = apart(&request.configs, importer);
    let Some(plan) = plan else {
        let plain = |(config, template)| Job {
            config,
            template,
            vars: request.vars.clone(),
            var_files: request.var_files.clone(),
            only: request.only.clone(),
            except: Vec::new(),
        };
        return Ok(named.into_iter().enumerate().map(plain).collect());
    };
    let mut known: Vec<(String, Cow<'r, Config>)> = Vec::new();
    for config in named {
        known.push((location(&config), config));
    }
    let (mut jobs, mut faults, mut used) = (Vec::new(), Vec::new(), Vec::new());
    for command in &plan.builds {
        let mut found: Vec<usize> = Vec::new();
        for path in &command.templates {
            let fits = |(_, (at, _)): &(usize, &(String, _))| {
                at == path || (path::folder(at) == *path && (is_hcl(at) || !at.ends_with(".json")))
            };
            found.extend(known.iter().enumerate().filter(fits).map(|(at, _)| at));
            if found.is_empty() && (importer.look)(path) != Found::Missing {
                let shown = path::relative(&request.folder, path);
                let read = configs(&shown, &request.folder, importer.look).unwrap_or_default();
                for config in apart(&read, importer) {
                    found.push(known.len());
                    known.push((location(&config), Cow::Owned(config.into_owned())));
                }
            }
            if !found.is_empty() {
                break;
            }
        }
        if found.is_empty() {
            let cause = format!("packer builds `{}`, which is not there", command.written);
            let text = format!("{cause}: none of its images is in the manifest");
            importer.note(Weight::Todo, Some(&command.place), "packer build", text);
            faults.push(Fault::new(
                &command.place,
                cause,
                "name the template, or its folder, together with the playbook",
            ));
        }
        for at in found {
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
                only: [command.only.as_slice(), &request.only].concat(),
                except: command.except.clone(),
            });
        }
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
    if jobs.is_empty() { Err(faults) } else { Ok(jobs) }
}

/// The path by which a command names a template.
fn location(config: &Config) -> String {
    match config {
        Config::Json(input) => input.path.clone(),
        Config::Hcl { folder, files, .. } => match files.as_slice() {
            [one] => one.path.clone(),
            _ => format!("{folder}/"),
        },
    }
}

/// Reads the template of a command.
pub fn read(job: &Job<'_>, importer: &Importer<'_>) -> Result<Template, Vec<Fault>> {
    let auto = match job.template.as_ref() {
        Config::Hcl { auto, .. } => auto.as_slice(),
        Config::Json(_) => &[],
    };
    let files = [auto, &job.var_files].concat();
    let overrides = Overrides {
        files: &files,
        vars: &job.vars,
        env: &importer.request.env,
        cwd: &importer.request.folder,
    };
    let mut notes = Notes::default();
    let template = match job.template.as_ref() {
        Config::Json(input) => legacy::read(input, &overrides, &mut notes),
        Config::Hcl {
            shown, folder, files, ..
        } => hcl::read(
            &Arc::from(shown.as_str()),
            &texts(files),
            folder,
            &overrides,
            (importer.look, importer.request.now),
            &mut notes,
        ),
    };
    importer.notes.borrow_mut().extend(notes);
    let mut template = template?;
    template.builders.retain(|builder| wanted(job, builder));
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

/// Whether `-only` and `-except` leave a build.
fn wanted(job: &Job<'_>, builder: &Builder) -> bool {
    let full = format!("{}.{}", builder.kind, builder.name);
    let grouped = builder.group.as_ref().map(|group| format!("{group}.{full}"));
    let fits = |pattern: &String| {
        let glob = Glob::new(pattern).map(|glob| glob.compile_matcher());
        let mut names = [Some(&builder.name), Some(&full), grouped.as_ref()]
            .into_iter()
            .flatten();
        names.any(|name| name == pattern || glob.as_ref().is_ok_and(|glob| glob.is_match(name)))
    };
    (job.only.is_empty() || job.only.iter().any(fits)) && !job.except.iter().any(fits)
}
