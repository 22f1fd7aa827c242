//! `pipeline import packer`: reads templates and what they name, and writes the manifest that comes of them. What it means
//! is [`crate::import`]'s; this is the part that touches files and the terminal.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use miette::miette;

use super::exit::Exit;
use super::report_error::{fail, out, report_error, talk};
use super::table::counted;
use crate::host::fs::write_atomic;
use crate::import::note::Weight;
use crate::import::packer::{self, Config, Found, Imported, Input, LARGEST_FILE, Request};
use crate::import::path;

/// Arguments of `pipeline import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, clap::Subcommand)]
enum From {
    /// Packer templates (old JSON, and HCL2), with the Ansible playbook that runs them
    Packer(PackerArgs),
}

/// Arguments of `pipeline import packer`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every key of the templates is in the manifest, or is reported with what it meant; the report goes to standard \
error, and to the end of the manifest.\n\nExamples:\n  \
    pipeline import packer debian12.json                          look at what comes of it\n  \
    pipeline import packer . --ansible build.yml -o images.toml   a folder of templates, and all that a playbook builds\n  \
    pipeline import packer web.pkr.hcl -var size=20G -o web.toml"
)]
struct PackerArgs {
    /// Templates (*.json, *.pkr.hcl), or folders of them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The playbook that runs `packer build`: which templates, with which variables, and what is done with the results
    #[arg(long, value_name = "PLAYBOOK")]
    ansible: Option<PathBuf>,
    /// A variable's value, as for Packer; may be repeated (also as -var)
    #[arg(long = "var", value_name = "NAME=VALUE")]
    vars: Vec<String>,
    /// A file of variables (*.pkrvars.hcl, *.json); may be repeated (also as -var-file)
    #[arg(long = "var-file", value_name = "FILE")]
    var_files: Vec<PathBuf>,
    /// Write the manifest there, and the files it needs next to it [default: print it, and write nothing]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let From::Packer(args) = &args.from;
    import(args)?;
    Ok(Exit::Ok)
}

/// Packer takes `-var` with one dash; so do we, for lines that are copied from where they were.
pub fn with_two_dashes(arguments: impl Iterator<Item = std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    let mut arguments: Vec<_> = arguments.collect();
    if arguments.get(1).is_none_or(|verb| verb != "import") {
        return arguments;
    }
    for argument in &mut arguments {
        let Some(text) = argument.to_str() else { continue };
        let name = text.split('=').next().unwrap_or_default();
        if name == "-var" || name == "-var-file" {
            *argument = format!("-{text}").into();
        }
    }
    arguments
}

/// Says what is wrong with the command line or the files.
fn refuse(cause: impl std::fmt::Display, remedy: &str) -> Exit {
    fail(Exit::Usage, miette!(help = remedy, "{cause}"))
}

fn import(args: &PackerArgs) -> Result<(), Exit> {
    let folder =
        std::env::current_dir().map_err(|error| refuse(error, "start it in a folder that is there"))?;
    let folder = folder.to_string_lossy().into_owned();
    let output = args
        .output
        .as_ref()
        .map(|path| path::join(&folder, &path.to_string_lossy()));
    if let Some(output) = &output {
        vacant(Path::new(output), args.force)?;
    }
    let mut request = Request {
        vars: variables(&args.vars)?,
        manifest: output
            .clone()
            .unwrap_or_else(|| path::join(&folder, "images.toml")),
        now: jiff::Timestamp::now().as_second(),
        folder,
        ..Request::default()
    };
    for file in &args.files {
        configs(file, &mut request)?;
    }
    for file in &args.var_files {
        request.var_files.push(input(file, &request.folder)?);
    }
    if let Some(playbook) = &args.ansible {
        request.playbook = Some(input(playbook, &request.folder)?);
    }
    let imported = packer::import(&request, &look).map_err(|faults| {
        for fault in &faults {
            report_error(miette!(help = fault.remedy.clone(), "{fault}").as_ref());
        }
        Exit::Usage
    })?;
    write(&imported, output.as_deref(), args.force)
}

fn write(imported: &Imported, output: Option<&str>, force: bool) -> Result<(), Exit> {
    let failed = |error: crate::host::fs::FsError| {
        fail(
            Exit::Failed,
            miette!(help = "choose another place with --output", "{error}"),
        )
    };
    let Some(output) = output else {
        out(&imported.manifest);
        tell(imported, None);
        return Ok(());
    };
    let beside = path::folder(output);
    // All are looked at before any is written.
    let files: Vec<_> = imported
        .files
        .iter()
        .map(|(name, text)| (path::join(&beside, name), text))
        .collect();
    for (place, text) in &files {
        let same = fs::read_to_string(place).is_ok_and(|there| there == **text);
        if !same {
            vacant(Path::new(place), force)?;
        }
    }
    fs::create_dir_all(&beside)
        .map_err(|error| refuse(format!("{beside}: {error}"), "choose another place with --output"))?;
    for (place, text) in &files {
        write_atomic(Path::new(place), text.as_bytes()).map_err(failed)?;
    }
    write_atomic(Path::new(output), imported.manifest.as_bytes()).map_err(failed)?;
    tell(imported, Some(output));
    Ok(())
}

