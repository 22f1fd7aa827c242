//! What is published where: `URL.txt` for those who parse it line by line, `index.json` for all else. Both have only
//! images that were read back from where they say; both keep what other runs published, and are replaced as a whole.
//! Knows nothing of how images get there.

pub mod catalog;
pub mod list;
mod plan;
mod task;

use std::fs;
use std::path::{Path, PathBuf};

use self::catalog::{Catalog, Listed};
use self::list::UrlLine;
pub use self::plan::IndexWork;
pub(super) use self::plan::{facts, plan};
use super::Order;
use super::sums::LOCK;
use crate::host::cancel::Cancel;
use crate::host::fs::{self as host, FsError};
use crate::plan::node::Role;

/// The upload that is listed.
const UPLOAD: Role = Role::new("upload");
/// Name of the list of URLs. Other machines look for it.
pub const URL_FILE: &str = "URL.txt";
/// Name of the catalog.
pub const CATALOG_FILE: &str = "index.json";
/// Most bytes read of either file: a hundred thousand images.
const LARGEST: u64 = 256 << 20;

/// Why the files could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A file or folder gave trouble.
    #[error(transparent)]
    File(#[from] FsError),
    /// The catalog is not one.
    #[error("{} is not a catalog that this program wrote ({detail}); move it away, and run again", path.display())]
    NotACatalog { path: PathBuf, detail: String },
}

/// Lists an image: in the catalog always, in the list of URLs by the lines that are to stand there. `order` is that of the
/// whole manifest. True: something changed.
///
/// # Errors
/// [`IndexError`].
pub fn add(
    folder: &Path,
    order: &Order,
    listed: &Listed,
    lines: &[UrlLine],
    cancel: &Cancel,
) -> Result<bool, IndexError> {
    fs::create_dir_all(folder).map_err(FsError::at("make the folder", folder))?;
    let _lock = host::lock(&folder.join(LOCK), cancel, &mut || {})?;
    let mut changed = false;
    if !lines.is_empty() {
        let path = folder.join(URL_FILE);
        let old = read_file(&path)?;
        let name = |file: &PathBuf| {
            file.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let names: Vec<_> = order.files.iter().map(name).collect();
        let text = String::from_utf8_lossy(&old).into_owned();
        let new = lines
            .iter()
            .fold(text, |text, line| list::merged(&text, &names, line));
        changed |= replace(&path, &old, new.as_bytes())?;
    }
    let path = folder.join(CATALOG_FILE);
    let old = read_file(&path)?;
    let mut catalog = catalog_of(&path, &old)?;
    catalog.add(&order.ids, listed);
    changed |= replace(&path, &old, catalog.text().as_bytes())?;
    Ok(changed)
}

/// The catalog of an output folder; empty where there is none.
///
/// # Errors
/// [`IndexError`].
pub fn catalog(folder: &Path) -> Result<Catalog, IndexError> {
    let path = folder.join(CATALOG_FILE);
    catalog_of(&path, &read_file(&path)?)
}

/// The lines of `URL.txt` that say something.
///
/// # Errors
/// [`FsError`].
pub fn url_lines(folder: &Path) -> Result<Vec<UrlLine>, FsError> {
    let text = read_file(&folder.join(URL_FILE))?;
    Ok(String::from_utf8_lossy(&text)
        .lines()
        .filter_map(UrlLine::parse)
        .collect())
}

fn catalog_of(path: &Path, text: &[u8]) -> Result<Catalog, IndexError> {
    if text.is_empty() {
        return Ok(Catalog::default());
    }
    Catalog::parse(text).map_err(|detail| IndexError::NotACatalog {
        path: path.to_owned(),
        detail,
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, FsError> {
    match host::read_small(path, LARGEST) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(FsError::at("read", path)),
    }
}

fn replace(path: &Path, old: &[u8], new: &[u8]) -> Result<bool, FsError> {
    if old == new {
        return Ok(false);
    }
    host::write_atomic(path, new)?;
    Ok(true)
}
