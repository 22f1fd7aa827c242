//! A manifest with every file that it names, as one archive: unpacked on another host, it gives the same plan by the same
//! facts. Secrets stay where they are: each host reads its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::{Algorithm, Digest};
use crate::host::cancel::Cancel;
use crate::host::fs::{FsError, Share, hash_file, place_as};
use crate::host::process::{Cmd, ProcessError};
use crate::lock;
use crate::manifest::model::{Manifest, Use};
use crate::size::{ByteSize, GIB, MIB};
use crate::stage::Node;
use crate::syntax::files::is_no_source;

/// The largest medium that travels: what is made from a larger one is made where that is.
const LARGEST_MEDIUM: u64 = 64 * MIB;
/// The most that all files together may have.
const LARGEST: u64 = GIB;
/// How much the archive is compressed.
const LEVEL: i32 = 3;

/// An archive, and what those need to know who unpack it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    /// SHA-256 of the archive.
    pub digest: Digest,
    /// Where the manifest is in it.
    pub manifest: PathBuf,
    /// Media that were left out for their size, by their places in it. Only what is made from them needs them.
    pub left_out: BTreeMap<PathBuf, u64>,
    /// The same, by the paths that they have here.
    #[serde(skip)]
    here: BTreeMap<PathBuf, u64>,
}

