//! `pipeline init`: a small manifest to start from. Asks nothing, and replaces no file.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use super::exit::Exit;
use super::report_error::{fail, talk};
use crate::host::facts::{OsRelease, os_release, parse_os_release};
use crate::manifest::load;
use crate::manifest::starter::{self, Blanks, Found};

/// Largest file that is looked at as a template.
const LARGEST: u64 = 1 << 20;

/// Arguments of `pipeline init`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pipeline init\n  pipeline init web.toml\n  pipeline init --from ../packer/http"
)]
pub struct Args {
    /// The manifest to make
    #[arg(value_name = "MANIFEST", default_value = "images.toml")]
    manifest: PathBuf,
    /// Make a distro of each answer template in this folder: preseeds, kickstarts, autoinstalls, setup scripts
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// The os-release file to go by; for tests, which pretend to be on another distribution
    #[arg(long, env = "PIPELINE_OS_RELEASE", value_name = "FILE", hide = true)]
    os_release: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let path = &args.manifest;
    let shown = path.display().to_string();
    if path.extension().is_none_or(|extension| extension != "toml") {
        let help = format!(
            "`pipeline init images.toml`, then `pipeline export images.toml --format nickel > {shown}`"
        );
        return Err(refuse(&format!("`{shown}` does not end in .toml"), &help));
    }
    if path.symlink_metadata().is_ok() {
        return Err(there_already(&shown));
    }
    let host: OsRelease = match &args.os_release {
        Some(file) => parse_os_release(&fs::read_to_string(file).unwrap_or_default()),
        None => os_release(),
    };
    let text = match &args.from {
        None => starter::for_host(&host, &shown),
        Some(folder) => {
            let templates = templates(folder, path)?;
            let make = |blanks: &Blanks| {
                starter::for_templates(&templates, blanks, &host, &shown).ok_or_else(|| {
                    refuse(
                        &format!("nothing in `{}` looks like an answer template", folder.display()),
                        "templates are preseeds (d-i …), kickstarts (%packages), autoinstalls (autoinstall:) or setup \
                         scripts that mention build_key",
                    )
                })
            };
            let text = make(&Blanks::new())?;
            // Templates may use variables that nothing defines yet.
            match check(path, &text)? {
                Ok(_) => text,
                Err(errors) => starter::blanks(&errors).map_or(Ok(text), |blanks| make(&blanks))?,
            }
        }
    };
    let file = check(path, &text)?.map_err(|errors| fail(Exit::Failed, errors))?;
    file.persist_noclobber(path)
        .map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => there_already(&shown),
            _ => failed(path, &error.error),
        })?;
    talk(&format!(
        "wrote {shown}\n\n  pipeline plan {shown}    what would be done, and why\n  pipeline run {shown}     do it\n  \
        pipeline boot {shown} ID --ssh    log in to an image, by a key made for that\n\n\
        An image has no account unless a step makes one; the manifest says how.\n"
    ));
    Ok(Exit::Ok)
}

type Checked = Result<NamedTempFile, crate::manifest::ManifestErrors>;

/// Writes it next to its place, where the files that it names are, and lets the loader judge.
fn check(path: &Path, text: &str) -> Result<Checked, Exit> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut builder = Builder::new();
    builder
        .prefix(".init-")
        .suffix(".toml")
        .permissions(fs::Permissions::from_mode(0o666));
    let file = builder
        .tempfile_in(folder)
        .map_err(|error| failed(path, &error))?;
    file.as_file()
        .write_all(text.as_bytes())
        .map_err(|error| failed(path, &error))?;
    file.as_file().sync_all().map_err(|error| failed(path, &error))?;
    Ok(load(file.path()).map(|_| file))
}

/// The texts in a folder that may be answers, by the names that the manifest gives them.
fn templates(folder: &Path, manifest: &Path) -> Result<Vec<Found>, Exit> {
    let unreadable = |error: io::Error| {
        refuse(
            &format!("`{}` cannot be read: {error}", folder.display()),
            "name a folder with answer templates",
        )
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let small = path
            .metadata()
            .is_ok_and(|found| found.is_file() && found.len() <= LARGEST);
        if small
            && starter::is_template(name)
            && let Ok(text) = fs::read_to_string(&path)
        {
            found.push(Found {
                name: relative(&path, manifest),
                text,
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Relative to the manifest's folder where it is below that.
fn relative(path: &Path, manifest: &Path) -> String {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (path, manifest) = (absolute(path), absolute(manifest));
    let path: PathBuf = path.components().collect();
    let below = manifest
        .parent()
        .and_then(|folder| path.strip_prefix(folder).ok());
    below.unwrap_or(&path).display().to_string()
}

fn there_already(shown: &str) -> Exit {
    refuse(
        &format!("`{shown}` is there already, and stays as it is"),
        "name another file: pipeline init other.toml",
    )
}

fn failed(path: &Path, error: &io::Error) -> Exit {
    refuse(
        &format!("`{}` cannot be written: {error}", path.display()),
        "name a file in a folder that exists and that you may write to",
    )
}

fn refuse(cause: &str, help: &str) -> Exit {
    fail(Exit::Usage, miette::miette!(help = help, "{cause}"))
}
