//! What a run leaves for others in addition to images: files that were asked for, lines for programs.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use super::exit::Exit;
use super::report_error::{fail, out, talk};
use crate::host::fs::write_atomic;
use crate::report::junit;
use crate::report::summary::RunSummary;

/// Paths of the images that are as the manifest has them, for what reads standard output; the summary as Markdown for GitHub.
pub(super) fn tell_programs(summary: &RunSummary, is_text: bool) {
    // On a terminal the table has them.
    if is_text && !std::io::stdout().is_terminal() {
        summary
            .good_images()
            .for_each(|image| out(&format!("{}\n", image.path)));
    }
    if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        if let Err(error) = file.and_then(|mut file| file.write_all(summary.markdown().as_bytes())) {
            talk(&format!(
                "warning: cannot write the step summary {}: {error}\n",
                path.display()
            ));
        }
    }
}

/// Makes sure, before an hour of work, that the file can be written after it.
pub(super) fn ready_for(option: &str, path: &Path) -> Result<(), Exit> {
    let refused = |cause: &str| {
        fail(
            Exit::Usage,
            miette::miette!("{option} {}: {cause}; nothing was started", path.display()),
        )
    };
    if path.is_dir() {
        return Err(refused("this is a folder; name a file"));
    }
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => std::fs::create_dir_all(folder).map_err(|error| refused(&error.to_string())),
        None => Ok(()),
    }
}

pub(super) fn write_junit(path: &Path, summary: &RunSummary) -> Result<(), Exit> {
    write_report(path, &junit::render(summary))
}

pub(super) fn write_report(path: &Path, xml: &str) -> Result<(), Exit> {
    write_atomic(path, xml.as_bytes()).map_err(|error| {
        fail(
            Exit::Failed,
            miette::miette!("--junit {}: {error}", path.display()),
        )
    })
}