/// Why there is no archive, or no use of it.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum WorkspaceError {
    #[error("{} names files by absolute paths, which other hosts do not have: {}", manifest.display(), names.join(", "))]
    #[diagnostic(help("put them next to the manifest and name them as seen from it; nothing was started"))]
    Absolute { manifest: PathBuf, names: Vec<String> },
    #[error("the files that {} names have {size}, and at most {} travel to other hosts", manifest.display(), ByteSize(LARGEST))]
    #[diagnostic(help("name smaller folders, or fetch large files by URL; nothing was started"))]
    TooLarge { manifest: PathBuf, size: ByteSize },
    #[error("the archive {} is not the one that was packed: it is {found}, and not {wanted}", path.display())]
    Damaged {
        path: PathBuf,
        wanted: Digest,
        found: String,
    },
    /// The name of a place leads out of the archive.
    #[error("`{}` is no place in an archive", .0.display())]
    Outside(PathBuf),
    #[error(transparent)]
    Fs(#[from] FsError),
    #[error(transparent)]
    Process(#[from] ProcessError),
}

impl Workspace {
    /// Packs what a manifest needs. Equal files give an equal archive.
    ///
    /// # Errors
    /// [`WorkspaceError::Absolute`], [`WorkspaceError::TooLarge`]; [`WorkspaceError::Fs`], [`WorkspaceError::Process`].
    pub fn pack(manifest: &Manifest, archive: &Path, cancel: &Cancel) -> Result<Self, WorkspaceError> {
        let absolute = std::path::absolute(&manifest.path).map_err(FsError::at("find", &manifest.path))?;
        let mut files = files(manifest, &absolute)?;
        let folder = &manifest.folder;
        let real = folder.canonicalize().map_err(FsError::at("find", folder))?;
        // As the manifest names it, whatever links lead to its folder.
        let place = |path: &Path| match path.strip_prefix(folder) {
            Ok(below) => without_dots(&real.join(below)),
            Err(_) => without_dots(path),
        };
        let root = files.keys().fold(real.clone(), |root, path| {
            let place = place(path);
            let folder = place.parent().unwrap_or(&place);
            let common = root.components().zip(folder.components());
            let common = common.take_while(|(one, other)| one == other);
            common.map(|(one, _)| one).collect()
        });
        let inside = |path: &Path| {
            let place = place(path);
            place.strip_prefix(&root).unwrap_or(&place).to_owned()
        };
        let size = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
        let large = files
            .iter()
            .filter(|(path, usage)| **usage == Use::Present && size(path) > LARGEST_MEDIUM);
        let here: BTreeMap<_, _> = large.map(|(path, _)| (path.clone(), size(path))).collect();
        files.retain(|path, _| !here.contains_key(path));

        let beside = archive.parent().unwrap_or(Path::new("."));
        let staged = tempfile::tempdir_in(beside).map_err(FsError::at("write into", beside))?;
        let tree = staged.path().join("tree");
        let mut staging = Staging {
            manifest,
            bytes: 0,
            cancel,
        };
        for (path, usage) in &files {
            staging.put(path, &tree.join(inside(path)), *usage)?;
        }
        let packed = staged.path().join("tree.tar");
        // Owners, times and most of the mode are this host's: a digest of a folder does not have them either.
        let tar = Cmd::new("tar").without("TAR_OPTIONS");
        let tar = tar.args(["--create", "--sort=name", "--format=gnu", "--mtime=@0"]);
        let tar = tar.args([
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "--mode=u+rwX,go+rX,go-w",
        ]);
        let tar = tar.arg("--hard-dereference").arg("--directory").arg(&tree);
        tar.arg("--file").arg(&packed).arg(".").read(cancel)?;
        compress(&packed, archive).map_err(FsError::at("write", archive))?;
        Ok(Self {
            digest: digest(archive, cancel)?,
            manifest: inside(&absolute),
            left_out: here.iter().map(|(path, bytes)| (inside(path), *bytes)).collect(),
            here,
        })
    }

    /// Unpacks an archive into a new folder, and gives the path of the manifest. A medium that was left out is an empty file
    /// there: all that is made from it is made elsewhere.
    ///
    /// # Errors
    /// [`WorkspaceError::Damaged`], [`WorkspaceError::Outside`]; [`WorkspaceError::Fs`], [`WorkspaceError::Process`].
    pub fn unpack(&self, archive: &Path, to: &Path, cancel: &Cancel) -> Result<PathBuf, WorkspaceError> {
        let found = digest(archive, cancel)?;
        if found != self.digest {
            return Err(WorkspaceError::Damaged {
                path: archive.to_owned(),
                wanted: self.digest.clone(),
                found: found.to_string(),
            });
        }
        let manifest = to.join(plain(&self.manifest)?);
        fs::create_dir_all(to).map_err(FsError::at("make the folder", to))?;
        let packed = to.with_extension("tar");
        decompress(archive, &packed).map_err(FsError::at("unpack", archive))?;
        let tar = Cmd::new("tar").without("TAR_OPTIONS").arg("--extract");
        let tar = tar.args(["--no-same-owner", "--file"]).arg(&packed);
        tar.arg("--directory").arg(to).read(cancel)?;
        fs::remove_file(&packed).map_err(FsError::at("remove", &packed))?;
        for place in self.left_out.keys() {
            let place = to.join(plain(place)?);
            let made = place.parent().map_or(Ok(()), fs::create_dir_all);
            made.and_then(|()| fs::File::create_new(&place))
                .map_err(FsError::at("make", &place))?;
        }
        Ok(manifest)
    }

    /// Why the work of a node can be done only where the archive was packed.
    pub fn stays(&self, node: &Node) -> Option<String> {
        if self.here.is_empty() {
            return None;
        }
        let work = serde_json::to_value(&node.work).ok()?;
        let (path, bytes) = self
            .here
            .iter()
            .find(|(path, _)| names(&work, &path.to_string_lossy()))?;
        Some(format!(
            "{} has {}, and media of at most {} travel to other hosts",
            path.display(),
            ByteSize(*bytes),
            ByteSize(LARGEST_MEDIUM)
        ))
    }
}

/// All files and folders that are needed to load the manifest, absolute.
fn files(manifest: &Manifest, absolute: &Path) -> Result<BTreeMap<PathBuf, Use>, WorkspaceError> {
    let named = manifest
        .files
        .iter()
        .filter(|(_, named)| named.usage != Use::Named);
    let elsewhere = named.clone().filter(|(_, named)| named.name.is_absolute());
    let names: Vec<_> = elsewhere.map(|(path, _)| path.display().to_string()).collect();
    if !names.is_empty() {
        return Err(WorkspaceError::Absolute {
            manifest: manifest.path.clone(),
            names,
        });
    }
    let lock = lock::path_of(absolute);
    let own = [absolute.to_owned()]
        .into_iter()
        .chain(lock.is_file().then_some(lock));
    let own = own.chain(manifest.imports.iter().cloned());
    let own = own.map(|path| (path, Use::Whole));
    Ok(named
        .map(|(path, named)| (path.clone(), named.usage))
        .chain(own)
        .collect())
}

/// Puts files into the tree that is packed.
struct Staging<'a> {
    manifest: &'a Manifest,
    bytes: u64,
    cancel: &'a Cancel,
}

