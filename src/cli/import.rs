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
use crate::import::packer::{self, Found, Imported, LARGEST_FILE, Request};
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
    /// Templates (*.json, *.pkr.hcl, *.pkr.json), or folders of them
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
    /// Import only builds whose names fit; may be repeated
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// What the templates install, where no name says it: debian, ubuntu, rhel, suse or alpine, and its version
    #[arg(long, value_name = "FAMILY:VERSION")]
    system: Option<String>,
    /// Write the manifest there, and the files it needs next to it [default: print it, and write nothing]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

/// Names of a folder that are looked at.
const MOST_NAMES: usize = 10_000;

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
        if ["-var", "-var-file", "-only"].contains(&name) {
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
        env: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        only: args.only.clone(),
        system: args.system.as_deref().map(system).transpose()?,
        folder: folder.clone(),
        ..Request::default()
    };
    let refused = |fault: packer::Fault| refuse(&fault, &fault.remedy);
    let input = |file: &Path| packer::input(&file.to_string_lossy(), &folder, &look).map_err(refused);
    for file in &args.files {
        let configs = packer::configs(&file.to_string_lossy(), &folder, &look);
        packer::add(&mut request.configs, configs.map_err(refused)?);
    }
    for file in &args.var_files {
        request.var_files.push(input(file)?);
    }
    request.playbook = args.ansible.as_deref().map(input).transpose()?;
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

fn system(written: &str) -> Result<packer::System, Exit> {
    packer::system(written).ok_or_else(|| {
        let cause = format!("`--system {written}` names no system");
        refuse(cause, "write a family and a version, as in --system rhel:9")
    })
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
        Ok(found) if found.is_dir() => {
            let entries = fs::read_dir(path).into_iter().flatten().take(MOST_NAMES);
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            let mut names: Vec<_> = names.collect();
            names.sort_unstable();
            Found::Folder(names)
        }
        // A pipe or a device could be read for ever.
        Ok(found) if !found.is_file() => Found::Bytes,
        Ok(_) => bounded(Path::new(path))
            .ok()
            .flatten()
            .map_or(Found::Bytes, Found::Text),
    }
}
