//! Which images a command line means. Knows a checked manifest, nothing of arguments' spelling.

use std::str::FromStr;

use globset::GlobSet;
use miette::Diagnostic;

use crate::size::ByteSize;

use super::model::{Image, Manifest};
use super::{glob, suggest};

/// What the user asked for. Nothing at all means every image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    /// Ids, globs over ids, or `distro=`, `size=` and `flavor=` terms. Images that any of them matches are meant.
    pub patterns: Vec<String>,
    /// Only these distros (names or globs).
    pub distro: Vec<String>,
    /// Only these sizes, compared by value: `50G` is `51200M`.
    pub size: Vec<String>,
    /// Only these flavors (names or globs).
    pub flavor: Vec<String>,
}

/// Why no image is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Diagnostic)]
pub enum SelectError {
    /// Not a glob.
    #[error("`{pattern}` is not a pattern: {cause}")]
    #[diagnostic(
        code(select::bad_pattern),
        help("`*`, `?` and `[abc]` have their usual meaning; quote the pattern for the shell")
    )]
    BadPattern {
        /// As given.
        pattern: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Not a size.
    #[error("{0}")]
    #[diagnostic(code(select::bad_size))]
    BadSize(String),
    /// A term that matches no image.
    #[error("no image matches `{selector}`")]
    #[diagnostic(code(select::nothing), help("{remedy}"))]
    Nothing {
        /// As given: `debian12-*`, `size=50G`.
        selector: String,
        /// Near names, and how to list all.
        remedy: String,
    },
    /// Each term matches something, but no image matches all that was asked for.
    #[error("no image matches all of {}", .0.join(" and "))]
    #[diagnostic(
        code(select::nothing_left),
        help("options narrow down what the patterns select; leave one out")
    )]
    NothingLeft(Vec<String>),
}

/// One thing to match an image against.
enum Term {
    Id(GlobSet),
    Distro(GlobSet),
    Size(ByteSize),
    Flavor(GlobSet),
}

/// The images that are meant, as indices into `manifest.images`, in manifest order.
///
/// # Errors
/// When a term matches nothing, cannot be read, or nothing is left of all of them.
pub fn select(manifest: &Manifest, selectors: &Selectors) -> Result<Vec<usize>, SelectError> {
    let Selectors {
        patterns,
        distro,
        size,
        flavor,
    } = selectors;
    let patterns: Vec<_> = patterns.iter().map(|text| split(text)).collect();
    let option = |key, values: &[String]| values.iter().map(|v| (key, v.clone())).collect::<Vec<_>>();
    let groups = [
        patterns,
        option("distro", distro),
        option("size", size),
        option("flavor", flavor),
    ];
    let mut chosen = vec![true; manifest.images.len()];
    for group in groups.iter().filter(|group| !group.is_empty()) {
        let mut matched = vec![false; chosen.len()];
        for (key, text) in group {
            let term = Term::read(key, text)?;
            let mut any = false;
            for (image, matched) in manifest.images.iter().zip(&mut matched) {
                let hit = term.matches(image);
                any |= hit;
                *matched |= hit;
            }
            if !any {
                return Err(nothing(manifest, key, text));
            }
        }
        for (chosen, matched) in chosen.iter_mut().zip(matched) {
            *chosen &= matched;
        }
    }
    let found: Vec<_> = (0..chosen.len()).filter(|index| chosen[*index]).collect();
    if found.is_empty() {
        let terms = groups.iter().flatten().map(|(key, text)| show(key, text));
        return Err(SelectError::NothingLeft(terms.collect()));
    }
    Ok(found)
}

fn split(pattern: &str) -> (&'static str, String) {
    for key in ["distro", "size", "flavor"] {
        if let Some(value) = pattern.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')) {
            return (key, value.to_owned());
        }
    }
    ("id", pattern.to_owned())
}

fn show(key: &str, text: &str) -> String {
    if key == "id" {
        format!("`{text}`")
    } else {
        format!("`{key}={text}`")
    }
}

impl Term {
    fn read(key: &str, text: &str) -> Result<Self, SelectError> {
        if key == "size" {
            let size = ByteSize::from_str(text);
            return size
                .map(Self::Size)
                .map_err(|error| SelectError::BadSize(error.to_string()));
        }
        let glob = glob::compile(text).map_err(|cause| {
            let pattern = text.to_owned();
            SelectError::BadPattern { pattern, cause }
        })?;
        Ok(match key {
            "distro" => Self::Distro(glob),
            "flavor" => Self::Flavor(glob),
            _ => Self::Id(glob),
        })
    }

    fn matches(&self, image: &Image) -> bool {
        match self {
            Self::Id(glob) => glob.is_match(&image.id),
            Self::Distro(glob) => glob.is_match(&image.distro),
            Self::Size(size) => *size == image.size,
            Self::Flavor(glob) => glob.is_match(&image.flavor),
        }
    }
}

fn nothing(manifest: &Manifest, key: &str, text: &str) -> SelectError {
    let name = |image: &Image| match key {
        "distro" => image.distro.clone(),
        "size" => image.size_label.clone(),
        "flavor" => image.flavor.clone(),
        _ => image.id.clone(),
    };
    let mut names: Vec<String> = Vec::new();
    for image in &manifest.images {
        let name = name(image);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let known = names.iter().map(String::as_str);
    let near = suggest::near(text, known.clone());
    let hint = if key == "id" {
        let listing = format!(
            "`pipeline validate {} --list` prints all ids",
            manifest.path.display()
        );
        match near.as_slice() {
            [] => listing,
            near => format!("did you mean `{}`? {listing}", near.join("` or `")),
        }
    } else {
        suggest::remedy(text, &format!("{key}s of the images"), known)
    };
    SelectError::Nothing {
        selector: show(key, text).trim_matches('`').to_owned(),
        remedy: hint,
    }
}
