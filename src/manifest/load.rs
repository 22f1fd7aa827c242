//! A manifest file to a checked manifest: reads, then asks the others in turn. The entry of this layer.

use std::path::Path;
use std::sync::Arc;

use super::check::Check;
use super::error::{ManifestErrors, ProblemKind, Problems};
use super::expand;
use super::fields::Fields;
use super::files::{FileError, Files};
use super::model::Manifest;
use super::names;
use super::parse;
use super::read::{self, Reading};

/// Where published images go, unless the manifest says otherwise.
const OUTPUT: &str = "out";

/// Reads a manifest and every file that it names, and checks all of it.
///
/// # Errors
/// Every mistake that was found, in the order of the manifest.
pub fn load(path: &Path) -> Result<Manifest, ManifestErrors> {
    let refuse = |cause: String, remedy: String| ManifestErrors::unreadable(path.to_owned(), cause, remedy);
    let absolute = std::path::absolute(path);
    let absolute = absolute
        .map_err(|error| refuse(format!("`{}`: {error}", path.display()), "name a file".to_owned()))?;
    let (Some(folder), Some(file)) = (absolute.parent(), path.file_name().and_then(|n| n.to_str())) else {
        let cause = format!("`{}` is not the name of a manifest", path.display());
        return Err(refuse(cause, "name a file, such as images.toml".to_owned()));
    };
    let shown = path.parent().unwrap_or(Path::new(""));
    let text = Files::new(folder, shown, folder).text(file);
    let text = text.map_err(|error| refuse(error.to_string(), remedy(&error)))?;
    check_text(path, folder, &text)
}

/// What to do about a manifest that cannot be read; other files have other remedies.
fn remedy(error: &FileError) -> String {
    match error {
        FileError::Missing { near, .. } if near.is_empty() => {
            "name the manifest, such as images.toml".to_owned()
        }
        FileError::NotText(_) => "write the manifest in UTF-8".to_owned(),
        FileError::Folder(_) => "name the manifest in it".to_owned(),
        _ => error.remedy(),
    }
}

fn check_text(path: &Path, folder: &Path, text: &Arc<str>) -> Result<Manifest, ManifestErrors> {
    let problems = Problems::new(&path.display().to_string(), Arc::clone(text));
    let tree = match parse::parse(text) {
        Ok(tree) => tree,
        Err(errors) => {
            for (span, message) in errors {
                problems.add(&span, ProblemKind::Syntax(message));
            }
            return Err(problems.into_errors(path.to_owned()));
        }
    };
    let root = Fields::root(&tree, &problems);
    // Nothing but a name is read from the disk for `[pipeline]`, so any folder will do.
    let nowhere = Files::new(folder, folder, folder);
    let pipeline = read::pipeline(
        Reading {
            text,
            problems: &problems,
            files: &nowhere,
        },
        &root,
    );
    let output = pipeline.output.unwrap_or_else(|| OUTPUT.into());
    let absolute_output = std::path::absolute(&output).unwrap_or_else(|_| output.clone());
    let files = Files::new(folder, path.parent().unwrap_or(Path::new("")), &absolute_output);
    let reading = Reading {
        text,
        problems: &problems,
        files: &files,
    };
    let draft = read::draft(reading, &root);
    root.finish();
    let check = Check::new(reading, &draft);
    let flavors = check.run();
    let images = expand::images(&check);
    if !problems.is_fine() {
        return Err(problems.into_errors(path.to_owned()));
    }
    check.warn_unused();
    Ok(Manifest {
        path: path.to_owned(),
        folder: folder.to_owned(),
        name: pipeline.name.unwrap_or_else(|| names::from_stem(path)),
        output,
        vars: draft.vars,
        resources: draft.resources,
        distros: draft.distros.into_iter().map(|draft| draft.distro).collect(),
        flavors,
        images,
        publish: draft.publish,
        warnings: problems.into_list(),
    })
}