impl Staging<'_> {
    /// A file or a folder that the manifest names. What the name leads to counts, as when it was read.
    fn put(&mut self, from: &Path, to: &Path, usage: Use) -> Result<(), WorkspaceError> {
        let found = fs::metadata(from).map_err(FsError::at("look at", from))?;
        if !found.is_dir() {
            return self.file(from, to, found.len());
        }
        let output = std::path::absolute(&self.manifest.output).unwrap_or_default();
        fs::create_dir_all(to).map_err(FsError::at("make the folder", to))?;
        for entry in fs::read_dir(from).map_err(FsError::at("list", from))? {
            let path = entry.map_err(FsError::at("list", from))?.path();
            let to = to.join(path.file_name().unwrap_or_default());
            let found = fs::symlink_metadata(&path).map_err(FsError::at("look at", &path))?;
            if usage == Use::Sources && is_no_source(&path, &output) {
                continue;
            }
            if found.is_symlink() {
                let target = fs::read_link(&path).map_err(FsError::at("read", &path))?;
                if fs::symlink_metadata(&to).is_err() {
                    std::os::unix::fs::symlink(target, &to).map_err(FsError::at("make", &to))?;
                }
            } else {
                self.put(&path, &to, usage)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &Path, to: &Path, bytes: u64) -> Result<(), WorkspaceError> {
        // Also part of a folder that is there already.
        if fs::symlink_metadata(to).is_ok() {
            return Ok(());
        }
        self.bytes += bytes;
        if self.bytes > LARGEST {
            return Err(WorkspaceError::TooLarge {
                manifest: self.manifest.path.clone(),
                size: ByteSize(self.bytes),
            });
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(FsError::at("make the folder", folder))?;
        }
        let from = from.canonicalize().map_err(FsError::at("look at", from))?;
        Ok(place_as(&from, to, Share::Link, self.cancel)?)
    }
}

/// A path without `.` and `..`.
fn without_dots(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, part| {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            part => path.push(part),
        }
        path
    })
}

/// Whether a text in it is this path, or one inside.
fn names(value: &Value, path: &str) -> bool {
    match value {
        Value::String(text) => Path::new(text).starts_with(path),
        Value::Array(items) => items.iter().any(|item| names(item, path)),
        Value::Object(members) => members.values().any(|member| names(member, path)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn plain(place: &Path) -> Result<&Path, WorkspaceError> {
    let is_plain = place
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let place_is_good = is_plain && place.file_name().is_some();
    place_is_good
        .then_some(place)
        .ok_or_else(|| WorkspaceError::Outside(place.to_owned()))
}

fn digest(archive: &Path, cancel: &Cancel) -> Result<Digest, FsError> {
    let mut digests = hash_file(archive, &[Algorithm::Sha256], cancel)?;
    Ok(digests.remove(0))
}

fn compress(from: &Path, to: &Path) -> io::Result<()> {
    let output = BufWriter::new(fs::File::create(to)?);
    let mut encoder = zstd::stream::Encoder::new(output, LEVEL)?;
    io::copy(&mut fs::File::open(from)?, &mut encoder)?;
    encoder.finish()?.flush()
}

fn decompress(from: &Path, to: &Path) -> io::Result<()> {
    let mut decoder = zstd::stream::Decoder::new(BufReader::new(fs::File::open(from)?))?;
    io::copy(&mut decoder, &mut fs::File::create(to)?).map(drop)
}