fn vacant(place: &Path, force: bool) -> Result<(), Exit> {
    if !force && fs::symlink_metadata(place).is_ok() {
        let cause = format!("`{}` is there already", place.display());
        return Err(refuse(
            cause,
            "choose another name with --output, or replace it with --force",
        ));
    }
    Ok(())
}

/// The report, and what to do next.
fn tell(imported: &Imported, output: Option<&str>) {
    talk(&imported.notes.show());
    let mut end = format!(
        "{}, {}",
        counted(imported.distros, "distro"),
        counted(imported.images, "image")
    );
    let files = counted(imported.files.len(), "file");
    match output {
        Some(output) => {
            end.push_str(&format!("; written: {}", path::name(output)));
            for name in imported.files.keys() {
                end.push_str(&format!(", {name}"));
            }
        }
        None if !imported.files.is_empty() => end.push_str(&format!(
            "; it needs {files} next to it, which only --output writes"
        )),
        None => {}
    }
    for (weight, what) in [
        (Weight::Todo, "to do"),
        (Weight::Lost, "not carried over"),
        (Weight::Decided, "decided"),
    ] {
        let count = imported.notes.count(weight);
        if count > 0 {
            end.push_str(&format!("; {count} {what}"));
        }
    }
    talk(&format!("{end}\n"));
    if let Some(output) = output {
        talk(&format!(
            "next: pipeline validate {0} && pipeline plan {0}\n",
            path::name(output)
        ));
    }
}

fn variables(written: &[String]) -> Result<Vec<(String, String)>, Exit> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(refuse(
            format!("`--var {text}` gives nothing a value"),
            "write --var NAME=VALUE",
        )),
    };
    written.iter().map(pair).collect()
}

/// Templates at a path.
fn configs(file: &Path, request: &mut Request) -> Result<(), Exit> {
    let shown = file.to_string_lossy().into_owned();
    let absolute = path::join(&request.folder, &shown);
    let unreadable = |error: io::Error| {
        refuse(
            format!("`{shown}`: {error}"),
            "name templates (*.json, *.pkr.hcl), or folders of them",
        )
    };
    if !fs::metadata(file).map_err(unreadable)?.is_dir() {
        let input = input(file, &request.folder)?;
        if !shown.ends_with(".hcl") {
            request.configs.push(Config::Json(input));
            return Ok(());
        }
        // Files of one folder are one configuration, as Packer has it.
        let folder = path::folder(&absolute);
        let known = request.configs.iter_mut().find_map(|config| match config {
            Config::Hcl {
                folder: of, files, ..
            } if *of == folder => Some(files),
            _ => None,
        });
        match known {
            Some(files) => files.push(input),
            None => request.configs.push(Config::Hcl {
                shown,
                folder,
                files: vec![input],
            }),
        }
        return Ok(());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(file).map_err(unreadable)? {
        names.push(entry.map_err(unreadable)?.path());
    }
    names.sort();
    let (mut files, before) = (Vec::new(), request.configs.len());
    for name in names {
        let text = name.to_string_lossy().into_owned();
        if text.ends_with(".pkr.hcl") {
            files.push(input(&name, &request.folder)?);
        } else if text.ends_with(".auto.pkrvars.hcl") || text.ends_with(".auto.pkrvars.json") {
            request.var_files.push(input(&name, &request.folder)?);
        } else if text.ends_with(".pkr.json") {
            talk(&format!(
                "{text}: HCL written as JSON is not read; write it as HCL\n"
            ));
        } else if text.ends_with(".json") {
            let input = input(&name, &request.folder)?;
            // Folders have other JSON too.
            if input.text.contains("\"builders\"") {
                request.configs.push(Config::Json(input));
            }
        }
    }
    if !files.is_empty() {
        request.configs.push(Config::Hcl {
            shown: shown.clone(),
            folder: absolute,
            files,
        });
    }
    if request.configs.len() == before {
        return Err(refuse(
            format!("there are no templates in `{shown}`"),
            "templates are *.pkr.hcl, and *.json with `builders`",
        ));
    }
    Ok(())
}

fn input(file: &Path, folder: &str) -> Result<Input, Exit> {
    let shown = file.to_string_lossy();
    let shown = shown.strip_prefix("./").unwrap_or(&shown).to_owned();
    match bounded(file) {
        Ok(Some(text)) => Ok(Input {
            path: path::join(folder, &shown),
            shown,
            text,
        }),
        Ok(None) => Err(refuse(
            format!(
                "`{shown}` is larger than {} KiB, or not a text",
                LARGEST_FILE / 1024
            ),
            "name a template, a playbook or a file of variables",
        )),
        Err(error) => Err(refuse(
            format!("`{shown}`: {error}"),
            "name a file that is there and can be read",
        )),
    }
}

/// A text of a reasonable size.
fn bounded(file: &Path) -> io::Result<Option<String>> {
    let limit = u64::try_from(LARGEST_FILE).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    fs::File::open(file)?.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes)
        .ok()
        .filter(|text| text.len() <= LARGEST_FILE))
}

/// What is at a path.
fn look(path: &str) -> Found {
    match fs::metadata(path) {
        Err(_) => Found::Missing,
        Ok(found) if found.is_dir() => Found::Folder,
        // A pipe or a device could be read for ever.
        Ok(found) if !found.is_file() => Found::Bytes,
        Ok(_) => bounded(Path::new(path))
            .ok()
            .flatten()
            .map_or(Found::Bytes, Found::Text),
    }
}
