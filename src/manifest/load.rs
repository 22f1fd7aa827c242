//! A manifest file to a checked manifest: reads, then asks the others in turn. The entry of this layer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::families::Tables;

use super::describe::row::Record;
use super::describe::tables::ManifestKeys;
use super::doubts::Given;
use super::error::{ManifestErrors, ProblemKind, Problems};
use super::fields::Fields;
use super::files::{FileError, Files};
use super::model::Manifest;
use super::overrides::Override;
use super::parse::{self, Node};
use super::read::{self, Reading};
use super::rules::Rules;
use super::sources::{COMMAND_LINE, Sources};
use super::{expand, names};

const OPTION: &str = "-D ";

/// A manifest as data: read, or evaluated, but not looked at yet.
#[derive(Debug)]
pub struct Document {
    path: PathBuf,
    folder: PathBuf,
    tree: Node,
    sources: Sources,
    imports: Vec<PathBuf>,
    /// Vars that the command line gives.
    given: Vec<Given>,
}

/// Reads a manifest and every file that it names, and checks all of it.
///
/// # Errors
/// Every mistake that was found, in the order of the manifest.
pub fn load(path: &Path) -> Result<Manifest, ManifestErrors> {
    load_with(path, &[])
}

/// The same, with values that the command line gives.
///
/// # Errors
/// As [`load`].
pub fn load_with(path: &Path, overrides: &[Override]) -> Result<Manifest, ManifestErrors> {
    open(path, overrides)?.check()
}

/// Reads a manifest: Nickel where its name ends in `.ncl`, else TOML.
///
/// # Errors
/// It cannot be read or evaluated.
pub fn open(path: &Path, overrides: &[Override]) -> Result<Document, ManifestErrors> {
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
    let text = text.map_err(|error| refuse(error.to_string(), remedy(path, &error)))?;
    if path.extension().is_some_and(|extension| extension == "ncl") {
        #[cfg(feature = "nickel")]
        {
            let found = super::nickel::evaluate(path, &absolute, &text, overrides)?;
            return Ok(Document {
                path: path.to_owned(),
                folder: folder.to_owned(),
                tree: found.tree,
                sources: found.sources,
                imports: found.imports,
                given: overrides.iter().filter_map(|one| one.var(None)).collect(),
            });
        }
        #[cfg(not(feature = "nickel"))]
        return Err(refuse(
            format!(
                "`{}` is Nickel, which this program was built without",
                path.display()
            ),
            "build it with its default features, or give it TOML: \
             `pipeline export --format toml` of a program that has it writes that"
                .to_owned(),
        ));
    }
    read_toml(path, folder, &text, overrides)
}

/// Checks a text as if it stood in the file `path`, which is not read; the files that it names are looked for in that
/// file's folder.
///
/// # Errors
/// As [`load`].
pub fn load_text(path: &Path, text: &str) -> Result<Manifest, ManifestErrors> {
    let folder = path.parent().unwrap_or(Path::new(""));
    read_toml(path, folder, &Arc::from(text), &[])?.check()
}

/// What to do about a manifest that cannot be read; other files have other remedies.
fn remedy(path: &Path, error: &FileError) -> String {
    match error {
        FileError::Missing { near, .. } if near.is_empty() => {
            "name the manifest, such as images.toml; `pipeline init` makes one to start from".to_owned()
        }
        FileError::NotText(_) if path.extension().is_some_and(|end| end == "toml" || end == "ncl") => {
            "write the manifest in UTF-8".to_owned()
        }
        // An image, most likely.
        FileError::NotText(_) => {
            "name the manifest first, such as images.toml, and images after it by their ids: \
                                  `pipeline ls MANIFEST` lists them"
                .to_owned()
        }
        FileError::Folder(_) => "name the manifest in it".to_owned(),
        _ => error.remedy(),
    }
}

fn read_toml(
    path: &Path,
    folder: &Path,
    text: &Arc<str>,
    overrides: &[Override],
) -> Result<Document, ManifestErrors> {
    let name = path.display().to_string();
    let lines = overrides.iter().map(|o| format!("{OPTION}{}\n", o.text));
    let typed: Arc<str> = lines.collect::<String>().into();
    let mut texts = vec![(name, Arc::clone(text))];
    if !overrides.is_empty() {
        texts.push((COMMAND_LINE.to_owned(), typed));
    }
    let problems = Problems::new(Sources::new(texts));
    let mut tree = match parse::parse(text) {
        Ok(tree) => tree,
        Err(errors) => {
            for (span, message) in errors {
                problems.add(&span, ProblemKind::Syntax(message));
            }
            return Err(problems.into_errors(path.to_owned()));
        }
    };
    // Texts have a byte between them.
    let mut start = text.len() + 1;
    let mut given = Vec::new();
    for one in overrides {
        start += OPTION.len();
        if let Err((span, kind)) = one.apply(&mut tree, start) {
            problems.add(&span, kind);
        }
        given.extend(one.var(Some(start)));
        start += one.text.len() + 1;
    }
    if !problems.is_fine() {
        return Err(problems.into_errors(path.to_owned()));
    }
    Ok(Document {
        path: path.to_owned(),
        folder: folder.to_owned(),
        tree,
        sources: problems.into_sources(),
        imports: Vec::new(),
        given,
    })
}

impl Document {
    pub fn tree(&self) -> &Node {
        &self.tree
    }

    /// Makes a manifest of it, and checks everything that it names.
    ///
    /// # Errors
    /// Every mistake that was found, in the order of the manifest.
    pub fn check(self) -> Result<Manifest, ManifestErrors> {
        let Self {
            path,
            folder,
            tree,
            sources,
            imports,
            given,
        } = self;
        let problems = Problems::new(sources);
        let root = Fields::root(&tree, ManifestKeys::TABLE, &problems);
        let pipeline = read::pipeline(&root);
        let output = pipeline.output;
        let absolute_output = std::path::absolute(&output).unwrap_or_else(|_| output.clone());
        let files = Files::new(&folder, path.parent().unwrap_or(Path::new("")), &absolute_output);
        let reading = Reading {
            text: problems.sources().text(),
            problems: &problems,
            files: &files,
            tables: Tables::built_in(),
        };
        let tables = read::tables(reading, &root);
        let reading = Reading {
            tables: &tables,
            ..reading
        };
        let draft = read::draft(reading, &root);
        let rules = Rules::new(reading, &draft);
        let flavors = rules.run();
        let images = expand::images(&rules);
        if !problems.is_fine() {
            return Err(problems.into_errors(path));
        }
        rules.warn_unused();
        rules.warn_of_doubts(&given);
        Ok(Manifest {
            name: pipeline.name.unwrap_or_else(|| names::from_stem(&path)),
            path,
            folder,
            imports,
            files: files.named(),
            output,
            vars: draft.vars,
            resources: draft.resources,
            distros: draft.distros.into_iter().map(|draft| draft.distro).collect(),
            flavors,
            images,
            publish: draft.publish,
            report: draft.report,
            hooks: draft.hooks,
            warnings: problems.into_list(),
        })
    }
}
